//! The denoiser's dimensions, under the names that the original's configuration has.

use super::Autoencoder;
use crate::error::{Error, Result};
use crate::terminal::thousands;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// Most columns of a head: what the kernels that take any head have room for.
pub const LARGEST_HEAD: u32 = 1024;

/// Most numbers of a vector: what the kernels have room for.
pub const LARGEST_VECTOR: usize = 1024;

/// What a transformer is built of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Architecture {
    /// tiny-diffusion's: norms without weights, rotated and normed queries and keys, relu², no biases.
    #[default]
    Original,
    /// GPT-2's as nanoGPT has it: LayerNorm, learned positions, GELU, the head tied to the embedding.
    Gpt {
        /// Whether norms and products have biases.
        bias: bool,
    },
}

/// Numbers that say how much noise there is in the vectors that a model reads.
pub const NOISE_FEATURES: usize = 16;

impl Architecture {
    /// A GPT as nanoGPT trains it.
    pub const GPT: Self = Architecture::Gpt { bias: false };

    fn is_original(&self) -> bool {
        *self == Architecture::Original
    }
}

impl ValueEnum for Architecture {
    fn value_variants<'a>() -> &'a [Self] {
        &[Architecture::Original, Architecture::GPT]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Architecture::Original => PossibleValue::new("original")
                .help("tiny-diffusion's: norms without weights, rotary positions, relu², no biases"),
            Architecture::Gpt { .. } => PossibleValue::new("gpt").help(
                "GPT-2's as nanoGPT has it: LayerNorm, learned positions, GELU, a tied head; with biases by \
                 --set model.architecture.bias=true",
            ),
        })
    }
}

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
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub short_conv: usize,
    /// d, numbers of the vectors that tokens are, of a model that reads vectors with noise; 0 for one that reads tokens.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub vector_dims: usize,
    /// What makes those of several tokens each; none where each is of one token, or there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<Autoencoder>,
    /// What it is built of.
    #[serde(default, skip_serializing_if = "Architecture::is_original")]
    pub architecture: Architecture,
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

    /// The encoder, and the decoder, of a model of latents, as models of tokens by themselves.
    pub fn coder(&self) -> ModelConfig {
        let n_layer = self.autoencoder.map_or(0, |coder| coder.n_layer);
        ModelConfig { n_layer, vector_dims: 0, autoencoder: None, ..self.clone() }
    }

    /// Tokens of a vector, or of what else a denoiser has a row for.
    pub fn pool(&self) -> usize {
        self.autoencoder.map_or(1, |coder| coder.pool)
    }

    /// Numbers that a model of vectors reads of a position: the vector with noise, what it was thought to be without, and how much
    /// noise there is.
    pub fn vector_inputs(&self) -> usize {
        2 * self.vector_dims + NOISE_FEATURES
    }

    /// Number of parameters.
    pub fn n_params(&self) -> usize {
        let c = self.n_embd;
        if let Architecture::Gpt { bias } = self.architecture {
            // Gains of two norms a block and the last one's; with biases as many, and 3C, C, F and C of the products.
            let [per_block, last] = if bias { [4 * c + 5 * c + self.mlp_width(), 2 * c] } else { [2 * c, c] };
            let block = 4 * c * c + 2 * c * self.mlp_width() + per_block;
            return (self.vocab_size + self.sequence_len) * c + self.n_layer * block + last;
        }
        let block = 4 * c * c + 2 * c * self.mlp_width() + 2 * self.short_conv * c;
        if let Some(coder) = self.autoencoder {
            let ends = (self.vector_inputs() + self.vector_dims) * c;
            return ends + self.n_layer * block + coder.n_params(self, block);
        }
        let read = match self.vector_dims {
            0 => self.vocab_size * c,
            dims => self.vocab_size * dims + self.vector_inputs() * c,
        };
        read + (self.vocab_size + self.diffusion_steps) * c + self.n_layer * block
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
            ("numbers of a vector (vector_dims)", self.vector_dims, 0..=LARGEST_VECTOR),
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
        if self.architecture != Architecture::Original {
            let others =
                [("timesteps", "--timesteps", self.diffusion_steps), ("taps", "--short-conv", self.short_conv)];
            if let Some((what, option, n)) = others.into_iter().find(|(.., n)| *n > 0) {
                return Err(Error::input(format!("{n} {what} in a gpt, which has none; give {option} 0")));
            }
            if self.vector_dims > 0 {
                return Err(Error::input(
                    "a gpt reads tokens, and no vectors; give --model original, or another --process",
                ));
            }
        }
        if let Some(coder) = self.autoencoder {
            coder.validate(self)?;
        }
        if self.vocab_size < 2 || self.vocab_size > 1 << 16 {
            return Err(Error::input(format!("a vocabulary of {} symbols; wanted 2 to 65536", self.vocab_size)));
        }
        Ok(())
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!(
            "{}{} layers, {} heads, {} wide, {} positions, {} symbols{}{}{}{}: {} parameters",
            match self.architecture {
                Architecture::Original => "",
                Architecture::Gpt { bias: false } => "gpt, ",
                Architecture::Gpt { bias: true } => "gpt with biases, ",
            },
            self.n_layer,
            self.n_head,
            self.n_embd,
            self.sequence_len,
            self.vocab_size,
            if self.diffusion_steps > 0 { format!(", {} timesteps", self.diffusion_steps) } else { String::new() },
            if self.short_conv > 0 { format!(", convolutions of {}", self.short_conv) } else { String::new() },
            if self.vector_dims > 0 { format!(", vectors of {}", self.vector_dims) } else { String::new() },
            self.autoencoder.map_or(String::new(), |Autoencoder { pool, n_layer }| {
                format!(" for each {pool} symbols, encoder and decoder of {n_layer} layers each")
            }),
            thousands(self.n_params() as u64),
        )
    }
}
