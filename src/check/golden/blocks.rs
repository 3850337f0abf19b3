//! Golden sets of block diffusion: one batch, noised by blocks of several lengths, over the same weights.
//!
//! `PREFIX.json` names the file of weights, the lengths and which of them `PREFIX_grads.safetensors` is of. For each length L,
//! `PREFIX_io.safetensors` holds `LL.x_t`, the levels `LL.t` of the blocks, logits, cross-entropies (0 where nothing is masked),
//! the blocks' terms `1/t · Σ CE`, and the cross-entropies where all is masked.

use super::{GRADIENT, Harness, LOGITS, LOSS, Line, compare_params, line, slack, with_suffix};
use crate::backend::{Backend, Device};
use crate::config::{ModelConfig, ProcessConfig};
use crate::error::{Error, Result};
use crate::files::tensors::TensorFile;
use crate::program::{DType, Plan, StepArgs};
use crate::store::read_weights;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// A set, opened.
pub(super) struct Set {
    about: About,
    losses: Value,
    config: ModelConfig,
    mask: u32,
    io: TensorFile,
    weights: Vec<f32>,
    gradients: Vec<f32>,
}

#[derive(Deserialize)]
struct About {
    weights: String,
    block_lengths: Vec<usize>,
    gradient_of: String,
}

impl Set {
    /// The set of a prefix, which its JSON says to be one of blocks.
    pub(super) fn open(prefix: &Path, set: Value) -> Result<Self> {
        let path = with_suffix(prefix, ".json");
        let unread = |e: &dyn std::fmt::Display| Error::input(format!("{}: {e}", path.display()));
        let about: About = About::deserialize(&set).map_err(|e| unread(&e))?;
        let (config, process) = ProcessConfig::read_with_model(&set["config"].to_string()).map_err(|e| unread(&e))?;
        let tensors = |path: &Path| read_weights(&TensorFile::open(path)?, &config);
        Ok(Set {
            weights: tensors(&path.with_file_name(&about.weights))?,
            gradients: tensors(&with_suffix(prefix, "_grads.safetensors"))?,
            io: TensorFile::open(with_suffix(prefix, "_io.safetensors"))?,
            mask: process.mask_token_id(),
            about,
            losses: set,
            config,
        })
    }

    /// Compares all of it with what a device computes.
    pub(super) fn against(&self, dtype: DType, device: &Device) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for &length in &self.about.block_lengths {
            self.of_length(length, dtype, device, &mut lines)?;
        }
        Ok(lines)
    }

    fn of_length(&self, length: usize, dtype: DType, device: &Device, lines: &mut Vec<Line>) -> Result<()> {
        let (config, storage, name) = (&self.config, device.storage(dtype), format!("L{length}"));
        let process = ProcessConfig::Block { mask_token_id: self.mask, block_length: length.into() };
        process.validate(config)?;
        let positions = config.sequence_len;
        let x0 = self.ids("x0")?;
        let sequences = x0.len() / positions;
        let shape = [sequences, positions];
        let mut plan = Plan::new();
        let harness = Harness::lay_out(&mut plan, &process, config, sequences, storage);
        let mut backend = device.open(Arc::new(plan))?;
        let device = backend.as_mut();
        harness.begin(device, &self.weights)?;
        device.write_u32(harness.batch.x0, &x0)?;
        let xt = self.ids(&format!("{name}.x_t"))?;
        let levels = self.io.get::<f32>(&format!("{name}.t"), &[sequences, positions / length])?;
        let tokens = x0.len() as f32;
        let weight = |(i, &id)| if id == self.mask { 1.0 / (levels[i / length] * tokens) } else { 0.0 };
        let weights: Vec<f32> = xt.iter().enumerate().map(weight).collect();
        device.write_f32(harness.batch.weight, &weights)?;

        let factor = slack(storage);
        let mut compare = |what: &str, ours: &[f32], golden: &[f32], tolerance: f64| {
            lines.push(line(format!("blocks of {length}: {what}"), ours, golden, tolerance * factor));
        };
        let golden = |what: &str, shape: &[usize]| self.io.get::<f32>(&format!("{name}.{what}"), shape);
        let cross_entropies = |device: &mut dyn Backend, xt: &[u32]| {
            device.write_u32(harness.batch.xt, xt)?;
            device.run(&harness.forward, &StepArgs::default())?;
            device.read_f32(harness.cross_entropy)
        };
        let all = cross_entropies(device, &vec![self.mask; xt.len()])?;
        compare("per-token loss with everything masked", &all, &golden("all_masked_ce", &shape)?, LOSS);
        let ours = cross_entropies(device, &xt)?;
        let logits = golden("logits", &[sequences, positions, config.vocab_size])?;
        compare("logits", &device.read_f32(harness.logits)?, &logits, LOGITS);
        let masked: Vec<f32> = ours.iter().zip(&xt).map(|(&ce, &id)| if id == self.mask { ce } else { 0.0 }).collect();
        compare("per-token loss", &masked, &golden("ce", &shape)?, LOSS);
        let terms: Vec<f32> = masked.chunks(length).zip(&levels).map(|(ce, t)| ce.iter().sum::<f32>() / t).collect();
        compare("terms of the blocks", &terms, &golden("block_terms", &[sequences, positions / length])?, LOSS);

        let loss = harness.learn(device)?;
        let wanted = &self.losses[&name]["loss_sum_of_block_terms_over_B_T"];
        let wanted = wanted.as_f64().ok_or_else(|| Error::input(format!("the golden set has no loss of {name}")))?;
        compare("loss", &[loss], &[wanted as f32], LOSS);
        if name == self.about.gradient_of {
            let (params, gradients) = (&harness.process.model().params, harness.gradients(device)?);
            compare_params(params, "gradient of", &gradients, &self.gradients, GRADIENT, &mut compare);
        }
        Ok(())
    }

    fn ids(&self, name: &str) -> Result<Vec<u32>> {
        let path = self.io.path().display();
        let ids: Vec<i32> = self.io.get_any(name)?;
        if ids.is_empty() || !ids.len().is_multiple_of(self.config.sequence_len) {
            return Err(Error::input(format!(
                "{path}: {name} has {} tokens; wanted texts of {}",
                ids.len(),
                self.config.sequence_len
            )));
        }
        match ids.iter().find(|&&id| id < 0 || id as usize >= self.config.vocab_size) {
            Some(id) => Err(Error::input(format!("{path}: {name} holds {id}"))),
            None => Ok(ids.iter().map(|&id| id as u32).collect()),
        }
    }
}
