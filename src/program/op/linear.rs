//! Matrix products and what stands around them, forward and backward.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, DType, Describe, Mat, Product, sumsq_slots};

/// One weight gradient of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightGrad {
    /// `[N, out]`, row-scaled where a norm stood before the matmul.
    pub dy: Mat,
    /// `[N, in]`, the matmul's input before the norm.
    pub x: Mat,
    pub dw: Mat,
}

/// `y = r·(x Wᵀ)`, split into q, k, v; RoPE on q and k (half split, base 10000), then norm over each head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Qkv {
    pub x: Mat,
    pub sumsq: Mat,
    /// `[3C, C]`: q, k, v stacked.
    pub w: Mat,
    pub positions: u32,
    pub heads: u32,
    /// `[N, 3C]`: q | k | v, a head's D columns together.
    pub qkv: Mat,
    /// `[N, 2H]`: r of each head's q, then of each head's k, before that last norm.
    pub qk_rstd: Mat,
}

impl Describe for Qkv {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.read("w", self.w, [3 * c, c], Numbers);
        contract.write("qkv", self.qkv, [n, 3 * c], Numbers);
        contract.write("qk_rstd", self.qk_rstd, [n, 2 * self.heads as usize], F32);
        contract.product(self.x, self.w.rows);
        contract.rope = Some((self.positions, self.x.cols / self.heads as usize));
        contract.even_heads(self.x.shape(), self.positions, self.heads);
    }
}

/// `out = residual + a Wᵀ`, and the sums of squares of `out` as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearResidual {
    pub a: Mat,
    pub w: Mat,
    pub residual: Mat,
    pub out: Mat,
    pub sumsq: Mat,
}

impl Describe for LinearResidual {
    fn describe(&self, contract: &mut Contract) {
        let ([n, inner], c) = (self.a.shape(), self.out.cols);
        contract.read("a", self.a, [n, inner], Numbers);
        contract.read("w", self.w, [c, inner], Numbers);
        contract.read("residual", self.residual, [n, c], Numbers);
        contract.write("out", self.out, [n, c], Numbers);
        contract.write("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.product(self.a, self.w.rows);
        contract.units = |wide, output| if output == DType::F32 { 2.0 } else { f64::from(wide) };
    }
}

/// `h = relu(r·(x Wᵀ))²` (So et al., Primer, 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearRelu2 {
    pub x: Mat,
    pub sumsq: Mat,
    pub w: Mat,
    pub h: Mat,
}

impl Describe for LinearRelu2 {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], f) = (self.x.shape(), self.h.cols);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.read("w", self.w, [f, c], Numbers);
        contract.write("h", self.h, [n, f], Numbers);
        contract.product(self.x, self.w.rows);
    }
}

/// Backward of a norm and a matmul: `dx = [residual +] dy W - x·(r²·Σs/C)`, r of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormLinearBackward {
    /// `[N, out]`, row-scaled.
    pub dy: Mat,
    pub w: Mat,
    pub x: Mat,
    pub sumsq: Mat,
    /// `[N, any]` f32 partial sums of s.
    pub s: Mat,
    /// `[N, C]`: the gradient that goes around the branch.
    pub residual: Option<Mat>,
    pub dx: Mat,
}

impl Describe for NormLinearBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], out) = (self.x.shape(), self.w.rows);
        contract.read("dy", self.dy, [n, out], Numbers);
        contract.read("w", self.w, [out, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.read("s", self.s, [n, self.s.cols], F32);
        contract.read("residual", self.residual, [n, c], Numbers);
        contract.write("dx", self.dx, [n, c], Numbers);
        contract.product(self.dy, self.w.cols);
    }
}

/// Backward of `h W₂ᵀ` and [`LinearRelu2`]'s square: `dh = dx W₂`, `dy = r·dh·2√h`, `s = Σ 2·dh·h` per 128
/// columns; r of the x that h was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relu2Backward {
    /// `[N, C]`: gradient of the branch's output.
    pub dx: Mat,
    pub w: Mat,
    pub h: Mat,
    pub sumsq: Mat,
    pub dy: Mat,
    pub s: Mat,
}

impl Describe for Relu2Backward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], f) = (self.dx.shape(), self.h.cols);
        contract.read("dx", self.dx, [n, c], Numbers);
        contract.read("w", self.w, [c, f], Numbers);
        contract.read("h", self.h, [n, f], Numbers);
        contract.read("sumsq", self.sumsq, [n, self.sumsq.cols], F32);
        contract.write("dy", self.dy, [n, f], Numbers);
        contract.write("s", self.s, [n, sumsq_slots(f)], F32);
        contract.product(self.dx, self.w.cols);
        contract.units = |wide, output| match output {
            // s.
            DType::F32 => 4.0 * f64::from(wide),
            _ => f64::from(wide),
        };
    }
}

/// Backward of the attention's output projection: `do = dx W`, `dot = Σ_D do·o` per head (FlashAttention-2's D).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProjectionBackward {
    /// `[N, C]`: gradient of the branch's output.
    pub dx: Mat,
    pub w: Mat,
    pub o: Mat,
    pub heads: u32,
    pub d_o: Mat,
    pub dot: Mat,
}

impl Describe for ProjectionBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], inner) = (self.o.shape(), self.w.rows);
        contract.read("dx", self.dx, [n, inner], Numbers);
        contract.read("w", self.w, [inner, c], Numbers);
        contract.read("o", self.o, [n, c], Numbers);
        contract.write("d_o", self.d_o, [n, c], Numbers);
        contract.write("dot", self.dot, [n, self.heads as usize], F32);
        contract.product(self.dx, self.w.cols);
    }
}

/// `dw (+)= dyᵀ x` for each of a group, rows summed in a fixed order.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightGrads {
    pub grads: Vec<WeightGrad>,
    pub accumulate: Accumulate,
}

impl Describe for WeightGrads {
    fn describe(&self, contract: &mut Contract) {
        for WeightGrad { dy, x, dw } in &self.grads {
            let (n, [out, inner]) = (dy.rows, dw.shape());
            contract.read("dy", *dy, [n, out], Numbers);
            contract.read("x", *x, [n, inner], Numbers);
            contract.add(self.accumulate.access(), "dw", *dw, [out, inner], F32);
            contract.products.push(Product { rows: out, inner: n, cols: inner, share: 1.0, factors: vec![*dy, *x] });
        }
        contract.detail = match self.grads.len() {
            1 => "1 product".into(),
            n => format!("{n} products"),
        };
    }
}
