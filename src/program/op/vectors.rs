//! Tokens as vectors that Gaussian noise is added to: what a model reads of them, what its predictions cost, and one reverse
//! step.
//!
//! d numbers of a vector, whose length is 1 for every token: `E[v] = table[v]/|table[v]|` (Plaid, Gulrajani & Hashimoto 2023).
//! With noise `z = α·E[x] + σ·ε`, α² + σ² = 1. The network's logits are what the other positions say of a token; what its own vector
//! says is known, and is added to them: `p = softmax(logits + κ·⟨z, E[v]⟩)` without `drop`, κ = α/σ² (ibid., the output prior). From
//! it follows `x̂ = Σ p[v]·E[v]`, the vector without noise.

use super::Kind::{F32, Ids, Numbers};
use super::head::of_rows;
use super::{Access, Accumulate, Contract, Describe, LogitsGrad, Mat, SamplingParams, Streams, sumsq_slots};
use crate::config::{DENSITY_CELLS, Gamma, LARGEST_VECTOR, NOISE_FEATURES};
use bytemuck::{Pod, Zeroable};

/// A level of Gaussian noise, and a step from it to a lower one: some columns of a matrix's row on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct VectorStep {
    /// α.
    pub alpha: f32,
    /// σ.
    pub sigma: f32,
    /// Where γ lies, from 0 at its least to 1 at its most.
    pub place: f32,
    /// What a squared error |x̂ - x|² costs.
    pub cost: f32,
    /// A step leads to `of_denoised·x̂ + of_noisy·z + of_noise·n`, n standard normal.
    pub of_denoised: f32,
    /// As above.
    pub of_noisy: f32,
    /// As above.
    pub of_noise: f32,
    /// α of the level that is reached.
    pub alpha_to: f32,
    /// σ of it.
    pub sigma_to: f32,
    /// Not 0 where x̂ is replaced by the nearest token's vector (Diffusion-LM's clamping, Li et al. 2022).
    pub clamps: f32,
    /// Not 0 of a text's last step.
    pub ends: f32,
}

impl VectorStep {
    /// How many numbers it is.
    pub const COLS: usize = size_of::<VectorStep>() / size_of::<f32>();

    /// A level, and the cost of a squared error there.
    pub fn level(of: Gamma, gamma: f64, cost: f64) -> Self {
        let [least, most] = [of.least, of.most].map(f64::from);
        let [alpha, sigma] = Gamma::squares(gamma).map(|square| square.sqrt() as f32);
        let place = ((gamma - least) / (most - least)).clamp(0.0, 1.0) as f32;
        VectorStep { alpha, sigma, place, cost: cost as f32, ..VectorStep::default() }
    }

    /// `[a, b]` of the noise that leads back from where it leads, `z_t = a·z_s + b·ε`.
    pub fn back(self) -> [f32; 2] {
        let [alpha, sigma, alpha_to, sigma_to] = [self.alpha, self.sigma, self.alpha_to, self.sigma_to].map(f64::from);
        let kept = alpha / alpha_to;
        [kept as f32, (sigma.powi(2) - (kept * sigma_to).powi(2)).max(0.0).sqrt() as f32]
    }

    /// The same with a step to a lower level, both given as `[α², σ²]`: DDIM's with η (Song et al. 2021, eq. 12 and 16), the
    /// posterior's (DDPM's) where η = 1. The score is divided by a temperature (Plaid): what is left of noise is taken for as much
    /// less.
    pub fn leading(self, from: [f64; 2], to: [f64; 2], eta: f64, score_temperature: f64) -> Self {
        let ([alpha, sigma], [alpha_to, sigma_to]) = (from.map(f64::sqrt), to.map(f64::sqrt));
        let of_noise = eta * sigma_to / sigma * (1.0 - from[0] / to[0]).max(0.0).sqrt();
        let kept = (to[1] - of_noise * of_noise).max(0.0).sqrt();
        let (of_noisy, of_denoised) = (kept / sigma, alpha_to - kept * alpha / sigma);
        let warmer = 1.0 / score_temperature;
        VectorStep {
            of_denoised: (of_denoised * warmer) as f32,
            of_noisy: (of_noisy + of_denoised * (1.0 - warmer) / alpha) as f32,
            of_noise: of_noise as f32,
            alpha_to: alpha_to as f32,
            sigma_to: sigma_to as f32,
            ..self
        }
    }
}

/// Whether a matrix holds steps: `[B, 11·R]`, of which number `args.step mod R` of a sequence counts.
fn steps(contract: &mut Contract, mat: Mat, sequences: usize) {
    contract.read("steps", mat, [sequences, mat.cols], F32);
    are_steps(contract, mat);
}

fn are_steps(contract: &mut Contract, mat: Mat) {
    contract.require(mat.cols.is_multiple_of(VectorStep::COLS), || format!("{mat:?} holds no whole steps"));
}

/// Kernels have room for so many numbers.
fn is_vector(contract: &mut Contract, dims: usize) {
    contract.require(dims <= LARGEST_VECTOR, || format!("vectors of {dims}; wanted at most {LARGEST_VECTOR}"));
}

/// `units[v] = table[v]·rstd[v]`, `rstd[v] = 1/|table[v]|`, 0 of a row of zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitRows {
    /// `[V, d]`, the parameter.
    pub table: Mat,
    pub units: Mat,
    /// `[V, 1]`.
    pub rstd: Mat,
}

impl Describe for UnitRows {
    fn describe(&self, contract: &mut Contract) {
        let [v, d] = self.table.shape();
        contract.read("table", self.table, [v, d], F32);
        contract.write("units", self.units, [v, d], F32);
        contract.write("rstd", self.rstd, [v, 1], F32);
    }
}

/// What a squared error at a level costs, and whether it weighs less where levels are drawn more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCost {
    /// `½·e^-γ` for each unit of γ, over the density: the loss estimates the bound (VDM, Kingma et al. 2021, eq. 17).
    Bound,
    /// 1: the error of x.
    Denoised,
    /// `e^-γ`: that of ε.
    Noise,
    /// `1/σ²`: that of v.
    Velocity,
}

/// Which level each sequence gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VectorLevel {
    /// The one in `steps`, which is read; every row weighs 1.
    Given,
    /// One of a low-discrepancy draw as [`Level::Stratified`](super::Level) has it, mapped by quantiles to a place between the ends
    /// of γ, into `steps`.
    Drawn {
        /// G: sequences of the whole batch, all micro-batches together.
        of: u32,
        /// `[1, 257]` u32: places in units of 2⁻²⁴ ([`Gamma::quantiles`]).
        quantiles: Mat,
        /// Its ends.
        gamma: Gamma,
        cost: ErrorCost,
    },
}

/// `z = α·units[x0] + σ·ε`, and what of each row the loss counts: its share of the whole batch.
///
/// Draws: number `e mod 4` of [`normals`](crate::rng::normals) of `Stream::Noise` (`EvalNoise`), step = `args.step`·2³² + sequence,
/// index = ⌊e/4⌋, e = position·d + column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diffuse {
    /// `[B, T]`.
    pub x0: Mat,
    /// `[V, d]`.
    pub units: Mat,
    pub level: VectorLevel,
    pub streams: Streams,
    /// `[B, 11]` f32: [`VectorStep`], of which the first four are read or written, and the rest written as 0.
    pub steps: Mat,
    /// `[N, d]`.
    pub z: Mat,
    /// `[N, 1]`.
    pub weight: Mat,
}

impl Describe for Diffuse {
    fn describe(&self, contract: &mut Contract) {
        let ([b, t], [v, d]) = (self.x0.shape(), self.units.shape());
        contract.read("x0", self.x0, [b, t], Ids);
        contract.read("units", self.units, [v, d], F32);
        let access = match self.level {
            VectorLevel::Given => Access::Read,
            VectorLevel::Drawn { of, quantiles, .. } => {
                contract.read("quantiles", quantiles, [1, DENSITY_CELLS + 1], Ids);
                contract.require(of as usize >= b, || format!("{of} sequences in all, {b} in one batch"));
                Access::Write
            }
        };
        contract.add(access, "steps", self.steps, [b, VectorStep::COLS], F32);
        contract.write("z", self.z, [b * t, d], F32);
        contract.write("weight", self.weight, [b * t, 1], F32);
        is_vector(contract, d);
        contract.require(t * d < 1 << 32, || format!("{t} rows of {d} are too many to count"));
        contract.is_exact = true;
    }
}

/// What a model reads of a position: `y = [c·z | √d·x̂ | cos(π·k·place), k = 0..16]`, c = (α²/d + σ²)^-½, so that its numbers have
/// squares of about 1; 0 for x̂ where it is not told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorInput {
    /// `[N, d]`.
    pub z: Mat,
    /// `[B, 11·R]` f32.
    pub steps: Mat,
    /// `[N, d]`, x̂ of a pass before.
    pub denoised: Option<Mat>,
    /// `[N, 2d + 16]`.
    pub y: Mat,
}

impl Describe for VectorInput {
    fn describe(&self, contract: &mut Contract) {
        let [n, d] = self.z.shape();
        contract.read("z", self.z, [n, d], F32);
        steps(contract, self.steps, self.steps.rows);
        contract.whole_sequences(n, n.div_ceil(self.steps.rows));
        contract.read("denoised", self.denoised, [n, d], F32);
        contract.write("y", self.y, [n, 2 * d + NOISE_FEATURES], Numbers);
    }
}

/// `x̂` of every row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Denoise {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[N, d]`.
    pub z: Mat,
    /// `[V, d]`.
    pub units: Mat,
    /// `[B, 11·R]` f32.
    pub steps: Mat,
    /// A symbol of probability 0.
    pub drop: u32,
    /// `[N, d]`.
    pub denoised: Mat,
}

impl Describe for Denoise {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], d) = (self.logits.shape(), self.z.cols);
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("z", self.z, [n, d], F32);
        contract.read("units", self.units, [v, d], F32);
        steps(contract, self.steps, self.steps.rows);
        contract.whole_sequences(n, n.div_ceil(self.steps.rows));
        contract.write("denoised", self.denoised, [n, d], F32);
    }
}

/// What a prediction of vectors costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorCost {
    /// `cost·|x̂ - E[target]|²`, the first of the row's [`VectorStep`].
    SquaredError,
    /// `-ln p[target]` (CDCD, Dieleman et al. 2022).
    CrossEntropy,
}

/// Gradients by the vectors E. Where a row's loss depends on them by a product `⟨g, Σ q[v]·E[v]⟩`, the row leaves q and g, so that
/// one matrix product `qᵀ g` sums them up; where by its own token's vector, that gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitsGrad {
    /// `[K·N, V]`: q of as many products, a row's at N rows from one another.
    pub q: Mat,
    /// `[K·N, d]`: g.
    pub g: Mat,
    /// `[N, d]` f32.
    pub own: Mat,
}

/// What predictions of vectors cost, and their gradients; those of x̂ and of the output prior alike. As of
/// [`NoisedLoss`](super::NoisedLoss) `d = scale·weight·∂loss/∂logits`, `dlogits = r·d`, `s = ⟨d, logits⟩`. Products left are that of
/// the output prior, `d` and κ·z, and of a squared error that of x̂, `p - [v = target]` and `2·scale·weight·cost·(x̂ - E[target])`;
/// `own = α·κ·Σ d[v]·E[v]`, by way of z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorLoss {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[B, T]`.
    pub target: Mat,
    /// `[N, d]`.
    pub z: Mat,
    /// `[V, d]`.
    pub units: Mat,
    /// `[B, 11]` f32.
    pub steps: Mat,
    /// A symbol of probability 0.
    pub drop: u32,
    pub cost: VectorCost,
    /// `[N, 1]`, not weighted.
    pub loss: Mat,
    /// Where gradients are wanted.
    pub back: Option<(LogitsGrad, UnitsGrad)>,
}

impl VectorLoss {
    /// Products that a row leaves.
    pub fn products(cost: VectorCost) -> usize {
        match cost {
            VectorCost::SquaredError => 2,
            VectorCost::CrossEntropy => 1,
        }
    }
}

impl Describe for VectorLoss {
    fn describe(&self, contract: &mut Contract) {
        let ([n, v], d) = (self.logits.shape(), self.z.cols);
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.read("z", self.z, [n, d], F32);
        contract.read("units", self.units, [v, d], F32);
        steps(contract, self.steps, self.target.rows);
        is_vector(contract, d);
        if let Some((back, units)) = self.back {
            contract.read("sumsq", back.sumsq, [n, sumsq_slots(back.width as usize)], F32);
            contract.read("weight", back.weight, [n, 1], F32);
            contract.read("scale", back.scale, [1, 2], F32);
            contract.write("dlogits", back.dlogits, [n, v], Numbers);
            contract.write("s", back.s, [n, 1], F32);
            let products = VectorLoss::products(self.cost);
            contract.write("q", units.q, [products * n, v], Numbers);
            contract.write("g", units.g, [products * n, d], Numbers);
            contract.write("own", units.own, [n, d], F32);
        }
        contract.write("loss", self.loss, [n, 1], F32);
    }
}

/// What it costs to read tokens off their vectors at the least noise, `loss (+)= -ln softmax(κ₀·⟨z₀, E[v]⟩)[target]` with
/// `z₀ = α₀·E[target] + σ₀·ε`: the last term of the bound. Its product is of `scale·weight·(p - [v = target])` and κ₀·z₀; to `own`
/// `α₀·κ₀·Σ d[v]·E[v]` is added.
///
/// Draws as [`Diffuse`], of `Stream::Decode`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadOff {
    /// `[B, T]`.
    pub target: Mat,
    /// `[V, d]`.
    pub units: Mat,
    pub gamma: Gamma,
    /// A symbol of probability 0.
    pub drop: u32,
    pub accumulate: Accumulate,
    /// `[N, 1]`, not weighted.
    pub loss: Mat,
    /// Where gradients are wanted: `[N, 1]` weights, the loss scale if there is one, and one product.
    pub back: Option<(Mat, Option<Mat>, UnitsGrad)>,
}

impl Describe for ReadOff {
    fn describe(&self, contract: &mut Contract) {
        let (n, [v, d]) = (self.target.len(), self.units.shape());
        is_vector(contract, d);
        contract.read("target", self.target, self.target.shape(), Ids);
        contract.read("units", self.units, [v, d], F32);
        if let Some((weight, scale, units)) = self.back {
            contract.read("weight", weight, [n, 1], F32);
            contract.read("scale", scale, [1, 2], F32);
            contract.write("q", units.q, [n, v], Numbers);
            contract.write("g", units.g, [n, d], Numbers);
            contract.update("own", units.own, [n, d], F32);
        }
        contract.add(self.accumulate.access(), "loss", self.loss, [n, 1], F32);
    }
}

/// Backward of [`UnitRows`] and [`Diffuse`]: with `dE[v] = dunits[v] + Σ (own + α·c·dy[..d])` over rows of token v in row order, c of
/// [`VectorInput`], `dtable[v] (+)= rstd[v]·(dE[v] - E[v]·⟨dE[v], E[v]⟩)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffuseBackward {
    /// `[B, T]`.
    pub x0: Mat,
    /// `[B, 11]` f32.
    pub steps: Mat,
    /// `[N, 2d + 16]`: gradient of [`VectorInput::y`].
    pub dy: Mat,
    /// `[N, d]`.
    pub own: Mat,
    /// `[V, d]`.
    pub dunits: Mat,
    pub units: Mat,
    pub rstd: Mat,
    pub accumulate: Accumulate,
    pub dtable: Mat,
}

impl Describe for DiffuseBackward {
    fn describe(&self, contract: &mut Contract) {
        let (n, [v, d]) = (self.x0.len(), self.units.shape());
        is_vector(contract, d);
        contract.read("x0", self.x0, self.x0.shape(), Ids);
        contract.read("steps", self.steps, [self.x0.rows, VectorStep::COLS], F32);
        contract.read("dy", self.dy, [n, 2 * d + NOISE_FEATURES], Numbers);
        contract.read("own", self.own, [n, d], F32);
        contract.read("dunits", self.dunits, [v, d], F32);
        contract.read("units", self.units, [v, d], F32);
        contract.read("rstd", self.rstd, [v, 1], F32);
        contract.add(self.accumulate.access(), "dtable", self.dtable, [v, d], F32);
    }
}

/// One reverse step of all vectors at once, as number `args.step mod R` of a text's steps says, of texts with open positions. Of
/// logits divided by `temperature`; at 0 x̂ is the likeliest token's vector, the lowest id among equals. Known tokens get noise of the level that is reached, and their
/// x̂ is their vector. x is the likeliest token, and in the last step the one whose vector is nearest to z, as the bound reads it.
///
/// Draws as [`Diffuse`], of `Stream::Noise`. Where logits are not numbers, nothing changes, in this step and in all later ones, and
/// `remaining` says [`BROKEN`](super::BROKEN).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RenoiseVectors {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[B, 11]` f32: [`SamplingParams`], of which `temperature` counts.
    pub params: Mat,
    /// `[B, 11·R]` f32.
    pub steps: Mat,
    /// `[V, d]`.
    pub units: Mat,
    /// `[B, T]` u32: known tokens.
    pub truth: Mat,
    /// A symbol of probability 0.
    pub drop: u32,
    /// `[N, d]`, updated.
    pub z: Mat,
    /// `[N, d]`: x̂, for the next pass to be told; updated.
    pub denoised: Mat,
    /// `[B, T]` u32, updated.
    pub x: Mat,
    /// `[B, T]` u32: not 0 where a position is open; updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that a position changed in last, or [`GIVEN`](super::GIVEN); updated.
    pub committed_at: Mat,
    /// `[B, 1]` u32: open positions, or [`BROKEN`](super::BROKEN); updated.
    pub remaining: Mat,
}

impl Describe for RenoiseVectors {
    fn describe(&self, contract: &mut Contract) {
        let ([b, t], [v, d]) = (self.x.shape(), self.units.shape());
        contract.read("logits", self.logits, [b * t, v], F32);
        contract.read("params", self.params, [b, SamplingParams::COLS], F32);
        steps(contract, self.steps, b);
        contract.read("units", self.units, [v, d], F32);
        contract.read("truth", self.truth, [b, t], Ids);
        contract.update("z", self.z, [b * t, d], F32);
        contract.update("denoised", self.denoised, [b * t, d], F32);
        contract.update("x", self.x, [b, t], Ids);
        contract.update("masked", self.masked, [b, t], Ids);
        contract.update("committed_at", self.committed_at, [b, t], Ids);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.is_exact = true;
    }
}
