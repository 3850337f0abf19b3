//! Attention whose scores are not bounded, and its backward in the middle of a model, whose rows have norms of every size:
//! no model has the one, small ones of a layer lack the other.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Attention, AttentionBackward, AttentionMask, Mat, QkvNorms, Scores};

/// `[positions, sequences, heads]` within a block of queries or two.
const SHORT: [[usize; 3]; 4] = [[1, 3, 1], [7, 1, 5], [33, 2, 3], [65, 1, 1]];

pub(crate) fn cases(watch: &mut Watch) {
    heads(watch, &[32, 64, 128], &SHORT);
}

/// Heads that have no kernels on tensor cores.
pub(crate) fn plain_cases(watch: &mut Watch) {
    heads(watch, &[2, 10, 16], &SHORT);
}

/// Sequences of more blocks than one, and longer ones than the fused backward takes.
pub(crate) fn long_cases(watch: &mut Watch) {
    heads(watch, &[32, 64, 128], &[[130, 1, 2], [300, 1, 1]]);
}

/// Heads of every dimension, of `[positions, sequences, heads]`.
fn heads(watch: &mut Watch, head_dims: &[usize], shapes: &[[usize; 3]]) {
    let dtype = watch.dtype();
    for &head_dim in head_dims {
        let mut b = Harness::new(dtype);
        for &[positions, sequences, heads] in shapes {
            for (mask, sequences) in masks(positions, sequences) {
                let (rows, width) = (sequences * positions, heads * head_dim);
                // Scores of a standard deviation of 4: the running maximum has to follow them.
                let qkv = b.stored(rows, 3 * width, 2.0);
                let (o, lse) = (b.stored_out(rows, width), b.float_out(rows, heads));
                let (positions, heads) = (positions as u32, heads as u32);
                b.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout: None, o, lse });
                backward(&mut b, qkv, lse, [positions, heads], mask);
            }
        }
        let longest = shapes[shapes.len() - 1][0];
        b.run(watch, &format!("attention of heads of {head_dim} on up to {longest} positions in {dtype:?}"));
    }
}

/// Queries of a tile, and no tile has more keys.
const TILE: usize = 128;

/// Every mask, with as many sequences: under blocks texts have two copies. Blocks of one position, of the least part of them that
/// there is, and of the largest; of texts of several tiles those that reach from one into the next.
fn masks(positions: usize, sequences: usize) -> Vec<(AttentionMask, usize)> {
    let whole = [AttentionMask::Bidirectional, AttentionMask::Causal].map(|mask| (mask, sequences));
    let least = (2..=positions).find(|length| positions.is_multiple_of(*length)).unwrap_or(1);
    let largest = positions / least;
    let mut lengths = if positions > TILE { vec![largest] } else { vec![1, least, largest] };
    lengths.sort_unstable();
    lengths.dedup();
    let blocks = lengths.into_iter().map(|length| (AttentionMask::Blocks { length: length as u32 }, 2 * sequences));
    whole.into_iter().chain(blocks).collect()
}

pub(super) fn backward(b: &mut Harness, qkv: Mat, lse: Mat, [positions, heads]: [u32; 2], mask: AttentionMask) {
    let (rows, width) = (qkv.rows, qkv.cols / 3);
    let (qk_rstd, d_o) = (b.uniform(rows, 2 * heads as usize, 0.5, 2.0), b.stored(rows, width, 1.0));
    let (dot, sumsq) = (b.normal(rows, heads as usize, 1.0), b.sumsq(rows, width));
    let (dqkv, s) = (b.stored_out(rows, qkv.cols), b.float_out(rows, heads as usize));
    let norms = Some(QkvNorms { qk_rstd, sumsq, s });
    b.push(AttentionBackward { qkv, lse, d_o, dot, positions, heads, mask, norms, dropout: None, dqkv });
    if !matches!(mask, AttentionMask::Blocks { .. }) {
        b.push(AttentionBackward { qkv, lse, d_o, dot, positions, heads, mask, norms: None, dropout: None, dqkv });
    }
}
