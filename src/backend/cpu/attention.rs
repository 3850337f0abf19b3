//! Attention and its backward, with the backward of the head norm and rotary embedding before it.

use super::head::exponentials;
use super::rope;
use super::tiles::with_scratch;
use crate::program::{AttentionMask, Mat, NORM_EPS, Op, rstd};
use crate::raw::arena::Operands;
use crate::raw::element::Element;
use crate::raw::gemm::{Accumulate, View, matmul};
use rayon::prelude::*;

/// Queries of a block: their scores against all keys stay in cache.
const QUERIES: usize = 64;

/// One head's columns of one sequence's rows.
fn head_of<A>(rows: &[A], row_len: usize, first_col: usize, d: usize) -> View<'_, A> {
    View::strided(&rows[first_col..], rows.len() / row_len, d, row_len)
}

/// Hides from query `first + i` what its mask forbids.
fn hide(mask: AttentionMask, scores: &mut [f32], first: usize, keys: usize) {
    if mask == AttentionMask::Causal {
        for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
            row[first + i + 1..].fill(f32::NEG_INFINITY);
        }
    }
}

pub(super) fn attention<A: Element>(
    o: &Operands<'_>,
    qkv: Mat,
    positions: u32,
    heads: u32,
    mask: AttentionMask,
    out: Mat,
    lse: Mat,
) {
    let (t, c, heads) = (positions as usize, out.cols, heads as usize);
    let d = c / heads;
    let scale = 1.0 / (d as f32).sqrt();
    let sequences = (o.get::<A>(qkv).par_chunks_exact(t * 3 * c))
        .zip(o.take::<A>(out).par_chunks_exact_mut(t * c))
        .zip(o.take::<f32>(lse).par_chunks_exact_mut(t * heads));
    sequences.for_each(|((qkv, out), lse)| {
        with_scratch(QUERIES * (t + d), |scratch| {
            let (scores, y) = scratch.split_at_mut(QUERIES * t);
            for head in 0..heads {
                let [q, k, v] = [0, c, 2 * c].map(|part| head_of(qkv, 3 * c, part + head * d, d));
                for first in (0..t).step_by(QUERIES) {
                    let n = QUERIES.min(t - first);
                    let (scores, y) = (&mut scores[..n * t], &mut y[..n * d]);
                    matmul(q.rows(first..first + n), k.transposed(), scores, t, Accumulate::Overwrite);
                    hide(mask, scores, first, t);
                    for (i, row) in scores.chunks_exact_mut(t).enumerate() {
                        row.iter_mut().for_each(|s| *s *= scale);
                        let (max, sum) = exponentials(row, None);
                        lse[(first + i) * heads + head] = max + sum.ln();
                        row.iter_mut().for_each(|p| *p /= sum);
                    }
                    matmul(View::row_major(&*scores, n, t), v, y, d, Accumulate::Overwrite);
                    for (i, y) in y.chunks_exact(d).enumerate() {
                        A::narrow(y, &mut out[(first + i) * c + head * d..][..d]);
                    }
                }
            }
        });
    });
}

pub(super) fn attention_backward<A: Element>(o: &Operands<'_>, table: &rope::Table, op: &Op) {
    let Op::AttentionBackward { qkv, qk_rstd, lse, d_o, dot, sumsq, positions, heads, mask, dqkv, s } = *op else {
        unreachable!("attention_backward was called with {}", op.name());
    };
    let (t, c, heads, slots) = (positions as usize, d_o.cols, heads as usize, sumsq.cols);
    let d = c / heads;
    let scale = 1.0 / (d as f32).sqrt();
    let sequences = (o.get::<A>(qkv).par_chunks_exact(t * 3 * c))
        .zip(o.get::<f32>(qk_rstd).par_chunks_exact(t * 2 * heads))
        .zip(o.get::<f32>(lse).par_chunks_exact(t * heads))
        .zip(o.get::<A>(d_o).par_chunks_exact(t * c))
        .zip(o.get::<f32>(dot).par_chunks_exact(t * heads))
        .zip(o.get::<f32>(sumsq).par_chunks_exact(t * slots))
        .zip(o.take::<A>(dqkv).par_chunks_exact_mut(t * 3 * c))
        .zip(o.take::<f32>(s).par_chunks_exact_mut(t * heads));
    sequences.for_each(|(((((((qkv, qk_rstd), lse), d_o), dot), sumsq), dqkv), s)| {
        with_scratch(2 * QUERIES * t + 3 * t * d, |scratch| {
            let (p, rest) = scratch.split_at_mut(QUERIES * t);
            let (dp, rest) = rest.split_at_mut(QUERIES * t);
            let (dq, rest) = rest.split_at_mut(t * d);
            let (dk, dv) = rest.split_at_mut(t * d);
            for head in 0..heads {
                let [q, k, v] = [0, c, 2 * c].map(|part| head_of(qkv, 3 * c, part + head * d, d));
                let d_o = head_of(d_o, c, head * d, d);
                dk.fill(0.0);
                dv.fill(0.0);
                for first in (0..t).step_by(QUERIES) {
                    let n = QUERIES.min(t - first);
                    let (p, dp) = (&mut p[..n * t], &mut dp[..n * t]);
                    let (q, d_o) = (q.rows(first..first + n), d_o.rows(first..first + n));
                    matmul(q, k.transposed(), p, t, Accumulate::Overwrite);
                    hide(mask, p, first, t);
                    matmul(d_o, v.transposed(), dp, t, Accumulate::Overwrite);
                    for i in 0..n {
                        let (lse, dot) = (lse[(first + i) * heads + head], dot[(first + i) * heads + head]);
                        for (p, dp) in p[i * t..][..t].iter_mut().zip(&mut dp[i * t..][..t]) {
                            *p = (*p * scale - lse).exp();
                            *dp = *p * (*dp - dot) * scale;
                        }
                    }
                    let (p, dp) = (View::row_major(&*p, n, t), View::row_major(&*dp, n, t));
                    matmul(p.transposed(), d_o, dv, d, Accumulate::Add);
                    matmul(dp.transposed(), q, dk, d, Accumulate::Add);
                    matmul(dp, k, &mut dq[first * d..][..n * d], d, Accumulate::Overwrite);
                }
                for row in 0..t {
                    let r = rstd(&sumsq[row * slots..][..slots], c);
                    let at = |part: usize| row * 3 * c + part * c + head * d;
                    let mut sum = 0.0;
                    for (part, gradient) in [&mut *dq, &mut *dk].into_iter().enumerate() {
                        let gradient = &mut gradient[row * d..][..d];
                        let normed = &qkv[at(part)..][..d];
                        let head_rstd = qk_rstd[row * 2 * heads + part * heads + head];
                        let dot: f32 = gradient.iter().zip(normed).map(|(g, y)| g * y.wide()).sum();
                        sum += NORM_EPS * head_rstd * head_rstd * dot;
                        for (g, y) in gradient.iter_mut().zip(normed) {
                            *g = r * head_rstd * (*g - y.wide() * dot / d as f32);
                        }
                        table.rotate_back(row, gradient);
                        A::narrow(gradient, &mut dqkv[at(part)..][..d]);
                    }
                    let (gradient, values) = (&mut dv[row * d..][..d], &qkv[at(2)..][..d]);
                    sum += gradient.iter().zip(values).map(|(g, v)| g * v.wide()).sum::<f32>();
                    s[row * heads + head] = sum;
                    gradient.iter_mut().for_each(|g| *g *= r);
                    A::narrow(gradient, &mut dqkv[at(2)..][..d]);
                }
            }
        });
    });
}
