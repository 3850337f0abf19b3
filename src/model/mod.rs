//! The denoising transformer, as a writer of programs.
//!
//! `x = norm(token[x_t] + time[t])`; per block `x += attention(norm(x))`, `x += mlp(norm(x))`; `logits = norm(x) W_headᵀ`.
//! Norms have no weights, queries and keys are rotated and normed per head, the MLP is `relu(x W_fcᵀ)² W_projᵀ`, there
//! are no biases (the model of github.com/nathan-barry/tiny-diffusion). A model with short convolutions mixes neighbouring
//! positions of x before each attention and each MLP: `x += conv(x)`; those of a causal one see what is before alone. [`gpt`] is
//! the other model that there is.

mod backward;
mod dropout;
mod forward;
pub mod gpt;
mod memory;
mod params;
mod pass;
mod pooling;
mod update;

pub use forward::{Block, Embedding, Stream};
pub use memory::{Memory, TrainingMemory, Use};
pub use params::{Param, Params, Role};
pub use pass::{Attend, Cost, Forward, Heads, Keep, Kept, Last, Noised, Tokens, Vectors};

use crate::config::{Architecture, ModelConfig, ProcessConfig};
use crate::program::{AttentionMask, Mat, Plan, Storage};

/// A transformer and where its numbers live: a model by itself, or one of several modules over the same weights.
#[derive(Clone, Debug)]
pub struct Transformer {
    /// Its dimensions, as the file of a trained model has them.
    pub config: ModelConfig,
    /// Parameter tensors of all modules.
    pub params: Params,
    /// What the names of its own begin with; empty for a model by itself.
    prefix: String,
    /// Who sees whom.
    pub mask: AttentionMask,
    /// What a short convolution sees.
    pub taps: Taps,
    /// Probability of a number to be dropped in a pass that is learned from.
    dropout: f32,
    /// Where its parameters and activations lie.
    pub memory: Memory,
}

/// Which positions the taps of a short convolution stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taps {
    /// A position itself, and as many before it as behind it.
    Around,
    /// It and those before it.
    Before,
}

impl Transformer {
    /// Lays a model by itself out in a plan, stored as a device wants it.
    pub fn new(plan: &mut Plan, config: &ModelConfig, mask: AttentionMask, storage: Storage, used: Use) -> Self {
        let params = Params::new(config);
        let memory = Memory::lay_out(plan, &params, storage, used);
        Transformer { dropout: used.dropout(), ..Transformer::module("", config, mask, &params, &memory) }
    }

    /// The module of this prefix, one of those that [`Params::of_modules`] packs into the same memory; nothing of it is dropped.
    pub fn module(prefix: &str, config: &ModelConfig, mask: AttentionMask, params: &Params, memory: &Memory) -> Self {
        Transformer {
            config: config.clone(),
            params: params.clone(),
            prefix: prefix.into(),
            mask,
            taps: if mask == AttentionMask::Causal { Taps::Before } else { Taps::Around },
            dropout: 0.0,
            memory: memory.clone(),
        }
    }

    /// Lays a model of latents out: denoiser, encoder and decoder over one memory.
    pub fn of_latents(
        plan: &mut Plan,
        config: &ModelConfig,
        process: &ProcessConfig,
        storage: Storage,
        used: Use,
    ) -> [Self; 3] {
        let params = Params::of_run(config, process);
        let memory = Memory::lay_out(plan, &params, storage, used);
        let coder = config.coder();
        [("", config), (params::ENCODER, &coder), (params::DECODER, &coder)].map(|(prefix, config)| {
            let module = Transformer::module(prefix, config, AttentionMask::Bidirectional, &params, &memory);
            Transformer { dropout: used.dropout(), ..module }
        })
    }

    /// The same over the same memory, seen otherwise.
    pub fn seeing(&self, mask: AttentionMask, taps: Taps) -> Self {
        Transformer { mask, taps, ..self.clone() }
    }

    /// A parameter's place within `all`, which holds every parameter (or gradient).
    fn param(&self, all: Mat, name: &str) -> Mat {
        self.params.mat(all, &format!("{}{name}", self.prefix))
    }

    /// q, k and v of a block as one `[3C, C]` matrix.
    pub fn qkv(&self, all: Mat, block: usize) -> Mat {
        let q = self.param(all, &format!("blocks.{block}.attn.c_q.weight"));
        Mat { rows: 3 * q.rows, ..q }
    }

    /// A parameter as the matmuls read it.
    fn weight(&self, name: &str) -> Mat {
        self.param(self.memory.stored, name)
    }

    /// Whether norms and products have biases.
    fn has_biases(&self) -> bool {
        self.config.architecture == Architecture::Gpt { bias: true }
    }

    /// Taps of the convolutions that see what stands before a position.
    fn taps_before(&self) -> u32 {
        let taps = self.config.short_conv as u32;
        match self.taps {
            Taps::Around => taps / 2,
            Taps::Before => taps.saturating_sub(1),
        }
    }

    /// The tokens' vectors within `all`, of a model that reads vectors, before they are made as long as one another.
    pub fn vector_table(&self, all: Mat) -> Mat {
        self.param(all, "token_emb.weight")
    }

    /// The time embedding's table within `all`, if the model has one.
    fn time_table(&self, all: Mat) -> Option<Mat> {
        (self.config.diffusion_steps > 0).then(|| self.param(all, "time_emb.weight"))
    }
}
