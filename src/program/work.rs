//! What an op costs at least: the yardstick of profiles, rooflines and counters.

use super::{Access, AttentionMask, Mat, Op, Plan};

/// Work that no implementation of an op can avoid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiplications and additions of its matrix products, two for each pair of factors.
    pub flops: f64,
    /// Bytes of its operands, each moved once: what is read, what is written, and what is updated twice.
    pub bytes: f64,
}

impl Work {
    /// Both added up.
    pub fn plus(self, other: Work) -> Work {
        Work { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl Op {
    /// The op's work over a plan, whose dtypes say how wide its operands are.
    pub fn work(&self, plan: &Plan) -> Work {
        let bytes = self.operands().iter().map(|&(mat, access)| self.moved(mat, access) * width(plan, mat)).sum();
        Work { flops: self.flops(), bytes }
    }

    /// Elements of an operand that cross the memory bus.
    fn moved(&self, mat: Mat, access: Access) -> f64 {
        match self {
            // One row of the ring.
            Op::LossSum { metrics, .. } | Op::GradNorm { metrics, .. } if mat == *metrics => 2.0,
            Op::AdamWStep { metrics, .. } | Op::LossScale { metrics, .. } if mat == *metrics => 1.0,
            _ if access == Access::Update => 2.0 * mat.len() as f64,
            _ => mat.len() as f64,
        }
    }

    fn flops(&self) -> f64 {
        let product = |rows: usize, inner: usize, cols: usize| 2.0 * rows as f64 * inner as f64 * cols as f64;
        // Pairs of a query and a key that it sees, over all heads, times 2·D: one product of the attention.
        let pairs = |o: Mat, positions: u32, mask: AttentionMask| {
            let t = f64::from(positions);
            let seen = if mask == AttentionMask::Causal { (t + 1.0) / 2.0 } else { t };
            2.0 * o.len() as f64 * seen
        };
        match self {
            Op::Qkv { x, w, .. } => product(x.rows, x.cols, w.rows),
            Op::LinearResidual { a, w, .. } => product(a.rows, a.cols, w.rows),
            Op::LinearRelu2 { x, w, .. } | Op::HeadLogits { x, w, .. } | Op::HeadLoss { x, w, .. } => {
                product(x.rows, x.cols, w.rows)
            }
            Op::NormLinearBackward { dy, w, .. } => product(dy.rows, dy.cols, w.cols),
            Op::Relu2Backward { dx, w, .. } | Op::ProjectionBackward { dx, w, .. } => product(dx.rows, dx.cols, w.cols),
            Op::WeightGrads { grads, .. } => grads.iter().map(|g| product(g.dw.rows, g.dy.rows, g.dw.cols)).sum(),
            Op::Attention { o, positions, mask, .. } => 2.0 * pairs(*o, *positions, *mask),
            // The scores are made again.
            Op::AttentionBackward { d_o, positions, mask, .. } => 5.0 * pairs(*d_o, *positions, *mask),
            _ => 0.0,
        }
    }
}

fn width(plan: &Plan, mat: Mat) -> f64 {
    plan.dtype(mat).bytes() as f64
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, DType, Persistence};
    use super::*;

    #[test]
    fn a_product_moves_each_operand_once() {
        let mut plan = Plan::new();
        let acts = plan.region("acts", DType::F16, Persistence::Kept);
        let stats = plan.region("stats", DType::F32, Persistence::Kept);
        let mut b = Builder::new(&mut plan, "test");
        let (x, w, h) = (b.alloc(acts, 10, 64), b.alloc(acts, 256, 64), b.alloc(acts, 10, 256));
        let sumsq = b.alloc(stats, 10, 1);
        let op = Op::LinearRelu2 { x, sumsq, w, h };
        let bytes = (10 * 64 + 256 * 64 + 10 * 256) * 2 + 10 * 4;
        assert_eq!(op.work(&plan), Work { flops: 2.0 * 10.0 * 64.0 * 256.0, bytes: f64::from(bytes) });
    }
}
