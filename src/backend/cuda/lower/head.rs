//! The output head, its loss and sums of losses.

use super::super::call::{
    Call, ClearArgs, CrossEntropyArgs, HeadLogitsArgs, HeadLossArgs, Launch, LossSumArgs, SequenceLossArgs, call,
};
use super::linear::sized;
use super::{Lowering, Rung, args};
use crate::program::{Clear, CrossEntropy, HeadLogits, HeadLoss, LossSum, SequenceLoss};

impl Lowering<'_> {
    pub(super) fn head_logits(&mut self, op: &HeadLogits) -> Launch {
        let HeadLogits { x, sumsq, w, logits } = *op;
        let ([rows, cols], inner) = (logits.shape(), x.cols);
        let args = args!(self, HeadLogitsArgs { x, sumsq, w, logits, rows, inner, cols });
        let [plain, large, small]: [fn(_) -> Call; 3] = match sumsq {
            Some(_) => [call::head_logits_plain, call::head_logits_mma, call::head_logits_mma_small],
            None => [call::head_logits_plain_free, call::head_logits_mma_free, call::head_logits_mma_free_small],
        };
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w]) && self.base_suits_rows(logits))]) {
            Rung::Mma => sized([large, small], args, rows, cols),
            Rung::Plain => plain(args).cover(rows, cols),
        }
    }

    pub(super) fn cross_entropy(&mut self, op: &CrossEntropy) -> Launch {
        let CrossEntropy { logits, target, drop, cross_entropy } = *op;
        let [rows, symbols] = logits.shape();
        call::cross_entropy(args!(self, CrossEntropyArgs { logits, target, cross_entropy, rows, symbols, drop }))
            .cover_rows(rows)
    }

    pub(super) fn head_loss(&mut self, op: &HeadLoss) -> Launch {
        let HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s } = *op;
        let args = args!(
            self,
            HeadLossArgs {
                x,
                sumsq,
                w,
                target,
                weight,
                scale,
                cross_entropy,
                dlogits,
                s,
                rows: x.rows,
                inner: x.cols,
                symbols: w.rows,
                drop,
            }
        );
        let kernel = match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w]) && self.base_suits_rows(dlogits))]) {
            Rung::Mma if sumsq.is_none() => call::head_loss_mma_free,
            Rung::Mma => call::head_loss_mma,
            Rung::Plain if sumsq.is_none() => call::head_loss_plain_free,
            Rung::Plain => call::head_loss_plain,
        };
        kernel(args).cover_rows(x.rows)
    }

    pub(super) fn clear(&mut self, op: &Clear) -> Launch {
        let (out, count) = (op.out, op.out.len());
        call::clear(args!(self, ClearArgs { out, count })).cover_rows(count)
    }

    pub(super) fn loss_sum(&mut self, op: &LossSum) -> Launch {
        let LossSum { cross_entropy, weight, accumulate, metrics } = *op;
        let (step, rows, ring) = (self.step(), weight.rows, metrics.rows);
        call::loss_sum(args!(self, LossSumArgs { step, cross_entropy, weight, metrics, rows, ring, accumulate }))
            .alone()
    }

    pub(super) fn sequence_loss(&mut self, op: &SequenceLoss) -> Launch {
        let SequenceLoss { cross_entropy, weight, sums } = *op;
        let (sequences, positions) = (sums.rows, weight.rows / sums.rows);
        call::sequence_loss(args!(self, SequenceLossArgs { cross_entropy, weight, sums, positions, sequences }))
            .cover_rows(sequences)
    }
}
