//! One step of a model to be measured or compared: its program, and memory filled as a run has it.

use crate::backend::Backend;
use crate::config::{Family, Gamma, ModelConfig, Objective, OptimizerConfig, Policy, ProcessConfig};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::model::Use;
use crate::process::{Kind, Past, Process, ReverseStep, SampleState};
use crate::program::{
    Accumulate, Builder, GIVEN, Mat, Plan, Program, SamplingParams, Stage, StepArgs, StepMetrics, Storage, VectorStep,
    Work,
};
use crate::rng::{Stream, UNIFORM_STEPS, normals, philox};
use serde::Serialize;
use std::sync::Arc;

/// A model and how it is trained.
#[derive(Clone)]
pub struct Subject {
    /// For people: `preset nano`, `runs/1`.
    pub name: String,
    /// Dimensions of the model.
    pub model: ModelConfig,
    /// What its predictions mean.
    pub process: ProcessConfig,
    /// As which of its process's parts it takes steps.
    pub part: Family,
    /// Packed weights; without them some are drawn, none of them zero.
    pub weights: Option<Vec<f32>>,
    /// What is minimised.
    pub objective: Objective,
    /// How the parameters are updated.
    pub optimizer: OptimizerConfig,
    /// The text, in the model's vocabulary.
    pub corpus: Arc<Corpus>,
}

/// Which step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// One of training: batch, forward, backward, optimizer
    Train,
    /// One of sampling: a forward and the choice of tokens, the next one of each text where they are written in order
    Denoise,
}

/// A step laid out for one kind of storage.
pub struct Workload {
    /// The step that the program takes.
    pub step: Step,
    /// The memory of its program.
    pub plan: Plan,
    /// The program of one step.
    pub program: Program,
    /// Arguments for a run.
    pub args: StepArgs,
    /// Sequences at a time.
    pub sequences: usize,
    /// A small matrix that the step's last ops write.
    pub last: Mat,
    subject: Subject,
    process: Process,
    state: Option<SampleState>,
    storage: Storage,
}

/// Loss scale, where the storage needs one: low enough that no step is skipped, and so much higher for more sequences that
/// their gradients, each a share of the mean, do not end below f16's normal numbers; training does not start lower.
fn loss_scale(sequences: usize) -> f32 {
    (512 * sequences.min(128)).next_power_of_two().max(1024) as f32
}

impl Workload {
    /// Writes the step's program.
    pub fn new(subject: &Subject, step: Step, storage: Storage, sequences: usize) -> Result<Self> {
        let model = &subject.model;
        model.validate()?;
        subject.process.validate(model)?;
        let tokens = sequences.saturating_mul(model.sequence_len);
        if sequences == 0 || tokens > u32::MAX as usize {
            return Err(Error::input(format!(
                "--batch {sequences}: a step of {tokens} tokens; wanted 1 to 2³², {} for each sequence",
                model.sequence_len
            )));
        }
        subject.corpus.check_window(model.sequence_len)?;
        let mut plan = Plan::new();
        let used = match step {
            Step::Train => Use::training(&subject.optimizer),
            Step::Denoise => Use::Inference,
        };
        let process = Process::new(&mut plan, &subject.process.used(), model, storage, used);
        let o = &subject.optimizer;
        let args = StepArgs {
            seed: 5,
            step: 2,
            lr: o.lr,
            ema_warmup: 1.0,
            bias1: 1.0 - o.beta1,
            bias2: 1.0 - o.beta2,
            ..StepArgs::default()
        };
        let (program, state, last) = match step {
            Step::Train => {
                process.parts()[0].generative().check_objective(subject.objective)?;
                let objective = subject.part.objective(subject.objective);
                let part = process.part(subject.part).generative();
                let metrics = plan.alloc(process.model().memory.kept, 1, StepMetrics::COLS);
                let mut b = Builder::new(&mut plan, "train step");
                let batch = part.batch(&mut b, sequences);
                part.corrupt(&mut b, batch, objective, subject.corpus.train(), sequences);
                part.learn(&mut b, batch, objective, metrics, Accumulate::Overwrite);
                process.model().update(&mut b, metrics, o);
                (b.finish(), None, metrics)
            }
            Step::Denoise => {
                let mut b = Builder::new(&mut plan, "denoise step");
                let state = process.sample_state(&mut b, sequences);
                match process.part(subject.part) {
                    Kind::Diffusion(process) => {
                        let order = process.time_order(state.x.cols);
                        process.reverse_step(
                            &mut b,
                            state,
                            ReverseStep { order, drop: Some(process.mask_id()), is_guided: false },
                        );
                    }
                    Kind::Interpolating(process) => {
                        process.reverse_step(&mut b, state);
                    }
                    Kind::Vectors(process) => {
                        process.reverse_step(&mut b, state);
                        process.read(&mut b, state);
                    }
                    Kind::Autoregressive(process) => {
                        process.next_token(&mut b, state, Past::Kept);
                    }
                }
                (b.finish(), Some(state), state.remaining)
            }
        };
        let subject = subject.clone();
        Ok(Workload { step, plan, program, args, sequences, last, subject, process, state, storage })
    }

    /// Bytes of the same step's memory with another number of sequences.
    pub fn bytes_of(&self, sequences: usize) -> usize {
        self.resized(sequences).map_or(usize::MAX, |workload| workload.plan.bytes())
    }

    /// The same, and beside it a reference that stores everything as f32.
    pub fn bytes_of_both(&self, sequences: usize) -> usize {
        let both = |workload: Workload| workload.plan.bytes().saturating_add(workload.plan.widened().bytes());
        self.resized(sequences).map_or(usize::MAX, both)
    }

    fn resized(&self, sequences: usize) -> Result<Workload> {
        let subject = Subject { weights: None, ..self.subject.clone() };
        Workload::new(&subject, self.step, self.storage, sequences)
    }

    /// Fills a backend's memory.
    pub fn fill(&self, backend: &mut dyn Backend) -> Result<()> {
        let memory = &self.process.model().memory;
        let weights = self.subject.weights.clone().unwrap_or_else(|| self.drawn_weights());
        for mat in [memory.weights, memory.stored] {
            backend.write_f32(mat, &weights)?;
        }
        if let Some(training) = &memory.training {
            for mat in [training.m, training.v, self.last] {
                backend.write_f32(mat, &vec![0.0; mat.len()])?;
            }
            for &average in &training.averages {
                backend.write_f32(average, &weights)?;
            }
            if let Some(scale) = training.scale {
                backend.write_f32(scale, &[loss_scale(self.sequences), 0.0])?;
            }
        }
        if let Some(state) = self.state {
            let (positions, open) = (state.x.cols, state.x.cols / 2);
            let masked = |i: usize| match self.process.part(self.subject.part) {
                Kind::Diffusion(_) | Kind::Interpolating(_) | Kind::Vectors(_) => i % 2 == 1,
                Kind::Autoregressive(_) => i % positions >= positions - open,
            };
            let (tokens, mask) = (self.subject.corpus.tokens(), self.process.mask_id());
            let is_mixing = matches!(self.process, Process::Interpolating(_));
            // Where tokens turn into others, another one is what noise made of a token.
            let token = |i: usize| tokens.get(i % tokens.len());
            let id = |i: usize| match masked(i) {
                true if is_mixing => token(i + 1),
                true => mask,
                false => token(i),
            };
            let ids: Vec<u32> = (0..state.x.len()).map(id).collect();
            backend.write_u32(state.x, &ids)?;
            backend.write_u32(state.masked, &(0..ids.len()).map(|i| u32::from(masked(i))).collect::<Vec<_>>())?;
            backend.write_u32(state.committed_at, &vec![GIVEN; ids.len()])?;
            backend.write_u32(state.remaining, &vec![open as u32; state.x.rows])?;
            let params = SamplingParams::greedy(Policy::top_k(1), state.x.cols);
            let params = vec![SamplingParams { temperature: 1.0, ..params }; state.x.rows];
            backend.write_f32(state.params, bytemuck::cast_slice(&params))?;
            // From half of the tokens noise to a quarter, where that is asked.
            let rates = [UNIFORM_STEPS / 2, UNIFORM_STEPS / 4];
            let lots = |i: usize| if is_mixing { rates[i % 2] } else { 0 };
            backend.write_u32(state.lots, &(0..state.lots.len()).map(lots).collect::<Vec<_>>())?;
            backend.write_u32(state.truth, &ids)?;
            if let (Some(vectors), Kind::Vectors(process)) = (state.vectors, self.process.part(self.subject.part)) {
                // A step in the middle, from as much noise as signal.
                let step = VectorStep::level(process.gamma(), 0.0, 0.0);
                let step = step.leading(Gamma::squares(0.0), Gamma::squares(-1.0), 1.0, 1.0);
                backend.write_f32(vectors.steps, bytemuck::cast_slice(&vec![step; state.x.len()]))?;
                for (stream, mat) in
                    [(1, vectors.z), (2, vectors.denoised)].into_iter().chain(vectors.known.map(|mat| (3, mat)))
                {
                    let drawn =
                        (0..mat.len().div_ceil(4)).flat_map(|i| normals(philox(5, Stream::Noise, stream, i as u32)));
                    backend.write_f32(mat, &drawn.take(mat.len()).collect::<Vec<_>>())?;
                }
            }
            if let Some(ahead) = state.ahead {
                // The last block of a window, which sees the most.
                backend.write_u32(ahead, &vec![positions as u32; ahead.len()])?;
            }
        }
        backend.bind_corpus(Arc::clone(&self.subject.corpus))
    }

    /// Initial weights; those that training starts at zero get some of the others' numbers, so that nothing is multiplied
    /// by zero.
    fn drawn_weights(&self) -> Vec<f32> {
        let drawn = self.process.model().params.init(3);
        let mut others = drawn.iter().copied().filter(|&w| w != 0.0).collect::<Vec<_>>().into_iter().cycle();
        drawn.iter().map(|&w| if w == 0.0 { 0.3 * others.next().unwrap_or(1.0) } else { w }).collect()
    }

    /// Tokens that one step goes over.
    pub fn tokens(&self) -> usize {
        self.sequences * self.subject.model.sequence_len
    }

    /// How its numbers are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// For people: `preset nano`, `runs/1`.
    pub fn subject_name(&self) -> &str {
        &self.subject.name
    }

    /// For people: `train step of preset nano, 2 sequences of 128`.
    pub fn describe(&self) -> String {
        let (n, positions) = (self.sequences, self.subject.model.sequence_len);
        let plural = if n == 1 { "" } else { "s" };
        format!("{} of {}, {n} sequence{plural} of {positions}", self.program.name, self.subject.name)
    }

    /// Flops of the model as such: its products forward, and in training twice as many backward. What an attention computes
    /// again in its backward does not count.
    pub fn model_flops(&self) -> f64 {
        let forward: f64 =
            self.program.ops.iter().filter(|op| op.stage() == Stage::Forward).map(|op| op.work(&self.plan).flops).sum();
        match self.step {
            Step::Train => 3.0 * forward,
            Step::Denoise => forward,
        }
    }

    /// What all ops of the step cost at least.
    pub fn work(&self) -> Work {
        self.program.ops.iter().map(|op| op.work(&self.plan)).sum()
    }
}
