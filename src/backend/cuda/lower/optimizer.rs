//! Gradient norm, AdamW and the loss scale.

use super::super::call::{AdamWArgs, GRAD_NORM_BLOCK, GradNormArgs, Launch, LossScaleArgs, call};
use super::{Lowering, args};
use crate::program::{AdamW, AdamWStep, GradNorm, LossScale};

impl Lowering<'_> {
    pub(super) fn grad_norm(&mut self, op: &GradNorm) -> Vec<Launch> {
        let GradNorm { grads, scale, metrics } = *op;
        let (step, n) = (self.step(), grads.len());
        let partials = self.partials::<f32>(0, n.div_ceil(GRAD_NORM_BLOCK));
        let args = args!(self, GradNormArgs { step, grads, scale, partials, metrics, n, ring: metrics.rows });
        vec![call::grad_norm(args).cover_rows(n), call::grad_norm_finish(args).alone()]
    }

    pub(super) fn loss_scale(&mut self, op: &LossScale) -> Launch {
        let LossScale { metrics, scale } = *op;
        call::loss_scale(args!(self, LossScaleArgs { step: self.step(), metrics, scale, ring: metrics.rows })).alone()
    }

    pub(super) fn adamw_step(&mut self, op: &AdamWStep) -> Launch {
        let AdamWStep { grads, metrics, scale, adamw, params, m, v, stored } = *op;
        let AdamW { beta1, beta2, eps, weight_decay, clip } = adamw;
        let args = args!(
            self,
            AdamWArgs {
                step: self.step(),
                grads,
                metrics,
                scale,
                params,
                m,
                v,
                stored,
                n: params.len(),
                beta1,
                beta2,
                eps,
                weight_decay,
                clip,
                ring: metrics.rows,
            }
        );
        call::adamw_step(args).cover_rows(params.len())
    }
}
