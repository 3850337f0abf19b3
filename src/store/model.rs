//! `model.safetensors`: a whole model by itself.
//!
//! The weights stand under the original's names and shapes, with the configuration and vocabulary in the metadata. PyTorch
//! loads it with `DiffusionTransformer.load_state_dict(safetensors.torch.load_file(path))`; `tempest export` prints the lines.

use super::{STEP, TrainingState, VOCAB};
use crate::config::{Architecture, ModelConfig, ProcessConfig, RunConfig};
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::atomic::Existing;
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::{Params, gpt};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

const CONFIG: &str = "config";
const PROCESS: &str = "process";
const VERSION: &str = "tempest";
const FORMAT: &str = "format";
const FORMAT_VERSION: &str = "format_version";

/// Version of the file's format. In 1, which does not say it, the process is the masked one and stands in the configuration.
const NEWEST_FORMAT: u32 = 2;

/// A whole model file.
const BUILT_IN: &[u8] = include_bytes!("../../data/model.safetensors");

/// A model as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel {
    /// Its dimensions, as the file of a trained model has them.
    pub config: ModelConfig,
    /// What its predictions mean.
    pub process: ProcessConfig,
    /// What the ids mean.
    pub vocab: Vocab,
    /// All parameters, packed as [`Params`] says.
    pub weights: Vec<f32>,
    /// Optimizer steps that made it.
    pub step: u64,
}

impl SavedModel {
    /// The model of a checkpoint, of its first average if one is kept.
    pub(super) fn of(run: &RunConfig, vocab: &Vocab, state: &TrainingState) -> Self {
        let weights = state.averages.first().unwrap_or(&state.weights).clone();
        SavedModel { config: run.model.clone(), process: run.process, vocab: vocab.clone(), weights, step: state.step }
    }

    /// The same model with an embedding of timesteps, of zeros: it predicts what it predicted. Panics if it has one.
    pub fn with_time_embedding(self, timesteps: usize) -> Self {
        assert_eq!(self.config.diffusion_steps, 0, "the model has a time embedding");
        let config = ModelConfig { diffusion_steps: timesteps, ..self.config.clone() };
        let (before, after) = (Params::new(&self.config), Params::new(&config));
        let mut weights = vec![0.0; after.len()];
        for (from, to) in
            before.iter().flat_map(|from| after.iter().filter(|to| to.name == from.name).map(move |to| (from, to)))
        {
            weights[to.range()].copy_from_slice(&self.weights[from.range()]);
        }
        SavedModel { config, weights, ..self }
    }

    /// Writes the model to a file.
    pub fn write(&self, path: &Path, existing: Existing) -> Result<()> {
        let params = Params::new(&self.config);
        assert_eq!(params.len(), self.weights.len());
        let list: Vec<_> = params
            .iter()
            .map(|p| Tensor {
                name: &p.name,
                shape: p.dimensions(),
                data: &self.weights[p.offset..][..p.shape[0] * p.shape[1]],
            })
            .collect();
        let plain = "a configuration is plain data";
        let metadata = BTreeMap::from([
            (CONFIG.into(), serde_json::to_string(&self.config).expect(plain)),
            (PROCESS.into(), serde_json::to_string(&self.process).expect(plain)),
            (FORMAT_VERSION.into(), NEWEST_FORMAT.to_string()),
            (VOCAB.into(), self.vocab.to_json()),
            (VERSION.into(), env!("CARGO_PKG_VERSION").into()),
            (FORMAT.into(), "pt".into()),
            (STEP.into(), self.step.to_string()),
        ]);
        tensors::write(path, existing, &list, &metadata)
    }

    /// Reads what [`SavedModel::write`] wrote, in this version or an earlier one.
    pub fn read(path: &Path) -> Result<Self> {
        SavedModel::of_file(&TensorFile::open(path)?)
    }

    /// The model that the program carries, trained on Tiny Shakespeare as `data/README.md` says.
    pub fn built_in() -> Self {
        let file = TensorFile::parse("the built-in model", BUILT_IN);
        file.and_then(|file| SavedModel::of_file(&file)).expect("it was written by `write` and is tested")
    }

    fn of_file(file: &TensorFile) -> Result<Self> {
        let refuse = |message: &dyn Display| Error::input(format!("{}: {message}", file.path().display()));
        let (config, process) = describe(file).map_err(|e| refuse(&e))?;
        let vocab = match file.metadata(VOCAB) {
            Some(json) => Vocab::from_json(json).map_err(|e| refuse(&e))?,
            None => Vocab::ascii(),
        };
        let (found, wanted) = ((vocab.size(), vocab.mask_id()), (config.vocab_size, process.mask_token_id()));
        if found != wanted {
            return Err(refuse(&format!(
                "its vocabulary has {} symbols with mask {}, its model wants {} with mask {}; the file is damaged",
                found.0, found.1, wanted.0, wanted.1
            )));
        }
        let weights = read_weights(file, &config)?;
        let step = file.metadata(STEP).and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok(SavedModel { config, process, vocab, weights, step })
    }
}

/// What a file of a model says that it is.
fn describe(file: &TensorFile) -> Result<(ModelConfig, ProcessConfig)> {
    let Some(config) = file.metadata(CONFIG) else {
        return Err(Error::input(
            "holds tensors but no configuration; if it is a tiny-diffusion checkpoint, bring it in with `tempest import`",
        ));
    };
    let unread = |e: &dyn Display| Error::input(format!("its configuration cannot be read: {e}"));
    let (config, process) = match file.metadata(FORMAT_VERSION).unwrap_or("1") {
        "1" => ProcessConfig::read_with_model(config).map_err(|e| unread(&e))?,
        "2" => {
            let process = file.metadata(PROCESS).ok_or_else(|| unread(&"its process is missing"))?;
            let process = ProcessConfig::read(process).map_err(|e| unread(&e))?;
            (serde_json::from_str(config).map_err(|e| unread(&e))?, process)
        }
        other => {
            return Err(Error::input(format!(
                "is of format {other}, and this version reads 1 to {NEWEST_FORMAT}; bring tempest up to date"
            )));
        }
    };
    config.validate()?;
    process.validate(&config)?;
    Ok((config, process))
}

/// All parameters of a model from a file of tensors under the original's names; anything else in it is an error.
pub fn read_weights(file: &TensorFile, config: &ModelConfig) -> Result<Vec<f32>> {
    let params = Params::new(config);
    let tied = if config.architecture == Architecture::Original { &[][..] } else { &gpt::TIED };
    let tied: Vec<_> = tied.iter().filter(|(copy, _)| file.shape(copy).is_some()).collect();
    file.expect_only(params.iter().map(|p| p.name.as_str()).chain(tied.iter().map(|(copy, _)| *copy)))?;
    for (copy, of) in tied {
        if file.get_any::<f32>(copy)? != file.get_any::<f32>(of)? {
            return Err(Error::input(format!(
                "{}: {copy:?} is another matrix than {of:?}, and a gpt has one for both",
                file.path().display()
            )));
        }
    }
    // Not all at once: what the configuration says may not be what the file holds.
    let mut weights = Vec::new();
    for p in params.iter() {
        weights.extend(file.get::<f32>(&p.name, p.dimensions())?);
    }
    Ok(weights)
}
