//! One reverse step.

use super::super::call::{CommitConfig, Launch, PredictConfig, Ptr, PtrMut, call};
use super::{Lowering, NONE, blocks, size};
use crate::program::{Commit, CommitTokens, Mat, Predict, SampleTime, SamplingParams, TimeOrder};

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

impl Lowering<'_> {
    pub(super) fn sample_time(&mut self, op: &SampleTime) -> Launch {
        let SampleTime { masked, order, timesteps, t } = *op;
        let (order, maskable) = match order {
            TimeOrder::Original => (0, 0),
            TimeOrder::Masked { maskable } => (1, maskable),
        };
        let (args, masked_, t) = (self.args(), self.ids(masked), self.ids_mut(t));
        let (sequences, positions) = (size(masked.rows), size(masked.cols));
        call::sample_time(args, masked_, t, order, maskable, timesteps, sequences, positions).over([
            blocks(masked.rows, WARPS),
            1,
            1,
        ])
    }

    pub(super) fn predict(&mut self, op: &Predict) -> Launch {
        let Predict { logits, masked, params, drop, candidate, confidence } = *op;
        let config = PredictConfig {
            rows: size(logits.rows),
            positions: size(masked.cols),
            symbols: size(logits.cols),
            drop: drop.unwrap_or(NONE),
        };
        call::predict(
            self.args(),
            self.float(logits),
            self.ids(masked),
            self.sampling_params(params),
            self.ids_mut(candidate),
            self.float_mut(confidence),
            config,
        )
        .over([blocks(logits.rows, WARPS), 1, 1])
    }

    fn sampling_params(&self, params: Mat) -> Ptr<SamplingParams> {
        Ptr::at(self.float(params).address())
    }

    pub(super) fn commit_tokens(&mut self, op: &CommitTokens) -> Launch {
        let CommitTokens { confidence, params, reveal, commit, x, masked, committed_at, remaining } = *op;
        let config = CommitConfig { positions: size(x.cols), reveals: size(reveal.cols) };
        let (candidate, target, cross_entropy, nll) = match commit {
            Commit::Candidates { candidate } => (self.ids(candidate), Ptr::NULL, Ptr::NULL, PtrMut::NULL),
            Commit::Truth { target, cross_entropy, nll } => {
                (Ptr::NULL, self.ids(target), self.float(cross_entropy), self.float_mut(nll))
            }
        };
        call::commit_tokens(
            self.args(),
            self.float(confidence),
            self.sampling_params(params),
            self.ids(reveal),
            candidate,
            target,
            cross_entropy,
            nll,
            self.ids_mut(x),
            self.ids_mut(masked),
            self.ids_mut(committed_at),
            self.ids_mut(remaining),
            config,
        )
        .over([size(x.rows), 1, 1])
    }
}
