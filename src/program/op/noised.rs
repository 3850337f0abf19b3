//! Noise that turns tokens into others, all of them or some: its law, what predictions of noised tokens cost, and its reversal.
//!
//! At noise rate μ, α = 1 - μ, a token x becomes z with probability `q(z|x) = α·1[z=x] + b(z)` (interpolating diffusion, GIDD,
//! von Rütte et al. 2025), b being what a [`Mixing`] says.
//!
//! The network's logits are leave-one-out: `R = softmax(logits)`, over all symbols but the mask, is p(x_i | z without z_i). With
//! `q̂(z) = Σ R(v)·q(z|v) = α·R(z) + b(z)` follow the posterior `P(v) = R(v)·q(z|v)/q̂(z)` and, from rate μ_t to μ_s,
//! `p(z_s=j|z_t) = Q(z_t|j)·q̂_s(j)/q̂_t(z_t)` with Q of [`Transition`](crate::program::Transition).

use super::Kind::{F32, Ids, Numbers};
use super::head::of_rows;
use super::{Contract, Describe, Mat, Mixing, SamplingParams, sumsq_slots};

/// What a prediction of a noised token costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoisedCost {
    /// `-ln P(x|z)`, of the posterior.
    CrossEntropy,
    /// The bound on -ln p in continuous time, by the noise rate: `∫ E[Σ cost] dμ` over 0 to 1 is the NELBO of a text, because
    /// neither end of the rates has a loss of its own. With φ(r) = r - 1 - ln r
    /// `cost = λ(z)/q(z|x) · (Σ_j q(j|x)·φ(q̂(j)/q(j|x)) + φ(q(z|x)/q̂(z)))`,
    /// λ(z) the rate of [jumps](Mixing::jumps) to z, π(z)/α for one π, which is UDLM's (Schiff et al. 2024, eq. 18) and GIDD's (eq. 8) in terms that are never negative.
    Bound,
    /// That of one step: KL(q(z_s|z_t, x) ‖ p(z_s|z_t)). Its sum over the steps from rate 1 to 0 is the NELBO of so many. It
    /// has no gradient.
    Step,
}

/// What predictions of noised tokens cost, and its gradient: of stored logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisedLoss {
    /// `[N, V]`; a column of the mask does not count.
    pub logits: Mat,
    /// `[B, T]` true tokens.
    pub target: Mat,
    /// `[B, T]` what noise made of them.
    pub z: Mat,
    /// `[B, 2]` u32: each sequence's noise rate in units of 2⁻²⁴, 1 to 2²⁴-1 where it lies beyond, and the one that a step
    /// leads to, which is not above it.
    pub rates: Mat,
    pub mixing: Mixing,
    pub cost: NoisedCost,
    /// `[N, 1]`, not weighted.
    pub loss: Mat,
    /// Where a gradient is wanted.
    pub back: Option<LogitsGrad>,
}

/// The gradient of a loss by logits, as the head's backward wants it: `d = scale·weight·∂loss/∂logits`, `dlogits = r·d`,
/// `s = ⟨d, logits⟩`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitsGrad {
    /// Of the rows, `width` wide, that the logits come from; without it r = 1.
    pub sumsq: Option<Mat>,
    pub width: u32,
    /// `[N, 1]` f32; 0 for rows that do not count.
    pub weight: Mat,
    /// `[1, 2]` f32: the loss scale and its age, if gradients have one ([`LossScale`](super::LossScale)).
    pub scale: Option<Mat>,
    pub dlogits: Mat,
    pub s: Mat,
}

impl Describe for NoisedLoss {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], [b, t]) = (self.logits.shape(), self.target.shape());
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.read("z", self.z, [b, t], Ids);
        contract.read("rates", self.rates, [b, 2], Ids);
        if let Some(back) = self.back {
            contract.read("sumsq", back.sumsq, [n, sumsq_slots(back.width as usize)], F32);
            contract.read("weight", back.weight, [n, 1], F32);
            contract.read("scale", back.scale, [1, 2], F32);
            contract.write("dlogits", back.dlogits, [n, v], Numbers);
            contract.write("s", back.s, [n, 1], F32);
        }
        contract.write("loss", self.loss, [n, 1], F32);
        contract.require(self.mixing.symbols > 0, || "absorbing noise, whose loss is the head's".into());
        contract.require(self.mixing.fits(v), || format!("{:?} of {v} symbols", self.mixing));
        contract.require(self.cost != NoisedCost::Step || self.back.is_none(), || "a step has no gradient".into());
    }
}

/// One reverse step of all tokens at once, from the noise rate in `rates[b, step mod R]` to the one behind it: open positions are
/// drawn from p(z_s|z_t), known ones get noise of the rate that is reached. At rate 0 a text is finished.
///
/// Draws: `Stream::Reveal` as of [`Predict`](super::Predict), word 1: the first symbol at which the share of the probability,
/// summed by id, exceeds u.
/// R is of `logits/temperature`; at temperature 0, and where the rate of the noise is at most `greedy_tail/T`, the most probable z_s
/// is taken, the lowest id among equals. A known position is hit by word 0, and becomes what words 1 and 2 say.
/// Where logits are not numbers, nothing changes, in this step and in all later ones, and `remaining` says
/// [`BROKEN`](super::BROKEN).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renoise {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[B, 11]` f32: [`SamplingParams`], of which `temperature` and `greedy_tail` count.
    pub params: Mat,
    /// `[B, 2·R]` u32: a pair of noise rates for each of R steps.
    pub rates: Mat,
    /// `[B, T]` u32: known tokens.
    pub truth: Mat,
    pub mixing: Mixing,
    /// `[B, T]` u32: z, of what noise of the rate makes of tokens; updated.
    pub x: Mat,
    /// `[B, T]` u32: not 0 where a position is open; updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that a position changed in last, or [`GIVEN`](super::GIVEN); updated.
    pub committed_at: Mat,
    /// `[B, 1]` u32: open positions, or [`BROKEN`](super::BROKEN); updated.
    pub remaining: Mat,
}

impl Describe for Renoise {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x.shape();
        contract.read("logits", self.logits, [b * t, self.logits.cols], F32);
        contract.read("params", self.params, [b, SamplingParams::COLS], F32);
        contract.read("rates", self.rates, [b, self.rates.cols], Ids);
        contract.read("truth", self.truth, [b, t], Ids);
        contract.update("x", self.x, [b, t], Ids);
        contract.update("masked", self.masked, [b, t], Ids);
        contract.update("committed_at", self.committed_at, [b, t], Ids);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.is_exact = true;
        contract.require(self.mixing.fits(self.logits.cols), || format!("{:?} of {:?}", self.mixing, self.logits));
        contract.require(self.rates.cols.is_multiple_of(2), || "rates that are no pairs".into());
    }
}
