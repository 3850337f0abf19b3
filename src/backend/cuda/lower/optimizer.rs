//! Gradient norm, AdamW and the loss scale; `muon` has Muon's ops: MuonMomentum, Gram, NewtonSchulz and MuonStep.

use super::super::call::{AdamWConfig, Launch, Ptr, PtrMut, call};
use super::{Lowering, blocks, size};
use crate::program::{AdamWStep, GradNorm, LossScale};

/// Gradients of a block of the norm.
const NORM_BLOCK: usize = 16_384;

/// Parameters of a block of AdamW.
const ADAMW_BLOCK: usize = 1024;

impl Lowering<'_> {
    pub(super) fn grad_norm(&mut self, op: &GradNorm) -> Vec<Launch> {
        let GradNorm { grads, scale, metrics } = *op;
        let n = blocks(grads.len(), NORM_BLOCK);
        let partials = self.partials(0, n as usize);
        let scale = scale.map_or(Ptr::NULL, |scale| self.float(scale));
        let sums = Ptr::at(partials.address());
        vec![
            call::grad_norm(self.float(grads), scale, partials, grads.len() as u64).over([n, 1, 1]),
            call::grad_norm_finish(self.args(), sums, scale, self.float_mut(metrics), n, size(metrics.rows))
                .over([1, 1, 1]),
        ]
    }

    pub(super) fn loss_scale(&mut self, op: &LossScale) -> Launch {
        let LossScale { metrics, scale } = *op;
        call::loss_scale(self.args(), self.float(metrics), self.float_mut(scale), size(metrics.rows)).over([1, 1, 1])
    }

    pub(super) fn adamw_step(&mut self, op: &AdamWStep) -> Launch {
        let AdamWStep { grads, metrics, scale, adamw, params, m, v, ema, stored } = *op;
        let config = AdamWConfig {
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            eps: adamw.eps,
            weight_decay: adamw.weight_decay,
            clip: adamw.clip,
            ring: size(metrics.rows),
        };
        let call = call::adamw_step(
            self.args(),
            self.float(grads),
            self.float(metrics),
            scale.map_or(Ptr::NULL, |scale| self.float(scale)),
            self.float_mut(params),
            self.float_mut(m),
            self.float_mut(v),
            ema.map_or(PtrMut::NULL, |ema| self.float_mut(ema)),
            stored.map_or(PtrMut::NULL, |stored| self.store_mut(stored)),
            config,
            params.len() as u64,
        );
        call.over([blocks(params.len(), ADAMW_BLOCK), 1, 1])
    }
}
