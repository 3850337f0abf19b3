//! Golden checks: our numbers against those of PyTorch models, the original's own and others with its parameters.
//!
//! A golden set is `PREFIX.json` (dimensions) and, beside it, `PREFIX_weights`, `_io`, `_grads`, `_after1` and
//! `_after5.safetensors`: weights, one batch with its logits and losses, the gradient of every parameter, and the parameters
//! after one and five steps of the original's AdamW on that batch. The softmax is over all symbols, the mask too. The batch of
//! masked diffusion is corrupted already; where the dimensions stand under `config` and beside them `start`, the model is
//! autoregressive, and its window is read behind the mask; where `block_lengths` stands there, it is one of block diffusion;
//! where `all_symbols_are_real` does, noise turned tokens into others;
//! where `block_size` is among them it is a GPT, whose batch has what it reads, `idx`, beside the `targets`.

mod blocks;
mod noised;

use crate::backend::{Backend, Device};
use crate::config::{Architecture, Family, LrSchedule, ModelConfig, Optimizer, OptimizerConfig, Preset, ProcessConfig};
use crate::error::{Error, Result};
use crate::files::tensors::TensorFile;
use crate::model::{Keep, Memory, Param, Params, Use};
use crate::process::{Batch, Kind, Process};
use crate::program::{
    Accumulate, Builder, Counted, CrossEntropy, DType, LossSum, Mat, Plan, Program, Shift, StepArgs, StepMetrics,
    Storage,
};
use crate::store::read_weights;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One compared quantity.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `logits`, `gradient of blocks.0.mlp.c_fc.weight`.
    pub what: String,
    /// `‖ours - golden‖₂ / ‖golden‖₂`.
    #[serde(rename = "error")]
    pub relative: f64,
    /// Largest difference of an element.
    pub max_abs: f64,
    /// Largest `relative` that passes.
    pub tolerance: f64,
}

impl Line {
    /// Whether the error is within the tolerance (a NaN is not).
    pub fn passes(&self) -> bool {
        self.relative <= self.tolerance
    }
}

/// Largest relative errors that pass, in f32. The original's own f32 run is 2.3e-6 from these goldens in its gradients
/// and about 1e-6 in its logits, for another order of sums; a few times that is what a right implementation shows, and
/// AdamW's first steps, which move every weight by about the learning rate whatever its gradient, carry gradient errors of
/// near-zero gradients over into a share of lr/|w|.
const LOGITS: f64 = 1e-5;
const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const PARAMETER: f64 = 1e-4;

/// How many times that a device owes to its storage. bf16 keeps 8 bits of mantissa: relative rounding 2⁻⁹ per stored number,
/// a few times that through all blocks. f16 keeps 11, but where it is used the residual stream is rounded too.
fn slack(storage: Storage) -> f64 {
    match storage.acts {
        DType::Bf16 => 2e-2 / 1e-5,
        DType::F16 => 5e-3 / 1e-5,
        _ => 1.0,
    }
}

/// Loss scale of the golden steps, where the device needs one: the batch is small, and so are its gradients' ranges.
const SCALE: f32 = 1024.0;

struct Golden {
    set: Set,
    config: ModelConfig,
    process: ProcessConfig,
    prefix: PathBuf,
    io: TensorFile,
    weights: Vec<f32>,
}

impl Golden {
    fn open(prefix: &Path, about: &Value) -> Result<Self> {
        let config_path = with_suffix(prefix, ".json");
        let (set, config, process) = read(about)
            .map_err(|e| Error::input(format!("{}: is no model configuration: {e}", config_path.display())))?;
        let valid = config.validate().and_then(|()| process.validate(&config));
        valid.map_err(|e| Error::input(format!("{}: {e}", config_path.display())))?;
        let io = TensorFile::open(with_suffix(prefix, "_io.safetensors"))?;
        let weights = read_weights(&TensorFile::open(with_suffix(prefix, "_weights.safetensors"))?, &config)?;
        Ok(Golden { set, config, process, prefix: prefix.to_path_buf(), io, weights })
    }

    /// The name of what the model computed, in the file of its batch.
    fn name(&self, what: &str) -> String {
        match self.set {
            Set::Masked | Set::Gpt => what.into(),
            Set::Start => format!("start.{what}"),
        }
    }

    /// The tensor of true tokens.
    fn targets(&self) -> &'static str {
        if self.set == Set::Gpt { "targets" } else { "x0" }
    }

    fn tensors(&self, what: &str) -> Result<Vec<f32>> {
        read_weights(&TensorFile::open(with_suffix(&self.prefix, &format!("_{what}.safetensors")))?, &self.config)
    }

    fn ids(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>> {
        let ids: Vec<i32> = self.io.get(name, shape)?;
        let limit = self.config.vocab_size.max(self.config.diffusion_steps) as i32;
        match ids.iter().find(|&&id| id < 0 || id >= limit) {
            Some(id) => Err(Error::input(format!("{}: {name} holds {id}", self.io.path().display()))),
            None => Ok(ids.iter().map(|&id| id as u32).collect()),
        }
    }
}

/// What a set is of, and how its model reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// Corrupted.
    Masked,
    /// Behind the mask.
    Start,
    /// As the batch has it.
    Gpt,
}

/// The dimensions as nanoGPT names them.
#[derive(Deserialize)]
struct GptConfig {
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    block_size: usize,
    vocab_size: usize,
    bias: bool,
}

fn read(about: &Value) -> Result<(Set, ModelConfig, ProcessConfig)> {
    let unread = |e: serde_json::Error| Error::input(e.to_string());
    let Some(config) = about.get("config") else {
        let (config, process) = ProcessConfig::read_with_model(&about.to_string())?;
        return Ok((Set::Masked, config, process));
    };
    if config.get("block_size").is_none() {
        let (config, process) = ProcessConfig::read_with_model(&config.to_string())?;
        return Ok((Set::Start, config, Family::Autoregressive.config(process.mask_token_id())));
    }
    let gpt: GptConfig = serde_json::from_value(config.clone()).map_err(unread)?;
    let config = ModelConfig {
        n_layer: gpt.n_layer,
        n_head: gpt.n_head,
        n_embd: gpt.n_embd,
        sequence_len: gpt.block_size,
        vocab_size: gpt.vocab_size,
        diffusion_steps: 0,
        short_conv: 0,
        vector_dims: 0,
        autoencoder: None,
        architecture: Architecture::Gpt { bias: gpt.bias },
    };
    // Nothing is dropped from its softmax, and its window is read behind nothing: which symbol it is does not matter.
    Ok((Set::Gpt, config, Family::Autoregressive.config(0)))
}

/// The optimizer of the golden steps of a model: the original's, or nanoGPT's.
fn optimizer(config: &ModelConfig) -> OptimizerConfig {
    let preset = if config.architecture == Architecture::Original { Preset::Original } else { Preset::Gpt };
    OptimizerConfig { schedule: LrSchedule::Constant, warmup: 0, ..preset.training().optimizer }
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The model of a golden set, its programs and its batch.
struct Harness {
    process: Process,
    batch: Batch,
    metrics: Mat,
    forward: Program,
    logits: Mat,
    cross_entropy: Mat,
    learn: Program,
    update: Program,
}

impl Harness {
    fn lay_out(
        plan: &mut Plan,
        process: &ProcessConfig,
        config: &ModelConfig,
        sequences: usize,
        storage: Storage,
    ) -> Self {
        let used = Use::Training { averages: 0, optimizer: Optimizer::AdamW, dropout: 0.0 };
        let process = Process::new(plan, process, config, storage, used);
        let metrics = plan.alloc(process.model().memory.kept, 1, StepMetrics::COLS);

        let mut b = Builder::new(plan, "forward");
        let part = process.parts()[0].generative();
        let batch = part.batch(&mut b, sequences);
        let read = |b: &mut Builder<'_>| {
            // A GPT's batch says what it reads.
            if let (Kind::Autoregressive(process), Architecture::Original) = (process.parts()[0], config.architecture) {
                let (start, counted) = (process.mask_token_id, Counted::Mean { sequences: sequences as u32 });
                b.push(Shift { x0: batch.x0, start, counted, xt: batch.xt, weight: Some(batch.weight) });
            }
        };
        read(&mut b);
        let last = part.forward(&mut b, batch, Keep::Last).last.first(batch.x0.len());
        let logits = process.model().head_logits(&mut b, last);
        let cross_entropy = b.alloc(process.model().memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target: batch.x0, drop: None, cross_entropy });
        let forward = b.finish();

        let mut b = Builder::new(plan, "learn");
        let learn_batch = part.batch(&mut b, sequences);
        assert_eq!(learn_batch.x0, batch.x0, "both programs take their batch first");
        read(&mut b);
        let (model, accumulate, weight) = (process.model(), Accumulate::Overwrite, batch.weight);
        let passed = part.forward(&mut b, batch, Keep::All);
        let ce = model.loss_and_backward(&mut b, &passed, batch.x0, weight, None, accumulate);
        b.push(LossSum { cross_entropy: ce, weight, accumulate, metrics });
        let learn = b.finish();

        let mut b = Builder::new(plan, "update");
        process.model().update(&mut b, metrics, &optimizer(config));
        let update = b.finish();
        Harness { process, batch, metrics, forward, logits, cross_entropy, learn, update }
    }

    fn begin(&self, backend: &mut dyn Backend, weights: &[f32]) -> Result<()> {
        begin(&self.process.model().memory, backend, weights)
    }

    fn gradients(&self, backend: &mut dyn Backend) -> Result<Vec<f32>> {
        gradients(&self.process.model().memory, backend)
    }

    /// One AdamW step, or with `step` none just the gradients; returns the loss before it.
    fn learn(&self, backend: &mut dyn Backend) -> Result<f32> {
        backend.run(&self.learn, &StepArgs::default())?;
        Ok(bytemuck::pod_read_unaligned::<StepMetrics>(&backend.read_bytes(self.metrics)?).loss)
    }

    fn update(&self, backend: &mut dyn Backend, step: i32) -> Result<()> {
        let o = optimizer(&self.process.model().config);
        let bias = |beta: f32| (1.0 - f64::from(beta).powi(step + 1)) as f32;
        let args = StepArgs { lr: o.lr, bias1: bias(o.beta1), bias2: bias(o.beta2), ..StepArgs::default() };
        backend.run(&self.update, &args)
    }
}

/// Fills what outlives the programs.
fn begin(memory: &Memory, backend: &mut dyn Backend, weights: &[f32]) -> Result<()> {
    backend.write_f32(memory.weights, weights)?;
    backend.write_f32(memory.stored, weights)?;
    let training = memory.training.as_ref().expect("laid out for training");
    if let Some(scale) = training.scale {
        backend.write_f32(scale, &[SCALE, 0.0])?;
    }
    [training.m, training.v].into_iter().try_for_each(|mat| backend.write_f32(mat, &vec![0.0; mat.len()]))
}

/// Those of the last batch, unscaled.
fn gradients(memory: &Memory, backend: &mut dyn Backend) -> Result<Vec<f32>> {
    let training = memory.training.as_ref().expect("laid out for training");
    let factor = if training.scale.is_some() { 1.0 / SCALE } else { 1.0 };
    Ok(backend.read_f32(training.grads)?.into_iter().map(|g| g * factor).collect())
}

/// Compares everything that a golden set holds with what a device computes.
pub fn against(prefix: &Path, dtype: DType, device: &Device) -> Result<Vec<Line>> {
    let path = with_suffix(prefix, ".json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read the golden set", &path))?;
    let about: Value = serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    if about.get("block_lengths").is_some() {
        return blocks::Set::open(prefix, about)?.against(dtype, device);
    }
    if about.get("all_symbols_are_real").is_some() {
        return noised::Set::open(prefix, &about)?.against(dtype, device);
    }
    let golden = Golden::open(prefix, &about)?;
    let config = &golden.config;
    let targets = golden.targets();
    let Some(&[sequences, positions]) = golden.io.shape(targets) else {
        return Err(Error::input(format!("{}: has no {targets} of [batch, positions]", golden.io.path().display())));
    };
    if positions != config.sequence_len {
        return Err(Error::input(format!(
            "{}: {targets} has {positions} positions, the configuration {}",
            golden.io.path().display(),
            config.sequence_len
        )));
    }
    let mut plan = Plan::new();
    let storage = device.storage(dtype);
    let harness = Harness::lay_out(&mut plan, &golden.process, config, sequences, storage);
    let mut backend = device.open(Arc::new(plan))?;
    let device = backend.as_mut();
    harness.begin(device, &golden.weights)?;
    let (memory, params) = (&harness.process.model().memory, &harness.process.model().params);
    let shape = [sequences, positions];
    device.write_u32(harness.batch.x0, &golden.ids(targets, &shape)?)?;
    if golden.set == Set::Gpt {
        device.write_u32(harness.batch.xt, &golden.ids("idx", &shape)?)?;
        let rows = harness.batch.weight.len();
        device.write_f32(harness.batch.weight, &vec![1.0 / rows as f32; rows])?;
    }
    if golden.set == Set::Masked {
        let xt = golden.ids("x_t", &shape)?;
        device.write_u32(harness.batch.xt, &xt)?;
        device.write_u32(harness.batch.t, &golden.ids("t", &shape[..1])?)?;
        let mask = golden.process.mask_token_id();
        let masked = xt.iter().filter(|&&id| id == mask).count();
        let weight = xt.iter().map(|&id| if id == mask { 1.0 / masked as f32 } else { 0.0 });
        device.write_f32(harness.batch.weight, &weight.collect::<Vec<_>>())?;
    }

    let factor = slack(storage);
    let mut lines = Vec::new();
    let mut compare = |what: &str, ours: &[f32], golden: &[f32], tolerance: f64| {
        lines.push(line(what.to_owned(), ours, golden, tolerance * factor));
    };
    device.run(&harness.forward, &StepArgs::default())?;
    let logits = golden.io.get::<f32>(&golden.name("logits"), &[sequences, positions, config.vocab_size])?;
    compare("logits", &device.read_f32(harness.logits)?, &logits, LOGITS);
    let token_loss = golden.io.get::<f32>(&golden.name("token_loss"), &shape)?;
    compare("per-token loss", &device.read_f32(harness.cross_entropy)?, &token_loss, LOSS);

    let loss = harness.learn(device)?;
    compare("loss", &[loss], &golden.io.get_any::<f32>(&golden.name("loss"))?, LOSS);
    let gradients = harness.gradients(device)?;
    compare_params(params, "gradient of", &gradients, &golden.tensors("grads")?, GRADIENT, &mut compare);

    let mut losses = vec![loss];
    for step in 0..5 {
        harness.update(device, step)?;
        let done = step + 1;
        if done == 1 || done == 5 {
            let ours = device.read_f32(memory.weights)?;
            let theirs = golden.tensors(&format!("after{done}"))?;
            let steps = if done == 1 { "1 step" } else { "5 steps" };
            compare_params(params, &format!("after {steps}:"), &ours, &theirs, PARAMETER, &mut compare);
        }
        losses.push(harness.learn(device)?);
    }
    compare("losses before and after 5 steps", &losses, &golden.io.get::<f32>(&golden.name("losses"), &[6])?, LOSS);
    Ok(lines)
}

fn compare_params(
    params: &Params,
    what: &str,
    ours: &[f32],
    golden: &[f32],
    tolerance: f64,
    compare: &mut impl FnMut(&str, &[f32], &[f32], f64),
) {
    for p in params.iter() {
        let [ours, golden] = [ours, golden].map(|all| counted(p, &all[p.range()]));
        compare(&format!("{what} {}", p.name), &ours, &golden, tolerance);
    }
}

/// What of a parameter is compared. The bias of an attention's keys moves all scores of a query alike: its gradient is 0, what a
/// computer finds is rounding, and AdamW makes steps of up to the learning rate of it.
fn counted(p: &Param, values: &[f32]) -> Vec<f32> {
    if !p.name.ends_with("attn.c_attn.bias") {
        return values.to_vec();
    }
    let width = values.len() / 3;
    [&values[..width], &values[2 * width..]].concat()
}

fn line(what: String, ours: &[f32], golden: &[f32], tolerance: f64) -> Line {
    assert_eq!(ours.len(), golden.len(), "{what}");
    let (mut square, mut norm, mut max_abs) = (0.0, 0.0, 0.0_f64);
    for (&a, &b) in ours.iter().zip(golden) {
        let d = f64::from(a) - f64::from(b);
        square += d * d;
        norm += f64::from(b) * f64::from(b);
        max_abs = if d.is_nan() { f64::NAN } else { max_abs.max(d.abs()) };
    }
    let relative = if square == 0.0 { 0.0 } else { (square / norm).sqrt() };
    Line { what, relative, max_abs, tolerance }
}
