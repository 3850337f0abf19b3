//! The output head, its loss and sums of losses.

use super::super::call::{HeadLogitsArgs, HeadLossArgs, Launch, Ptr, call};
use super::linear::sized;
use super::{Lowering, NONE, Rung, blocks, size};
use crate::program::{Accumulate, CrossEntropy, HeadLogits, HeadLoss, LossSum, SequenceLoss};

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

impl Lowering<'_> {
    pub(super) fn head_logits(&mut self, op: &HeadLogits) -> Launch {
        let HeadLogits { x, sumsq, w, logits } = *op;
        let args = HeadLogitsArgs {
            x: self.store(x),
            sumsq: self.float(sumsq),
            w: self.store(w),
            logits: self.float_mut(logits),
            rows: size(x.rows),
            inner: size(x.cols),
            cols: size(logits.cols),
        };
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w]) && self.base_suits_rows(logits))]) {
            Rung::Mma => sized([call::head_logits_mma, call::head_logits_mma_small], args, x.rows, logits.cols),
            Rung::Plain => call::head_logits_plain(args).cover(x.rows, logits.cols),
        }
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
        let args = HeadLossArgs {
            x: self.store(x),
            sumsq: self.float(sumsq),
            w: self.store(w),
            target: self.ids(target),
            weight: self.float(weight),
            scale: scale.map_or(Ptr::NULL, |scale| self.float(scale)),
            cross_entropy: self.float_mut(cross_entropy),
            dlogits: self.store_mut(dlogits),
            s: self.float_mut(s),
            rows: size(x.rows),
            inner: size(x.cols),
            symbols: size(w.rows),
            drop: drop.unwrap_or(NONE),
        };
        let kernel = match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w]) && self.base_suits_rows(dlogits))]) {
            Rung::Mma => call::head_loss_mma,
            Rung::Plain => call::head_loss_plain,
        };
        kernel(args).cover_rows(x.rows)
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
