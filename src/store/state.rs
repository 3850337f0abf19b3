//! `state.safetensors`: all that training needs to go on.

use super::{STEP, VOCAB};
use crate::config::RunConfig;
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::atomic::Existing;
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::files::{RUN_CONFIG, hex};
use crate::model::Params;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata key of the configuration's identity.
const RUN: &str = "run";

/// Where training stands after `step` optimizer steps.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// Optimizer steps done.
    pub step: u64,
    /// Every parameter, in the order of memory.
    pub weights: Vec<f32>,
    /// AdamW's first moment, and Muon's momentum.
    pub m: Vec<f32>,
    /// The second moment of what AdamW updates.
    pub v: Vec<f32>,
    /// Averages of the parameters, in the configuration's order.
    pub averages: Vec<Vec<f32>>,
    /// What a run with learned noise levels knows of them.
    pub levels: Option<Vec<f32>>,
    /// The loss scale of half-precision gradients and its age, in runs that have one.
    pub loss_scale: Option<[f32; 2]>,
}

impl TrainingState {
    /// Writes it over the one before. The vocabulary makes the state and its configuration a model.
    pub(super) fn write(&self, path: &Path, config: &RunConfig, vocab: &Vocab) -> Result<()> {
        let (shape, of_second) = ([self.weights.len()], [self.v.len()]);
        let of_levels = [self.levels.as_ref().map_or(0, Vec::len)];
        let mut list = vec![
            Tensor { name: "weights", shape: &shape, data: &self.weights },
            Tensor { name: "m", shape: &shape, data: &self.m },
            Tensor { name: "v", shape: &of_second, data: &self.v },
        ];
        let names: Vec<String> = (0..self.averages.len()).map(average).collect();
        list.extend(names.iter().zip(&self.averages).map(|(name, data)| Tensor { name, shape: &shape, data }));
        list.extend(self.levels.as_ref().map(|data| Tensor { name: "levels", shape: &of_levels, data }));
        list.extend(self.loss_scale.as_ref().map(|data| Tensor { name: "loss_scale", shape: &[2], data }));
        let metadata = BTreeMap::from([
            (STEP.into(), self.step.to_string()),
            (RUN.into(), identity(config)),
            (VOCAB.into(), vocab.to_json()),
        ]);
        tensors::write(path, Existing::Replace, &list, &metadata)
    }

    /// Takes what [`TrainingState::write`] wrote for the same run out of its file.
    pub(super) fn of(file: &TensorFile, config: &RunConfig) -> Result<Self> {
        let path = file.path();
        let is_of =
            |run| run == identity(config) || is_text_beside(path, run) || run == hash(config.to_toml().as_bytes());
        if !file.metadata(RUN).is_some_and(is_of) {
            return Err(Error::input(format!(
                "{}: was written under another configuration than the config.toml beside it; restore that file, or \
                 start a new run in another folder",
                path.display()
            )));
        }
        let step = file.metadata(STEP).and_then(|s| s.parse().ok());
        let step = step.ok_or_else(|| Error::input(format!("{}: does not say its step", path.display())))?;
        if step > config.train.steps {
            return Err(Error::input(format!(
                "{}: says that step {step} is done, of a run of {} steps; the file is damaged",
                path.display(),
                config.train.steps
            )));
        }
        let params = Params::of_run(&config.model, &config.process);
        let get = |name: &str| file.get::<f32>(name, &[params.len()]);
        Ok(TrainingState {
            step,
            weights: get("weights")?,
            m: get("m")?,
            v: file.get::<f32>("v", &[params.second_moments(config.optimizer.kind())])?,
            averages: (0..config.optimizer.ema.len()).map(|i| get(&average(i))).collect::<Result<_>>()?,
            levels: file.shape("levels").map(|_| file.get_any::<f32>("levels")).transpose()?,
            loss_scale: match file.shape("loss_scale") {
                Some(_) => Some(file.get::<f32>("loss_scale", &[2])?.try_into().expect("two numbers")),
                None => None,
            },
        })
    }
}

/// The name of an average; a run that keeps one has always called it that of the first.
fn average(i: usize) -> String {
    if i == 0 { "ema".into() } else { format!("ema.{i}") }
}

/// What ties a checkpoint to its configuration: SHA-256 of what [lasts](RunConfig::lasting) of it as TOML, in hexadecimal.
/// Earlier versions took the whole configuration.
fn identity(config: &RunConfig) -> String {
    hash(config.lasting().to_toml().as_bytes())
}

/// Whether the file of the configuration beside a checkpoint has this identity as it stands: an earlier version wrote both,
/// and its configuration had fields that this one does not write.
fn is_text_beside(checkpoint: &Path, identity: &str) -> bool {
    std::fs::read(checkpoint.with_file_name(RUN_CONFIG)).is_ok_and(|text| hash(&text) == identity)
}

fn hash(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}
