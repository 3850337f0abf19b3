//! `tempest train`.

use super::machine::Machine;
use super::print;
use super::recipe::Recipe;
use clap::Args;
use indicatif::{DecimalBytes, HumanDuration};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempest::backend::Device;
use tempest::config::RunConfig;
use tempest::data::Corpus;
use tempest::files::atomic::Existing;
use tempest::report::health::{Curves, Health, TextFacts};
use tempest::report::{All, Progress, RunLog, Summary};
use tempest::stop::Stop;
use tempest::store::RunFolder;
use tempest::terminal::{self, thousands};
use tempest::train::{self, Inspector, Outcome, Trainer};
use tempest::{Error, Result};

/// Train a text-diffusion model, by default a small one on Tiny Shakespeare
#[derive(Args, Debug)]
#[command(after_help = super::help::TRAIN, after_long_help = super::help::train())]
pub(crate) struct TrainArgs {
    /// Go on with the run in this folder, exactly as if it had never stopped
    #[arg(short, long, value_name = "DIR", conflicts_with_all = ["config", "set", "seed", "Text", "Model", "Learning", "Loop", "out", "force", "dtype"])]
    resume: Option<PathBuf>,
    /// Folder of the new run [default: the first free of runs/1, runs/2, …]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run, or files of its names, that are in that folder already
    #[arg(long, requires = "out")]
    force: bool,
    /// Say what the run would be, and train nothing: its whole configuration on standard output, beside it its parameters, its
    /// memory and about how long it takes
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    recipe: Recipe,
}

pub(crate) fn run(args: &TrainArgs) -> Result<Outcome> {
    let device = args.machine.open_to_train()?;
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
    // The place and the configuration are checked before a large text is read.
    if let Some(out) = &args.out {
        RunFolder::check_free(out, Existing::forced(args.force))?;
    }
    let mut config = args.recipe.draft(args.machine.dtype, device.preferred_dtype())?;
    let corpus = Arc::new(args.recipe.read_text(&mut config)?);
    if args.dry_run {
        return rehearse(&config, &corpus, &device);
    }
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

/// What is trained, on what, and where.
fn introduce(trainer: &Trainer, corpus: &Corpus, device: &Device) {
    let config = trainer.config();
    terminal::say(format!("text      {}", corpus.describe()));
    terminal::say(format!("model     {}", config.model.describe()));
    let stored = device.storage(config.dtype).acts;
    let otherwise = match stored == config.dtype {
        true => String::new(),
        false => format!("; this {} run is stored as {stored} here", config.dtype),
    };
    terminal::say(format!("device    {}{otherwise}", trainer.backend().describe()));
}

/// Longest time that a dry run takes steps for, if one is shorter.
const REHEARSAL: Duration = Duration::from_secs(1);

/// What a run would be.
fn rehearse(config: &RunConfig, corpus: &Arc<Corpus>, device: &Device) -> Result<Outcome> {
    let free = device.free_bytes()?;
    let mut trainer = Trainer::new(config, Arc::clone(corpus), device)?;
    introduce(&trainer, corpus, device);
    let shown = |bytes: usize| DecimalBytes(bytes as u64);
    let of = free.map_or(String::new(), |free| format!(" of {} that are free", shown(free)));
    terminal::say(format!("memory    {}{of}", shown(Trainer::bytes(config, corpus, device))));
    terminal::doing("timing a step");
    // The first brings its memory in.
    trainer.step()?;
    let (start, before) = (Instant::now(), trainer.done());
    while trainer.done() == before || (start.elapsed() < REHEARSAL && trainer.done() < config.train.steps) {
        trainer.step()?;
    }
    let elapsed_s = start.elapsed().as_secs_f64();
    terminal::rest();
    // By what they learn from: a batch may grow.
    let [rehearsed, all] = [(before, trainer.done()), (0, config.train.steps)]
        .map(|(from, to)| (config.train.sequences(to) - config.train.sequences(from)) as f64);
    terminal::say(format!(
        "time      about {} for {} steps; validations and samples come on top",
        about(elapsed_s / rehearsed * all),
        thousands(config.train.steps)
    ));
    print(&config.to_toml())?;
    Ok(Outcome::Finished)
}

/// A time in words.
fn about(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
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
    introduce(trainer, corpus, device);
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
    let mut progress = Progress::new(done, &config, corpus.vocab().kind());
    let mut health = Health::new(&config, Curves::shipped(), TextFacts::of(corpus), log.losses());
    let mut inspector = Inspector::new(&config, corpus, device)?;
    let stop = Stop::on_signals()?;
    if matches!(device, Device::Cpu) {
        let seconds = trainer.estimate_s()?;
        if seconds > SLOW_STEP_S {
            terminal::say(format!("a step takes about {}", about(seconds)));
        }
    }
    let mut observer = All(vec![&mut log, &mut progress, &mut health]);
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
            let summary = Summary::read(paths);
            let symbols = config.train.sequences(config.train.steps) * config.model.sequence_len as u64;
            let lines = summary.lines(paths, symbols, corpus.vocab().kind());
            lines.iter().for_each(terminal::say);
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

/// An earlier run, and its text.
fn reopen(path: &Path) -> Result<(RunFolder, RunConfig, Arc<Corpus>)> {
    let (folder, config) = RunFolder::open(path)?;
    let corpus = super::text::of_run(&config.data, config.data.vocab, "restore it, or start a new run")?;
    Ok((folder, config, Arc::new(corpus)))
}
