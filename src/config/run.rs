//! A training run: what `config.toml` in a run folder says, all that is needed to repeat it.

use super::{Averages, BatchGrowth, DType, DataConfig, Family, ModelConfig, Objective, ProcessConfig, Validation};
use crate::error::{Error, Result};
use crate::terminal::thousands;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Version of tempest that wrote it.
    pub version: String,
    /// Key of every random number.
    pub seed: u64,
    /// Storage of activations and matmul inputs; weights, gradients and moments are always f32.
    pub dtype: DType,
    /// Dimensions of the denoiser.
    pub model: ModelConfig,
    /// What it undoes.
    pub process: ProcessConfig,
    /// The text that is trained on.
    pub data: DataConfig,
    /// What is minimised.
    pub objective: Objective,
    /// How the parameters are updated.
    pub optimizer: OptimizerConfig,
    /// How long, how many at once, and what happens on the way.
    pub train: TrainConfig,
    /// The model whose weights it begins with; drawn at random where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FromConfig>,
}

/// A model that a run begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromConfig {
    /// Its `model.safetensors`.
    pub model: String,
    /// SHA-256 of that file, in hexadecimal.
    pub sha256: String,
}

/// Learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LrSchedule {
    /// The peak, at every step after the warm-up.
    Constant,
    /// Half a cosine down to `min_lr` at the last step.
    Cosine,
    /// Straight down to `min_lr`, which the step after the last would have.
    Linear,
    /// Stays, and goes straight down to that over the last fifth of the steps (warmup-stable-decay, Hu et al. 2024; the share
    /// of Hägele et al. 2024).
    Wsd,
}

/// What updates the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Optimizer {
    /// AdamW for all of them
    #[value(name = "adamw")]
    AdamW,
    /// Muon for the matrices of the blocks, AdamW for embeddings and the head
    Muon,
}

/// Muon, for the matrices of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuonConfig {
    /// Peak learning rate of the matrices, which goes up and down as the other's does.
    pub lr: f32,
}

impl MuonConfig {
    /// The peak learning rate where none is said.
    pub const LR: f32 = 0.03;

    /// How much higher a rate AdamW's parameters take beside Muon than where AdamW updates all (docs/speedrun.md).
    const ADAMW_RATIO: f32 = 4.0;
}

/// AdamW and what surrounds it, against overfitting too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub lr: f32,
    /// Last learning rate of a schedule that goes down.
    pub min_lr: f32,
    /// After the warm-up.
    pub schedule: LrSchedule,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay, on all parameters.
    pub weight_decay: f32,
    /// Largest global gradient norm; 0 for no clipping.
    pub clip: f32,
    /// Probability of a number to be dropped while the model learns (Srivastava et al. 2014): of what MLPs add to the stream, and
    /// of a gpt of its embedding, its attention's weights and what they add too; 0 for none.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub dropout: f32,
    /// Decays of the weights' averages, warmed up as (1 + step)/(10 + step).
    pub ema: Averages,
    /// Where the matrices of the blocks take Muon instead of AdamW.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon: Option<MuonConfig>,
}

/// Length of the run, and what is measured and stored on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimizer steps in all.
    pub steps: u64,
    /// Sequences of a micro-batch; of the first ones where it grows.
    pub batch: usize,
    /// What the micro-batch grows to, and when.
    #[serde(default, skip_serializing_if = "BatchGrowth::is_empty")]
    pub batch_growth: BatchGrowth,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Steps between validation NELBOs; 0 for only at the end.
    pub eval_every: u64,
    /// Windows of the validation split in each of them (0 for all).
    pub eval_windows: usize,
    /// Steps between samples; 0 for only at the end.
    pub sample_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// What the samples begin with; nothing, or what the model's context wants of the validation split, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_prompt: Option<String>,
}

impl RunConfig {
    /// Reads the file of a run's configuration, and refuses one that cannot be trained.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read the configuration", path))?;
        let config = RunConfig::from_toml(&text).and_then(|config| config.validate().map(|()| config));
        config.map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// The text of such a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is plain data")
    }

    /// Reads a `config.toml` of this version or an earlier one, of masked diffusion then.
    pub fn from_toml(text: &str) -> Result<Self> {
        let unread = |e: toml::de::Error| Error::input(e.to_string());
        let mut run: toml::Table = toml::from_str(text).map_err(unread)?;
        if let Some(process) = run.get("process") {
            process.as_table().map_or(Ok(()), Family::check)?;
            return toml::from_str(text).map_err(unread); // Its errors name the line.
        }
        if let Some(toml::Value::Table(model)) = run.get_mut("model") {
            let process = ProcessConfig::taken_out_of(model);
            run.insert("process".into(), process.into());
        }
        run.try_into().map_err(unread)
    }

    /// What stays as it is while a run goes on: without the program's version, the places of files, the number of steps, and
    /// what is measured and stored on the way.
    pub fn lasting(&self) -> Self {
        let train = TrainConfig {
            steps: 0,
            eval_every: 0,
            eval_windows: 0,
            sample_every: 0,
            checkpoint_every: 0,
            sample_prompt: None,
            ..self.train.clone()
        };
        let mut lasting = RunConfig { version: String::new(), train, ..self.clone() };
        lasting.data.source = String::new();
        if let Some(Validation::Path(path)) = &mut lasting.data.validation {
            path.clear();
        }
        lasting.data.tokenizer.iter_mut().for_each(|tokenizer| tokenizer.file = String::new());
        lasting.from.iter_mut().for_each(|from| from.model = String::new());
        lasting
    }

    /// Refuses what cannot be trained.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.process.validate(&self.model)?;
        if self.seed > i64::MAX as u64 {
            return Err(Error::input(format!(
                "seed is {}; wanted at most {}, the largest that config.toml holds",
                self.seed,
                i64::MAX
            )));
        }
        self.objective.validate()?;
        for (what, value) in [
            ("batch", self.train.batch),
            ("accumulate", self.train.accumulate),
            ("steps", self.train.steps as usize),
            ("checkpoint_every", self.train.checkpoint_every as usize),
        ] {
            if value == 0 {
                return Err(Error::input(format!("{what} is 0; wanted at least 1")));
            }
        }
        self.train.batch_growth.validate(self.train.batch, self.train.steps)?;
        let (batch, positions) = (self.train.largest_batch(), self.model.sequence_len);
        if batch.saturating_mul(self.train.accumulate).saturating_mul(positions) > u32::MAX as usize {
            return Err(Error::input(format!(
                "a step of {batch} × {} sequences of {positions} tokens is more than 2³² tokens; lower --batch or --accumulate",
                self.train.accumulate
            )));
        }
        let (o, params) = (&self.optimizer, self.model.n_params());
        // Its kernels find a matrix by 32 bits.
        if o.muon.is_some() && params > u32::MAX as usize {
            return Err(Error::input(format!(
                "the model has {} parameters, and muon updates at most 2³²; make the model smaller, or give --optimizer adamw",
                thousands(params as u64)
            )));
        }
        let fraction = |x: f32| (0.0..1.0).contains(&x);
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let muon_lr = o.muon.map_or(MuonConfig::LR, |muon| muon.lr);
        let checks = [
            ("lr", o.lr, positive(o.lr), "a finite number above 0"),
            ("muon_lr", muon_lr, positive(muon_lr), "a finite number above 0"),
            ("min_lr", o.min_lr, (0.0..=o.lr).contains(&o.min_lr), "between 0 and lr"),
            ("beta1", o.beta1, fraction(o.beta1), "at least 0 and below 1"),
            ("beta2", o.beta2, fraction(o.beta2), "at least 0 and below 1"),
            ("dropout", o.dropout, fraction(o.dropout), "at least 0 and below 1"),
            ("eps", o.eps, positive(o.eps), "a finite number above 0"),
            (
                "weight_decay",
                o.weight_decay,
                o.weight_decay >= 0.0 && o.weight_decay.is_finite(),
                "a finite number of at least 0",
            ),
            ("clip", o.clip, o.clip >= 0.0 && o.clip.is_finite(), "a finite number of at least 0 (0 switches it off)"),
        ];
        for (what, value, good, wanted) in checks {
            if !good {
                return Err(Error::input(format!("{what} is {value}; wanted {wanted}")));
            }
        }
        o.ema.validate()
    }
}

impl TrainConfig {
    /// The sizes of micro-batches, each with the step from which on it is taken, counted from 0.
    pub fn batches(&self) -> impl Iterator<Item = (u64, usize)> {
        std::iter::once((0, self.batch)).chain(self.batch_growth.changes().iter().copied())
    }

    /// Sequences of the largest micro-batch.
    pub fn largest_batch(&self) -> usize {
        self.batches().last().expect("there is a first").1
    }

    /// Sequences that the first so many steps learn from, as far as they can be counted.
    pub fn sequences(&self, steps: u64) -> u64 {
        let ends = self.batches().skip(1).map(|(from, _)| from).chain([u64::MAX]);
        let part = |((from, batch), end): ((u64, usize), u64)| {
            steps.min(end).saturating_sub(from).saturating_mul(batch as u64)
        };
        self.batches().zip(ends).map(part).fold(0, u64::saturating_add).saturating_mul(self.accumulate as u64)
    }
}

impl OptimizerConfig {
    /// What updates the parameters.
    pub fn kind(&self) -> Optimizer {
        if self.muon.is_some() { Optimizer::Muon } else { Optimizer::AdamW }
    }

    /// Changes what updates the parameters, and AdamW's learning rates with it.
    pub fn update_by(&mut self, optimizer: Optimizer) {
        let ratio = match (self.kind(), optimizer) {
            (Optimizer::AdamW, Optimizer::Muon) => MuonConfig::ADAMW_RATIO,
            (Optimizer::Muon, Optimizer::AdamW) => 1.0 / MuonConfig::ADAMW_RATIO,
            _ => return,
        };
        (self.lr, self.min_lr) = (self.lr * ratio, self.min_lr * ratio);
        self.muon = (optimizer == Optimizer::Muon).then_some(MuonConfig { lr: MuonConfig::LR });
    }

    /// Learning rate of step 0, 1, …: linear warm-up, then the schedule to the last of `steps`.
    pub fn lr_at(&self, step: u64, steps: u64) -> f32 {
        if step < self.warmup {
            return self.lr * (step + 1) as f32 / self.warmup as f32;
        }
        let share = |first: u64, of: u64| (step.saturating_sub(first) as f64 / of.max(1) as f64).min(1.0);
        let straight = |first: u64| 1.0 - share(first, steps.saturating_sub(first));
        let factor = match self.schedule {
            LrSchedule::Constant => return self.lr,
            LrSchedule::Cosine => {
                let done = share(self.warmup, steps.saturating_sub(self.warmup + 1));
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            LrSchedule::Linear => straight(self.warmup),
            LrSchedule::Wsd => straight(self.warmup.max(steps - steps / 5)),
        };
        (f64::from(self.min_lr) + f64::from(self.lr - self.min_lr) * factor) as f32
    }

    /// The most that an average of the weights keeps of itself in step 0, 1, …
    pub fn ema_warmup_at(&self, step: u64) -> f32 {
        (1.0 + step as f32) / (10.0 + step as f32)
    }
}
