//! Golden sets of noise that turns tokens into others: one batch, noised, and what predictions of it cost.
//!
//! `PREFIX.json` has the dimensions under `config` and says `all_symbols_are_real`: noise is uniform over all of them, and so is
//! the softmax. `PREFIX_io.safetensors` holds `x0`, `z`, the noise rates `t` and the timesteps `time_index` of them, the logits, the
//! tokens' terms of the bound and their posterior cross-entropies; `PREFIX_grads_bound` and `_grads_ce.safetensors` the
//! gradients of the means of both.

use super::{GRADIENT, LOGITS, LOSS, Line, begin, compare_params, gradients, line, slack, with_suffix};
use crate::backend::Device;
use crate::config::{ModelConfig, Optimizer, ProcessConfig};
use crate::error::{Error, Result};
use crate::files::tensors::TensorFile;
use crate::model::{Cost, Keep, Noised, Transformer, Use};
use crate::program::{Accumulate, AttentionMask, Builder, DType, Mixing, NoisedCost, NoisedLoss, Plan, StepArgs};
use crate::rng::threshold;
use crate::store::read_weights;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A set, opened.
pub(super) struct Set {
    prefix: PathBuf,
    config: ModelConfig,
    io: TensorFile,
    weights: Vec<f32>,
}

/// What predictions cost, its name in the set, and that of the file of its gradient.
const COSTS: [(NoisedCost, &str, &str); 2] = [
    (NoisedCost::Bound, "term_logits_are_leave_one_out", "bound"),
    (NoisedCost::CrossEntropy, "ce_posterior_from_leave_one_out_logits", "ce"),
];

impl Set {
    /// The set of a prefix, which its JSON says to be one of such noise.
    pub(super) fn open(prefix: &Path, set: &Value) -> Result<Self> {
        let path = with_suffix(prefix, ".json");
        let unread = |e: &dyn std::fmt::Display| Error::input(format!("{}: {e}", path.display()));
        let (config, _) = ProcessConfig::read_with_model(&set["config"].to_string()).map_err(|e| unread(&e))?;
        config.validate().map_err(|e| unread(&e))?;
        let weights = read_weights(&TensorFile::open(with_suffix(prefix, "_weights.safetensors"))?, &config)?;
        let io = TensorFile::open(with_suffix(prefix, "_io.safetensors"))?;
        Ok(Set { prefix: prefix.to_path_buf(), config, io, weights })
    }

    /// Compares all of it with what a device computes.
    pub(super) fn against(&self, dtype: DType, device: &Device) -> Result<Vec<Line>> {
        let (config, storage) = (&self.config, device.storage(dtype));
        let (v, positions) = (config.vocab_size, config.sequence_len);
        let x0 = self.ids("x0", v)?;
        let sequences = x0.len() / positions;
        let shape = [sequences, positions];
        let mut plan = Plan::new();
        let used = Use::Training { averages: 0, optimizer: Optimizer::AdamW, dropout: 0.0 };
        let model = Transformer::new(&mut plan, config, AttentionMask::Bidirectional, storage, used);
        let mut b = Builder::new(&mut plan, "batch");
        let memory = &model.memory;
        let [target, z] = [(); 2].map(|()| b.alloc(memory.kept_ids, sequences, positions));
        let (t, rates) = (b.alloc(memory.kept_ids, sequences, 1), b.alloc(memory.kept_ids, sequences, 2));
        let (weight, mixing) = (b.alloc(memory.kept, sequences * positions, 1), Mixing::uniform(v as u32, v as u32));

        let mut b = Builder::new(&mut plan, "forward");
        let last = model.forward(&mut b, z, t, Keep::Last).last;
        let logits = model.head_logits(&mut b, last);
        let costs = COSTS.map(|(cost, ..)| {
            let loss = b.alloc(memory.stats, logits.rows, 1);
            b.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back: None });
            loss
        });
        let forward = b.finish();
        let learn = COSTS.map(|(cost, ..)| {
            let mut b = Builder::new(&mut plan, "learn");
            let passed = model.forward(&mut b, z, t, Keep::All);
            let cost = Cost::Noised(Noised { z, rates, mixing, cost });
            model.loss_and_backward(&mut b, &passed, target, weight, cost, Accumulate::Overwrite);
            b.finish()
        });

        let mut backend = device.open(Arc::new(plan))?;
        let device = backend.as_mut();
        begin(memory, device, &self.weights)?;
        device.write_u32(target, &x0)?;
        device.write_u32(z, &self.ids("z", v)?)?;
        device.write_u32(t, &self.ids("time_index", config.diffusion_steps)?)?;
        let levels = self.io.get::<f32>("t", &[sequences])?;
        let pairs: Vec<u32> = levels.iter().flat_map(|&t| [threshold(f64::from(t)), 0]).collect();
        device.write_u32(rates, &pairs)?;
        device.write_f32(weight, &vec![1.0 / weight.rows as f32; weight.rows])?;

        let (factor, mut lines) = (slack(storage), Vec::new());
        let mut compare = |what: &str, ours: &[f32], golden: &[f32], tolerance: f64| {
            lines.push(line(what.to_owned(), ours, golden, tolerance * factor));
        };
        device.run(&forward, &StepArgs::default())?;
        let wanted = self.io.get::<f32>("logits", &[sequences, positions, v])?;
        compare("logits", &device.read_f32(logits)?, &wanted, LOGITS);
        for ((_, name, _), ours) in COSTS.into_iter().zip(costs) {
            compare(name, &device.read_f32(ours)?, &self.io.get::<f32>(name, &shape)?, LOSS);
        }
        for ((.., file), learn) in COSTS.into_iter().zip(learn) {
            device.run(&learn, &StepArgs::default())?;
            let path = with_suffix(&self.prefix, &format!("_grads_{file}.safetensors"));
            let (ours, wanted) = (gradients(memory, device)?, read_weights(&TensorFile::open(path)?, config)?);
            compare_params(&model.params, &format!("gradient of {file} by"), &ours, &wanted, GRADIENT, &mut compare);
        }
        Ok(lines)
    }

    /// A tensor of ids below a limit, of whole texts or one for each.
    fn ids(&self, name: &str, limit: usize) -> Result<Vec<u32>> {
        let path = self.io.path().display();
        let ids: Vec<i32> = self.io.get_any(name)?;
        match ids.iter().find(|&&id| id < 0 || id as usize >= limit) {
            Some(id) => {
                Err(Error::input(format!("{path}: {name} holds {id}; wanted 0 to {}", limit.saturating_sub(1))))
            }
            None => Ok(ids.iter().map(|&id| id as u32).collect()),
        }
    }
}
