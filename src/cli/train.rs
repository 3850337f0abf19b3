//! `tempest train`.

use super::machine::Machine;
use super::recipe::{self, Draft, Recipe};
use super::{print, text, useless};
use clap::Args;
use indicatif::{DecimalBytes, HumanDuration};
use std::io::IsTerminal;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempest::backend::Device;
use tempest::config::{ProcessConfig, RunConfig, Stage};
use tempest::data::Corpus;
use tempest::files::atomic::Existing;
use tempest::report::health::{Curves, Health, TextFacts};
use tempest::report::{All, History, Progress, RunLog, Summary};
use tempest::stop::Stop;
use tempest::store::{self, RUNS, RunFolder, RunPaths};
use tempest::terminal::{self, thousands};
use tempest::train::{self, Inspector, Observer, Outcome, Trainer};
use tempest::watch::{Colours, Facts, Screen, Training};
use tempest::{Error, Result};

/// Train a text-diffusion model, by default a small one on Tiny Shakespeare
#[derive(Args, Debug)]
#[command(after_help = super::help::TRAIN, after_long_help = super::help::train())]
pub(crate) struct TrainArgs {
    /// Go on with the run in this folder, exactly as if it had never stopped. --steps and the steps between validations,
    /// samples and checkpoints may be others from here, and --data says where the same text lies now
    #[arg(short, long, value_name = "DIR", conflicts_with_all = ["config", "set", "from", "seed", "vocab", "tokenizer", "unknown", "newlines", "include", "skip", "Model", "Learning", "batch", "batch_growth",
        "accumulate", "out", "force", "dtype"])]
    resume: Option<PathBuf>,
    /// Folder of the new run [default: the first free of runs/1, runs/2, …]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Name of the new run, which is kept in runs/NAME
    #[arg(long, conflicts_with_all = ["out", "resume"])]
    name: Option<RunName>,
    /// Replace a run, or files of its names, that are in that folder already
    #[arg(long)]
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
        return resume(args, path, &device);
    }
    // The place and the configuration are checked before a large text is read.
    let out = args.out.clone().or_else(|| args.name.as_ref().map(|name| Path::new(RUNS).join(&name.0)));
    if args.force && out.is_none() {
        return Err(useless("--force", "replaces the run in a folder that --out or --name names"));
    }
    if let Some(out) = &out {
        RunFolder::check_free(out, Existing::forced(args.force))?;
    }
    let mut draft = args.recipe.draft(args.machine.dtype, device.training_dtype())?;
    let corpus = Arc::new(draft.read_text()?);
    let Draft { config, from, mut stdin, .. } = draft;
    if args.dry_run {
        return rehearse(&config, &corpus, &device);
    }
    let mut trainer = Trainer::new(&config, Arc::clone(&corpus), &device)?;
    let begins_at_a_model = from.is_some();
    if let Some(model) = from {
        trainer.begin(model.weights)?;
    }
    // The folder last: what has failed until here leaves none.
    let folder = match &out {
        Some(out) => RunFolder::create(out, Existing::forced(args.force), &config)?,
        None => RunFolder::create_numbered(&config)?,
    };
    if let Some(note) = folder.note() {
        terminal::say(format!("note: {note}"));
    }
    // From then on the run does not need the model that it began with.
    let first =
        if begins_at_a_model { trainer.state().and_then(|s| folder.save(&config, corpus.vocab(), &s)) } else { Ok(()) };
    let mut keep = || stdin.as_mut().map_or(Ok(()), |copy| folder.keep_text(copy.as_file_mut()));
    let outcome = first.and_then(|()| keep()).and_then(|()| go_on(&mut trainer, &folder, &corpus, &device, Begun::Now));
    if outcome.is_err() {
        folder.discard();
    }
    outcome
}

/// Goes on with an earlier run.
fn resume(args: &TrainArgs, run: &Path, device: &Device) -> Result<Outcome> {
    let (folder, before) = RunFolder::open(&store::named(run))?;
    let config = args.recipe.carry_on(&before)?;
    // Symbols that a run was given are in its checkpoint, or in the model that it begins with.
    let is_given = config.from.is_some() || config.data.tokenizer.is_some();
    let given = if is_given { folder.vocab()? } else { None };
    let from = config.from.as_ref().filter(|_| given.is_none()).map(recipe::first_model).transpose()?;
    let given = given.or_else(|| from.as_ref().map(|model| model.vocab.clone()));
    let vocab = given.map_or_else(|| text::vocabulary(&config.data), |given| Ok(given.into()))?;
    let cure = "restore it, or name the place where it lies now with --data, or start a new run";
    let corpus = Arc::new(text::of_run(&config.data, &folder.paths().stdin(), vocab, cure)?);
    let mut trainer = Trainer::new(&config, Arc::clone(&corpus), device)?;
    let resumed = folder.load(&before, corpus.vocab())?;
    match (&resumed, from) {
        (Some(resumed), _) => trainer.restore(&resumed.state)?,
        (None, Some(model)) => trainer.begin(model.weights)?,
        (None, None) => {}
    }
    let (steps, done) = (config.train.steps, trainer.done());
    if steps < done {
        return Err(Error::input(format!(
            "--steps is {steps}, and {done} steps of this run are done; give {done} or more"
        )));
    }
    if config != before {
        folder.change(&config, corpus.vocab(), resumed.as_ref().map(|resumed| &resumed.state))?;
    }
    let notes = [folder.note(), resumed.as_ref().and_then(|resumed| resumed.note.as_deref())];
    notes.into_iter().flatten().for_each(|note| terminal::say(format!("note: {note}")));
    drop(resumed);
    let [was, is] = [before.train.steps, steps].map(|steps| config.optimizer.lr_at(done, steps));
    if was != is {
        terminal::say(format!(
            "note: over {steps} steps the next learning rate is {is}; over {} it was {was}",
            before.train.steps
        ));
    }
    go_on(&mut trainer, &folder, &corpus, device, Begun::Before)
}

/// The name of a run: of a folder in [`RUNS`].
#[derive(Clone, Debug)]
struct RunName(String);

impl FromStr for RunName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match Path::new(name).components().collect::<Vec<_>>()[..] {
            [Component::Normal(only)] if only == name => Ok(RunName(name.into())),
            _ => Err(Error::input("wanted the name of a folder; a path goes to --out")),
        }
    }
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

/// A view of the run, where the terminal has a place for one, and what is said goes there, too: who sends that to a file wants lines.
fn look(trainer: &Trainer, paths: &RunPaths, corpus: &Corpus, device: &Device) -> Option<Screen<Training>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let (config, done) = (trainer.config(), trainer.done());
    let facts = Facts {
        folder: paths.folder().display().to_string(),
        device: trainer.backend().describe(),
        memory: Trainer::bytes(config, corpus, device),
    };
    // A new run has measured nothing.
    let before = History::read(paths).unwrap_or_default();
    let view = Training::new(facts, config, corpus.vocab().kind(), done, &before, Colours::of_output());
    Screen::open(view).inspect_err(|why| terminal::detail(format!("no view of the whole terminal: {why}"))).ok()
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
    let mut screen = look(trainer, paths, corpus, device);
    let mut observer = All(vec![&mut log, &mut progress, &mut health]);
    observer.0.extend(screen.as_mut().map(|screen| screen as &mut dyn Observer));
    let outcome = train::run(trainer, folder, &mut inspector, &mut observer, &stop);
    // What was said meanwhile stands behind it.
    drop(screen);
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
            let folder = paths.folder().display();
            terminal::say(match config.process {
                ProcessConfig::Latent { stage: Stage::Autoencoder, .. } => {
                    format!("next: tempest train --from {folder} --stage diffusion   or   tempest eval --run {folder}")
                }
                _ => format!("next: tempest sample --run {folder}   or   tempest eval --run {folder}"),
            });
        }
        Outcome::Interrupted(_) => terminal::say(format!(
            "stopped after step {} and saved; go on with: tempest train --resume {}",
            trainer.done(),
            paths.folder().display()
        )),
    }
    Ok(outcome)
}
