//! Vectors of several tokens each, the latents of an autoencoder, that Gaussian noise is added to: noise, what predictions cost,
//! one reverse step, and what is read off in the end.
//!
//! A latent h has d numbers and length 1; there are M = B·T/r of them, r tokens each. With noise `z = α·h + σ·ε`, α² + σ² = 1
//! ([`VectorStep`]). A number of h has a square of 1/d on average, so that of its z the best linear guess is
//!
//! `skip·z` with `skip = (α/d)/(α²/d + σ²)`, and what it is off by has the deviation `out = (σ/√d)/(α²/d + σ²)^½`.
//!
//! What the network says is that, `x̂ = skip·z + out·o` (Karras et al. 2022, table 1): the prediction of v (Salimans & Ho 2022), where
//! numbers have squares of 1.

use super::Kind::{F32, Ids, Numbers};
use super::head::of_rows;
use super::{Contract, Describe, ErrorCost, LogitsGrad, Mat, SamplingParams, VectorStep, sumsq_slots};
use crate::config::{DENSITY_CELLS, Gamma};
use crate::rng::Stream;

impl VectorStep {
    /// c = (α²/d + σ²)^-½, which makes the numbers of z, d for each vector, have squares of about 1.
    pub fn scale(self, dims: usize) -> f32 {
        1.0 / (self.alpha * self.alpha / dims as f32 + self.sigma * self.sigma).sqrt()
    }

    /// What of z x̂ has by itself, and what of what the network says, of latents of d numbers.
    pub fn skip_and_out(self, dims: usize) -> [f32; 2] {
        let (signal, noise) = (self.alpha * self.alpha / dims as f32, self.sigma * self.sigma);
        let root = (dims as f32).sqrt();
        [self.alpha / dims as f32 / (signal + noise), self.sigma / root / (signal + noise).sqrt()]
    }
}

/// `[B, 11·R]`, as many rows as there are texts of the latents `[M, d]`, of which it returns the shape.
fn latents(contract: &mut Contract, name: &'static str, mat: Mat, steps: Mat) -> [usize; 2] {
    contract.read(name, mat, mat.shape(), F32);
    contract.read("steps", steps, [steps.rows, steps.cols], F32);
    contract.require(steps.cols.is_multiple_of(VectorStep::COLS), || format!("{steps:?} holds no whole steps"));
    contract.require(mat.rows.is_multiple_of(steps.rows), || format!("{} rows of {} texts", mat.rows, steps.rows));
    mat.shape()
}

/// A level for each sequence, drawn and mapped to a place between the ends of γ as [`VectorLevel::Drawn`](super::VectorLevel) has
/// it, and what a row of one counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawLevels {
    /// G: sequences of the whole batch, all micro-batches together.
    pub of: u32,
    /// T, by which what a row counts is divided, so that losses are of a token.
    pub tokens: u32,
    /// `[1, 257]` u32: places in units of 2⁻²⁴ ([`Gamma::quantiles`]).
    pub quantiles: Mat,
    pub gamma: Gamma,
    pub cost: ErrorCost,
    /// `[B, 11]` f32.
    pub steps: Mat,
    /// `[any·B, 1]`.
    pub weight: Mat,
}

impl Describe for DrawLevels {
    fn describe(&self, contract: &mut Contract) {
        let b = self.steps.rows;
        contract.read("quantiles", self.quantiles, [1, DENSITY_CELLS + 1], Ids);
        contract.write("steps", self.steps, [b, VectorStep::COLS], F32);
        contract.write("weight", self.weight, [self.weight.rows, 1], F32);
        contract.require(self.of as usize >= b, || format!("{} sequences in all, {b} in one batch", self.of));
        contract.require(self.weight.rows.is_multiple_of(b), || format!("{} rows, {b} texts", self.weight.rows));
        contract.is_exact = true;
    }
}

/// `z = α·h + σ·ε`, and `y = c·z` for a decoder to read, c as of [`VectorInput`](super::VectorInput); one of them or both.
///
/// Draws as [`Diffuse`](super::Diffuse), of a stream that is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DiffuseLatents {
    /// `[M, d]`.
    pub latents: Mat,
    /// `[B, 11]` f32.
    pub steps: Mat,
    pub stream: Stream,
    /// `[M, d]`.
    pub z: Option<Mat>,
    /// `[M, d]`.
    pub y: Option<Mat>,
}

impl Describe for DiffuseLatents {
    fn describe(&self, contract: &mut Contract) {
        let shape = latents(contract, "latents", self.latents, self.steps);
        contract.write("z", self.z, shape, F32);
        contract.write("y", self.y, shape, Numbers);
        // What is read is rounded as it is stored.
        contract.is_exact = self.y.is_none();
    }
}

/// `y = c·z` of latents that have noise, at the level that the last step reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentInput {
    /// `[M, d]`.
    pub z: Mat,
    /// Where it has its least noise.
    pub gamma: Gamma,
    /// `[M, d]`.
    pub y: Mat,
}

impl Describe for LatentInput {
    fn describe(&self, contract: &mut Contract) {
        contract.read("z", self.z, self.z.shape(), F32);
        contract.write("y", self.y, self.z.shape(), Numbers);
    }
}

/// What a module reads of latents with noise: c·z, and maybe more behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisyGrad {
    /// `[B, 11]` f32.
    pub steps: Mat,
    /// `[M, at least d]`: its gradient.
    pub dy: Mat,
}

/// Backward of a latent's length and its noise: with `g = Σ α·c·dy[..d] + own` over what is read, `dtable = rstd·(g - h·⟨g, h⟩)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentsBackward {
    /// `[M, d]`: h.
    pub latents: Mat,
    /// `[M, 1]`: one over its length before.
    pub rstd: Mat,
    pub decoder: NoisyGrad,
    /// And `[M, d]` f32, the gradient of h by other ways.
    pub denoiser: Option<(NoisyGrad, Mat)>,
    /// `[M, d]`.
    pub dtable: Mat,
}

impl Describe for LatentsBackward {
    fn describe(&self, contract: &mut Contract) {
        let NoisyGrad { steps, dy } = self.decoder;
        let [m, d] = latents(contract, "latents", self.latents, steps);
        contract.read("rstd", self.rstd, [m, 1], F32);
        contract.read("dy", dy, [m, dy.cols], Numbers);
        contract.require(dy.cols >= d, || format!("{} columns of {d} numbers", dy.cols));
        if let Some((NoisyGrad { steps: others, dy }, own)) = self.denoiser {
            contract.read("steps of the denoiser", others, steps.shape(), F32);
            contract.read("dy of the denoiser", dy, [m, dy.cols], Numbers);
            contract.read("own", own, [m, d], F32);
            contract.require(dy.cols >= d, || format!("{} columns of {d} numbers", dy.cols));
        }
        contract.write("dtable", self.dtable, [m, d], Numbers);
    }
}

/// x̂ of every latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenoiseLatents {
    /// `[M, d]`: what the network says.
    pub output: Mat,
    /// `[M, d]`.
    pub z: Mat,
    /// `[B, 11·R]` f32.
    pub steps: Mat,
    /// `[M, d]`.
    pub denoised: Mat,
}

impl Describe for DenoiseLatents {
    fn describe(&self, contract: &mut Contract) {
        let shape = latents(contract, "output", self.output, self.steps);
        contract.read("z", self.z, shape, F32);
        contract.write("denoised", self.denoised, shape, F32);
        contract.is_exact = true;
    }
}

/// `loss = cost·|x̂ - h|²`, cost of the row's [`VectorStep`], and its gradients: `d = scale·weight·∂loss/∂o`, `doutput = r·d`,
/// `s = ⟨d, o⟩` as of [`VectorLoss`](super::VectorLoss), and by h, but for what the network read of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentLoss {
    /// `[M, d]`: what the network says.
    pub output: Mat,
    /// `[M, d]`.
    pub z: Mat,
    /// `[M, d]`: h.
    pub latents: Mat,
    /// `[B, 11]` f32.
    pub steps: Mat,
    /// `[M, 1]`, not weighted.
    pub loss: Mat,
    /// Where gradients are wanted; those by h `[M, d]` f32.
    pub back: Option<(LogitsGrad, Mat)>,
}

impl Describe for LatentLoss {
    fn describe(&self, contract: &mut Contract) {
        let [m, d] = latents(contract, "output", self.output, self.steps);
        contract.read("z", self.z, [m, d], F32);
        contract.read("latents", self.latents, [m, d], F32);
        contract.write("loss", self.loss, [m, 1], F32);
        if let Some((back, own)) = self.back {
            contract.read("sumsq", back.sumsq, [m, sumsq_slots(back.width as usize)], F32);
            contract.read("weight", back.weight, [m, 1], F32);
            contract.read("scale", back.scale, [1, 2], F32);
            contract.write("doutput", back.dlogits, [m, d], Numbers);
            contract.write("s", back.s, [m, 1], F32);
            contract.write("own", own, [m, d], F32);
        }
    }
}

/// One reverse step of all latents at once, as number `args.step mod R` of a text's steps says, of texts with open tokens. Where it
/// clamps, x̂ has length 1. Latents all of whose tokens are known get noise of the level that is reached.
///
/// Draws as [`Diffuse`](super::Diffuse), of `Stream::Noise`. Where the network says no numbers, nothing changes, in this step and in
/// all later ones, and `remaining` says [`BROKEN`](super::BROKEN).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RenoiseLatents {
    /// `[M, d]`: what the network says.
    pub output: Mat,
    /// `[B, 11·R]` f32.
    pub steps: Mat,
    /// `[M, d]`: latents of the known tokens.
    pub known: Mat,
    /// `[B, T]` u32: not 0 where a token is open.
    pub masked: Mat,
    /// `[M, d]`, updated.
    pub z: Mat,
    /// `[M, d]`: x̂, for the next pass to be told; updated.
    pub denoised: Mat,
    /// `[B, 1]` u32: open tokens, none behind a text's last step, or [`BROKEN`](super::BROKEN); updated.
    pub remaining: Mat,
}

impl Describe for RenoiseLatents {
    fn describe(&self, contract: &mut Contract) {
        let shape @ [m, _] = latents(contract, "output", self.output, self.steps);
        let [b, t] = self.masked.shape();
        contract.read("known", self.known, shape, F32);
        contract.read("masked", self.masked, [self.steps.rows, t], Ids);
        contract.update("z", self.z, shape, F32);
        contract.update("denoised", self.denoised, shape, F32);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.require((b * t).is_multiple_of(m), || format!("{m} latents of {b} texts of {t} tokens"));
        contract.is_exact = true;
    }
}

/// What a decoder says of the open tokens: the likeliest, and of a text without remaining ones a draw at its temperature, after which
/// none is open. The lowest id among equals; draws by word 1 of [`reveal_words`](super::reveal_words).
///
/// Where a logit is not a finite number, nothing changes, and `remaining` says [`BROKEN`](super::BROKEN).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadTokens {
    /// `[N, V]`.
    pub logits: Mat,
    /// `[B, 11]` f32: [`SamplingParams`], of which `temperature` counts.
    pub params: Mat,
    /// `[B, 1]` u32, as [`RenoiseLatents`] leaves it; updated.
    pub remaining: Mat,
    /// A symbol of probability 0.
    pub drop: u32,
    /// `[B, T]` u32, updated.
    pub x: Mat,
    /// `[B, T]` u32: not 0 where a token is open; updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that a token changed in last, or [`GIVEN`](super::GIVEN); updated.
    pub committed_at: Mat,
}

impl Describe for ReadTokens {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x.shape();
        contract.read("logits", self.logits, [b * t, self.logits.cols], F32);
        contract.read("params", self.params, [b, SamplingParams::COLS], F32);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.update("x", self.x, [b, t], Ids);
        contract.update("masked", self.masked, [b, t], Ids);
        contract.update("committed_at", self.committed_at, [b, t], Ids);
        contract.is_exact = true;
    }
}

/// `wrong = [argmax of the row's logits ≠ target]`, without `drop`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misread {
    /// `[N, V]`.
    pub logits: Mat,
    pub target: Mat,
    /// A symbol of probability 0.
    pub drop: u32,
    /// `[N, 1]` f32.
    pub wrong: Mat,
}

impl Describe for Misread {
    fn describe(&self, contract: &mut Contract) {
        let [n, v] = self.logits.shape();
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.write("wrong", self.wrong, [n, 1], F32);
        contract.is_exact = true;
    }
}
