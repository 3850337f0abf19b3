//! Norms: those that live in the matmuls around them, and those that stand alone, with weights.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, Describe, Mat};

/// Columns that one partial sum of squares covers; the last may cover fewer.
pub const SUMSQ_COLS: usize = 128;

/// ε of every `norm(x)`: the machine epsilon of f32, PyTorch's default.
pub const NORM_EPS: f32 = 1.192_092_9e-7;

/// Number of partial sums of squares of a row of `cols`.
pub fn sumsq_slots(cols: usize) -> usize {
    cols.div_ceil(SUMSQ_COLS)
}

/// r of a row from its partial sums of squares.
pub fn rstd(sumsq: &[f32], cols: usize) -> f32 {
    1.0 / (sumsq.iter().sum::<f32>() / cols as f32 + NORM_EPS).sqrt()
}

/// `rstd = (Σx²/C + ε)^-½`, `y = x·rstd·gain`: RMSNorm with weights (Zhang & Sennrich 2019, eq. 4, with ε). x, gain and
/// y are each in the format of its own region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    pub x: Mat,
    pub gain: Mat,
    pub eps: f32,
    pub y: Mat,
    /// `[N, 1]` f32, for the backward.
    pub rstd: Mat,
}

impl Describe for RmsNorm {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("gain", self.gain, [1, c], Numbers);
        contract.write("y", self.y, [n, c], Numbers);
        contract.write("rstd", self.rstd, [n, 1], F32);
    }
}

/// `mean = Σx/C`, `rstd = (Σ(x - mean)²/C + ε)^-½`, `y = (x - mean)·rstd·gain [+ bias]` (Ba et al. 2016, eq. 3 and 4,
/// with ε). x, gain, bias and y are each in the format of its own region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    pub x: Mat,
    pub gain: Mat,
    pub bias: Option<Mat>,
    pub eps: f32,
    pub y: Mat,
    /// `[N, 1]` f32, for the backward.
    pub mean: Mat,
    /// `[N, 1]` f32, for the backward.
    pub rstd: Mat,
}

impl Describe for LayerNorm {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("gain", self.gain, [1, c], Numbers);
        contract.read("bias", self.bias, [1, c], Numbers);
        contract.write("y", self.y, [n, c], Numbers);
        contract.write("mean", self.mean, [n, 1], F32);
        contract.write("rstd", self.rstd, [n, 1], F32);
    }
}

/// Backward of [`RmsNorm`]: `dx = rstd·(dy·gain - x·rstd²·⟨dy·gain, x⟩/C)`, `dgain (+)= Σ dy·x·rstd` over rows in
/// a fixed order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormBackward {
    pub dy: Mat,
    pub x: Mat,
    pub gain: Mat,
    pub rstd: Mat,
    pub accumulate: Accumulate,
    pub dx: Mat,
    pub dgain: Mat,
}

impl Describe for RmsNormBackward {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("dy", self.dy, [n, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("gain", self.gain, [1, c], Numbers);
        contract.read("rstd", self.rstd, [n, 1], F32);
        contract.write("dx", self.dx, [n, c], Numbers);
        contract.add(self.accumulate.access(), "dgain", self.dgain, [1, c], F32);
    }
}

/// Backward of [`LayerNorm`]. With `x̂ = (x - mean)·rstd` and `g = dy·gain`:
/// `dx = [residual +] rstd·(g - Σg/C - x̂·⟨g, x̂⟩/C)`; `dgain (+)= Σ dy·x̂` and `dbias (+)= Σ dy` over rows in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormBackward {
    pub dy: Mat,
    pub x: Mat,
    pub gain: Mat,
    pub mean: Mat,
    pub rstd: Mat,
    /// `[N, C]`: the gradient that goes around the branch, stored as dx is.
    pub residual: Option<Mat>,
    pub accumulate: Accumulate,
    pub dx: Mat,
    pub dgain: Mat,
    pub dbias: Option<Mat>,
}

impl Describe for LayerNormBackward {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("dy", self.dy, [n, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("gain", self.gain, [1, c], Numbers);
        contract.read("mean", self.mean, [n, 1], F32);
        contract.read("rstd", self.rstd, [n, 1], F32);
        contract.read("residual", self.residual, [n, c], Numbers);
        contract.write("dx", self.dx, [n, c], Numbers);
        contract.add(self.accumulate.access(), "dgain", self.dgain, [1, c], F32);
        contract.add(self.accumulate.access(), "dbias", self.dbias, [1, c], F32);
    }
}
