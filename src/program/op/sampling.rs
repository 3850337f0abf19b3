//! One reverse step: candidates, and which of them are committed.
//!
//! Which are is a text's [`SamplingParams`] and its row of `lots`, the thresholds of what is drawn by lot in each step. Together
//! they say every policy: those surer than a threshold and the most confident one (Fast-dLLM, Wu et al. 2025), the k most
//! confident (LLaDA, Nie et al. 2025), or each with probability (α_s - α_t)/(1 - α_t) (MDLM's posterior, Sahoo et al. 2024).
//!
//! Where positions are chosen by a function of their distributions alone, before tokens are drawn from them, the law of a
//! text is the product of its tokens' probabilities in the order of the policy, and can be computed (DUEL, 2026).

use super::Kind::{F32, Ids};
use super::{Contract, Describe, Mat};
use crate::config::{Policy, Quota};
use crate::program::StepArgs;
use crate::rng::{Stream, philox};
use bytemuck::{Pod, Zeroable};

/// Which timestep a denoising step feeds to a model with a time embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrder {
    /// The one whose training noise matches the fraction still masked.
    Masked {
        /// Positions that can be masked: T less the context that training never masks.
        maskable: u32,
    },
    /// The original's: the number of the denoising step, 0 first, although in training 0 meant nearly clean.
    Original,
    /// The one whose training noise matches a noise rate.
    Rate {
        /// `[B, 2·R]` u32: pairs of rates in units of 2⁻²⁴, of which the first of pair `args.step mod R` counts.
        rates: Mat,
    },
}

/// How one text is sampled: a row of a matrix on the device, so that one program serves every choice, and one batch several.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SamplingParams {
    /// A candidate is drawn from `softmax(logits/temperature)`; at 0 it is the most probable symbol, the lowest id among
    /// equals, as it is towards 0.
    pub temperature: f32,
    /// Draws are of the smallest set of most probable symbols that holds this much of what `min_p` leaves. In (0, 1]; 1 keeps
    /// every symbol.
    pub top_p: f32,
    /// Draws are of symbols that are at least this times as probable as the most probable one. In [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// Draws are of at most so many of the most probable symbols; a whole number, 0 for all.
    pub top_symbols: f32,
    /// Where no more positions than this are unknown, the temperature is 0; a whole number.
    pub greedy_tail: f32,
    /// Temperature of the confidence: 1 for the model's own probability. Above 0.
    pub confidence_at: f32,
    /// What the confidence is: a [`Score`](crate::config::Score) by its number.
    pub score: f32,
    /// A position is committed where its confidence is at least this,
    pub least: f32,
    /// or where it is among a number of the most confident, which is said in this way,
    pub quota: f32,
    /// with this number: how many, φ or γ of a [`Quota`].
    pub amount: f32,
    /// W of [`Guide`](super::Guide); 0 for none.
    pub guidance: f32,
}

impl SamplingParams {
    /// How many numbers they are.
    pub const COLS: usize = 11;

    /// The most probable symbols by the model's own probabilities, committed by a policy for texts of `length` tokens.
    pub fn greedy(policy: Policy, length: usize) -> Self {
        let (least, quota) = policy.commits(length);
        let score = f32::from(policy.score() as u8);
        SamplingParams { score, least, ..SamplingParams::MOST_PROBABLE }.with_quota(quota)
    }

    /// The most probable symbols, none of them committed.
    pub const MOST_PROBABLE: SamplingParams = SamplingParams {
        temperature: 0.0,
        top_p: 1.0,
        min_p: 0.0,
        top_symbols: 0.0,
        greedy_tail: 0.0,
        confidence_at: 1.0,
        score: 0.0,
        least: f32::INFINITY,
        quota: 0.0,
        amount: 0.0,
        guidance: 0.0,
    };

    /// The same with another quota.
    pub fn with_quota(self, quota: Quota) -> Self {
        let (kind, amount) = match quota {
            Quota::Best(k) => (QuotaKind::Best, k as f32),
            Quota::Factor(phi) => (QuotaKind::Factor, phi),
            Quota::EntropyBound(gamma) => (QuotaKind::EntropyBound, gamma),
        };
        SamplingParams { quota: f32::from(kind as u8), amount, ..self }
    }

    /// What [`SamplingParams::with_quota`] was given.
    pub fn quota(&self) -> Quota {
        const FACTOR: u8 = QuotaKind::Factor as u8;
        const ENTROPY_BOUND: u8 = QuotaKind::EntropyBound as u8;
        match self.quota as u8 {
            FACTOR => Quota::Factor(self.amount),
            ENTROPY_BOUND => Quota::EntropyBound(self.amount),
            _ => Quota::Best(self.amount as usize),
        }
    }
}

/// A [`Quota`] without its number, as [`SamplingParams`] hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// [`Quota::Best`].
    Best,
    /// [`Quota::Factor`].
    Factor,
    /// [`Quota::EntropyBound`].
    EntropyBound,
}

/// Entropies are added up in whole steps of this many nats, so that their order makes no difference.
pub const ENTROPY_STEP: f32 = 1.0 / 65536.0;

/// What `committed_at` holds of a position that was given.
pub const GIVEN: u32 = u32::MAX;

/// What [`CommitTokens`] leaves in `remaining` of a text whose model predicts what is not a number.
pub const BROKEN: u32 = u32::MAX;

/// What a denoising step writes for the positions it commits: [`Predict`] makes it, [`CommitTokens`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// What is drawn for them.
    Candidates {
        /// `[B, T]` u32.
        candidate: Mat,
    },
    /// The true tokens, and adds their cross-entropy to the sequence's sum: the exact likelihood of a
    /// policy (DUEL, 2026).
    Truth {
        /// `[B, T]` u32.
        target: Mat,
        /// `[N, 1]` -log of the target's probability in a draw.
        cross_entropy: Mat,
        /// `[B, 1]`, added to.
        nll: Mat,
    },
}

/// The random words of one position of one text: a function of the text's own number, not of its row in the batch.
pub fn reveal_words(args: &StepArgs, row: usize, position: usize) -> [u32; 4] {
    let sequence = u64::from(args.sequence) + row as u64;
    philox(args.seed, Stream::Reveal, sequence << 32 | args.step, position as u32)
}

/// `t[b]` from the number of masked positions, or from the step, or its noise rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleTime {
    /// `[B, T]` u32, 1 where masked.
    pub masked: Mat,
    pub order: TimeOrder,
    /// Timesteps of the model.
    pub timesteps: u32,
    pub t: Mat,
}

impl Describe for SampleTime {
    fn describe(&self, contract: &mut Contract) {
        contract.read("masked", self.masked, self.masked.shape(), Ids);
        if let TimeOrder::Rate { rates } = self.order {
            contract.read("rates", rates, [self.masked.rows, rates.cols], Ids);
        }
        contract.write("t", self.t, [self.masked.rows, 1], Ids);
        contract.is_exact = true;
    }
}

/// For every masked position, as its text's [`SamplingParams`] say, a candidate and how confident the model is there.
///
/// The confidence is the [`Score`](crate::config::Score) of p = `softmax(logits/confidence_at)` without `drop`: its largest
/// probability, by how much that is above the second, Σ p ln p, the probability of the candidate (of the target, where there
/// is one), or, whatever p, the uniform number of word 2. The temperature of a draw does not enter into it, so that no draw
/// makes a model surer than it is.
///
/// Draws: `Stream::Reveal`, step = sequence·2³² + `args.step`, index = position, word 1. A draw is the first symbol at which
/// the kept symbols' share of the probability, summed by descending probability (the lower id first among equals) where
/// `top_p` < 1 or `top_symbols` > 0 and by id elsewhere, exceeds u. Where `remaining` is at most `greedy_tail` the most probable
/// symbol is the candidate. Exponents are `(logit - largest)/temperature`: no temperature makes them
/// overflow. Where nothing is masked the candidate and its cost are 0, and the confidence stays what it was; where logits are not
/// numbers, or infinite, the candidate is 0 and the rest NaN.
///
/// With [`Commit::Truth`] nothing is drawn: `cross_entropy` is what the target costs in a draw among all symbols (`top_p`,
/// `min_p` and `top_symbols` do not enter), infinite where it is never drawn, as at temperature 0 all but the most probable symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predict {
    pub logits: Mat,
    /// `[B, T]` u32, not 0 where masked.
    pub masked: Mat,
    /// `[B, 11]` f32: [`SamplingParams`].
    pub params: Mat,
    /// `[B, 1]` u32: positions still masked.
    pub remaining: Mat,
    /// A symbol that is never a candidate.
    pub drop: Option<u32>,
    /// What is made: candidates, or cross-entropies of targets; `nll` is not looked at.
    pub commit: Commit,
    pub confidence: Mat,
}

impl Describe for Predict {
    fn describe(&self, contract: &mut Contract) {
        let shape = self.masked.shape();
        contract.read("logits", self.logits, [self.masked.len(), self.logits.cols], F32);
        contract.read("masked", self.masked, shape, Ids);
        contract.read("params", self.params, [shape[0], SamplingParams::COLS], F32);
        contract.read("remaining", self.remaining, [shape[0], 1], Ids);
        match self.commit {
            Commit::Candidates { candidate } => contract.write("candidate", candidate, shape, Ids),
            Commit::Truth { target, cross_entropy, .. } => {
                contract.read("target", target, shape, Ids);
                contract.write("cross_entropy", cross_entropy, [self.masked.len(), 1], F32)
            }
        };
        contract.update("confidence", self.confidence, shape, F32);
        contract.is_exact = true;
    }
}

/// Commits some of the masked positions: writes their tokens, clears their mask, notes the step. It commits those
/// whose confidence is at least `least`, a [`Quota`] of the most confident (of equals the lower position), and those whose lot
/// is drawn: word 0 of [`Predict`]'s words, 24 bits of it, is below the first of `lots[b, step mod R]`. Positions that were
/// committed in an earlier step are masked again where it is below the second, or, where the score is
/// [`Candidate`](crate::config::Score::Candidate), so that their confidence is the probability of what was written, below their
/// share of the second: by softmax(-confidence) over all of them, of weights in whole steps of 2⁻¹⁵. Where the confidence of a
/// masked position is NaN, nothing changes, in this step and in all later ones, and `remaining` says [`BROKEN`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitTokens {
    pub confidence: Mat,
    /// `[B, 11]` f32: [`SamplingParams`].
    pub params: Mat,
    /// `[B, 2·R]` u32: thresholds of what is committed and of what is masked again, a pair for each of R steps.
    pub lots: Mat,
    /// The token of a position that is masked again.
    pub mask_id: u32,
    pub commit: Commit,
    /// `[B, T]` u32, updated.
    pub x: Mat,
    /// `[B, T]` u32, updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that committed a position, or [`GIVEN`]; updated.
    pub committed_at: Mat,
    /// `[B, 1]` u32: positions still masked, or [`BROKEN`]; updated.
    pub remaining: Mat,
}

impl Describe for CommitTokens {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.confidence.shape();
        contract.read("confidence", self.confidence, [b, t], F32);
        contract.read("params", self.params, [b, SamplingParams::COLS], F32);
        contract.read("lots", self.lots, [b, self.lots.cols], Ids);
        match self.commit {
            Commit::Candidates { candidate } => contract.read("candidate", candidate, [b, t], Ids),
            Commit::Truth { target, cross_entropy, nll } => {
                contract.read("target", target, [b, t], Ids);
                contract.read("cross_entropy", cross_entropy, [b * t, 1], F32);
                contract.update("nll", nll, [b, 1], F32)
            }
        };
        contract.update("x", self.x, [b, t], Ids);
        contract.update("masked", self.masked, [b, t], Ids);
        contract.update("committed_at", self.committed_at, [b, t], Ids);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.is_exact = true;
    }
}
