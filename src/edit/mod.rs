//! Editing: gaps of a text are filled, improbable characters replaced, passages written anew. A model of diffusion sees what stands
//! on both sides of a place, which one that writes from left to right does not.
//!
//! - [`fill()`]: the gaps of a text, of known or unknown length ([`gaps::Gapped`]); several candidates, ranked by likelihood.
//!   [`cloze`] says how well, by words that were taken out.
//! - [`repair()`]: characters that are improbable given all others. [`bench`](mod@bench) says how well, by errors that are known ([`typos`]).
//! - [`rewrite()`]: passages that get some noise and lose it again.
//!
//! Texts may be of any length: what is longer than a model's window is worked on in windows that overlap. Nothing here reads or
//! writes files or a terminal.

pub mod bench;
pub mod cloze;
mod directed;
pub mod fill;
pub mod gaps;
mod likelihood;
pub mod repair;
pub mod rewrite;
pub mod typos;
mod window;
mod write;

pub use fill::{Candidate, FillConfig, LengthPrior, fill};
pub use gaps::Gapped;
pub use repair::{Edit, Lines, RepairConfig, Repaired, repair};
pub use rewrite::{Passage, RewriteConfig, rewrite};

use crate::config::Family;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};

/// How a model of some process sees both sides of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// Open tokens are masks, anywhere, and a mask may stay one: what is there is left open.
    Masks,
    /// Masks again, but only up to the end of the block that is written.
    Blocks,
    /// Open tokens are symbols like any other, and all of them change again and again.
    Symbols,
}

impl Sight {
    /// Refuses a model that sees one side alone; `what` is what it was to do.
    fn of(denoiser: &Denoiser, what: &str) -> Result<Self> {
        match denoiser.process_config().family() {
            Family::Masked | Family::Joint => Ok(Sight::Masks),
            Family::Block => Ok(Sight::Blocks),
            Family::Uniform | Family::Mixed | Family::Relaxed => Ok(Sight::Symbols),
            family @ (Family::Gaussian | Family::Latent) => Err(Error::input(format!(
                "a model of process {family} has vectors and no symbols while it writes, and cannot {what}; give one that was trained \
                 with --process masked, joint, block, uniform, mixed or relaxed"
            ))),
            family @ Family::Autoregressive => Err(Error::input(format!(
                "a model of process {family} sees nothing of what follows a place, and cannot {what}; give one that was trained with \
                 --process masked, joint, block, uniform, mixed or relaxed"
            ))),
        }
    }
}
