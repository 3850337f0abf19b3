//! Tokens relaxed to distributions over symbols, so that what noise makes of a token has a gradient: Gumbel-softmax, or the
//! concrete distribution (Jang et al. 2017; Maddison et al. 2017).
//!
//! Of the law of interpolating noise ([`noised`](super::NoisedLoss)), `q(z|p) = (1-μ)·p(z) + b(z)` for a token that is v with
//! probability p(v), a draw is the z of the largest `ln q(z|p) + g(z)`, g Gumbel numbers; its relaxation is
//! `soft = softmax((ln q(·|p) + g)/τ)`, a row of [N, V], which becomes that draw as τ goes to 0.
//!
//! The network's logits are leave-one-out, as there. What a position's own token tells is added as its relaxation has it: a whole
//! token z tells that z is likelier by `c = ln(1 + (1-μ)/b(z))` than any other symbol, soft ones tell
//! `P = softmax(logits + c·soft)`, without the mask. Of whole tokens that is the posterior.

use super::Kind::{F32, Ids, Numbers};
use super::head::of_rows;
use super::{Contract, Describe, LogitsGrad, Mat, Mixing, sumsq_slots};
use crate::config::{Relaxation, Temperatures};

/// Whose noise is drawn: p of a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relaxing {
    /// Of known tokens `[B, T]`. Draws: `Stream::Gumbel`.
    Tokens(Mat),
    /// Of P that a network makes of soft ones: its logits `[N, V]`, and those `[N, V]`. Draws: `Stream::GumbelAgain`.
    Predicted { logits: Mat, before: Mat },
}

/// Noise over tokens, relaxed.
///
/// Draws: number `e mod 4` of [`gumbels`](crate::rng::gumbels), step = `args.step`·2³² + sequence, index = ⌊e/4⌋,
/// e = position·V + symbol. τ is that of `args.step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftTokens {
    pub of: Relaxing,
    /// `[B, 2]` u32: each sequence's noise rate in units of 2⁻²⁴, 1 to 2²⁴-1 where it lies beyond; the second is not looked at.
    pub rates: Mat,
    pub mixing: Mixing,
    pub temperatures: Temperatures,
    pub relaxation: Relaxation,
    /// `[N, V]`.
    pub soft: Mat,
}

/// Whether there is a column for every symbol, and the law has no zeros among those that can be predicted.
fn is_law(contract: &mut Contract, mixing: Mixing, columns: usize) {
    contract.require(mixing.has_others(), || "absorbing noise, which says what a token was or nothing".into());
    contract.require(mixing.symbols as usize <= columns, || format!("{mixing:?} of {columns} symbols"));
}

impl Describe for SoftTokens {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], b) = (self.soft.shape(), self.rates.rows);
        match self.of {
            Relaxing::Tokens(tokens) => {
                contract.read("tokens", tokens, [b, n / b], Ids);
            }
            Relaxing::Predicted { logits, before } => {
                contract.read("logits", logits, [n, v], F32);
                contract.read("before", before, [n, v], Numbers);
            }
        }
        contract.read("rates", self.rates, [b, 2], Ids);
        contract.write("soft", self.soft, [n, v], Numbers);
        contract.whole_sequences(n, n.div_ceil(b));
        is_law(contract, self.mixing, v);
        contract.require((n / b * v).div_ceil(4) <= 1 << 32, || format!("{n} rows of {v} are too many to count"));
    }
}

/// `loss = -ln P[target]`: the cross-entropy of what is made of soft tokens, which is a bound on nothing. As of
/// [`NoisedLoss`](super::NoisedLoss) `d = scale·weight·∂loss/∂logits`, `dlogits = r·d`, `s = ⟨d, logits⟩`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelaxedLoss {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[B, T]`.
    pub target: Mat,
    /// `[N, V]`.
    pub soft: Mat,
    /// As of [`SoftTokens`].
    pub rates: Mat,
    pub mixing: Mixing,
    /// `[N, 1]`, not weighted.
    pub loss: Mat,
    pub back: LogitsGrad,
    /// `[N, V]` f32, where it is wanted: `c·d`, the gradient by the soft tokens that goes by what they tell of themselves.
    pub dsoft: Option<Mat>,
}

impl Describe for RelaxedLoss {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], b, back) = (self.logits.shape(), self.rates.rows, &self.back);
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.read("soft", self.soft, [n, v], Numbers);
        contract.read("rates", self.rates, [b, 2], Ids);
        contract.read("sumsq", back.sumsq, [n, sumsq_slots(back.width as usize)], F32);
        contract.read("weight", back.weight, [n, 1], F32);
        contract.read("scale", back.scale, [1, 2], F32);
        contract.write("dlogits", back.dlogits, [n, v], Numbers);
        contract.write("s", back.s, [n, 1], F32);
        contract.write("dsoft", self.dsoft, [n, v], F32);
        contract.write("loss", self.loss, [n, 1], F32);
        contract.whole_sequences(n, n.div_ceil(b));
        is_law(contract, self.mixing, v);
    }
}

/// Backward of [`SoftTokens`] of predicted ones, into what the loss of the prediction has left: with `h = soft·(dsoft - ⟨soft, dsoft⟩)/τ`,
/// soft drawn again, `dP = h·(1-μ)/q` and `d = P·(dP - ⟨P, dP⟩)`, `dlogits += r·d`, `s += ⟨d, logits⟩`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftTokensBackward {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[N, V]`.
    pub before: Mat,
    pub rates: Mat,
    pub mixing: Mixing,
    pub temperatures: Temperatures,
    /// `[N, V]` f32 each: gradients by the soft tokens, of the two ways that they go; their sum counts.
    pub dsoft: [Mat; 2],
    /// Of the rows, `width` wide, that the logits come from.
    pub sumsq: Option<Mat>,
    pub width: u32,
    pub dlogits: Mat,
    pub s: Mat,
}

impl Describe for SoftTokensBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], b) = (self.logits.shape(), self.rates.rows);
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("before", self.before, [n, v], Numbers);
        contract.read("rates", self.rates, [b, 2], Ids);
        for dsoft in self.dsoft {
            contract.read("dsoft", dsoft, [n, v], F32);
        }
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(self.width as usize)], F32);
        contract.update("dlogits", self.dlogits, [n, v], Numbers);
        contract.update("s", self.s, [n, 1], F32);
        contract.whole_sequences(n, n.div_ceil(b));
        is_law(contract, self.mixing, v);
    }
}
