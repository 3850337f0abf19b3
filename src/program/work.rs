//! What an op costs at least: the yardstick of profiles, rooflines and counters.

use super::{Op, Operand, Plan, Product};
use std::iter::Sum;

/// Work that no implementation of an op can avoid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiplications and additions of its matrix products, two for each pair of factors.
    pub flops: f64,
    /// Bytes of its operands, each moved once: what is read, what is written, and what is updated twice.
    pub bytes: f64,
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Work>>(all: I) -> Work {
        all.fold(Work::default(), |a, b| Work { flops: a.flops + b.flops, bytes: a.bytes + b.bytes })
    }
}

impl Op {
    /// The op's work over a plan, whose dtypes say how wide its operands are.
    pub fn work(&self, plan: &Plan) -> Work {
        let flops = self.contract().products.iter().map(Product::flops).sum();
        let bytes = |operand: &Operand| (operand.moved * plan.dtype(operand.mat).bytes()) as f64;
        Work { flops, bytes: self.operands().iter().map(bytes).sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Builder, DType, LinearRelu2, Persistence};
    use super::*;

    #[test]
    fn a_product_moves_each_operand_once() {
        let mut plan = Plan::new();
        let acts = plan.region("acts", DType::F16, Persistence::Kept);
        let stats = plan.region("stats", DType::F32, Persistence::Kept);
        let mut b = Builder::new(&mut plan, "test");
        let (x, w, h) = (b.alloc(acts, 10, 64), b.alloc(acts, 256, 64), b.alloc(acts, 10, 256));
        let sumsq = b.alloc(stats, 10, 1);
        let op = Op::from(LinearRelu2 { x, sumsq, w, h });
        let bytes = (10 * 64 + 256 * 64 + 10 * 256) * 2 + 10 * 4;
        assert_eq!(op.work(&plan), Work { flops: 2.0 * 10.0 * 64.0 * 256.0, bytes: f64::from(bytes) });
    }
}
