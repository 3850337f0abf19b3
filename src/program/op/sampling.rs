//! One reverse step: candidates, and which of them are committed.

use super::Kind::{F32, Ids};
use super::{Contract, Describe, Mat};
use crate::config;

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
}

/// How a candidate token is taken from a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The most probable symbol, the lowest id among equals.
    Greedy,
    /// Drawn from `softmax(logits/temperature)`, of the smallest set of most probable symbols that holds `top_p` of it.
    Sample {
        /// Above 0; towards 0 it becomes [`Choice::Greedy`].
        temperature: f32,
        /// In (0, 1]; 1 keeps every symbol.
        top_p: f32,
    },
}

/// What [`CommitTokens`] leaves in `remaining` of a text whose model predicts what is not a number.
pub const BROKEN: u32 = u32::MAX;

/// Which masked positions a denoising step commits. Ties go to the lower position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// All whose confidence is at least this, and always the most confident one (Fast-dLLM, Wu et al. 2025).
    Threshold(f32),
    /// The k most confident (LLaDA, Nie et al. 2025).
    TopK(u32),
    /// Each with probability (α_s - α_t)/(1 - α_t), given as `StepArgs::reveal` (MDLM's posterior, Sahoo et al. 2024).
    Ancestral,
}

impl Policy {
    /// A policy as it is asked for, for texts of `length` tokens.
    pub fn new(policy: config::Policy, length: usize) -> Self {
        match policy.for_length(length) {
            config::Policy::Threshold(least) => Policy::Threshold(least),
            config::Policy::TopK(k) => Policy::TopK(k.unwrap_or(1)),
            config::Policy::Ancestral { .. } => Policy::Ancestral,
        }
    }
}

/// What a denoising step writes for the positions it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The candidates that [`Predict`] drew.
    Candidates {
        /// `[B, T]` u32 from [`Predict`].
        candidate: Mat,
    },
    /// The true tokens, and adds their cross-entropy to the sequence's sum: the exact likelihood of a deterministic
    /// policy (DUEL, 2026).
    Truth {
        /// `[B, T]` u32.
        target: Mat,
        /// `[N, 1]` -log p(target).
        cross_entropy: Mat,
        /// `[B, 1]`, added to.
        nll: Mat,
    },
}

/// `t[b]` from the number of masked positions, or from the step.
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
        contract.write("t", self.t, [self.masked.rows, 1], Ids);
        contract.is_exact = true;
    }
}

/// A candidate for every masked position, and its confidence: its probability under `softmax(logits/confidence_at)`
/// without `drop`, before any truncation. The temperature of a draw does not enter into the confidence, so that no
/// draw makes a model surer than it is. Draws: `Stream::Reveal`, step = sequence·2³² + `args.step`, index = position,
/// word 1. A draw is the first symbol at which the kept symbols' share of the probability, summed by descending
/// probability (the lower id first among equals) where `top_p` < 1 and by id where it is 1, exceeds u. Exponents are
/// `(logit - largest)/temperature`: no temperature makes them overflow. Where nothing is masked both outputs are 0;
/// where logits are not numbers, or infinite, the candidate is 0 and the confidence NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predict {
    pub logits: Mat,
    /// `[B, T]` u32, 1 where masked.
    pub masked: Mat,
    /// A symbol that is never a candidate.
    pub drop: Option<u32>,
    pub choice: Choice,
    /// Temperature of the confidence: 1 for the model's own probability. Above 0.
    pub confidence_at: f32,
    pub candidate: Mat,
    pub confidence: Mat,
}

impl Describe for Predict {
    fn describe(&self, contract: &mut Contract) {
        let shape = self.masked.shape();
        contract.read("logits", self.logits, [self.masked.len(), self.logits.cols], F32);
        contract.read("masked", self.masked, shape, Ids);
        contract.write("candidate", self.candidate, shape, Ids);
        contract.write("confidence", self.confidence, shape, F32);
        contract.is_exact = true;
    }
}

/// Commits some of the masked positions for good: writes their tokens, clears their mask, notes the step. Where the
/// confidence of a masked position is NaN, nothing is committed, in this step and in all later ones, and `remaining`
/// says [`BROKEN`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitTokens {
    pub confidence: Mat,
    pub policy: Policy,
    pub commit: Commit,
    /// `[B, T]` u32, updated.
    pub x: Mat,
    /// `[B, T]` u32, updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that committed a position, updated.
    pub committed_at: Mat,
    /// `[B, 1]` u32: positions still masked, or [`BROKEN`]; updated.
    pub remaining: Mat,
}

impl Describe for CommitTokens {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.confidence.shape();
        contract.read("confidence", self.confidence, [b, t], F32);
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
