//! Matrix products with biases, GELU, and their backwards.

use super::super::call::{
    BIAS_ROWS, BiasGradArgs, GeluBackwardArgs, Launch, LinearArgs, LinearBackwardArgs, LinearGeluArgs, call,
};
use super::linear::sized;
use super::{Lowering, Rung, Width, args};
use crate::program::{BiasGrad, GeluBackward, Linear, LinearBackward, LinearGelu};

impl Lowering<'_> {
    pub(super) fn linear(&mut self, op: &Linear) -> Launch {
        let Linear { x, w, bias, residual, y } = *op;
        let ([rows, cols], inner) = (y.shape(), x.cols);
        let args = args!(self, LinearArgs { x, w, bias, residual, y, rows, inner, cols });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w, y]) && self.vectorizes_any(&[bias, residual]))]) {
            Rung::Mma => sized([call::linear_mma, call::linear_mma_small], args, rows, cols),
            Rung::Plain => call::linear_plain(args).cover(rows, cols),
        }
    }

    pub(super) fn linear_gelu(&mut self, op: &LinearGelu) -> Launch {
        let LinearGelu { x, w, bias, u, h } = *op;
        let ([rows, cols], inner) = (h.shape(), x.cols);
        let args = args!(self, LinearGeluArgs { x, w, bias, u, h, rows, inner, cols });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w, u, h]) && self.vectorizes_any(&[bias]))]) {
            Rung::Mma => sized([call::linear_gelu_mma, call::linear_gelu_mma_small], args, rows, cols),
            Rung::Plain => call::linear_gelu_plain(args).cover(rows, cols),
        }
    }

    pub(super) fn linear_backward(&mut self, op: &LinearBackward) -> Launch {
        let LinearBackward { dy, w, dx } = *op;
        let ([rows, cols], inner) = (dx.shape(), dy.cols);
        let args = args!(self, LinearBackwardArgs { dy, w, dx, rows, inner, cols });
        let width = self.width(dy);
        let kernel = match self.choose(&[(Rung::Mma, self.vectorizes(&[w, dx]) && width != Width::Scalar)]) {
            Rung::Mma if width == Width::Bytes4 => call::linear_backward_mma_narrow,
            Rung::Mma => call::linear_backward_mma,
            Rung::Plain => call::linear_backward_plain,
        };
        kernel(args).cover(rows, cols)
    }

    pub(super) fn gelu_backward(&mut self, op: &GeluBackward) -> Launch {
        let GeluBackward { dx, w, u, du } = *op;
        let ([rows, cols], inner) = (du.shape(), dx.cols);
        let args = args!(self, GeluBackwardArgs { dx, w, u, du, rows, inner, cols });
        let kernel = match self.choose(&[(Rung::Mma, self.vectorizes(&[dx, w, u, du]))]) {
            Rung::Mma => call::gelu_backward_mma,
            Rung::Plain => call::gelu_backward_plain,
        };
        kernel(args).cover(rows, cols)
    }

    pub(super) fn bias_grad(&mut self, op: &BiasGrad) -> Vec<Launch> {
        let BiasGrad { dy, accumulate, db } = *op;
        let [rows, cols] = dy.shape();
        let partials = self.partials(0, rows.div_ceil(BIAS_ROWS) * cols);
        let args = args!(self, BiasGradArgs { dy, partials, db, rows, cols, accumulate });
        vec![call::bias_grad(args).cover(rows, cols), call::bias_grad_reduce(args).cover(1, cols)]
    }
}
