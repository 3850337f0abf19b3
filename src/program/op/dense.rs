//! Matrix products with biases, behind norms that stand alone: those of a GPT, forward and backward.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, Describe, Mat};

/// `y = [residual +] x Wᵀ [+ bias]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    pub x: Mat,
    /// `[out, in]`.
    pub w: Mat,
    /// `[1, out]`.
    pub bias: Option<Mat>,
    /// `[N, out]`, stored as `y` is.
    pub residual: Option<Mat>,
    pub y: Mat,
}

impl Describe for Linear {
    fn describe(&self, contract: &mut Contract) {
        let ([n, inner], cols) = (self.x.shape(), self.y.cols);
        contract.read("x", self.x, [n, inner], Numbers);
        contract.read("w", self.w, [cols, inner], Numbers);
        contract.read("bias", self.bias, [1, cols], Numbers);
        contract.read("residual", self.residual, [n, cols], Numbers);
        contract.write("y", self.y, [n, cols], Numbers);
        contract.product(self.x, cols);
    }
}

/// `u = x Wᵀ [+ bias]`, `h = gelu(u)` with `gelu(u) = u·Φ(u)`, `Φ(u) = (1 + erf(u/√2))/2` (Hendrycks & Gimpel 2016, exact).
/// Its backward needs u.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearGelu {
    pub x: Mat,
    pub w: Mat,
    /// `[1, out]`.
    pub bias: Option<Mat>,
    pub u: Mat,
    /// Of u before it is rounded.
    pub h: Mat,
}

impl Describe for LinearGelu {
    fn describe(&self, contract: &mut Contract) {
        let ([n, inner], cols) = (self.x.shape(), self.h.cols);
        contract.read("x", self.x, [n, inner], Numbers);
        contract.read("w", self.w, [cols, inner], Numbers);
        contract.read("bias", self.bias, [1, cols], Numbers);
        contract.write("u", self.u, [n, cols], Numbers);
        contract.write("h", self.h, [n, cols], Numbers);
        contract.product(self.x, cols);
    }
}

/// `dx = dy W`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearBackward {
    /// `[N, out]`.
    pub dy: Mat,
    pub w: Mat,
    pub dx: Mat,
}

impl Describe for LinearBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, out], cols) = (self.dy.shape(), self.dx.cols);
        contract.read("dy", self.dy, [n, out], Numbers);
        contract.read("w", self.w, [out, cols], Numbers);
        contract.write("dx", self.dx, [n, cols], Numbers);
        contract.product(self.dy, cols);
    }
}

/// Backward of `h W₂ᵀ` and [`LinearGelu`]'s activation: `du = (dx W₂)·(Φ(u) + u·φ(u))`, `φ(u) = e^(-u²/2)/√(2π)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeluBackward {
    /// `[N, C]`: gradient of the branch's output.
    pub dx: Mat,
    /// `[C, F]`.
    pub w: Mat,
    pub u: Mat,
    pub du: Mat,
}

impl Describe for GeluBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], f) = (self.dx.shape(), self.u.cols);
        contract.read("dx", self.dx, [n, c], Numbers);
        contract.read("w", self.w, [c, f], Numbers);
        contract.read("u", self.u, [n, f], Numbers);
        contract.write("du", self.du, [n, f], Numbers);
        contract.product(self.dx, f);
    }
}

/// `db (+)= Σ dy` over rows in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BiasGrad {
    pub dy: Mat,
    pub accumulate: Accumulate,
    /// `[1, out]`.
    pub db: Mat,
}

impl Describe for BiasGrad {
    fn describe(&self, contract: &mut Contract) {
        let [n, out] = self.dy.shape();
        contract.read("dy", self.dy, [n, out], Numbers);
        contract.add(self.accumulate.access(), "db", self.db, [1, out], F32);
    }
}
