//! The output head, softmax and cross-entropy, and sums of losses in a fixed order.

use super::linear::{rstds_or_one, stream_rows};
use super::math::{dot, softmax_weights, vectorized};
use super::optimizer::metrics_mut;
use super::tiles::{row_block, with_scratch};
use super::{Context, computed};
use crate::program::{Accumulate, Clear, CrossEntropy, HeadLogits, HeadLoss, LossSum, SequenceLoss};
use crate::raw::cpu::element::Element;
use rayon::prelude::*;

computed! {
    head_logits(HeadLogits) by w;
    cross_entropy(CrossEntropy);
    head_loss(HeadLoss) by w;
    loss_sum(LossSum);
    sequence_loss(SequenceLoss);
    clear(Clear) by out;
}

fn head_logits<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &HeadLogits) {
    let HeadLogits { x, sumsq, w, logits } = *op;
    let (n, c, v) = (x.rows, x.cols, logits.cols);
    let (x, sumsq) = (o.get::<f32>(x), sumsq.map(|sumsq| o.get::<f32>(sumsq)));
    let rhs = weights.transposed::<A>(o, w, n);
    let block = row_block(n);
    let blocks = o.take::<f32>(logits).par_chunks_mut(block * v).zip(x.par_chunks(block * c));
    blocks.enumerate().for_each(|(i, (logits, x))| {
        with_scratch(block, |r| {
            rstds_or_one(sumsq, c, i * block, r);
            stream_rows::<A, f32>(x, c, &rhs, 1, logits, |row, y, _| y.iter_mut().for_each(|y| *y *= r[row]));
        });
    });
}

fn cross_entropy(Context { o, .. }: &mut Context<'_>, op: &CrossEntropy) {
    let CrossEntropy { logits, target, drop, cross_entropy } = *op;
    let v = logits.cols;
    let rows = (o.get::<f32>(logits).par_chunks_exact(v)).zip(o.get::<u32>(target)).zip(o.take::<f32>(cross_entropy));
    rows.with_min_len(64).for_each(|((logits, &target), cross_entropy)| {
        with_scratch(2 * v, |scratch| {
            let (kept, p) = scratch.split_at_mut(v);
            kept.copy_from_slice(logits);
            *cross_entropy = softmax_cross_entropy(kept, p, target, drop).0;
        });
    });
}

/// Puts `drop` to -∞ and `p` to `e^(logit - max)`; returns the cross-entropy of the target and the sum of p.
#[inline(always)]
fn softmax_cross_entropy(logits: &mut [f32], p: &mut [f32], target: u32, drop: Option<u32>) -> (f32, f32) {
    if let Some(drop) = drop {
        logits[drop as usize] = f32::NEG_INFINITY;
    }
    let (max, sum) = softmax_weights(logits, 1.0, p);
    (sum.ln() - (logits[target as usize] - max), sum)
}

fn head_loss<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &HeadLoss) {
    let HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s } = *op;
    let (n, c, v) = (x.rows, x.cols, dlogits.cols);
    let (x, sumsq) = (o.get::<f32>(x), sumsq.map(|sumsq| o.get::<f32>(sumsq)));
    let scale = scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]);
    let rhs = weights.transposed::<A>(o, w, n);
    let block = row_block(n);
    let blocks = (o.take::<A>(dlogits).par_chunks_mut(block * v))
        .zip(o.take::<f32>(cross_entropy).par_chunks_mut(block))
        .zip(o.take::<f32>(s).par_chunks_mut(block))
        .zip(x.par_chunks(block * c))
        .zip(o.get::<u32>(target).par_chunks(block))
        .zip(o.get::<f32>(weight).par_chunks(block));
    blocks.enumerate().for_each(|(i, (((((dlogits, cross_entropy), s), x), target), weight))| {
        with_scratch(block + v + dlogits.len(), |scratch| {
            let (r, rest) = scratch.split_at_mut(block);
            let (p, logits) = rest.split_at_mut(v);
            rstds_or_one(sumsq, c, i * block, r);
            stream_rows::<A, f32>(x, c, &rhs, 1, logits, |_, _, _| ());
            let outputs = LossRows { dlogits, cross_entropy, s };
            loss_rows(logits, p, r, target, (weight, scale), drop, outputs);
        });
    });
}

/// What [`loss_rows`] writes, row by row.
struct LossRows<'a, A> {
    dlogits: &'a mut [A],
    cross_entropy: &'a mut [f32],
    s: &'a mut [f32],
}

vectorized! {
/// Cross-entropy and its gradient from logits before their norm's r.
fn loss_rows<A: Element>(
    logits: &mut [f32],
    p: &mut [f32],
    r: &[f32],
    target: &[u32],
    (weight, scale): (&[f32], f32),
    drop: Option<u32>,
    outputs: LossRows<A>,
) {
    let v = p.len();
    let rows = logits.chunks_exact_mut(v).zip(outputs.dlogits.chunks_exact_mut(v)).zip(outputs.cross_entropy).zip(outputs.s);
    for (j, (((logits, dlogits), cross_entropy), s)) in rows.enumerate() {
        let (r, target, weight) = (r[j], target[j], scale * weight[j]);
        logits.iter_mut().for_each(|y| *y *= r);
        let dropped = drop.map_or(0.0, |drop| logits[drop as usize]);
        let (ce, sum) = softmax_cross_entropy(logits, p, target, drop);
        *cross_entropy = ce;
        if let Some(drop) = drop {
            logits[drop as usize] = dropped;
        }
        let factor = weight / sum;
        p.iter_mut().for_each(|p| *p *= factor);
        p[target as usize] -= weight;
        *s = dot(p, logits);
        for (d, p) in dlogits.iter_mut().zip(&*p) {
            *d = A::nearest(r * p);
        }
    }
}
}

fn loss_sum(Context { o, args, .. }: &mut Context<'_>, op: &LossSum) {
    let LossSum { cross_entropy, weight, accumulate, metrics } = *op;
    let (ce, weight) = (o.get::<f32>(cross_entropy), o.get::<f32>(weight));
    let metrics = metrics_mut(o, args, metrics);
    if accumulate == Accumulate::Overwrite {
        (metrics.loss, metrics.tokens) = (0.0, 0.0);
    }
    let (loss, tokens) = weighted_sum(ce, weight, |ce, w| f64::from(ce) * f64::from(w));
    metrics.loss += loss as f32;
    metrics.tokens += tokens as f32;
}

fn sequence_loss(Context { o, .. }: &mut Context<'_>, op: &SequenceLoss) {
    let SequenceLoss { cross_entropy, weight, sums } = *op;
    let per_sequence = weight.rows / sums.rows;
    let rows =
        o.get::<f32>(cross_entropy).chunks_exact(per_sequence).zip(o.get::<f32>(weight).chunks_exact(per_sequence));
    for ((ce, weight), out) in rows.zip(o.take::<f32>(sums).chunks_exact_mut(2)) {
        let (loss, masked) = weighted_sum(ce, weight, |ce, _| f64::from(ce));
        (out[0], out[1]) = (loss as f32, masked as f32);
    }
}

/// Sum over the rows that have a weight, in row order and double precision, and their number.
fn weighted_sum(ce: &[f32], weight: &[f32], term: impl Fn(f32, f32) -> f64) -> (f64, usize) {
    let mut sum = (0.0, 0);
    for (&ce, &w) in ce.iter().zip(weight).filter(|(_, w)| **w != 0.0) {
        sum.0 += term(ce, w);
        sum.1 += 1;
    }
    sum
}

fn clear<A: Element>(Context { o, .. }: &mut Context<'_>, op: &Clear) {
    o.take::<A>(op.out).fill(A::default());
}
