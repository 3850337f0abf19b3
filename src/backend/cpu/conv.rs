//! The convolution over neighbouring positions, and its backward.

use super::math::{squares, vectorized};
use super::{Context, computed};
use crate::program::{Accumulate, ShortConv, ShortConvBackward};
use crate::raw::cpu::bands::bands;
use crate::raw::cpu::element::Element;
use rayon::prelude::*;

computed! {
    short_conv(ShortConv) by w;
    short_conv_backward(ShortConvBackward) by w;
}

/// Rows `[N, cols]` of sequences, how many taps they are seen through, and how many of these see what is before.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    cols: usize,
    positions: usize,
    taps: usize,
    before: usize,
}

impl<'a> Rows<'a> {
    /// What each tap of a row sees, from the farthest before it on, where its sequence has that.
    fn around(self, row: usize) -> impl DoubleEndedIterator<Item = Option<&'a [f32]>> {
        let (first, before) = (row / self.positions * self.positions, self.before);
        (row..row + self.taps).map(move |at| {
            let is_there = (first + before..first + before + self.positions).contains(&at);
            is_there.then(|| self.own(at - before))
        })
    }

    /// A row itself.
    fn own(self, row: usize) -> &'a [f32] {
        &self.x[row * self.cols..][..self.cols]
    }
}

fn short_conv<W: Element>(Context { o, .. }: &mut Context<'_>, op: &ShortConv) {
    let ShortConv { x, w, positions, before, out, sumsq } = *op;
    let (cols, slots, taps) = (x.cols, sumsq.cols, w.rows);
    let rows = Rows { x: o.get(x), cols, positions: positions as usize, taps, before: before as usize };
    let w = o.get::<W>(w);
    let outputs = o.take::<f32>(out).par_chunks_exact_mut(cols).zip(o.take::<f32>(sumsq).par_chunks_exact_mut(slots));
    outputs.enumerate().with_min_len(64).for_each(|(row, (out, sumsq))| {
        out.copy_from_slice(rows.own(row));
        for (x, tap) in rows.around(row).zip(w.chunks_exact(cols)) {
            add_products(out, x.unwrap_or_default(), tap);
        }
        squares(out, sumsq);
    });
}

vectorized! {
/// `to += a·b`; nothing where either is empty.
fn add_products<B: Element>(to: &mut [f32], a: &[f32], b: &[B]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to += a * b.wide();
    }
}
}

/// Columns whose products one worker sums over all rows: a fixed cut, so that the order of every sum is the order of the rows.
const COLS: usize = 64;

fn short_conv_backward<W: Element>(Context { o, .. }: &mut Context<'_>, op: &ShortConvBackward) {
    let ShortConvBackward { dout, x, w, positions, before, accumulate, dx, dw } = *op;
    let ([n, cols], positions, taps) = (x.shape(), positions as usize, w.rows);
    let seen = |mat, before| Rows { x: o.get(mat), cols, positions, taps, before };
    // What a row gave to the one behind it comes back from there.
    let (x, dout) = (seen(x, before as usize), seen(dout, taps - 1 - before as usize));
    let w = o.get::<W>(w);
    o.take::<f32>(dx).par_chunks_exact_mut(cols).enumerate().with_min_len(64).for_each(|(row, dx)| {
        dx.copy_from_slice(dout.own(row));
        for (dout, tap) in dout.around(row).rev().zip(w.chunks_exact(cols)) {
            add_products(dx, dout.unwrap_or_default(), tap);
        }
    });
    let dw = o.take::<f32>(dw);
    if accumulate == Accumulate::Overwrite {
        dw.fill(0.0);
    }
    bands(dw, taps, cols, COLS).enumerate().for_each(|(band, [mut dw])| {
        let cols = band * COLS..band * COLS + dw.width();
        for row in 0..n {
            let dout = &dout.own(row)[cols.clone()];
            for (tap, x) in x.around(row).enumerate() {
                add_products(dw.row(tap), dout, x.map(|x| &x[cols.clone()]).unwrap_or_default());
            }
        }
    });
}
