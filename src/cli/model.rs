//! Which model a command works with, and the text that belongs to it.

use super::machine::Machine;
use super::{text, useless};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{Family, Newlines, Preset, ProcessConfig, RunConfig, Unknown, VocabKind, Weights};
use tempest::data::{Corpus, Reading, Selection, Source};
use tempest::denoiser::Denoiser;
use tempest::store::{self, RUNS, RunPaths, SavedModel, SavedRun};
use tempest::terminal::{self, thousands};
use tempest::workload::Subject;
use tempest::{Error, Result};

/// The model.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub(crate) struct SavedModelArgs {
    #[command(flatten)]
    place: Place,
    /// Which of the run's averages of the weights, by its decay, or none for the last weights [default: the first that
    /// `tempest train --ema` named]
    #[arg(long, value_name = "DECAY", conflicts_with = "model")]
    ema: Option<Weights>,
}

/// Where it lies.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct Place {
    /// A run, its model and its text: a folder, or a name in runs/ [default: the newest there]
    #[arg(short, long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// A model.safetensors, or built-in: the one that the program carries, trained on Tiny Shakespeare
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// A model to be measured or checked, trained or not.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub(crate) struct SubjectArgs {
    /// Untrained, of these dimensions [default: nano]
    #[arg(short, long, value_enum, conflicts_with = "run")]
    preset: Option<Preset>,
    /// A run, its model, its text, its way of training: a folder, or a name in runs/
    #[arg(short, long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// As what a model of --process joint takes its steps [default: masked]
    #[arg(long = "as", value_name = "PROCESS", requires = "run")]
    part: Option<Family>,
}

/// The part of a process that is asked for; the first where none is.
pub(crate) fn part(process: &ProcessConfig, asked: Option<Family>) -> Result<Family> {
    let (family, parts) = (process.family(), process.family().parts());
    match asked {
        None => Ok(parts[0]),
        Some(_) if parts.len() == 1 => {
            Err(useless("--as", &format!("is for a model of --process joint, and this one's is {family}")))
        }
        Some(part) if parts.contains(&part) => Ok(part),
        Some(part) => {
            let names: Vec<String> = parts.iter().map(Family::to_string).collect();
            Err(Error::input(format!("--as {part}: a model of --process {family} is used as {}", names.join(" or "))))
        }
    }
}

impl SubjectArgs {
    /// Whether it was said which.
    pub(crate) fn is_named(&self) -> bool {
        self.preset.is_some() || self.run.is_some()
    }

    /// The model, and the batch that it is trained with.
    pub(crate) fn subject(&self) -> Result<(Subject, usize)> {
        let Some(folder) = &self.run else {
            let preset = self.preset.unwrap_or_default();
            let training = preset.training();
            let corpus = Corpus::open(&Source::Embedded, training.vocab, Unknown::Error)?;
            let process = preset.process(corpus.vocab().mask_id());
            let subject = Subject {
                name: format!("preset {preset}"),
                model: preset.model(corpus.vocab().size()),
                process,
                part: process.family().parts()[0],
                weights: None,
                objective: training.objective,
                optimizer: training.optimizer,
                corpus: Arc::new(corpus),
            };
            return Ok((subject, training.batch));
        };
        let loaded = SavedModelArgs::of_run(folder).load(None)?;
        let (_, run) = loaded.run.as_ref().expect("read from a run's folder");
        let subject = Subject {
            name: folder.display().to_string(),
            model: loaded.saved.config.clone(),
            process: loaded.saved.process,
            part: part(&loaded.saved.process, self.part)?,
            weights: Some(loaded.saved.weights.clone()),
            objective: run.objective,
            optimizer: run.optimizer.clone(),
            corpus: loaded.corpus(Unknown::Error, None, "restore it")?,
        };
        Ok((subject, run.train.batch))
    }
}

/// A model and where its text comes from.
pub(crate) struct Loaded {
    pub(crate) saved: SavedModel,
    data: Option<PathBuf>,
    run: Option<(RunPaths, RunConfig)>,
}

impl SavedModelArgs {
    /// Those that name a run.
    pub(crate) fn of_run(run: &Path) -> Self {
        SavedModelArgs { place: Place { run: Some(run.into()), model: None }, ema: None }
    }

    /// Those that name nothing: the newest run is meant.
    pub(crate) fn of_newest() -> Self {
        SavedModelArgs { place: Place { run: None, model: None }, ema: None }
    }

    /// Reads the model; `data` is the text that the user names instead of the run's.
    pub(crate) fn load(&self, data: Option<&PathBuf>) -> Result<Loaded> {
        self.find(data)?.ok_or_else(|| {
            Error::input(format!(
                "{RUNS}: holds no trained run; train one with `tempest train`, or name one with --run or --model"
            ))
        })
    }

    /// The same, with the built-in model where no run is named and none is there. Only for what is read by people: who
    /// measures or exports a model means a certain one.
    pub(crate) fn load_or_built_in(&self, data: Option<&PathBuf>) -> Result<Loaded> {
        if let Some(loaded) = self.find(data)? {
            return Ok(loaded);
        }
        if self.ema.is_some() {
            return Err(useless("--ema", "is for a run, and there is none"));
        }
        let saved = SavedModel::built_in();
        terminal::say(format!(
            "model     built in, {} steps on Tiny Shakespeare; one of your own text: tempest train --data FILE",
            thousands(saved.step)
        ));
        Ok(Loaded { saved, data: data.cloned(), run: None })
    }

    /// The model that is named, else that of the newest run, if there is one.
    fn find(&self, data: Option<&PathBuf>) -> Result<Option<Loaded>> {
        let data = data.cloned();
        if let Some(path) = &self.place.model {
            let saved = if path == Path::new(BUILT_IN) { SavedModel::built_in() } else { SavedModel::read(path)? };
            return Ok(Some(Loaded { saved, data, run: None }));
        }
        let Some(folder) = self.place.run.as_ref().map(|run| Ok(store::named(run))).or_else(|| newest().transpose())
        else {
            return Ok(None);
        };
        let folder = folder?;
        let SavedRun { config, model, note } = SavedRun::read(&folder, self.ema)?;
        if let Some(note) = note {
            terminal::say(format!("note: {note}"));
        }
        Ok(Some(Loaded { saved: model, data, run: Some((RunPaths::of(&folder), config)) }))
    }
}

/// What `--model` calls the model that the program carries.
const BUILT_IN: &str = "built-in";

/// The run that is meant where none is named; it is said which.
fn newest() -> Result<Option<PathBuf>> {
    let newest = store::newest(Path::new(RUNS))?;
    if let Some(folder) = &newest {
        terminal::say(format!("run       {}", folder.display()));
    }
    Ok(newest)
}

impl Loaded {
    /// The same used by blocks of this length; where none is said, by those of the first that it has learned.
    pub(crate) fn of_blocks(mut self, length: Option<usize>) -> Result<Self> {
        let process = &mut self.saved.process;
        match (*process, length) {
            (ProcessConfig::Block { .. }, Some(length)) => *process = process.of_blocks(length),
            (ProcessConfig::Block { block_length, .. }, None) if block_length.all().len() > 1 => {
                let first = block_length.first();
                terminal::say(format!(
                    "note: blocks of {first}, and this model has learned {block_length} (--block-length)"
                ));
            }
            (_, None) => {}
            (other, Some(_)) => {
                let why = format!("is for a model of --process block, and this one's is {}", other.family());
                return Err(useless("--block-length", &why));
            }
        }
        process.validate(&self.saved.config).map(|()| self)
    }

    /// The text, in the model's vocabulary: the one that the user names, else the run's, else Tiny Shakespeare.
    ///
    /// A run's own is read as in training and must not have changed since (`cure` says what to do where it has). Another is
    /// read with what the user chose; where that says nothing of newlines, as the model has learned them.
    pub(crate) fn corpus(&self, unknown: Unknown, newlines: Option<Newlines>, cure: &str) -> Result<Arc<Corpus>> {
        let vocab = self.saved.vocab.clone();
        let reading = Reading { unknown, newlines: newlines.or_else(|| self.newlines()) };
        let corpus = match (&self.data, &self.run) {
            (Some(path), _) => text::read(&(&Source::Path(path.clone())).into(), vocab, reading)?,
            (None, Some((paths, run))) => text::of_run(&run.data, &paths.stdin(), vocab, cure)?,
            (None, None) => text::read(&Selection::default(), vocab, reading)?,
        };
        Ok(Arc::new(corpus))
    }

    /// The folder of its run, where it is that of one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.run.as_ref().map(|(paths, _)| paths.folder())
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        self.run.as_ref().map_or("model".into(), |(paths, _)| paths.folder().display().to_string())
    }

    /// Whether its text is the run's.
    pub(crate) fn reads_own_text(&self) -> bool {
        self.data.is_none() && self.run.is_some()
    }

    /// How the model has learned that lines end: what its run says, else what its vocabulary tells.
    fn newlines(&self) -> Option<Newlines> {
        let vocab = &self.saved.vocab;
        match &self.run {
            Some((_, run)) => run.data.newlines,
            None if vocab.kind() == VocabKind::Chars && vocab.id('\r').is_some() => Some(Newlines::Keep),
            None => Some(Newlines::Lf),
        }
    }

    /// The model on this machine, for `batch` texts at a time.
    pub(crate) fn denoiser(&self, machine: &Machine, batch: usize) -> Result<Denoiser> {
        self.denoiser_on(&machine.open()?, machine, batch)
    }

    /// The same on a device that is open.
    pub(crate) fn denoiser_on(&self, device: &Device, machine: &Machine, batch: usize) -> Result<Denoiser> {
        let dtype = machine.dtype(device);
        let stored = device.storage(dtype).acts;
        if stored != dtype {
            terminal::say(format!("note: --dtype {dtype} is {stored} on this device"));
        }
        Denoiser::new(&self.saved, dtype, batch, device)
    }
}
