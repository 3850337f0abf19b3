//! What makes vectors of tokens and tokens of vectors, and what a run learns of a model that has both.

use super::ModelConfig;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// An encoder and a decoder beside the denoiser, as wide as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// r, tokens that become one vector.
    pub pool: usize,
    /// Transformer blocks of either.
    pub n_layer: usize,
}

impl Autoencoder {
    /// Where nothing else is said.
    pub const USUAL: Autoencoder = Autoencoder { pool: 4, n_layer: 1 };

    /// Parameters of both, under the names that [`Params`](crate::model::Params) has for them.
    pub(super) fn n_params(self, model: &ModelConfig, block: usize) -> usize {
        2 * (self.n_layer * block + model.vocab_size * model.n_embd + self.pool * model.n_embd * model.vector_dims)
    }

    /// Refuses one that makes no vectors of a model's windows.
    pub(super) fn validate(self, model: &ModelConfig) -> Result<()> {
        let Autoencoder { pool, n_layer } = self;
        if n_layer > 1 << 10 {
            return Err(Error::input(format!(
                "an autoencoder of {n_layer} layers (--coder-layers); wanted at most 1024"
            )));
        }
        if model.vector_dims == 0 {
            return Err(Error::input("an autoencoder of vectors of 0 numbers; wanted --dims at least 1"));
        }
        if pool == 0 || !model.sequence_len.is_multiple_of(pool) {
            return Err(Error::input(format!(
                "vectors of {pool} tokens in a window of {}; wanted a --pool that divides it",
                model.sequence_len
            )));
        }
        Ok(())
    }
}

/// What a run learns of a model of latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Encoder and decoder; the denoiser stays as it is
    Autoencoder,
    /// All of it at once
    #[default]
    Joint,
    /// The denoiser, of the latents of an encoder that stays as it is
    Diffusion,
}

impl Stage {
    /// Whether encoder and decoder learn.
    pub fn learns_coder(self) -> bool {
        self != Stage::Diffusion
    }

    /// Whether the denoiser learns.
    pub fn learns_denoiser(self) -> bool {
        self != Stage::Autoencoder
    }
}
