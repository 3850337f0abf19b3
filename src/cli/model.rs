//! Which model a command works with, and the text that belongs to it.

use super::train::Defaults;
use super::{DeviceArgs, Precision, text};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use tempest::Result;
use tempest::config::{ModelConfig, Newlines, RunConfig};
use tempest::data::{Corpus, Reading, Source, Unknown, VocabKind};
use tempest::denoiser::Denoiser;
use tempest::program::DType;
use tempest::store::{SavedModel, SavedRun};
use tempest::terminal;
use tempest::workload::Subject;

/// The model.
#[derive(Args, Debug)]
#[group(id = "SavedModelArgs", required = true, multiple = false)]
#[command(next_help_heading = "Model")]
pub(crate) struct SavedModelArgs {
    /// Folder of a run: its model and its text
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// A model.safetensors
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// A model to be measured or checked, trained or not.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub(crate) struct SubjectArgs {
    /// nano (1 M parameters), small (2.7 M) or original (tiny-diffusion's, 10.8 M), untrained [default: nano]
    #[arg(long, conflicts_with = "run")]
    preset: Option<String>,
    /// Folder of a run: its model, its text, its way of training
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
}

impl SubjectArgs {
    /// Whether it was said which.
    pub(crate) fn is_named(&self) -> bool {
        self.preset.is_some() || self.run.is_some()
    }

    /// The model, and the batch that it is trained with.
    pub(crate) fn subject(&self) -> Result<(Subject, usize)> {
        let Some(folder) = &self.run else {
            let preset = self.preset.as_deref().unwrap_or("nano");
            let defaults = Defaults::of(preset);
            ModelConfig::preset(preset, 2, 0)?; // Known?
            let corpus = Corpus::open(&Source::Embedded, defaults.vocab, Unknown::Error)?;
            let subject = Subject {
                name: format!("preset {preset}"),
                model: ModelConfig::preset(preset, corpus.vocab().size(), corpus.vocab().mask_id())?,
                weights: None,
                objective: defaults.objective(),
                optimizer: defaults.optimizer,
                corpus: Arc::new(corpus),
            };
            return Ok((subject, defaults.batch));
        };
        let loaded = SavedModelArgs { run: Some(folder.clone()), model: None }.load(None)?;
        let run = loaded.run.as_ref().expect("read from a run's folder");
        let subject = Subject {
            name: folder.display().to_string(),
            model: loaded.saved.config.clone(),
            weights: Some(loaded.saved.weights.clone()),
            objective: run.objective,
            optimizer: run.optimizer.clone(),
            corpus: loaded.corpus(Unknown::Error, None, "restore it")?,
        };
        Ok((subject, run.train.batch))
    }
}

/// How it is run.
#[derive(Args, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct Machine {
    #[command(flatten)]
    device: DeviceArgs,
    /// Storage of activations and matmul inputs [default: f32 on a CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Worker threads [default: all cores]; results do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// A model and where its text comes from.
pub(crate) struct Loaded {
    pub(crate) saved: SavedModel,
    data: Option<PathBuf>,
    run: Option<RunConfig>,
}

impl SavedModelArgs {
    /// Reads the model; `data` is the text that the user names instead of the run's.
    pub(crate) fn load(&self, data: Option<&PathBuf>) -> Result<Loaded> {
        let data = data.cloned();
        let Some(folder) = &self.run else {
            let path = self.model.as_ref().expect("one of --run and --model is required");
            return Ok(Loaded { saved: SavedModel::read(path)?, data, run: None });
        };
        let SavedRun { config, model, note } = SavedRun::read(folder)?;
        if let Some(note) = note {
            terminal::say(format!("note: {note}"));
        }
        Ok(Loaded { saved: model, data, run: Some(config) })
    }
}

impl Loaded {
    /// The text, in the model's vocabulary: the one that the user names, else the run's, else Tiny Shakespeare.
    ///
    /// A run's own is read as in training and must not have changed since (`cure` says what to do where it has). Another is
    /// read with what the user chose; where that says nothing of newlines, as the model has learned them.
    pub(crate) fn corpus(&self, unknown: Unknown, newlines: Option<Newlines>, cure: &str) -> Result<Arc<Corpus>> {
        let vocab = self.saved.vocab.clone();
        let reading = Reading { unknown, newlines: newlines.or_else(|| self.newlines()) };
        let corpus = match (&self.data, &self.run) {
            (Some(path), _) => text::read(&Source::Path(path.clone()), vocab, reading)?,
            (None, Some(run)) => text::of_run(&run.data, vocab, cure)?,
            (None, None) => text::read(&Source::Embedded, vocab, reading)?,
        };
        Ok(Arc::new(corpus))
    }

    /// Whether its text is the run's.
    pub(crate) fn reads_own_text(&self) -> bool {
        self.data.is_none() && self.run.is_some()
    }

    /// How the model has learned that lines end: what its run says, else what its vocabulary tells.
    fn newlines(&self) -> Option<Newlines> {
        let vocab = &self.saved.vocab;
        match &self.run {
            Some(run) => run.data.newlines,
            None if vocab.kind() == VocabKind::Chars && vocab.id('\r').is_some() => Some(Newlines::Keep),
            None => Some(Newlines::Lf),
        }
    }

    /// The model on this machine, for `batch` texts at a time.
    pub(crate) fn denoiser(&self, machine: &Machine, batch: usize) -> Result<Denoiser> {
        super::set_threads(machine.threads)?;
        let SavedModel { config, vocab, weights, .. } = &self.saved;
        let device = machine.device.open()?;
        let dtype = machine.dtype.map_or(device.preferred_dtype(), DType::from);
        let stored = device.storage(dtype).acts;
        if stored != dtype {
            terminal::say(format!("note: --dtype {dtype:?} is {stored:?} on this device").to_lowercase());
        }
        Denoiser::new(config, vocab, weights, dtype, batch, &device)
    }
}
