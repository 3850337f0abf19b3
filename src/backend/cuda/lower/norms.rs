//! Norms that stand alone, with weights.

use super::super::call::{Launch, NORM_ROWS, NormArgs, NormBackwardArgs, PtrMut, call};
use super::{Lowering, args};
use crate::program::{LayerNorm, LayerNormBackward, Mat, RmsNorm, RmsNormBackward};

/// What RMSNorm has no operand for.
const NOTHING: Option<Mat> = None;

impl Lowering<'_> {
    pub(super) fn rms_norm(&mut self, op: &RmsNorm) -> Launch {
        let RmsNorm { x, gain, eps, y, rstd } = *op;
        let (rows, cols) = (x.rows, x.cols);
        call::rms_norm(args!(self, NormArgs { x, gain, bias: NOTHING, y, mean: NOTHING, rstd, rows, cols, eps }))
            .cover_rows(rows)
    }

    pub(super) fn layer_norm(&mut self, op: &LayerNorm) -> Launch {
        let LayerNorm { x, gain, bias, eps, y, mean, rstd } = *op;
        let (rows, cols) = (x.rows, x.cols);
        call::layer_norm(args!(self, NormArgs { x, gain, bias, y, mean, rstd, rows, cols, eps })).cover_rows(rows)
    }

    pub(super) fn rms_norm_backward(&mut self, op: &RmsNormBackward) -> Vec<Launch> {
        let RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain } = *op;
        let ([rows, cols], mean, residual, dbias) = (x.shape(), NOTHING, NOTHING, NOTHING);
        let partials = self.norm_partials(x, 1);
        let args = args!(
            self,
            NormBackwardArgs { dy, x, gain, mean, rstd, residual, dx, partials, dgain, dbias, rows, cols, accumulate }
        );
        vec![call::rms_norm_backward(args).cover_rows(rows), call::norm_backward_reduce(args).cover(1, cols)]
    }

    pub(super) fn layer_norm_backward(&mut self, op: &LayerNormBackward) -> Vec<Launch> {
        let LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias } = *op;
        let [rows, cols] = x.shape();
        let (partials, sums) = (self.norm_partials(x, 2), if dbias.is_some() { 2 } else { 1 });
        let args = args!(
            self,
            NormBackwardArgs { dy, x, gain, mean, rstd, residual, dx, partials, dgain, dbias, rows, cols, accumulate }
        );
        vec![call::layer_norm_backward(args).cover_rows(rows), call::norm_backward_reduce(args).cover(sums, cols)]
    }

    /// A row of partial sums of each block, for so many gradients.
    fn norm_partials(&mut self, x: Mat, gradients: usize) -> PtrMut<f32> {
        self.partials(0, x.rows.div_ceil(NORM_ROWS) * gradients * x.cols)
    }
}
