//! Windows of the corpus, and noise over them.

use super::Kind::{F32, Ids};
use super::{Access, Contract, Describe, Mat, Mixing};
use crate::config::DENSITY_CELLS;
use std::ops::Range;

/// Which of the two families of random streams is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// `Stream::{Level, Mask}`, step = training step.
    Train,
    /// `Stream::{EvalLevel, EvalMask}`, step = pass.
    Eval,
}

/// Where windows of the corpus start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Uniformly at random (`Stream::Crop`) among all windows within this range of positions.
    Random(Range<u64>),
    /// Window i = `args.sequence + b` of a fixed number, evenly spaced: it starts at
    /// `start + ⌊i·(end - start - T)/(windows - 1)⌋`; i beyond the last counts as the last.
    Spaced {
        /// Positions that the windows lie in.
        range: Range<u64>,
        /// How many there are.
        windows: u32,
    },
}

/// How a sequence's noise level u in [0, 1) is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Each sequence by itself.
    Independent,
    /// Low-discrepancy: (u₀ + g/G) mod 1 for sequence g of the G of the whole batch (Shi et al., MD4, 2024).
    Stratified {
        /// G: sequences of the whole batch, all micro-batches together.
        of: u32,
    },
    /// The same over all passes of an evaluation: (u₀ + (pass·W + w)/(W·P)) mod 1 with one u₀, pass = `args.step` mod P:
    /// a window's levels lie 1/P apart, and all levels together are evenly spaced.
    Spread {
        /// W.
        windows: u32,
        /// P.
        passes: u32,
    },
}

impl Level {
    /// The same, where each sequence is so many.
    pub fn times(self, blocks: u32) -> Self {
        match self {
            Level::Independent => self,
            Level::Stratified { of } => Level::Stratified { of: of * blocks },
            Level::Spread { windows, passes } => Level::Spread { windows: windows * blocks, passes },
        }
    }
}

/// Weight of what a token costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weighting {
    /// -α'/(1-α), over the density of the level, of a masked token: the loss estimates the NELBO per symbol.
    Nelbo,
    /// The same for every masked token: their expected mean cross-entropy.
    Simple {
        /// ∫μ(u)·p(u) du: the share of tokens masked on average, where no levels are uniform beside those of a density.
        mean_rate: f32,
    },
    /// -α', over the density of the level, of every token: the loss estimates per symbol a NELBO whose cost is by the noise rate
    /// ([`NoisedCost::Bound`](super::NoisedCost)).
    NelboByRate,
    /// The same for every token, hit by noise or not.
    Even,
}

/// How tokens are masked and weighted. α(u) is the probability to keep a token at level u, μ = 1 - α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// The original's: timestep t uniform in 0..timesteps, masked with probability (t+1)/timesteps; the weight is
    /// `1 / masked tokens of the whole batch`, read from `inv_count`.
    Timesteps {
        /// The model's number of timesteps.
        timesteps: u32,
        /// `[1, 1]`: one over the masked tokens of the whole batch, from [`CountMasked`].
        inv_count: Mat,
    },
    /// Continuous time: level u, each token masked with probability μ(u) (MDLM, Sahoo et al. 2024).
    Continuous {
        /// α as a function of the level.
        schedule: crate::config::Schedule,
        /// Weight of a masked token, before division by the tokens of the whole batch.
        weighting: Weighting,
    },
    /// At rates from outside, with weight 1 for every token.
    Given,
    /// Exactly k of the L maskable tokens, k = 1 + ⌊u·L⌋; weight L/k, over the density of the level: the NELBO without its
    /// binomial noise.
    ExactCount,
}

/// Cuts windows from the corpus: `x0[b] = corpus[start_b .. start_b + T]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop {
    pub windows: Windows,
    pub x0: Mat,
}

impl Describe for Crop {
    fn describe(&self, contract: &mut Contract) {
        contract.write("x0", self.x0, self.x0.shape(), Ids);
        contract.is_exact = true;
        contract.reads_corpus = true;
    }
}

/// `inv_count = 1 / max(1, masked tokens of the whole batch)`: replays the draws of [`Corrupt`] under
/// `Noise::Timesteps` for every micro-batch, which is possible because they are pure functions of (seed, step).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountMasked {
    pub positions: u32,
    /// Positions from 0 that are never masked.
    pub context: u32,
    /// Sequences of the whole batch.
    pub sequences: u32,
    pub timesteps: u32,
    pub inv_count: Mat,
}

impl Describe for CountMasked {
    fn describe(&self, contract: &mut Contract) {
        contract.write("inv_count", self.inv_count, [1, 1], F32);
        contract.is_exact = true;
    }
}

/// Corrupts, or masks: `xt = m ? a draw of π : x0`, drawn as [`Mixing::draw`] has it by words 1 and 2 of a position's random words, at the sequence's noise rate,
/// with each sequence's timestep for models that want it and each row's weight in the loss (as [`Noise`] says; 0 in the context, known
/// or not),
/// normalised over `sequences·(T - context)` tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrupt {
    /// `[B, T]`.
    pub x0: Mat,
    /// Sequences, each with a level of its own, that are blocks of one text: the first of the batch is number
    /// `args.sequence·blocks`. Low-discrepancy levels go over the texts first, then over their blocks, so that those of a text
    /// lie apart. 1 for texts that are noised as wholes.
    pub blocks: u32,
    pub noise: Noise,
    pub level: Level,
    /// `[1, 257]` u32: quantiles of the density p(u) of levels, in units of 2⁻²⁴, that a level is mapped by, linearly between
    /// them; none for uniform levels. See [`Density`](crate::config::Density). Of all levels the last `args.uniform_share` are
    /// not mapped: both parts are stretched to [0, 1) first, so that each is as evenly spaced as the whole. A level weighs by
    /// the density of its own part, which leaves the expectation as it is.
    pub quantiles: Option<Mat>,
    pub streams: Streams,
    /// Positions from 0 that noise does not hit.
    pub context: u32,
    /// Probability, in units of 2⁻²⁴, that a training sequence's context is unknown: all of it becomes what noise makes of tokens,
    /// and still weighs nothing. `Stream::PromptDrop`, step = training step, index = sequence.
    pub context_drop: u32,
    /// What a token becomes.
    pub mixing: Mixing,
    /// Sequences of the whole batch, for the weight's denominator.
    pub sequences: u32,
    /// Timesteps of the model's time embedding, 0 for none.
    pub timesteps: u32,
    pub xt: Mat,
    /// `[B, 2]` u32, where it is wanted: each sequence's noise rate in units of 2⁻²⁴, and 0; under [`Noise::Given`] an input.
    pub rates: Option<Mat>,
    /// `[B, 1]` u32: the timestep whose mask rate is nearest above; 0 without a time embedding.
    pub t: Mat,
    pub weight: Mat,
}

impl Describe for Corrupt {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x0.shape();
        contract.read("x0", self.x0, [b, t], Ids);
        if let Noise::Timesteps { inv_count, .. } = self.noise {
            contract.read("inv_count", inv_count, [1, 1], F32);
        }
        contract.read("quantiles", self.quantiles, [1, DENSITY_CELLS + 1], Ids);
        contract.write("xt", self.xt, [b, t], Ids);
        let given = self.noise == Noise::Given;
        contract.add(if given { Access::Read } else { Access::Write }, "rates", self.rates, [b, 2], Ids);
        contract.write("t", self.t, [b, 1], Ids);
        contract.write("weight", self.weight, [b * t, 1], F32);
        contract.is_exact = true;
        contract.require(!given || self.rates.is_some(), || "no rates are given".into());
        let exact = matches!(self.noise, Noise::ExactCount | Noise::Timesteps { .. });
        contract
            .require(!exact || self.rates.is_none() && self.mixing.hump == 0.0, || "this noise has no rates".into());
        contract.require((self.context as usize) < t, || {
            format!("context {} leaves nothing of {t} positions", self.context)
        });
        contract
            .require(self.sequences as usize >= b, || format!("{} sequences in all, {b} in one batch", self.sequences));
        contract.require(self.blocks > 0 && b.is_multiple_of(self.blocks as usize), || {
            format!("{b} sequences are not texts of {} blocks", self.blocks)
        });
    }
}

/// Standard normals: element (b, p, c) is number `e mod 4` of [`normals`](crate::rng::normals) with e = p·C + c.
/// Draws: `Stream::Noise`, step = `args.step`·2³² + sequence, index = ⌊e/4⌋, sequence = `args.sequence + b`: a
/// sequence's noise does not depend on the batch that it is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormalNoise {
    pub positions: u32,
    pub out: Mat,
}

impl Describe for NormalNoise {
    fn describe(&self, contract: &mut Contract) {
        contract.write("out", self.out, self.out.shape(), F32);
        contract.is_exact = true;
        let (t, [n, c]) = (self.positions as usize, self.out.shape());
        contract.whole_sequences(n, t);
        contract.require((t * c).div_ceil(4) <= 1 << 32, || format!("{t} rows of {c} are too many to count"));
    }
}
