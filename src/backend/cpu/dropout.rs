//! Dropout.

use super::math::{squares, vectorized};
use super::norms::{Rows, with_rows};
use super::{Context, computed};
use crate::program::{Dropout, Lots, StepArgs};
use crate::raw::cpu::element::Element;
use crate::rng::{Stream, philox, uniform24};
use rayon::prelude::*;

computed! {
    dropout(Dropout) by y;
}

/// The lots of one sequence at one place.
#[derive(Clone, Copy)]
pub(super) struct Draws {
    seed: u64,
    step: u64,
    threshold: u32,
    scale: f32,
}

impl Draws {
    /// Those of a sequence of the batch.
    pub(super) fn new(args: &StepArgs, lots: Lots, sequence: usize) -> Self {
        let sequence = args.sequence.wrapping_add(sequence as u32);
        let low = sequence.wrapping_mul(lots.places).wrapping_add(lots.place);
        let step = args.step << 32 | u64::from(low);
        Draws { seed: args.seed, step, threshold: lots.threshold(), scale: lots.scale() }
    }

    /// What the sequence's numbers from `first` on are multiplied by: 0, or 1/(1 - rate).
    pub(super) fn factors(self, first: usize, to: &mut [f32]) {
        // Up to where four numbers share a draw.
        let head = (first.next_multiple_of(4) - first).min(to.len());
        let (head, tail) = to.split_at_mut(head);
        self.of_group(first / 4, first % 4, head);
        for (i, to) in tail.chunks_mut(4).enumerate() {
            self.of_group(first.div_ceil(4) + i, 0, to);
        }
    }

    /// Those of some of the four numbers that share a draw.
    fn of_group(self, group: usize, skipped: usize, to: &mut [f32]) {
        if to.is_empty() {
            return;
        }
        let words = philox(self.seed, Stream::Dropout, self.step, group as u32);
        for (to, word) in to.iter_mut().zip(&words[skipped..]) {
            *to = if uniform24(*word) < self.threshold { 0.0 } else { self.scale };
        }
    }
}

fn dropout<Y: Element>(Context { o, args, .. }: &mut Context<'_>, op: &Dropout) {
    let Dropout { x, residual, positions, sequences, lots, y, sumsq } = *op;
    let (c, positions, sequences) = (x.cols, positions as usize, sequences as usize);
    let (x, residual) = (Rows::of(o, x), residual.map(|residual| o.get::<Y>(residual)));
    let row_of = |row: usize, y: &mut [Y]| {
        let (run, residual) = (row / positions, residual.map(|residual| &residual[row * c..][..c]));
        let position = run / sequences * positions + row % positions;
        with_rows(c, |[wide, factors]| {
            Draws::new(args, lots, run % sequences).factors(position * c, factors);
            drop_row(x.row(row, wide), factors, residual, y);
        });
    };
    let rows = o.take::<Y>(y).par_chunks_exact_mut(c).enumerate().with_min_len(16);
    match sumsq {
        None => rows.for_each(|(row, y)| row_of(row, y)),
        Some(sumsq) => {
            rows.zip(o.take::<f32>(sumsq).par_chunks_exact_mut(sumsq.cols)).for_each(|((row, y), sumsq)| {
                row_of(row, y);
                with_rows(c, |[wide]| {
                    Y::widen(y, wide);
                    squares(wide, sumsq);
                });
            });
        }
    }
}

vectorized! {
/// `y = [residual +] x·factor`.
fn drop_row<Y: Element>(x: &[f32], factors: &[f32], residual: Option<&[Y]>, y: &mut [Y]) {
    match residual {
        None => {
            for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
                *y = Y::nearest(x * factor);
            }
        }
        Some(residual) => {
            for (((y, x), factor), residual) in y.iter_mut().zip(x).zip(factors).zip(residual) {
                *y = Y::nearest(residual.wide() + x * factor);
            }
        }
    }
}
}
