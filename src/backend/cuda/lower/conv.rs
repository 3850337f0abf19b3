//! The convolution over neighbouring positions.

use super::super::call::{CONV_ROWS, Launch, ShortConvArgs, ShortConvBackwardArgs, call};
use super::{Lowering, args};
use crate::program::{ShortConv, ShortConvBackward};

impl Lowering<'_> {
    pub(super) fn short_conv(&mut self, op: &ShortConv) -> Launch {
        let ShortConv { x, w, positions, before, out, sumsq } = *op;
        let ([rows, cols], taps) = (x.shape(), w.rows);
        let args = args!(self, ShortConvArgs { x, w, out, sumsq, rows, positions, cols, taps, before });
        call::short_conv(args).cover(rows, cols)
    }

    pub(super) fn short_conv_backward(&mut self, op: &ShortConvBackward) -> Vec<Launch> {
        let ShortConvBackward { dout, x, w, positions, before, accumulate, dx, dw } = *op;
        let ([rows, cols], taps) = (x.shape(), w.rows);
        let partials = self.partials(0, rows.div_ceil(CONV_ROWS) * taps * cols);
        let args = args!(
            self,
            ShortConvBackwardArgs { dout, x, w, dx, partials, dw, rows, positions, cols, taps, before, accumulate }
        );
        vec![
            call::short_conv_backward(args).cover(rows, cols),
            call::short_conv_backward_reduce(args).cover(taps, cols),
        ]
    }
}
