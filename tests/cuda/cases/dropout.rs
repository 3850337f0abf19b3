//! Dropout, alone and of what attention sees.

use super::norms::WIDTHS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Attention, AttentionBackward, AttentionMask, Dropout, Lots, Scores, sumsq_slots};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS.into_iter().chain([1, 131]) {
        let mut b = Harness::new(dtype);
        (b.args.step, b.args.sequence) = (77, 5);
        for (sequences, positions, copies) in [(1, 1, 1), (7, 5, 1), (3, 11, 2)] {
            rows(&mut b, [sequences, positions, copies], cols);
        }
        b.run(watch, &format!("dropout of {cols} columns in {dtype:?}"));
    }
    let mut b = Harness::new(dtype);
    for (head_dim, positions, sequences, heads) in [(32, 33, 2, 3), (10, 7, 1, 5), (2, 1, 3, 1), (66, 65, 1, 1)] {
        for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
            attention(&mut b, [positions, sequences, heads, head_dim], mask);
        }
    }
    b.run(watch, &format!("attention whose weights are dropped in {dtype:?}"));
}

fn rows(b: &mut Harness, [sequences, positions, copies]: [usize; 3], cols: usize) {
    let n = sequences * positions * copies;
    let x = b.stored(n, cols, 1.0);
    for (rate, around, summed) in [(0.2, true, true), (0.5, false, true), (0.9, true, false)] {
        let lots = Lots { rate, place: 3, places: 11 };
        let residual = around.then(|| b.stored(n, cols, 1.0));
        let (y, sumsq) = (b.stored_out(n, cols), summed.then(|| b.float_out(n, sumsq_slots(cols))));
        let (positions, sequences) = (positions as u32, sequences as u32);
        b.push(Dropout { x, residual, positions, sequences, lots, y, sumsq });
    }
}

fn attention(b: &mut Harness, [positions, sequences, heads, head_dim]: [usize; 4], mask: AttentionMask) {
    let (n, width) = (sequences * positions, heads * head_dim);
    let qkv = b.stored(n, 3 * width, 1.0);
    let (o, lse) = (b.stored_out(n, width), b.float_out(n, heads));
    let dropout = Some(Lots { rate: 0.25, place: 2, places: 40 });
    let (d_o, dot, dqkv) = (b.stored(n, width, 1.0), b.normal(n, heads, 1.0), b.stored_out(n, 3 * width));
    let (positions, heads) = (positions as u32, heads as u32);
    b.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout, o, lse });
    b.push(AttentionBackward { qkv, lse, d_o, dot, positions, heads, mask, norms: None, dropout, dqkv });
}
