//! `tempest train`.

use super::machine::Machine;
use super::useless;
use clap::Args;
use indicatif::HumanDuration;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempest::backend::Device;
use tempest::config::{
    DataConfig, Density, Family, LrSchedule, ModelConfig, MuonConfig, Newlines, Objective, Optimizer, OptimizerConfig,
    Preset, ProcessConfig, RunConfig, Schedule, TrainConfig, Training, Unknown, VocabKind,
};
use tempest::data::{Corpus, Reading, Source};
use tempest::files::atomic::Existing;
use tempest::report::{All, Progress, RunLog};
use tempest::stop::Stop;
use tempest::store::RunFolder;
use tempest::train::{self, Inspector, Outcome, Trainer};
use tempest::{Error, Result, terminal};

/// Train a text-diffusion model, by default a small one on Tiny Shakespeare
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// Go on with the run in this folder, exactly as if it had never stopped
    #[arg(long, value_name = "DIR", conflicts_with_all = ["Text", "Model", "Learning", "Loop", "out", "force", "dtype", "seed"])]
    resume: Option<PathBuf>,
    /// Folder of the new run [default: the first free of runs/1, runs/2, …]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run, or files of its names, that are in that folder already
    #[arg(long, requires = "out")]
    force: bool,
    /// Key of every random number: the same seed gives the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    learning: Learning,
    #[command(flatten)]
    schedule: Loop,
}

/// What to learn from.
#[derive(Args, Debug)]
#[group(id = "Text", multiple = true)]
#[command(next_help_heading = "Text")]
struct Text {
    /// A UTF-8 text file or a folder of them [default: Tiny Shakespeare, which is built in]
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Symbols: ascii (128, as the original), chars (those of the text), bytes [default: the preset's]
    #[arg(long, value_enum)]
    vocab: Option<VocabKind>,
    /// What to do with characters that the vocabulary lacks
    #[arg(long, value_enum, default_value = "error")]
    unknown: Unknown,
    /// How lines end
    #[arg(long, value_enum, default_value = "lf")]
    newlines: Newlines,
}

/// The denoiser's dimensions.
#[derive(Args, Debug)]
#[group(id = "Model", multiple = true)]
#[command(next_help_heading = "Model")]
struct Model {
    /// A model and its way of training
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    /// Transformer blocks
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Attention heads
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Positions of a window
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// What turns text into noise
    #[arg(long, value_enum, default_value_t)]
    process: Family,
    /// Positions at the start of a window that are never masked
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Timesteps of a learned time embedding; 0 for none
    #[arg(long, value_name = "N")]
    timesteps: Option<usize>,
}

/// The objective and its optimizer.
#[derive(Args, Debug)]
#[group(id = "Learning", multiple = true)]
#[command(next_help_heading = "Learning")]
struct Learning {
    /// What is minimised [default: the preset's]
    #[arg(long, value_enum)]
    objective: Option<Objective>,
    /// Noise schedule of --objective nelbo and simple [default: linear]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// How often --objective nelbo and simple train on each noise level: uniform, or beta:A:B, a bell around
    /// (A-1)/(A+B-2) of the masks [default: uniform]
    #[arg(long, value_name = "DENSITY")]
    levels: Option<Density>,
    /// What updates the parameters
    #[arg(long, value_enum, default_value = "adamw")]
    optimizer: Optimizer,
    /// Peak learning rate of the blocks' matrices under --optimizer muon [default: 0.03]
    #[arg(long, value_name = "LR")]
    muon_lr: Option<f32>,
    /// Peak learning rate [default: the preset's, as for all below]
    #[arg(long)]
    lr: Option<f32>,
    /// Last learning rate of a schedule that goes down [default: the preset's for cosine, 0 for linear and wsd]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Learning rate after the warm-up
    #[arg(long, value_enum)]
    lr_schedule: Option<LrSchedule>,
    /// Steps of linear warm-up
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Decay of AdamW's first moment
    #[arg(long)]
    beta1: Option<f32>,
    /// Decay of AdamW's second moment
    #[arg(long)]
    beta2: Option<f32>,
    /// Decoupled weight decay
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Largest global gradient norm; 0 for no clipping
    #[arg(long)]
    clip: Option<f32>,
    /// Decay of the weights' average; 0 for none
    #[arg(long)]
    ema: Option<f32>,
}

/// How long, and what happens on the way.
#[derive(Args, Debug)]
#[group(id = "Loop", multiple = true)]
#[command(next_help_heading = "Loop")]
struct Loop {
    /// Optimizer steps [default: the preset's]
    #[arg(long)]
    steps: Option<u64>,
    /// Sequences of a micro-batch [default: the preset's]
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches of a step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Steps between validations; 0 for only at the end
    #[arg(long, value_name = "STEPS", default_value_t = 500)]
    eval_every: u64,
    /// Windows of the validation split in each validation; 0 for all. Fewer than have every noise level get several passes
    #[arg(long, value_name = "N", default_value_t = 256)]
    eval_windows: usize,
    /// Steps between samples; 0 for only at the end
    #[arg(long, value_name = "STEPS", default_value_t = 500)]
    sample_every: u64,
    /// Steps between checkpoints
    #[arg(long, value_name = "STEPS", default_value_t = 250)]
    checkpoint_every: u64,
}

pub(crate) fn run(args: &TrainArgs) -> Result<Outcome> {
    let device = args.machine.open()?;
    if let Some(path) = &args.resume {
        let (folder, config, corpus) = reopen(path)?;
        let mut trainer = Trainer::new(&config, Arc::clone(&corpus), &device)?;
        let resumed = folder.load(&config, corpus.vocab())?;
        if let Some(resumed) = &resumed {
            trainer.restore(&resumed.state)?;
        }
        let notes = [folder.note(), resumed.as_ref().and_then(|resumed| resumed.note.as_deref())];
        notes.into_iter().flatten().for_each(|note| terminal::say(format!("note: {note}")));
        drop(resumed);
        return go_on(&mut trainer, &folder, &corpus, &device, Begun::Before);
    }
    let (config, corpus) = start(args, &device)?;
    let mut trainer = Trainer::new(&config, Arc::clone(&corpus), &device)?;
    // The folder last: what has failed until here leaves none.
    let folder = match &args.out {
        Some(out) => RunFolder::create(out, Existing::forced(args.force), &config)?,
        None => RunFolder::create_numbered(&config)?,
    };
    if let Some(note) = folder.note() {
        terminal::say(format!("note: {note}"));
    }
    let outcome = go_on(&mut trainer, &folder, &corpus, &device, Begun::Now);
    if outcome.is_err() {
        folder.discard();
    }
    outcome
}

/// A step that takes longer than this is announced, in seconds.
const SLOW_STEP_S: f64 = 5.0;

/// When a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    Now,
    Before,
}

/// The run from where the trainer stands.
fn go_on(
    trainer: &mut Trainer,
    folder: &RunFolder,
    corpus: &Arc<Corpus>,
    device: &Device,
    begun: Begun,
) -> Result<Outcome> {
    let (config, done, paths) = (trainer.config().clone(), trainer.done(), folder.paths());
    terminal::say(format!("text      {}", corpus.describe()));
    terminal::say(format!("model     {}", config.model.describe()));
    let stored = device.storage(config.dtype).acts;
    let otherwise = match stored == config.dtype {
        true => String::new(),
        false => format!("; this {} run is stored as {stored} here", config.dtype),
    };
    terminal::say(format!("device    {}{otherwise}", trainer.backend().describe()));
    terminal::say(format!(
        "run       {}{}",
        paths.folder().display(),
        if done > 0 { format!(", from step {done}") } else { String::new() }
    ));
    let recorded = |found, step| RunLog::recorded(paths, found, step);
    if done >= config.train.steps && train::due_and_missing(&config.train, done, &recorded).is_empty() {
        terminal::say(format!("all {done} steps of this run are done; its model is {}", paths.model().display()));
        return Ok(Outcome::Finished);
    }
    let mut log = match begun {
        Begun::Now => RunLog::create(paths)?,
        Begun::Before => RunLog::resume(paths, done)?,
    };
    if let Some(note) = log.note() {
        terminal::say(format!("note: {note}"));
    }
    let mut progress = Progress::new(done, config.train.steps, trainer.symbols_per_step(), corpus.vocab().kind());
    let mut inspector = Inspector::new(&config, corpus, device)?;
    let stop = Stop::on_signals()?;
    if matches!(device, Device::Cpu) {
        let seconds = trainer.estimate_s()?;
        if seconds > SLOW_STEP_S {
            let about = HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
            terminal::say(format!("a step takes about {about}"));
        }
    }
    let mut observer = All(vec![&mut log, &mut progress]);
    let outcome = train::run(trainer, folder, &mut inspector, &mut observer, &stop);
    if matches!(outcome, Err(Error::Io { .. })) && paths.state().exists() {
        terminal::rest();
        terminal::say(format!(
            "go on from the last checkpoint with: tempest train --resume {}",
            paths.folder().display()
        ));
    }
    let outcome = outcome?;
    terminal::rest();
    match outcome {
        Outcome::Finished => {
            terminal::say(format!("done: the model is {}", paths.model().display()));
            terminal::say(format!(
                "next: tempest sample --run {0}   or   tempest eval --run {0}",
                paths.folder().display()
            ));
        }
        Outcome::Interrupted(_) => terminal::say(format!(
            "stopped after step {} and saved; go on with: tempest train --resume {}",
            trainer.done(),
            paths.folder().display()
        )),
    }
    Ok(outcome)
}

/// A new run, checked.
fn start(args: &TrainArgs, device: &Device) -> Result<(RunConfig, Arc<Corpus>)> {
    let preset = args.model.preset.training();
    let source = args.text.data.clone().map_or(Source::Embedded, Source::Path);
    // The place, the preset's name and the dimensions are checked before a large text is read.
    if let Some(out) = &args.out {
        RunFolder::check_free(out, Existing::forced(args.force))?;
    }
    check_dimensions(&model_config(&args.model, 2), &process_config(&args.model, 0))?;
    check_useless(args, &preset)?;
    let objective = objective(&args.learning, preset.objective)?;
    let reading = Reading { unknown: args.text.unknown, newlines: Some(args.text.newlines) };
    let corpus = super::text::read(&source, args.text.vocab.unwrap_or(preset.vocab), reading)?;
    let config = RunConfig {
        version: env!("CARGO_PKG_VERSION").into(),
        seed: args.seed,
        dtype: args.machine.dtype(device),
        model: model_config(&args.model, corpus.vocab().size()),
        process: process_config(&args.model, corpus.vocab().mask_id()),
        data: DataConfig {
            source: args.text.data.as_ref().map_or(Ok("embedded".into()), |p| absolute(p))?,
            sha256: corpus.sha256().into(),
            vocab: corpus.vocab().kind(),
            unknown: args.text.unknown,
            newlines: reading.newlines,
        },
        objective,
        optimizer: optimizer(&args.learning, &preset.optimizer),
        train: TrainConfig {
            steps: args.schedule.steps.unwrap_or(preset.steps),
            batch: args.schedule.batch.unwrap_or(preset.batch),
            accumulate: args.schedule.accumulate,
            eval_every: args.schedule.eval_every,
            eval_windows: args.schedule.eval_windows,
            sample_every: args.schedule.sample_every,
            checkpoint_every: args.schedule.checkpoint_every,
        },
    };
    config.validate()?;
    corpus.check_window(config.model.sequence_len)?;
    Ok((config, Arc::new(corpus)))
}

fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    Ok(path.to_string_lossy().into_owned())
}

/// An earlier run, and its text.
fn reopen(path: &Path) -> Result<(RunFolder, RunConfig, Arc<Corpus>)> {
    let (folder, config) = RunFolder::open(path)?;
    let corpus = super::text::of_run(&config.data, config.data.vocab, "restore it, or start a new run")?;
    Ok((folder, config, Arc::new(corpus)))
}

fn check_dimensions(model: &ModelConfig, process: &ProcessConfig) -> Result<()> {
    model.validate().and_then(|()| process.validate(model)).map_err(|error| match model.n_head.checked_mul(2) {
        Some(columns) if (1..=1 << 16).contains(&columns) && model.n_embd > 0 && !model.heads_fit() => {
            let width = (model.n_embd / columns).max(1) * columns;
            Error::input(format!("{error}; try --width {width}, or another --heads"))
        }
        _ => error,
    })
}

/// Refuses options that would change nothing.
fn check_useless(args: &TrainArgs, preset: &Training) -> Result<()> {
    let (vocab, learning) = (args.text.vocab.unwrap_or(preset.vocab), &args.learning);
    if args.text.unknown == Unknown::Replace && vocab != VocabKind::Ascii {
        let why = format!("is for characters that a vocabulary lacks, and one of {vocab} lacks none");
        return Err(useless("--unknown replace", &why));
    }
    if learning.min_lr.is_some() && learning.lr_schedule.unwrap_or(preset.optimizer.schedule) == LrSchedule::Constant {
        return Err(useless("--min-lr", "is where --lr-schedule cosine, linear and wsd end, and this is constant"));
    }
    if learning.muon_lr.is_some() && learning.optimizer == Optimizer::AdamW {
        return Err(useless("--muon-lr", "is for --optimizer muon, and this is adamw"));
    }
    Ok(())
}

fn model_config(args: &Model, vocab_size: usize) -> ModelConfig {
    let preset = args.preset.model(vocab_size);
    ModelConfig {
        n_layer: args.layers.unwrap_or(preset.n_layer),
        n_head: args.heads.unwrap_or(preset.n_head),
        n_embd: args.width.unwrap_or(preset.n_embd),
        sequence_len: args.positions.unwrap_or(preset.sequence_len),
        diffusion_steps: args.timesteps.unwrap_or(preset.diffusion_steps),
        ..preset
    }
}

fn process_config(args: &Model, mask_token_id: u32) -> ProcessConfig {
    args.process.config(mask_token_id, args.context.unwrap_or(args.preset.context_len()))
}

/// What was asked for, else the preset's, over the schedule and the levels that were asked for.
fn objective(args: &Learning, preset: Objective) -> Result<Objective> {
    let mut objective = args.objective.unwrap_or(preset);
    let why = format!("is for --objective nelbo and simple, and this is {}", objective.name());
    if let Some(schedule) = args.schedule {
        *objective.noise().ok_or_else(|| useless("--schedule", &why))?.0 = schedule;
    }
    if let Some(levels) = args.levels {
        *objective.noise().ok_or_else(|| useless("--levels", &why))?.1 = levels;
    }
    Ok(objective)
}

fn optimizer(args: &Learning, d: &OptimizerConfig) -> OptimizerConfig {
    let (lr, schedule) = (args.lr.unwrap_or(d.lr), args.lr_schedule.unwrap_or(d.schedule));
    let last = match schedule {
        LrSchedule::Constant | LrSchedule::Cosine => d.min_lr.min(lr),
        LrSchedule::Linear | LrSchedule::Wsd => 0.0,
    };
    OptimizerConfig {
        lr,
        min_lr: args.min_lr.unwrap_or(last),
        schedule,
        warmup: args.warmup.unwrap_or(d.warmup),
        beta1: args.beta1.unwrap_or(d.beta1),
        beta2: args.beta2.unwrap_or(d.beta2),
        eps: d.eps,
        weight_decay: args.weight_decay.unwrap_or(d.weight_decay),
        clip: args.clip.unwrap_or(d.clip),
        ema: args.ema.unwrap_or(d.ema),
        muon: match args.optimizer {
            Optimizer::AdamW => None,
            Optimizer::Muon => Some(MuonConfig { lr: args.muon_lr.unwrap_or(MuonConfig::LR) }),
        },
    }
}
