//! The training programs of a run and the state they advance.

use super::Inspector;
use super::levels::{self, LearnedLevels};
use crate::backend::{Backend, Device, Fetch};
use crate::config::{BatchGrowth, Density, ProcessConfig, RunConfig, TrainConfig};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::model::Use;
use crate::process::Process;
use crate::program::{Accumulate, Builder, DType, Mat, Plan, Program, SequenceLoss, StepArgs, StepMetrics, Storage};
use crate::stop::Stop;
use crate::store::TrainingState;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// What one optimizer step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// The objective, in nats per symbol.
    pub loss: f32,
    /// Masked tokens that it learned from.
    pub masked: u64,
    /// Global gradient norm before clipping; not finite in a step that was skipped because the loss scale was too high.
    pub grad_norm: f32,
    /// Learning rate of this step.
    pub lr: f32,
    /// What the gradients were scaled by in half precision; 1 without.
    pub loss_scale: f32,
}

/// A model in training on one device.
pub struct Trainer {
    config: RunConfig,
    process: Process,
    backend: Box<dyn Backend>,
    programs: Programs,
    metrics: Mat,
    /// How the device stores activations.
    stored: DType,
    done: u64,
    /// Steps whose metrics are on their way.
    in_flight: VecDeque<InFlight>,
    /// Steps that are finished and were not asked for.
    finished: Vec<StepReport>,
    /// Where the density of noise levels is learned.
    learned: Option<LearnedLevels>,
    /// The loss scale of the run's other device, kept for it where this one needs none.
    foreign_scale: Option<[f32; 2]>,
}

/// A step that was handed to the device.
struct InFlight {
    step: u64,
    lr: f32,
    metrics: Box<dyn Fetch>,
    /// Of each micro-batch, what was drawn for it, and its sequences' losses where levels are learned from them.
    losses: Vec<(StepArgs, Box<dyn Fetch>)>,
}

/// The programs of a step. With one micro-batch they are one; else gradients are gathered first.
struct Programs {
    /// For each part of the process and each size of a micro-batch, in the order in which they are taken.
    learn: Vec<Learn>,
    /// Updates the weights.
    update: Option<Program>,
    /// The table that all of them draw noise levels by, where it is learned.
    levels: Option<Mat>,
}

/// The programs of micro-batches of one size that learn one part of the process.
struct Learn {
    /// Which of [`Process::parts`].
    part: usize,
    /// The step that they are for, and those after it.
    from: u64,
    batch: usize,
    /// Replaces the gradients; with a single micro-batch it also updates.
    first: Program,
    /// Adds to the gradients.
    next: Option<Program>,
    /// `[B, 2]`: the losses of the last micro-batch's sequences, where levels are learned from them.
    losses: Option<Mat>,
}

/// Steps whose metrics a device keeps before they are overwritten.
const METRICS_RING: usize = 64;

/// Steps that the host may be ahead of the device: enough that the device never waits for the host, and few enough that
/// what is reported is fresh.
const MOST_IN_FLIGHT: usize = 4;

/// The loss scale that a run starts with, as PyTorch's `GradScaler`; it is halved until gradients are finite.
const FIRST_LOSS_SCALE: f32 = 65_536.0;

impl Trainer {
    /// Lays the model out on a device and draws its initial weights.
    pub fn new(config: &RunConfig, corpus: Arc<Corpus>, device: &Device) -> Result<Self> {
        config.validate()?;
        corpus.check_window(config.model.sequence_len)?;
        Inspector::prompt(config, corpus.vocab())?;
        let (plan, process, metrics, programs) = lay_out(config, corpus.train(), device.storage(config.dtype))?;
        check_room(config, &corpus, device)?;
        let mut backend = device.open(Arc::new(plan))?;
        backend.bind_corpus(corpus)?;
        for program in programs.all() {
            backend.prepare(program)?;
        }
        let mut trainer = Trainer {
            config: config.clone(),
            process,
            backend,
            programs,
            metrics,
            stored: device.storage(config.dtype).acts,
            done: 0,
            in_flight: VecDeque::new(),
            finished: Vec::new(),
            learned: None,
            foreign_scale: None,
        };
        let weights = trainer.process.model().params.init(config.seed);
        trainer.begin(weights)?;
        Ok(trainer)
    }

    /// Starts at these weights, packed as [`crate::model::Params`] says, as if no step had been made.
    pub fn begin(&mut self, weights: Vec<f32>) -> Result<()> {
        let n_second = self.process.model().params.second_moments(self.config.optimizer.kind());
        let [m, v] = [weights.len(), n_second].map(|n| vec![0.0; n]);
        let averages = vec![weights.clone(); self.config.optimizer.ema.len()];
        let loss_scale = (self.config.dtype == DType::F16).then_some([FIRST_LOSS_SCALE, 0.0]);
        self.restore(&TrainingState { step: 0, weights, m, v, averages, levels: None, loss_scale })
    }

    /// From now on a step ends between ops when somebody asks to stop, and counts as not made.
    pub fn heed(&mut self, stop: &Stop) {
        self.backend.heed(stop);
    }

    /// About how long a step takes, in seconds: from the flops of a step and the time of one of its products.
    pub fn estimate_s(&mut self) -> Result<f64> {
        let part = self.config.process.part_of_step(self.config.seed, self.done);
        let first = &self.programs.learn_at(self.done, part).first;
        let plan = self.backend.plan();
        let Some(op) = first.ops.iter().find(|op| !op.contract().products.is_empty()).cloned() else {
            return Ok(0.0);
        };
        let flops = first.ops.iter().map(|op| op.work(plan).flops).sum::<f64>() * self.config.train.accumulate as f64;
        let share = op.work(plan).flops / flops;
        // It reads and writes activations, which are nobody's yet. The first time brings them into memory.
        self.backend.run_op(&op, &StepArgs::default())?;
        let start = Instant::now();
        self.backend.run_op(&op, &StepArgs::default())?;
        Ok(start.elapsed().as_secs_f64() / share)
    }

    /// Optimizer steps done.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// The run that this is.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The device that it trains on.
    pub fn backend(&self) -> &dyn Backend {
        self.backend.as_ref()
    }

    /// One optimizer step, and what it did.
    pub fn step(&mut self) -> Result<StepReport> {
        self.advance()?;
        Ok(*self.reports(Wait::ForAll)?.last().expect("the step that was just made"))
    }

    /// Hands one optimizer step to the device and goes on; [`Trainer::reports`] tells what it did.
    pub fn advance(&mut self) -> Result<()> {
        if self.learned.is_some() && self.done > 0 && self.done.is_multiple_of(levels::EVERY) {
            self.renew_levels()?;
        }
        let (o, step) = (&self.config.optimizer, self.done);
        let bias = |beta: f32| (1.0 - f64::from(beta).powf(step as f64 + 1.0)) as f32;
        let mut args = StepArgs {
            seed: self.config.seed,
            step,
            uniform_share: self.config.objective.uniform_share(step, self.config.train.steps),
            lr: o.lr_at(step, self.config.train.steps),
            ema_warmup: o.ema_warmup_at(step),
            bias1: bias(o.beta1),
            bias2: bias(o.beta2),
            ..StepArgs::default()
        };
        let learn = self.programs.learn_at(step, self.config.process.part_of_step(self.config.seed, step));
        let mut losses = Vec::new();
        for micro in 0..self.config.train.accumulate {
            args.sequence = (micro * learn.batch) as u32;
            let program = if micro == 0 { Some(&learn.first) } else { learn.next.as_ref() };
            self.backend.run(program.expect("there are as many as micro-batches"), &args)?;
            if let Some(mat) = learn.losses {
                losses.push((args, self.backend.fetch(mat)?));
            }
        }
        if let Some(update) = &self.programs.update {
            self.backend.run(update, &args)?;
        }
        let row = self.metrics.row_block(StepMetrics::row(step, METRICS_RING), 1);
        let metrics = self.backend.fetch(row)?;
        self.done += 1;
        self.in_flight.push_back(InFlight { step: self.done, lr: args.lr, metrics, losses });
        Ok(())
    }

    /// What the steps did that are finished by now, in order. Waits for those that are too far behind, or for all.
    pub fn reports(&mut self, wait: Wait) -> Result<Vec<StepReport>> {
        self.settle(wait)?;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Takes in what the steps say that are finished.
    fn settle(&mut self, wait: Wait) -> Result<()> {
        let most = if wait == Wait::ForAll { 0 } else { MOST_IN_FLIGHT };
        while let Some(first) = self.in_flight.front()
            && (self.in_flight.len() > most || first.metrics.is_ready())
        {
            let InFlight { step, lr, metrics, losses } = self.in_flight.pop_front().expect("looked at above");
            let StepMetrics { loss, tokens, grad_norm, loss_scale } = bytemuck::pod_read_unaligned(&metrics.wait()?);
            let report = StepReport { step, loss, masked: tokens as u64, grad_norm, lr, loss_scale };
            report.check().map_err(|(what, value)| self.diverged(step, what, value))?;
            self.finished.push(report);
            for (args, losses) in losses {
                self.learn_levels(&args, losses)?;
            }
        }
        Ok(())
    }

    /// Takes in the losses of a micro-batch's sequences.
    fn learn_levels(&mut self, args: &StepArgs, losses: Box<dyn Fetch>) -> Result<()> {
        let sums: Vec<[f32; 2]> = bytemuck::pod_collect_to_vec(&losses.wait()?);
        let of = sums.len() * self.config.train.accumulate;
        let maskable = self.config.process.maskable(&self.config.model);
        if let Some((learned, schedule)) = self.learned.as_mut().zip(self.config.objective.learned_levels()) {
            // What errors of vectors count for is in their costs.
            let weight = |level| match self.config.process {
                ProcessConfig::Gaussian { .. } => 1.0,
                _ => schedule.mask_rate_and_weight(level).1,
            };
            learned.record(args, of as u32, weight, maskable, &sums);
        }
        Ok(())
    }

    /// Draws levels by what the steps so far have told of them.
    fn renew_levels(&mut self) -> Result<()> {
        self.settle(Wait::ForAll)?;
        if let Some(learned) = &mut self.learned {
            learned.renew();
        }
        self.write_levels()
    }

    fn write_levels(&mut self) -> Result<()> {
        let Some((learned, table)) = self.learned.as_ref().zip(self.programs.levels) else { return Ok(()) };
        self.backend.write_u32(table, learned.quantiles())
    }

    /// The run ends at a number that is none, and what to change in the next.
    pub(super) fn diverged(&self, step: u64, what: &'static str, value: f32) -> Error {
        let clip = self.config.optimizer.clip;
        let mut cures = vec!["lower --lr".to_owned()];
        if self.config.optimizer.muon.is_some() {
            cures.push("lower --muon-lr".into());
        }
        cures.push(if clip > 0.0 { format!("lower --clip (now {clip})") } else { "set --clip 1".into() });
        if self.stored == DType::F16 {
            cures.push("use --dtype bf16".into());
        }
        Error::Diverged { step, what, value, cure: cures.join(" or ") }
    }

    /// The weights that are best used: their first average if one is kept.
    pub fn weights(&mut self) -> Result<Vec<f32>> {
        let memory = &self.process.model().memory;
        let average = memory.training.as_ref().and_then(|t| t.averages.first());
        self.backend.read_f32(*average.unwrap_or(&memory.weights))
    }

    /// All that is needed to go on from here.
    pub fn state(&mut self) -> Result<TrainingState> {
        self.settle(Wait::ForAll)?;
        let memory = &self.process.model().memory;
        let training = memory.training.as_ref().expect("laid out for training");
        Ok(TrainingState {
            step: self.done,
            weights: self.backend.read_f32(memory.weights)?,
            m: self.backend.read_f32(training.m)?,
            v: self.backend.read_f32(training.v)?,
            averages: training.averages.iter().map(|&mat| self.backend.read_f32(mat)).collect::<Result<_>>()?,
            levels: self.learned.as_ref().map(LearnedLevels::to_floats),
            loss_scale: match training.scale {
                Some(scale) => Some(self.backend.read_f32(scale)?.try_into().expect("a scale and its age")),
                None => self.foreign_scale,
            },
        })
    }

    /// Goes on from a state.
    pub fn restore(&mut self, state: &TrainingState) -> Result<()> {
        let memory = &self.process.model().memory;
        let training = memory.training.as_ref().expect("laid out for training");
        self.backend.write_f32(memory.weights, &state.weights)?;
        if memory.stored != memory.weights {
            self.backend.write_f32(memory.stored, &state.weights)?;
        }
        self.backend.write_f32(training.m, &state.m)?;
        self.backend.write_f32(training.v, &state.v)?;
        for (&mat, values) in training.averages.iter().zip(&state.averages) {
            self.backend.write_f32(mat, values)?;
        }
        match training.scale {
            Some(scale) => self.backend.write_f32(scale, &state.loss_scale.unwrap_or([FIRST_LOSS_SCALE, 0.0]))?,
            None => self.foreign_scale = state.loss_scale,
        }
        self.done = state.step;
        self.in_flight.clear();
        self.finished.clear();
        if self.config.objective.learned_levels().is_some() {
            let known = state.levels.as_deref().map(LearnedLevels::of_floats).transpose()?;
            self.learned = Some(known.unwrap_or_else(LearnedLevels::new));
        }
        self.write_levels()
    }

    /// Memory that a run needs on a device: its step, the model beside it that is looked at, its text on a GPU, and on this
    /// machine what a checkpoint is gathered in.
    pub fn bytes(config: &RunConfig, corpus: &Corpus, device: &Device) -> usize {
        let storage = device.storage(config.dtype);
        let beside = Inspector::bytes(config, storage).saturating_add(match device {
            // Weights, two moments and the averages, as they are read back.
            Device::Cpu => (3 + config.optimizer.ema.len()) * size_of::<f32>() * config.model.n_params(),
            Device::Cuda(_) => corpus.tokens().bytes(),
        });
        lay_out(config, corpus.train(), storage).map_or(usize::MAX, |(plan, ..)| plan.bytes().saturating_add(beside))
    }

    /// Elements of the packed parameters.
    pub fn n_params(&self) -> usize {
        self.process.model().params.len()
    }
}

/// Whether to wait for steps that are not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only for those that the host is too far ahead of.
    IfFarBehind,
    /// For every step.
    ForAll,
}

impl StepReport {
    /// Refuses what training cannot go on from. An infinite gradient under a loss scale is none of that: the step was
    /// skipped and the scale lowered.
    fn check(&self) -> Result<(), (&'static str, f32)> {
        let skipped = self.loss_scale > 1.0;
        for (what, value, good) in [
            ("loss", self.loss, self.loss.is_finite()),
            ("gradient norm", self.grad_norm, self.grad_norm.is_finite() || skipped),
        ] {
            if !good {
                return Err((what, value));
            }
        }
        Ok(())
    }
}

impl Programs {
    fn all(&self) -> impl Iterator<Item = &Program> {
        self.learn
            .iter()
            .flat_map(|learn| [Some(&learn.first), learn.next.as_ref()])
            .chain([self.update.as_ref()])
            .flatten()
    }

    /// Those of step 0, 1, … that learn this.
    fn learn_at(&self, step: u64, part: usize) -> &Learn {
        let of_part = |learn: &&Learn| learn.part == part && learn.from <= step;
        self.learn.iter().rfind(of_part).expect("every part has one for step 0")
    }
}

/// The memory and the programs of a run.
fn lay_out(config: &RunConfig, windows: Range<u64>, storage: Storage) -> Result<(Plan, Process, Mat, Programs)> {
    let mut plan = Plan::new();
    let used = Use::training(&config.optimizer);
    let process = Process::new(&mut plan, &config.process, &config.model, storage, used);
    process.parts()[0].generative().check_objective(config.objective)?;
    let metrics = plan.alloc(process.model().memory.kept, METRICS_RING, StepMetrics::COLS);
    let programs = programs(&mut plan, &process, config, windows, metrics);
    Ok((plan, process, metrics, programs))
}

/// Refuses a run that does not fit into memory.
fn check_room(config: &RunConfig, corpus: &Corpus, device: &Device) -> Result<()> {
    device.check_room("a training step", config.train.largest_batch(), &|batch| {
        let train = TrainConfig { batch, batch_growth: BatchGrowth::default(), ..config.train.clone() };
        Trainer::bytes(&RunConfig { train, ..config.clone() }, corpus, device)
    })
}

fn programs(plan: &mut Plan, process: &Process, config: &RunConfig, windows: Range<u64>, metrics: Mat) -> Programs {
    let single = config.train.accumulate == 1;
    let (memory, ids) = (process.model().memory.kept, process.model().memory.kept_ids);
    // Equal constants are one: this is the table that every program is about to ask for.
    let levels = config.objective.learned_levels().and_then(|_| Density::Learned.quantiles());
    let levels = levels.map(|table| Builder::new(plan, "levels").constant(ids, table.to_vec()));
    let (parts, families) = (process.parts(), config.process.learned());
    let micro = |plan: &mut Plan, part: usize, batch: usize, losses: Option<Mat>, accumulate: Accumulate| {
        let name = match accumulate {
            Accumulate::Overwrite if single => "train step",
            Accumulate::Overwrite => "first micro-batch",
            Accumulate::Add => "next micro-batch",
        };
        let (process_part, objective) = (parts[part].generative(), families[part].objective(config.objective));
        let mut b = Builder::new(plan, name);
        let mats = process_part.batch(&mut b, batch);
        process_part.corrupt(&mut b, mats, objective, windows.clone(), batch * config.train.accumulate);
        let cross_entropy = process_part.learn(&mut b, mats, objective, metrics, accumulate);
        if let Some(sums) = losses {
            b.push(SequenceLoss { cross_entropy, weight: mats.weight, sums });
        }
        if single {
            process.model().update(&mut b, metrics, &config.optimizer);
        }
        b.finish()
    };
    let learn = (0..parts.len()).flat_map(|part| config.train.batches().map(move |size| (part, size)));
    let learn = learn.map(|(part, (from, batch))| {
        let levels = families[part].objective(config.objective).learned_levels();
        let losses = levels.map(|_| plan.alloc(memory, batch, 2));
        let first = micro(plan, part, batch, losses, Accumulate::Overwrite);
        let next = (!single).then(|| micro(plan, part, batch, losses, Accumulate::Add));
        Learn { part, from, batch, first, next, losses }
    });
    let learn = learn.collect();
    let update = (!single).then(|| {
        let mut b = Builder::new(plan, "update");
        process.model().update(&mut b, metrics, &config.optimizer);
        b.finish()
    });
    Programs { learn, update, levels }
}
