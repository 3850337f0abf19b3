//! The output head, its loss and sums of losses.

use super::super::call::{Launch, Ptr, call};
use super::linear::Fit;
use super::{Lowering, NONE, blocks, size};
use crate::program::{Accumulate, CrossEntropy, HeadLogits, HeadLoss, LossSum, SequenceLoss};

/// Rows of a block of the tensor-core head.
const HEAD_ROWS: usize = 128;

/// Rows of a block of the plain head.
const PLAIN_ROWS: usize = 32;

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

impl Lowering<'_> {
    pub(super) fn head_logits(&mut self, op: &HeadLogits) -> Launch {
        let HeadLogits { x, sumsq, w, logits } = *op;
        let fit = Fit::of(self.in_pieces(&[x, w]) && self.base_suits_rows(logits), x.rows, logits.cols);
        let (x_, w_, logits_) = (self.store(x), self.store(w), self.float_mut(logits));
        let sizes = (size(x.rows), size(x.cols), size(logits.cols));
        let kernel = fit.pick([call::head_logits_mma, call::head_logits_mma_small, call::head_logits_plain]);
        let call = kernel(x_, self.float(sumsq), w_, logits_, sizes.0, sizes.1, sizes.2);
        call.over(fit.grid(x.rows, logits.cols))
    }

    pub(super) fn cross_entropy(&mut self, op: &CrossEntropy) -> Launch {
        let CrossEntropy { logits, target, drop, cross_entropy } = *op;
        call::cross_entropy(
            self.float(logits),
            self.ids(target),
            self.float_mut(cross_entropy),
            size(logits.rows),
            size(logits.cols),
            drop.unwrap_or(NONE),
        )
        .over([blocks(logits.rows, WARPS), 1, 1])
    }

    pub(super) fn head_loss(&mut self, op: &HeadLoss) -> Launch {
        let HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s } = *op;
        let fits = self.in_pieces(&[x, w]) && self.base_suits_rows(dlogits);
        let kernel = if fits { call::head_loss_mma } else { call::head_loss_plain };
        let call = kernel(
            self.store(x),
            self.float(sumsq),
            self.store(w),
            self.ids(target),
            self.float(weight),
            scale.map_or(Ptr::NULL, |scale| self.float(scale)),
            self.float_mut(cross_entropy),
            self.store_mut(dlogits),
            self.float_mut(s),
            size(x.rows),
            size(x.cols),
            size(w.rows),
            drop.unwrap_or(NONE),
        );
        call.over([blocks(x.rows, if fits { HEAD_ROWS } else { PLAIN_ROWS }), 1, 1])
    }

    pub(super) fn loss_sum(&mut self, op: &LossSum) -> Launch {
        let LossSum { cross_entropy, weight, accumulate, metrics } = *op;
        call::loss_sum(
            self.args(),
            self.float(cross_entropy),
            self.float(weight),
            self.float_mut(metrics),
            size(weight.rows),
            size(metrics.rows),
            u32::from(accumulate == Accumulate::Add),
        )
        .over([1, 1, 1])
    }

    pub(super) fn sequence_loss(&mut self, op: &SequenceLoss) -> Launch {
        let SequenceLoss { cross_entropy, weight, sums } = *op;
        call::sequence_loss(
            self.float(cross_entropy),
            self.float(weight),
            self.float_mut(sums),
            size(weight.rows / sums.rows),
            size(sums.rows),
        )
        .over([size(sums.rows), 1, 1])
    }
}
