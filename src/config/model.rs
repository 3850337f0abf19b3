//! The denoiser's dimensions, under the names that the original's configuration has.

use crate::error::{Error, Result};
use crate::terminal::thousands;
use serde::{Deserialize, Serialize};

/// Most columns of a head: what the kernels that take any head have room for.
pub const LARGEST_HEAD: u32 = 1024;

/// Dimensions of a denoising transformer. Stored in every `model.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// L, transformer blocks.
    pub n_layer: usize,
    /// H, attention heads.
    pub n_head: usize,
    /// C, width of the residual stream.
    pub n_embd: usize,
    /// T, positions of a window.
    pub sequence_len: usize,
    /// V, symbols including the mask.
    pub vocab_size: usize,
    /// Timesteps of the learned time embedding; 0 for a model without one. A masked denoiser sees how much is masked
    /// and does not need to be told (Ou et al., RADD, 2024).
    pub diffusion_steps: usize,
    /// K, taps of the convolutions that mix neighbouring positions before attention and MLP of each block
    /// ([`ShortConv`](crate::program::ShortConv)); 0 for none, as in the original.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub short_conv: usize,
}

fn is_zero(taps: &usize) -> bool {
    *taps == 0
}

impl ModelConfig {
    /// D, columns of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// F, columns of the MLP's hidden layer.
    pub fn mlp_width(&self) -> usize {
        4 * self.n_embd
    }

    /// Number of parameters.
    pub fn n_params(&self) -> usize {
        let c = self.n_embd;
        let block = 4 * c * c + 2 * c * self.mlp_width() + 2 * self.short_conv * c;
        (2 * self.vocab_size + self.diffusion_steps) * c + self.n_layer * block
    }

    /// Whether the heads divide the width into parts of an even number of columns, as rotary embeddings need.
    pub fn heads_fit(&self) -> bool {
        self.n_head.checked_mul(2).is_some_and(|columns| columns > 0 && self.n_embd.is_multiple_of(columns))
    }

    /// Refuses dimensions that do not make a model.
    pub fn validate(&self) -> Result<()> {
        // Before anything is multiplied: products of these stay within 64 bits.
        let bounded = [
            ("layers (n_layer)", self.n_layer, 1..=1 << 10),
            ("width (n_embd)", self.n_embd, 1..=1 << 16),
            ("heads (n_head)", self.n_head, 1..=(self.n_embd / 2).max(1)),
            ("positions (sequence_len)", self.sequence_len, 1..=1 << 16),
            ("timesteps (diffusion_steps)", self.diffusion_steps, 0..=1 << 16),
            ("taps (short_conv)", self.short_conv, 0..=63),
        ];
        for (what, value, wanted) in bounded {
            if value < *wanted.start() {
                return Err(Error::input(format!("the model has 0 {what}; wanted at least 1")));
            }
            if value > *wanted.end() {
                let why = if what.starts_with("heads") { ", two columns a head" } else { "" };
                let most = wanted.end();
                return Err(Error::input(format!("the model has {value} {what}; wanted at most {most}{why}")));
            }
        }
        if !self.heads_fit() {
            return Err(Error::input(format!(
                "{} heads do not divide a width of {} into heads of an even number of columns",
                self.n_head, self.n_embd
            )));
        }
        if self.head_dim() > LARGEST_HEAD as usize {
            return Err(Error::input(format!(
                "heads of {} columns; wanted at most {LARGEST_HEAD}: {} heads (n_head) or more of a width of {}",
                self.head_dim(),
                self.n_embd.div_ceil(LARGEST_HEAD as usize),
                self.n_embd
            )));
        }
        if self.short_conv > 0 && self.short_conv.is_multiple_of(2) {
            return Err(Error::input(format!(
                "convolutions of {} taps (short_conv); wanted an odd number, or 0 for none",
                self.short_conv
            )));
        }
        if self.vocab_size < 2 || self.vocab_size > 1 << 16 {
            return Err(Error::input(format!("a vocabulary of {} symbols; wanted 2 to 65536", self.vocab_size)));
        }
        Ok(())
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!(
            "{} layers, {} heads, {} wide, {} positions, {} symbols{}{}: {} parameters",
            self.n_layer,
            self.n_head,
            self.n_embd,
            self.sequence_len,
            self.vocab_size,
            if self.diffusion_steps > 0 { format!(", {} timesteps", self.diffusion_steps) } else { String::new() },
            if self.short_conv > 0 { format!(", convolutions of {}", self.short_conv) } else { String::new() },
            thousands(self.n_params() as u64),
        )
    }
}
