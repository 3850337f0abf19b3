//! Classifier-free guidance (Ho & Salimans 2022) of masked diffusion: texts are written as what is given makes them likelier than
//! they are without it.
//!
//! The condition is what is given of a text; without it there are masks. The denoiser reads every text both ways, and what it
//! predicts is extrapolated: `p ∝ p_c^(1+W)·p_u^(-W)`, D-CFG of Schiff et al. ("Simple Guidance Mechanisms for Discrete Diffusion
//! Models", 2024) with γ = 1 + W, which for masks guides what stands behind them and not how many are replaced. That a masked
//! prompt is no prompt is the "unsupervised" guidance of Nie et al. ("Scaling up Masked Diffusion Models on Text", 2024).

use super::Kind::{F32, Ids};
use super::{Contract, Describe, Mat, SamplingParams};

/// Every text of a batch as it is, and behind them all of them without what is given: there the mask stands where a position is
/// known that nobody has written ([`GIVEN`](super::GIVEN)). `open` says what each of the 2B rows does not know, by which a model
/// with timesteps is told how noisy it is; what is given before `context` does not count, which in training is no noise either.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unprompt {
    /// `[B, T]` u32.
    pub x: Mat,
    /// `[B, T]` u32, not 0 where unknown.
    pub masked: Mat,
    /// `[B, T]` u32: the step that committed a position, or [`GIVEN`](super::GIVEN).
    pub committed_at: Mat,
    pub mask_id: u32,
    /// Positions from 0 that noise never hits in training.
    pub context: u32,
    /// `[2B, T]` u32.
    pub x_both: Mat,
    /// `[2B, T]` u32, 1 where unknown.
    pub open: Mat,
}

impl Describe for Unprompt {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x.shape();
        contract.read("x", self.x, [b, t], Ids);
        contract.read("masked", self.masked, [b, t], Ids);
        contract.read("committed_at", self.committed_at, [b, t], Ids);
        contract.write("x_both", self.x_both, [2 * b, t], Ids);
        contract.write("open", self.open, [2 * b, t], Ids);
        contract.is_exact = true;
    }
}

/// `logits += W·(logits - unprompted)`, W the [guidance](SamplingParams::guidance) of a row's text: ln of the guided distribution,
/// up to a number of each row that no softmax sees. Every symbol for itself, so that one that is never predicted may be left out
/// behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guide {
    /// `[N, V]` f32, of the texts without what is given.
    pub unprompted: Mat,
    /// `[B, 11]` f32: [`SamplingParams`].
    pub params: Mat,
    /// `[N, V]` f32, updated.
    pub logits: Mat,
}

impl Describe for Guide {
    fn describe(&self, contract: &mut Contract) {
        let ([rows, symbols], texts) = (self.logits.shape(), self.params.rows);
        contract.read("unprompted", self.unprompted, [rows, symbols], F32);
        contract.read("params", self.params, [texts, SamplingParams::COLS], F32);
        contract.update("logits", self.logits, [rows, symbols], F32);
        contract.is_exact = true;
        contract.require(texts > 0 && rows.is_multiple_of(texts), || {
            format!("{rows} rows are no positions of {texts} texts")
        });
    }
}
