//! Models and training states in files.
//!
//! `model.safetensors` holds the weights under the original's names and shapes, with the configuration and vocabulary in
//! its metadata, so that it is a whole model by itself and PyTorch loads it with
//! `DiffusionTransformer.load_state_dict(safetensors.torch.load_file(path))`. `state.safetensors` holds what training
//! needs to go on: weights, moments, average and step in one file, so that they can never disagree.

use crate::config::ModelConfig;
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::Params;
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata keys.
const CONFIG: &str = "config";
const VOCAB: &str = "vocab";
const VERSION: &str = "tempest";
const FORMAT: &str = "format";
const STEP: &str = "step";
const RUN: &str = "run";

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
    /// Writes `model.safetensors`.
    pub fn write(&self, path: &Path) -> Result<()> {
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
        tensors::write(path, &list, &metadata)
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
    let mut weights = Vec::with_capacity(params.len());
    for p in params.iter() {
        weights.extend(file.get::<f32>(&p.name, &p.shape)?);
    }
    Ok(weights)
}

/// Where training stands after `step` optimizer steps.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// Optimizer steps done.
    pub step: u64,
    /// All parameters.
    pub weights: Vec<f32>,
    /// AdamW's first moment.
    pub m: Vec<f32>,
    /// AdamW's second moment.
    pub v: Vec<f32>,
    /// Average of the parameters.
    pub ema: Option<Vec<f32>>,
    /// The loss scale of half-precision gradients and its age, in runs that have one.
    pub loss_scale: Option<[f32; 2]>,
}

impl TrainingState {
    /// Writes `state.safetensors`. `run` identifies the run's configuration.
    pub fn write(&self, path: &Path, run: &str) -> Result<()> {
        let shape = [self.weights.len()];
        let mut list = vec![
            Tensor { name: "weights", shape: &shape, data: &self.weights },
            Tensor { name: "m", shape: &shape, data: &self.m },
            Tensor { name: "v", shape: &shape, data: &self.v },
        ];
        list.extend(self.ema.as_ref().map(|data| Tensor { name: "ema", shape: &shape, data }));
        list.extend(self.loss_scale.as_ref().map(|data| Tensor { name: "loss_scale", shape: &[2], data }));
        let metadata = BTreeMap::from([(STEP.into(), self.step.to_string()), (RUN.into(), run.into())]);
        tensors::write(path, &list, &metadata)
    }

    /// Reads what [`TrainingState::write`] wrote for the same run.
    pub fn read(path: &Path, run: &str, n_params: usize, ema: bool) -> Result<Self> {
        let file = TensorFile::open(path)?;
        if file.metadata(RUN) != Some(run) {
            return Err(Error::input(format!(
                "{}: was written under another configuration than the config.toml beside it; restore that file, or \
                 start a new run in another folder",
                path.display()
            )));
        }
        let step = file.metadata(STEP).and_then(|s| s.parse().ok());
        let step = step.ok_or_else(|| Error::input(format!("{}: does not say its step", path.display())))?;
        let get = |name| file.get::<f32>(name, &[n_params]);
        Ok(TrainingState {
            step,
            weights: get("weights")?,
            m: get("m")?,
            v: get("v")?,
            ema: ema.then(|| get("ema")).transpose()?,
            loss_scale: match file.shape("loss_scale") {
                Some(_) => Some(file.get::<f32>("loss_scale", &[2])?.try_into().expect("two numbers")),
                None => None,
            },
        })
    }
}
