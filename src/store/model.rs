//! `model.safetensors`: a whole model by itself.
//!
//! The weights stand under the original's names and shapes, with the configuration and vocabulary in the metadata. PyTorch
//! loads it with `DiffusionTransformer.load_state_dict(safetensors.torch.load_file(path))`.

use super::{STEP, TrainingState, VOCAB};
use crate::config::ModelConfig;
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::atomic::Existing;
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::Params;
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata keys.
const CONFIG: &str = "config";
const VERSION: &str = "tempest";
const FORMAT: &str = "format";

/// A model as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel {
    /// Dimensions.
    pub config: ModelConfig,
    /// What the ids mean.
    pub vocab: Vocab,
    /// All parameters, packed as [`Params`] says.
    pub weights: Vec<f32>,
    /// Optimizer steps that made it.
    pub step: u64,
}

impl SavedModel {
    /// The model of a checkpoint.
    pub(super) fn of(config: &ModelConfig, vocab: &Vocab, state: &TrainingState) -> Self {
        SavedModel {
            config: config.clone(),
            vocab: vocab.clone(),
            weights: state.ema.clone().unwrap_or_else(|| state.weights.clone()),
            step: state.step,
        }
    }

    /// Writes it.
    pub fn write(&self, path: &Path, existing: Existing) -> Result<()> {
        let params = Params::new(&self.config);
        assert_eq!(params.len(), self.weights.len());
        let list: Vec<_> = params
            .iter()
            .map(|p| Tensor {
                name: &p.name,
                shape: &p.shape,
                data: &self.weights[p.offset..][..p.shape[0] * p.shape[1]],
            })
            .collect();
        let config = serde_json::to_string(&self.config).expect("a configuration is plain data");
        let metadata = BTreeMap::from([
            (CONFIG.into(), config),
            (VOCAB.into(), self.vocab.to_json()),
            (VERSION.into(), env!("CARGO_PKG_VERSION").into()),
            (FORMAT.into(), "pt".into()),
            (STEP.into(), self.step.to_string()),
        ]);
        tensors::write(path, existing, &list, &metadata)
    }

    /// Reads what [`SavedModel::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let Some(config) = file.metadata(CONFIG) else {
            return Err(Error::input(format!(
                "{}: holds tensors but no configuration; if it is a tiny-diffusion checkpoint, bring it in with `tempest \
                 import`",
                path.display()
            )));
        };
        let config: ModelConfig = serde_json::from_str(config)
            .map_err(|e| Error::input(format!("{}: its configuration cannot be read: {e}", path.display())))?;
        config.validate().map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        let vocab = match file.metadata(VOCAB) {
            Some(json) => Vocab::from_json(json).map_err(|e| Error::input(format!("{}: {e}", path.display())))?,
            None => Vocab::ascii(),
        };
        if (vocab.size(), vocab.mask_id()) != (config.vocab_size, config.mask_token_id) {
            return Err(Error::input(format!(
                "{}: its vocabulary has {} symbols with mask {}, its model wants {} with mask {}; the file is damaged",
                path.display(),
                vocab.size(),
                vocab.mask_id(),
                config.vocab_size,
                config.mask_token_id
            )));
        }
        let weights = read_weights(&file, &config)?;
        let step = file.metadata(STEP).and_then(|s| s.parse().ok()).unwrap_or(0);
        Ok(SavedModel { config, vocab, weights, step })
    }
}

/// All parameters of a model from a file of tensors under the original's names; anything else in it is an error.
pub fn read_weights(file: &TensorFile, config: &ModelConfig) -> Result<Vec<f32>> {
    let params = Params::new(config);
    file.expect_only(params.iter().map(|p| p.name.as_str()))?;
    // Not all at once: what the configuration says may not be what the file holds.
    let mut weights = Vec::new();
    for p in params.iter() {
        weights.extend(file.get::<f32>(&p.name, &p.shape)?);
    }
    Ok(weights)
}
