//! Matrix products and what stands around them, forward and backward.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, DType, Mat, OperandList, Product, sumsq_slots, uneven_heads};

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

impl Contract for Qkv {
    fn operands(&self, o: &mut OperandList) {
        let [n, c] = self.x.shape();
        o.read("x", self.x, [n, c], Numbers);
        o.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        o.read("w", self.w, [3 * c, c], Numbers);
        o.write("qkv", self.qkv, [n, 3 * c], Numbers);
        o.write("qk_rstd", self.qk_rstd, [n, 2 * self.heads as usize], F32);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.x, self.w.rows)]
    }

    fn rope(&self) -> Option<(u32, usize)> {
        Some((self.positions, self.x.cols / self.heads as usize))
    }

    fn fault(&self) -> Option<String> {
        uneven_heads(self.x.shape(), self.positions, self.heads)
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

impl Contract for LinearResidual {
    fn operands(&self, o: &mut OperandList) {
        let ([n, inner], c) = (self.a.shape(), self.out.cols);
        o.read("a", self.a, [n, inner], Numbers);
        o.read("w", self.w, [c, inner], Numbers);
        o.read("residual", self.residual, [n, c], Numbers);
        o.write("out", self.out, [n, c], Numbers);
        o.write("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.a, self.w.rows)]
    }

    fn units(&self, wide: bool, output: DType) -> f64 {
        if output == DType::F32 { 2.0 } else { f64::from(wide) }
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

impl Contract for LinearRelu2 {
    fn operands(&self, o: &mut OperandList) {
        let ([n, c], f) = (self.x.shape(), self.h.cols);
        o.read("x", self.x, [n, c], Numbers);
        o.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        o.read("w", self.w, [f, c], Numbers);
        o.write("h", self.h, [n, f], Numbers);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.x, self.w.rows)]
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

impl Contract for NormLinearBackward {
    fn operands(&self, o: &mut OperandList) {
        let ([n, c], out) = (self.x.shape(), self.w.rows);
        o.read("dy", self.dy, [n, out], Numbers);
        o.read("w", self.w, [out, c], Numbers);
        o.read("x", self.x, [n, c], Numbers);
        o.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        o.read("s", self.s, [n, self.s.cols], F32);
        if let Some(residual) = self.residual {
            o.read("residual", residual, [n, c], Numbers);
        }
        o.write("dx", self.dx, [n, c], Numbers);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.dy, self.w.cols)]
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

impl Contract for Relu2Backward {
    fn operands(&self, o: &mut OperandList) {
        let ([n, c], f) = (self.dx.shape(), self.h.cols);
        o.read("dx", self.dx, [n, c], Numbers);
        o.read("w", self.w, [c, f], Numbers);
        o.read("h", self.h, [n, f], Numbers);
        o.read("sumsq", self.sumsq, [n, self.sumsq.cols], F32);
        o.write("dy", self.dy, [n, f], Numbers);
        o.write("s", self.s, [n, sumsq_slots(f)], F32);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.dx, self.w.cols)]
    }

    fn units(&self, wide: bool, output: DType) -> f64 {
        match (wide, output) {
            // s.
            (true, DType::F32) => 4.0,
            _ => f64::from(wide),
        }
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

impl Contract for ProjectionBackward {
    fn operands(&self, o: &mut OperandList) {
        let ([n, c], inner) = (self.o.shape(), self.w.rows);
        o.read("dx", self.dx, [n, inner], Numbers);
        o.read("w", self.w, [inner, c], Numbers);
        o.read("o", self.o, [n, c], Numbers);
        o.write("d_o", self.d_o, [n, c], Numbers);
        o.write("dot", self.dot, [n, self.heads as usize], F32);
    }

    fn products(&self) -> Vec<Product> {
        vec![Product::of(self.dx, self.w.cols)]
    }
}

/// `dw (+)= dyᵀ x` for each of a group, rows summed in a fixed order.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightGrads {
    pub grads: Vec<WeightGrad>,
    pub accumulate: Accumulate,
}

impl Contract for WeightGrads {
    fn operands(&self, o: &mut OperandList) {
        for WeightGrad { dy, x, dw } in &self.grads {
            let (n, [out, inner]) = (dy.rows, dw.shape());
            o.read("dy", *dy, [n, out], Numbers);
            o.read("x", *x, [n, inner], Numbers);
            o.add(self.accumulate.access(), "dw", *dw, [out, inner], F32);
        }
    }

    fn products(&self) -> Vec<Product> {
        let product = |g: &WeightGrad| Product {
            rows: g.dw.rows,
            inner: g.dy.rows,
            cols: g.dw.cols,
            share: 1.0,
            factors: vec![g.dy, g.x],
        };
        self.grads.iter().map(product).collect()
    }

    fn detail(&self) -> String {
        match self.grads.len() {
            1 => "1 product".into(),
            n => format!("{n} products"),
        }
    }
}
