//! Norms: those that live in the matmuls around them, and those that stand alone, with weights.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, Mat, OperandList};

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

impl Contract for RmsNorm {
    fn operands(&self, o: &mut OperandList) {
        let [n, c] = self.x.shape();
        o.read("x", self.x, [n, c], Numbers);
        o.read("gain", self.gain, [1, c], Numbers);
        o.write("y", self.y, [n, c], Numbers);
        o.write("rstd", self.rstd, [n, 1], F32);
    }
}

/// `mean = Σx/C`, `rstd = (Σ(x - mean)²/C + ε)^-½`, `y = (x - mean)·rstd·gain + bias` (Ba et al. 2016, eq. 3 and 4,
/// with ε). x, gain, bias and y are each in the format of its own region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    pub x: Mat,
    pub gain: Mat,
    pub bias: Mat,
    pub eps: f32,
    pub y: Mat,
    /// `[N, 1]` f32, for the backward.
    pub mean: Mat,
    /// `[N, 1]` f32, for the backward.
    pub rstd: Mat,
}

impl Contract for LayerNorm {
    fn operands(&self, o: &mut OperandList) {
        let [n, c] = self.x.shape();
        o.read("x", self.x, [n, c], Numbers);
        o.read("gain", self.gain, [1, c], Numbers);
        o.read("bias", self.bias, [1, c], Numbers);
        o.write("y", self.y, [n, c], Numbers);
        o.write("mean", self.mean, [n, 1], F32);
        o.write("rstd", self.rstd, [n, 1], F32);
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

impl Contract for RmsNormBackward {
    fn operands(&self, o: &mut OperandList) {
        let [n, c] = self.x.shape();
        o.read("dy", self.dy, [n, c], Numbers);
        o.read("x", self.x, [n, c], Numbers);
        o.read("gain", self.gain, [1, c], Numbers);
        o.read("rstd", self.rstd, [n, 1], F32);
        o.write("dx", self.dx, [n, c], Numbers);
        o.add(self.accumulate.access(), "dgain", self.dgain, [1, c], F32);
    }
}

/// Backward of [`LayerNorm`]. With `x̂ = (x - mean)·rstd` and `g = dy·gain`:
/// `dx = rstd·(g - Σg/C - x̂·⟨g, x̂⟩/C)`; `dgain (+)= Σ dy·x̂` and `dbias (+)= Σ dy` over rows in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormBackward {
    pub dy: Mat,
    pub x: Mat,
    pub gain: Mat,
    pub mean: Mat,
    pub rstd: Mat,
    pub accumulate: Accumulate,
    pub dx: Mat,
    pub dgain: Mat,
    pub dbias: Mat,
}

impl Contract for LayerNormBackward {
    fn operands(&self, o: &mut OperandList) {
        let [n, c] = self.x.shape();
        o.read("dy", self.dy, [n, c], Numbers);
        o.read("x", self.x, [n, c], Numbers);
        o.read("gain", self.gain, [1, c], Numbers);
        o.read("mean", self.mean, [n, 1], F32);
        o.read("rstd", self.rstd, [n, 1], F32);
        o.write("dx", self.dx, [n, c], Numbers);
        o.add(self.accumulate.access(), "dgain", self.dgain, [1, c], F32);
        o.add(self.accumulate.access(), "dbias", self.dbias, [1, c], F32);
    }
}
