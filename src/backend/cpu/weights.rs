//! Weights as the matmuls read them.

use crate::program::{Mat, RegionId};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use crate::raw::cpu::gemm::{Panels, Rhs, View};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The right-hand sides of products with weights. Products of many rows pack them anew, which is a small part of their time;
/// for products of few, where packing is most of it, they stay packed until something is written where they lie: that is
/// sampling, whose weights never change.
#[derive(Default)]
pub(super) struct Weights {
    passing: Panels,
    /// By region, which is forgotten as a whole.
    kept: Vec<HashMap<Mat, Panels>>,
}

impl Weights {
    /// Products of so many rows keep them: a window or two of a text, fewer than any batch that is worth training on.
    const FEW: usize = 256;

    /// wᵀ, `[in, out]`, for so many rows of activations; w is `[out, in]`.
    pub(super) fn transposed<'a, A: Element>(&'a mut self, o: &Operands<'a>, w: Mat, rows: usize) -> Rhs<'a, A> {
        let view = View::row_major(o.get::<A>(w), w.rows, w.cols).transposed();
        if rows > Self::FEW {
            return Rhs::prepare(view, &mut self.passing);
        }
        let region = w.region.index();
        if self.kept.len() <= region {
            self.kept.resize_with(region + 1, HashMap::new);
        }
        match self.kept[region].entry(w) {
            Entry::Occupied(kept) => Rhs::prepared(view, kept.into_mut()),
            Entry::Vacant(empty) => Rhs::prepare(view, empty.insert(Panels::default())),
        }
    }

    /// w, `[out, in]`, for gradients of its activations.
    pub(super) fn as_stored<'a, A: Element>(&'a mut self, o: &Operands<'a>, w: Mat) -> Rhs<'a, A> {
        Rhs::prepare(View::row_major(o.get::<A>(w), w.rows, w.cols), &mut self.passing)
    }

    /// Something was written there.
    pub(super) fn forget(&mut self, region: RegionId) {
        if let Some(kept) = self.kept.get_mut(region.index()) {
            kept.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::backend::{Backend, Cpu};
    use crate::program::{Clear, DType, Linear, Op, Persistence, Plan, StepArgs};
    use std::sync::Arc;

    /// Products of few rows keep the weights: what changes these, an op or the host, must change the product.
    #[test]
    fn a_product_has_the_weights_of_now() {
        let mut plan = Plan::new();
        let [weights, rows] = ["weights", "rows"].map(|name| plan.region(name, DType::F32, Persistence::Kept));
        let w = plan.alloc(weights, 40, 24);
        let [x, y] = [plan.alloc(rows, 3, 24), plan.alloc(rows, 3, 40)];
        let product: Op = Linear { x, w, bias: None, residual: None, y }.into();
        let mut cpu = Cpu::new(Arc::new(plan));
        let ones = |n: usize| bytemuck::cast_slice(&vec![1f32; n]).to_vec();
        let now = |cpu: &mut Cpu| {
            cpu.run_op(&product, &StepArgs::default()).unwrap();
            bytemuck::cast_slice::<_, f32>(&cpu.fetch(y).unwrap().wait().unwrap()).to_vec()
        };
        cpu.write_bytes(x, &ones(3 * 24)).unwrap();
        assert_eq!(now(&mut cpu), [0.0; 120]);
        cpu.write_bytes(w, &ones(40 * 24)).unwrap();
        assert_eq!(now(&mut cpu), [24.0; 120]);
        assert_eq!(now(&mut cpu), [24.0; 120]);
        cpu.run_op(&Clear { out: w }.into(), &StepArgs::default()).unwrap();
        assert_eq!(now(&mut cpu), [0.0; 120]);
    }
}
