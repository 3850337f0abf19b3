//! The output head, softmax and cross-entropy, and sums of losses in a fixed order.

use super::linear::product;
use super::tiles::{row_block, with_scratch};
use crate::program::{Accumulate, Mat, Op, StepArgs, rstd};
use crate::raw::arena::Operands;
use crate::raw::element::Element;
use crate::raw::gemm::{Panels, Rhs, View};
use rayon::prelude::*;

pub(super) fn head_logits<A: Element>(o: &Operands<'_>, panels: &mut Panels, x: Mat, sumsq: Mat, w: Mat, logits: Mat) {
    let (n, c, v, slots) = (x.rows, x.cols, logits.cols, sumsq.cols);
    let (x, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), v, c).transposed(), panels);
    let block = row_block(n);
    o.take::<f32>(logits).par_chunks_mut(block * v).enumerate().for_each(|(i, logits)| {
        let first = i * block;
        product(x, c, first, &rhs, v, logits);
        for (j, row) in logits.chunks_exact_mut(v).enumerate() {
            let r = rstd(&sumsq[(first + j) * slots..][..slots], c);
            row.iter_mut().for_each(|y| *y *= r);
        }
    });
}

/// Turns logits into `exp(logit - max)` with 0 for `drop`; returns `(max, sum)`.
pub(super) fn exponentials(logits: &mut [f32], drop: Option<u32>) -> (f32, f32) {
    if let Some(drop) = drop {
        logits[drop as usize] = f32::NEG_INFINITY;
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for y in logits.iter_mut() {
        *y = (*y - max).exp();
        sum += *y;
    }
    (max, sum)
}

pub(super) fn cross_entropy(o: &Operands<'_>, logits: Mat, target: Mat, drop: Option<u32>, cross_entropy: Mat) {
    let v = logits.cols;
    let rows = (o.get::<f32>(logits).par_chunks_exact(v)).zip(o.get::<u32>(target)).zip(o.take::<f32>(cross_entropy));
    rows.with_min_len(64).for_each(|((logits, &target), cross_entropy)| {
        with_scratch(v, |p| {
            p.copy_from_slice(logits);
            let (max, sum) = exponentials(p, drop);
            let right = if Some(target) == drop { f32::NEG_INFINITY } else { logits[target as usize] };
            *cross_entropy = sum.ln() - (right - max);
        });
    });
}

pub(super) fn head_loss<A: Element>(o: &Operands<'_>, panels: &mut Panels, op: &Op) {
    let Op::HeadLoss { x, sumsq, w, target, weight, drop, cross_entropy, dlogits, s } = *op else {
        unreachable!("head_loss was called with {}", op.name());
    };
    let (n, c, v, slots) = (x.rows, x.cols, dlogits.cols, sumsq.cols);
    let (x, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let (target, weight) = (o.get::<u32>(target), o.get::<f32>(weight));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), v, c).transposed(), panels);
    let block = row_block(n);
    let blocks = (o.take::<A>(dlogits).par_chunks_mut(block * v))
        .zip(o.take::<f32>(cross_entropy).par_chunks_mut(block))
        .zip(o.take::<f32>(s).par_chunks_mut(block));
    blocks.enumerate().for_each(|(i, ((dlogits, cross_entropy), s))| {
        let first = i * block;
        with_scratch(dlogits.len() + v, |scratch| {
            let (logits, p) = scratch.split_at_mut(dlogits.len());
            product(x, c, first, &rhs, v, logits);
            let rows = (logits.chunks_exact_mut(v)).zip(dlogits.chunks_exact_mut(v)).zip(cross_entropy).zip(s);
            for (j, (((logits, dlogits), cross_entropy), s)) in rows.enumerate() {
                let row = first + j;
                let r = rstd(&sumsq[row * slots..][..slots], c);
                logits.iter_mut().for_each(|y| *y *= r);
                p.copy_from_slice(logits);
                let (max, sum) = exponentials(p, drop);
                let target = target[row];
                let right = if Some(target) == drop { f32::NEG_INFINITY } else { logits[target as usize] };
                *cross_entropy = sum.ln() - (right - max);
                let scale = weight[row] / sum;
                p.iter_mut().for_each(|p| *p *= scale);
                p[target as usize] -= weight[row];
                *s = p.iter().zip(&*logits).map(|(d, y)| d * y).sum();
                p.iter_mut().for_each(|d| *d *= r);
                A::narrow(p, dlogits);
            }
        });
    });
}

pub(super) fn loss_sum(
    o: &Operands<'_>,
    args: &StepArgs,
    cross_entropy: Mat,
    weight: Mat,
    accumulate: Accumulate,
    metrics: Mat,
) {
    let (ce, weight) = (o.get::<f32>(cross_entropy), o.get::<f32>(weight));
    let row = (args.step % metrics.rows as u64) as usize;
    let out = &mut o.take::<f32>(metrics)[row * 4..][..2];
    if accumulate == Accumulate::Overwrite {
        out.fill(0.0);
    }
    let (loss, masked) = weighted_sum(ce, weight, |ce, w| f64::from(ce) * f64::from(w));
    out[0] += loss as f32;
    out[1] += masked as f32;
}

pub(super) fn sequence_loss(o: &Operands<'_>, cross_entropy: Mat, weight: Mat, sums: Mat) {
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
