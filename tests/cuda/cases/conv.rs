//! The convolution over neighbouring positions, forward and backward.

use super::norms::WIDTHS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Accumulate, ShortConv, ShortConvBackward, sumsq_slots};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS {
        let mut b = Harness::new(dtype);
        // Sequences of one position, of less than a strip, of strips and a bit, of more than a block.
        for (shape, taps) in [([1, 1], 3), ([9, 1], 5), ([5, 3], 7), ([3, 43], 5), ([1, 130], 1)] {
            convolutions(&mut b, shape, cols, taps);
        }
        b.run(watch, &format!("convolutions of {cols} in {dtype:?}"));
    }
    // More partial rows than the reduction has warps.
    let mut b = Harness::new(dtype);
    convolutions(&mut b, [11, 110], 8, 3);
    b.run(watch, &format!("convolutions of many rows in {dtype:?}"));
}

pub(super) fn convolutions(b: &mut Harness, [sequences, positions]: [usize; 2], cols: usize, taps: usize) {
    let rows = sequences * positions;
    for before in [taps as u32 / 2, taps as u32 - 1] {
        looking_back(b, [rows, cols], positions as u32, taps, before);
    }
}

fn looking_back(b: &mut Harness, [rows, cols]: [usize; 2], positions: u32, taps: usize, before: u32) {
    let (x, w) = (b.stored(rows, cols, 1.0), b.stored(taps, cols, 0.5));
    let (out, sumsq) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)));
    b.push(ShortConv { x, w, positions, before, out, sumsq });
    let dout = b.stored(rows, cols, 1.0);
    for (accumulate, dw) in
        [(Accumulate::Overwrite, b.float_out(taps, cols)), (Accumulate::Add, b.normal(taps, cols, 1.0))]
    {
        let dx = b.stored_out(rows, cols);
        b.push(ShortConvBackward { dout, x, w, positions, before, accumulate, dx, dw });
    }
}
