//! The head's loss, and sums of losses.

use super::ROWS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Accumulate, Clear, CrossEntropy, HeadLogits, HeadLoss, LossSum, Mat, SequenceLoss};

/// Symbols: less than a warp's, odd and even ones around a tile's.
const SYMBOLS: [usize; 6] = [2, 66, 67, 128, 129, 257];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for symbols in SYMBOLS {
        let mut b = Harness::new(dtype);
        for (rows, inner) in ROWS.into_iter().chain([130]).zip([24, 66, 96, 136]) {
            for drop in [None, Some(symbols as u32 - 1), Some(0)] {
                head_loss(&mut b, [rows, inner, symbols], drop);
            }
        }
        b.run(watch, &format!("head loss of {symbols} symbols in {dtype:?}"));
    }
    dropped(watch);
    sure(watch);
    sums(watch);
}

/// Rows of logits that are read four at a time, by less than a warp's fours and by more, without each place of a four.
fn dropped(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    for symbols in [68, 260] {
        for drop in [None, Some(1), Some(2), Some(symbols - 5), Some(symbols - 4)] {
            let rows = 9;
            let logits = b.normal(rows, symbols as usize, 3.0);
            let targets =
                (0..rows as u32).map(|i| i * 7 % (symbols - 5) + u32::from(drop == Some(i * 7 % (symbols - 5))));
            let target = b.ids(rows, 1, targets.collect());
            let cross_entropy = b.float_out(rows, 1);
            b.push(CrossEntropy { logits, target, drop, cross_entropy });
        }
    }
    b.run(watch, "cross-entropy without one of four");
}

/// Rows that the model is sure of: one other symbol's term is k·2⁻²³, what the sum of terms can tell from 1, and all others
/// are nothing beside it. The sum is 1 + k·2⁻²³ whatever the rounding of the term (10⁻⁶ of it, a fiftieth of a unit of that
/// sum), so that both sides take the logarithm of the same number, and its relative error is what is compared. The rows have
/// no weight: their gradients, p - 1, are what rounding p leaves.
fn sure(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    let gap = |row: usize| (2.0_f64.powi(23) / (4096 + 512 * row) as f64).ln() as f32;
    for (rows, inner, symbols) in [(33, 8, 66), (7, 6, 67)] {
        let x = b.stored_values(rows, inner, vec![1.0; rows * inner]);
        let rival = |symbol: usize| {
            if symbol == 0 {
                1.0
            } else if symbol == 5 {
                0.0
            } else {
                -8.0
            }
        };
        let w = b.stored_values(symbols, inner, (0..symbols * inner).map(|i| rival(i / inner)).collect());
        // r·C = gap.
        let sums = (0..rows).map(|row| (inner as f32).powi(3) / gap(row).powi(2)).collect();
        let (sumsq, target) = (b.float(rows, 1, sums), b.ids(rows, 1, vec![0; rows]));
        let (weight, drop) = (b.float(rows, 1, vec![0.0; rows]), None);
        let (cross_entropy, dlogits, s) = (b.float_out(rows, 1), b.stored_out(rows, symbols), b.float_out(rows, 1));
        b.push(HeadLoss { x, sumsq: Some(sumsq), w, target, weight, scale: None, drop, cross_entropy, dlogits, s });
        let values = (0..rows * symbols).map(|i| (rival(i % symbols) - 1.0) * gap(i / symbols)).collect();
        let (logits, cross_entropy) = (b.float(rows, symbols, values), b.float_out(rows, 1));
        b.push(CrossEntropy { logits, target, drop, cross_entropy });
    }
    b.run(watch, "losses of rows that the model is sure of");
}

pub(super) fn head_loss(b: &mut Harness, [rows, inner, symbols]: [usize; 3], drop: Option<u32>) {
    // Targets are never the dropped symbol.
    let kept = symbols as u32 - u32::from(drop.is_some());
    let shift = u32::from(drop == Some(0));
    let targets = (0..rows as u32).map(|i| i * 7 % kept + shift).collect();
    let target = b.ids(rows, 1, targets);
    let (x, w) = (b.stored(rows, inner, 1.0), b.stored(symbols, inner, 2.0 * (inner as f32).powf(-0.5)));
    // Every third has rows that are normed already.
    let sumsq = (inner % 3 != 0).then(|| b.sumsq(rows, inner));
    // Where one symbol is left, the gradient p - 1 is what rounding p leaves: as in `sure`, no row has weight.
    let weightless = |i: usize| i % 3 == 1 || kept == 1;
    let weights = (0..rows).map(|i| if weightless(i) { 0.0 } else { 1.0 / (i + 1) as f32 }).collect();
    let weight = b.float(rows, 1, weights);
    let scale = (symbols % 2 == 1).then(|| b.float(1, 2, vec![64.0, 5.0]));
    let (cross_entropy, dlogits, s) = (b.float_out(rows, 1), b.stored_out(rows, symbols), b.float_out(rows, 1));
    b.push(HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s });
    if sumsq.is_none() {
        let logits = b.float_out(rows, symbols);
        b.push(HeadLogits { x, sumsq, w, logits });
    }
    let (logits, cross_entropy) = (b.normal(rows, symbols, 3.0), b.float_out(rows, 1));
    b.push(CrossEntropy { logits, target, drop, cross_entropy });
}

fn sums(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    b.args.step = 8;
    for (sequences, positions) in [(1, 1), (1, 7), (3, 33), (7, 300), (2, 1500)] {
        let rows = sequences * positions;
        let cross_entropy = b.uniform(rows, 1, 0.0, 6.0);
        let weights = (0..rows).map(|i| if i % 4 == 2 { 0.0 } else { 1.0 / (i % 9 + 1) as f32 }).collect();
        let weight = b.float(rows, 1, weights);
        sums_of(&mut b, cross_entropy, weight, sequences);
    }
    // A quarter of the rows are lost, of all others the model is sure: each of their losses is less than half an ulp of
    // what a thread has added up by then, all of them are three ulp of the sum.
    let rows = 1 << 14;
    let values = (0..rows).map(|row| if row < rows / 4 { 1.0 } else { 0.9 * 2.0_f32.powi(-22) }).collect();
    let (cross_entropy, weight) = (b.float(rows, 1, values), b.float(rows, 1, vec![1.0; rows]));
    sums_of(&mut b, cross_entropy, weight, 1);
    b.run(watch, "sums of losses");
}

pub(super) fn sums_of(b: &mut Harness, cross_entropy: Mat, weight: Mat, sequences: usize) {
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let metrics = b.uniform(3, 4, 0.0, 5.0);
        b.push(LossSum { cross_entropy, weight, accumulate, metrics });
    }
    let sums = b.float_out(sequences, 2);
    b.push(SequenceLoss { cross_entropy, weight, sums });
    let out = b.stored_out(cross_entropy.rows, 3);
    b.push(Clear { out });
}
