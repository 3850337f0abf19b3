//! Norms with weights, forward and backward.

use super::ROWS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Accumulate, LayerNorm, LayerNormBackward, RmsNorm, RmsNormBackward};

/// Widths: odd ones, whole 16-byte pieces, more than a warp's span.
pub(super) const WIDTHS: [usize; 6] = [2, 6, 24, 130, 136, 264];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS {
        let mut b = Harness::new(dtype);
        for rows in ROWS.into_iter().chain([70]) {
            norms(&mut b, rows, cols);
        }
        b.run(watch, &format!("norms of {cols} in {dtype:?}"));
    }
    // More partial rows than the reduction has warps.
    let mut b = Harness::new(dtype);
    norms(&mut b, 700, 40);
    b.run(watch, &format!("norms of many rows in {dtype:?}"));
}

pub(super) fn norms(b: &mut Harness, rows: usize, cols: usize) {
    let (x, gain) = (b.stored(rows, cols, 1.0), b.stored(1, cols, 1.0));
    let (y, rstd) = (b.stored_out(rows, cols), b.float_out(rows, 1));
    b.push(RmsNorm { x, gain, eps: 1e-5, y, rstd });
    let dy = b.stored(rows, cols, 1.0);
    for (accumulate, dgain) in
        [(Accumulate::Overwrite, b.float_out(1, cols)), (Accumulate::Add, b.normal(1, cols, 1.0))]
    {
        let dx = b.stored_out(rows, cols);
        b.push(RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain });
    }
    if cols == 2 {
        // Two columns about their mean are ±1, whatever they are: their gradients are nothing but rounding errors.
        return;
    }
    let (x, bias) = (b.stored(rows, cols, 2.0), b.stored(1, cols, 0.5));
    let (y, mean, rstd) = (b.stored_out(rows, cols), b.float_out(rows, 1), b.float_out(rows, 1));
    for bias in [Some(bias), None] {
        b.push(LayerNorm { x, gain, bias, eps: 1e-5, y, mean, rstd });
    }
    for (accumulate, dgain, dbias, residual) in [
        (Accumulate::Overwrite, b.float_out(1, cols), Some(b.float_out(1, cols)), None),
        (Accumulate::Add, b.normal(1, cols, 1.0), Some(b.normal(1, cols, 1.0)), Some(b.stored(rows, cols, 1.0))),
        (Accumulate::Overwrite, b.float_out(1, cols), None, None),
    ] {
        let dx = b.stored_out(rows, cols);
        b.push(LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias });
    }
}
