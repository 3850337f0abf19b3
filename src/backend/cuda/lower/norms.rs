//! Norms that stand alone, with weights.

use super::super::call::{Launch, Ptr, PtrMut, call};
use super::{Lowering, blocks, size};
use crate::program::{Accumulate, LayerNorm, LayerNormBackward, Mat, RmsNorm, RmsNormBackward};

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

/// Rows whose shares of the weights' gradients one block sums.
const ROWS: usize = 64;

/// Columns of a block of the reduction.
const REDUCE_COLS: usize = 32;

impl Lowering<'_> {
    pub(super) fn rms_norm(&mut self, op: &RmsNorm) -> Launch {
        let RmsNorm { x, gain, eps, y, rstd } = *op;
        call::rms_norm(
            self.store(x),
            self.store(gain),
            self.store_mut(y),
            self.float_mut(rstd),
            size(x.rows),
            size(x.cols),
            eps,
        )
        .over([blocks(x.rows, WARPS), 1, 1])
    }

    pub(super) fn rms_norm_backward(&mut self, op: &RmsNormBackward) -> Vec<Launch> {
        let RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain } = *op;
        let n = blocks(x.rows, ROWS);
        let partials = self.partials(0, n as usize * x.cols);
        let sums = call::rms_norm_backward(
            self.store(dy),
            self.store(x),
            self.store(gain),
            self.float(rstd),
            self.store_mut(dx),
            partials,
            size(x.rows),
            size(x.cols),
            size(ROWS),
        );
        vec![sums.over([n, 1, 1]), self.norm_reduce(partials.address(), dgain, None, n, accumulate)]
    }

    pub(super) fn layer_norm(&mut self, op: &LayerNorm) -> Launch {
        let LayerNorm { x, gain, bias, eps, y, mean, rstd } = *op;
        call::layer_norm(
            self.store(x),
            self.store(gain),
            self.store(bias),
            self.store_mut(y),
            self.float_mut(mean),
            self.float_mut(rstd),
            size(x.rows),
            size(x.cols),
            eps,
        )
        .over([blocks(x.rows, WARPS), 1, 1])
    }

    pub(super) fn layer_norm_backward(&mut self, op: &LayerNormBackward) -> Vec<Launch> {
        let LayerNormBackward { dy, x, gain, mean, rstd, accumulate, dx, dgain, dbias } = *op;
        let n = blocks(x.rows, ROWS);
        let partials = self.partials(0, 2 * n as usize * x.cols);
        let sums = call::layer_norm_backward(
            self.store(dy),
            self.store(x),
            self.store(gain),
            self.float(mean),
            self.float(rstd),
            self.store_mut(dx),
            partials,
            size(x.rows),
            size(x.cols),
            size(ROWS),
        );
        vec![sums.over([n, 1, 1]), self.norm_reduce(partials.address(), dgain, Some(dbias), n, accumulate)]
    }

    fn norm_reduce(&self, partials: u64, dgain: Mat, dbias: Option<Mat>, n: u32, accumulate: Accumulate) -> Launch {
        call::norm_backward_reduce(
            Ptr::at(partials),
            self.float_mut(dgain),
            dbias.map_or(PtrMut::NULL, |dbias| self.float_mut(dbias)),
            n,
            size(dgain.cols),
            u32::from(accumulate == Accumulate::Add),
        )
        .over([blocks(dgain.cols, REDUCE_COLS), 1 + u32::from(dbias.is_some()), 1])
    }
}
