//! Steps of small models.

use super::Texts;
use crate::check::Trial;
use crate::config::{
    Architecture, Autoencoder, Averages, Family, ModelConfig, Objective, OptimizerConfig, Preset, ProcessConfig,
    Schedule,
};
use crate::data::Corpus;
use crate::error::Result;
use crate::program::Storage;
use crate::workload::{Step, Subject, Workload};
use std::sync::Arc;

/// A model of one block, and a batch for it.
struct Small<'a> {
    /// `[heads, columns of each]`.
    heads: [usize; 2],
    positions: usize,
    sequences: usize,
    text: &'a Arc<Corpus>,
    objective: Objective,
    family: Family,
    /// Of block diffusion; not looked at elsewhere.
    block_length: usize,
    architecture: Architecture,
    dropout: f32,
}

/// Timesteps and context of models that are trained as the original is.
const TIMESTEPS: usize = 16;
const CONTEXT: usize = 4;

/// Every head dimension that there are kernels for, in sequences that the attention's backward holds on chip and longer ones;
/// 66 symbols, which are read in pairs, and 128; every objective, the simple ones by models that mix neighbouring positions. Each
/// is trained and denoises.
fn small(texts: &Texts) -> [Small<'_>; 22] {
    let (chars, ascii) = (&texts.chars, &texts.ascii);
    let (nelbo, simple) = (Objective::nelbo, Objective::simple);
    let model = |heads, [positions, sequences]: [usize; 2], text, objective| Small {
        heads,
        positions,
        sequences,
        text,
        objective,
        family: if objective == Objective::Nll { Family::Autoregressive } else { Family::Masked },
        block_length: 0,
        architecture: Architecture::Original,
        dropout: 0.0,
    };
    let gpt = |heads, size, bias| Small {
        architecture: Architecture::Gpt { bias },
        ..model(heads, size, chars, Objective::Nll)
    };
    let blocks = |length, heads, size, objective| Small {
        family: Family::Block,
        block_length: length,
        ..model(heads, size, chars, objective)
    };
    [
        // Rows enough for weight gradients in slices.
        model([2, 32], [64, 8], chars, simple(Schedule::Linear)),
        model([3, 64], [50, 2], ascii, Objective::Original),
        model([1, 128], [130, 1], chars, nelbo(Schedule::Cosine)),
        model([1, 32], [300, 1], chars, Objective::NelboCount),
        model([1, 64], [300, 1], chars, nelbo(Schedule::LogLinear)),
        model([3, 16], [40, 2], chars, simple(Schedule::Quadratic)),
        // Nothing in it is a multiple of 8.
        model([3, 14], [75, 1], chars, nelbo(Schedule::Linear)),
        // From left to right.
        model([2, 32], [70, 2], chars, Objective::Nll),
        // Block by block: blocks that tiles of keys are no multiples of, on sequences of more tiles than one. It drops numbers.
        Small { dropout: 0.2, ..blocks(10, [2, 64], [140, 1], nelbo(Schedule::Linear)) },
        blocks(35, [2, 32], [70, 2], nelbo(Schedule::Cosine)),
        blocks(7, [1, 128], [70, 1], Objective::NelboCount),
        // Noise that turns tokens into others, by its bound and by the cross-entropy.
        Small { family: Family::Uniform, ..model([1, 32], [30, 2], chars, nelbo(Schedule::Cosine)) },
        Small { family: Family::Mixed, ..model([1, 32], [30, 2], chars, simple(Schedule::Linear)) },
        // Soft tokens, in two passes.
        Small { family: Family::Relaxed, ..model([1, 32], [30, 2], chars, simple(Schedule::Linear)) },
        // Vectors with Gaussian noise, by errors and by the cross-entropy.
        Small { family: Family::Gaussian, ..model([1, 32], [30, 2], chars, nelbo(Schedule::Linear)) },
        Small { family: Family::Gaussian, ..model([2, 32], [30, 2], chars, simple(Schedule::Cosine)) },
        // Latents of three symbols each, whose encoder, denoiser and decoder learn at once.
        Small { family: Family::Latent, ..model([1, 32], [30, 2], chars, nelbo(Schedule::Linear)) },
        // The same heads of GPTs.
        gpt([2, 32], [64, 8], true),
        gpt([1, 64], [70, 1], false),
        gpt([1, 128], [70, 1], true),
        gpt([3, 14], [75, 1], true),
        Small { dropout: 0.2, ..gpt([2, 10], [35, 2], true) },
    ]
}

/// Every product of it has at least 128 tiles of rows, the last of them ragged: as few as are taken large. It denoises only.
fn many_rows(texts: &Texts, architecture: Architecture) -> Small<'_> {
    let objective = Objective::nelbo(Schedule::Linear);
    Small {
        heads: [2, 64],
        positions: 127,
        sequences: 129,
        text: &texts.chars,
        objective,
        family: Family::Masked,
        block_length: 0,
        architecture,
        dropout: 0.0,
    }
}

pub(super) fn trials(storage: Storage, texts: &Texts) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    let mut add = |small: &Small, step| -> Result<()> {
        let workload = Workload::new(&small.subject(), step, storage, small.sequences)?;
        trials.push(Trial::from(workload));
        Ok(())
    };
    for small in &small(texts) {
        add(small, Step::Train)?;
        add(small, Step::Denoise)?;
    }
    add(&many_rows(texts, Architecture::Original), Step::Denoise)?;
    add(&many_rows(texts, Architecture::GPT), Step::Denoise)?;
    Ok(trials)
}

impl Small<'_> {
    fn subject(&self) -> Subject {
        let [n_head, head_dim] = self.heads;
        let vocab = self.text.vocab();
        let as_original = self.objective == Objective::Original;
        let plural = if n_head == 1 { "" } else { "s" };
        // No two have one name.
        let kind = match (self.architecture, self.family) {
            (Architecture::Gpt { .. }, _) => "gpt",
            (_, Family::Autoregressive) => "causal model",
            (_, Family::Block) => "block diffusion model",
            (_, Family::Uniform) => "uniform diffusion model",
            (_, Family::Mixed) => "mixed diffusion model",
            (_, Family::Gaussian) => "gaussian diffusion model",
            (_, Family::Relaxed) => "relaxed diffusion model",
            (_, Family::Latent) => "latent diffusion model",
            (_, Family::Masked | Family::Joint) => "model",
        };
        Subject {
            name: format!("a {kind} of {n_head} head{plural} of {head_dim}"),
            model: ModelConfig {
                n_layer: 1,
                n_head,
                n_embd: n_head * head_dim,
                sequence_len: self.positions,
                vocab_size: vocab.size(),
                diffusion_steps: if as_original || self.family.timesteps() > Some(0) { TIMESTEPS } else { 0 },
                short_conv: if matches!(self.objective, Objective::Simple { .. }) { 5 } else { 0 },
                vector_dims: self.family.vector_dims(),
                autoencoder: (self.family == Family::Latent).then_some(Autoencoder { pool: 3, n_layer: 1 }),
                architecture: self.architecture,
            },
            process: match self.family.config(vocab.mask_id()) {
                ProcessConfig::Masked { mask_token_id, .. } if as_original => {
                    ProcessConfig::Masked { mask_token_id, context_len: CONTEXT, prompt_drop: 0.5 }
                }
                process => process.of_blocks(self.block_length),
            },
            part: self.family,
            weights: None,
            objective: self.objective,
            optimizer: OptimizerConfig {
                lr: 1e-3,
                clip: if as_original { 0.0 } else { 1.0 },
                dropout: self.dropout,
                ema: if as_original { Averages::default() } else { Averages::of(0.9) },
                ..Preset::Nano.training().optimizer
            },
            corpus: Arc::clone(self.text),
        }
    }
}
