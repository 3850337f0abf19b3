//! One reverse step.

use super::super::call::{CommitArgs, Launch, PredictArgs, SampleTimeArgs, call};
use super::{Lowering, args};
use crate::program::{Commit, CommitTokens, Predict, SampleTime, TimeOrder};

impl Lowering<'_> {
    pub(super) fn sample_time(&mut self, op: &SampleTime) -> Launch {
        let SampleTime { masked, order, timesteps, t } = *op;
        let (maskable, rates) = match order {
            TimeOrder::Original => (0, None),
            TimeOrder::Masked { maskable } => (maskable, None),
            TimeOrder::Rate { rates } => (0, Some(rates)),
        };
        let steps = rates.map_or(1, |rates| rates.cols / 2);
        let (step, [sequences, positions]) = (self.step(), masked.shape());
        let args = args!(
            self,
            SampleTimeArgs { step, masked, rates, t, order, maskable, timesteps, sequences, positions, steps }
        );
        call::sample_time(args).cover_rows(sequences)
    }

    pub(super) fn predict(&mut self, op: &Predict) -> Launch {
        let Predict { logits, masked, params, remaining, drop, commit, confidence } = *op;
        let (step, [rows, symbols], positions) = (self.step(), logits.shape(), masked.cols);
        let (candidate, target, cross_entropy) = match commit {
            Commit::Candidates { candidate } => (Some(candidate), None, None),
            Commit::Truth { target, cross_entropy, .. } => (None, Some(target), Some(cross_entropy)),
        };
        let args = args!(
            self,
            PredictArgs {
                step,
                logits,
                masked,
                params,
                remaining,
                candidate,
                target,
                cross_entropy,
                confidence,
                rows,
                positions,
                symbols,
                drop,
            }
        );
        call::predict(args).cover_rows(rows)
    }

    pub(super) fn commit_tokens(&mut self, op: &CommitTokens) -> Launch {
        let CommitTokens { confidence, params, lots, mask_id, commit, x, masked, committed_at, remaining } = *op;
        let (candidate, target, cross_entropy, nll) = match commit {
            Commit::Candidates { candidate } => (Some(candidate), None, None, None),
            Commit::Truth { target, cross_entropy, nll } => (None, Some(target), Some(cross_entropy), Some(nll)),
        };
        let args = args!(
            self,
            CommitArgs {
                step: self.step(),
                confidence,
                params,
                lots,
                candidate,
                target,
                cross_entropy,
                nll,
                x,
                masked,
                committed_at,
                remaining,
                positions: x.cols,
                steps: lots.cols / 2,
                mask_id,
            }
        );
        call::commit_tokens(args).cover_rows(x.rows)
    }
}
