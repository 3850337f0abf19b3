//! Attention of block diffusion and its backward, of [`AttentionMask::Blocks`](crate::program::AttentionMask).
//!
//! Queries go some at a time over the keys that one of them sees and no others: a first part of the text without noise and,
//! for those with noise, the blocks that they lie in. One task of the backward is a head of a text with its two copies, because
//! the keys of the clean one are seen by both.

use super::Context;
use super::attention::{
    COLUMNS, HeadBackward, Inputs, Queries, head_of, q_or_k_backward, v_backward, weights_backward,
};
use super::math::{softmax_weights, store_scaled};
use super::tiles::{stored_as, with_scratch};
use crate::program::{Attention, AttentionBackward};
use crate::raw::cpu::bands::{Band, bands};
use crate::raw::cpu::element::Element;
use crate::raw::cpu::gemm::{Accumulate, View, matmul};
use rayon::prelude::*;
use std::ops::Range;

/// Queries that go together.
const QUERIES: usize = 64;

/// One of a text's two copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Noised,
    Clean,
}

/// Who sees whom.
#[derive(Clone, Copy)]
struct Blocks {
    length: usize,
    positions: usize,
}

impl Blocks {
    /// The keys of a side that a query at a position sees.
    fn seen(self, (query, position): (Side, usize), keys: Side) -> Range<usize> {
        let start = position - position % self.length;
        let end = start + self.length;
        match (query, keys) {
            (Side::Noised, Side::Noised) => start..end,
            (Side::Noised, Side::Clean) => 0..start,
            (Side::Clean, Side::Clean) => 0..end,
            (Side::Clean, Side::Noised) => 0..0,
        }
    }

    /// Those that one of some queries sees.
    fn seen_by(self, query: Side, positions: &Range<usize>, keys: Side) -> Range<usize> {
        let [first, last] = [positions.start, positions.end - 1].map(|position| self.seen((query, position), keys));
        first.start..last.end
    }

    /// Of some queries those that see a key, a range of their own.
    fn seeing(self, query: Side, positions: &Range<usize>, keys: Side, key: usize) -> Range<usize> {
        let start = key - key % self.length;
        let end = start + self.length;
        let all = match (query, keys) {
            (Side::Noised, Side::Noised) => start..end,
            (Side::Noised, Side::Clean) => end..self.positions,
            (Side::Clean, Side::Clean) => start..self.positions,
            (Side::Clean, Side::Noised) => 0..0,
        };
        let within = |position: usize| position.clamp(positions.start, positions.end) - positions.start;
        within(all.start)..within(all.end)
    }

    /// Positions of queries that go together.
    fn queries(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.positions).step_by(QUERIES).map(move |first| first..self.positions.min(first + QUERIES))
    }
}

const SIDES: [Side; 2] = [Side::Noised, Side::Clean];

pub(super) fn attention<A: Element>(Context { o, .. }: &mut Context<'_>, op: &Attention, length: usize) {
    let (t, c, heads) = (op.positions as usize, op.o.cols, op.heads as usize);
    let (d, texts, blocks) = (c / heads, op.o.rows / (2 * t), Blocks { length, positions: t });
    let qkv = o.get::<A>(op.qkv);
    let tasks = bands(o.take::<A>(op.o), t, c, d).zip(bands(o.take::<f32>(op.lse), t, heads, 1));
    tasks.enumerate().for_each(|(task, ([mut out], [mut lse]))| {
        let (sequence, head) = (task / heads, task % heads);
        let side = SIDES[sequence / texts];
        let head_of = |sequence: usize, part: usize| {
            head_of(&qkv[sequence * t * 3 * c..][..t * 3 * c], 3 * c, part * c + head * d, d)
        };
        let clean = texts + sequence % texts;
        let [k, v] = [1, 2].map(|part| [head_of(sequence, part), head_of(clean, part)]);
        blocks.attend(side, head_of(sequence, 0), k, v, &mut out, &mut lse);
    });
}

impl Blocks {
    /// One head of one side: q `[T, D]`, and k and v of both sides.
    fn attend<A: Element>(
        self,
        side: Side,
        q: View<A>,
        k: [View<A>; 2],
        v: [View<A>; 2],
        out: &mut Band<A>,
        lse: &mut Band<f32>,
    ) {
        let (t, d) = q.shape();
        let scale = 1.0 / (d as f32).sqrt();
        with_scratch(QUERIES * (4 * t + d), |scratch| {
            let (scores, rest) = scratch.split_at_mut(QUERIES * 2 * t);
            let (p, y) = rest.split_at_mut(QUERIES * 2 * t);
            for positions in self.queries() {
                let spans = SIDES.map(|keys| self.seen_by(side, &positions, keys));
                let (n, split) = (positions.len(), spans[0].len());
                let width = split + spans[1].len();
                let at = [0, split];
                let (scores, p, y) = (&mut scores[..n * width], stored_as::<A>(p, n * width), &mut y[..n * d]);
                for ((k, span), at) in k.iter().zip(&spans).zip(at).filter(|((_, span), _)| !span.is_empty()) {
                    let (q, k) = (q.rows(positions.clone()), k.rows(span.clone()).transposed());
                    matmul(q, k, &mut scores[at..], width, Accumulate::Overwrite);
                }
                let mut factors = [0.0; QUERIES];
                for (i, (scores, p)) in scores.chunks_exact_mut(width).zip(p.chunks_exact_mut(width)).enumerate() {
                    for ((keys, span), at) in SIDES.into_iter().zip(&spans).zip(at) {
                        let seen = self.seen((side, positions.start + i), keys);
                        let scores = &mut scores[at..][..span.len()];
                        scores[..seen.start.saturating_sub(span.start).min(span.len())].fill(f32::NEG_INFINITY);
                        scores[seen.end.saturating_sub(span.start)..].fill(f32::NEG_INFINITY);
                    }
                    let (max, sum) = softmax_weights(scores, scale, p);
                    lse.row(positions.start + i)[0] = max + sum.ln();
                    factors[i] = 1.0 / sum;
                }
                y.fill(0.0);
                for ((v, span), at) in v.iter().zip(&spans).zip(at).filter(|((_, span), _)| !span.is_empty()) {
                    let p = View::strided(&p[at..], n, span.len(), width);
                    matmul(p, v.rows(span.clone()), y, d, Accumulate::Add);
                }
                for (i, (y, factor)) in y.chunks_exact(d).zip(factors).enumerate() {
                    store_scaled(y, factor, out.row(positions.start + i));
                }
            }
        });
    }
}

pub(super) fn attention_backward<A: Element>(context: &mut Context<'_>, op: &AttentionBackward, length: usize) {
    let (t, c, heads) = (op.positions as usize, op.d_o.cols, op.heads as usize);
    let (d, texts, blocks) = (c / heads, op.d_o.rows / (2 * t), Blocks { length, positions: t });
    let inputs = Inputs::<A>::of(context, op);
    let o = &mut context.o;
    let norms = op.norms.expect("blocks are of a model with norms");
    let (dqkv, s) = (o.take::<A>(op.dqkv), o.take::<f32>(norms.s));
    let (noised, clean) = dqkv.split_at_mut(dqkv.len() / 2);
    let (s_noised, s_clean) = s.split_at_mut(s.len() / 2);
    let side = |dqkv, s| bands::<A, 3>(dqkv, t, 3 * c, d).zip(bands::<f32, 1>(s, t, heads, 1));
    let tasks = side(noised, s_noised).zip(side(clean, s_clean));
    tasks.enumerate().for_each(|(task, (noised, clean))| {
        let (text, head) = (task / heads, task % heads);
        with_scratch(2 * t * (COLUMNS + 3 * d), |scratch| {
            let (columns, sums) = scratch.split_at_mut(2 * t * COLUMNS);
            let (first, second) = columns.split_at_mut(t * COLUMNS);
            let sides = [inputs.head(text, head, first), inputs.head(texts + text, head, second)];
            sums.fill(0.0);
            let mut sums = sums.chunks_exact_mut(t * d);
            let mut gradients = SIDES.map(|_| std::array::from_fn(|_| sums.next().expect("three of each side")));
            blocks.add_gradients(&sides, &mut gradients);
            for ((head, [dq, dk, dv]), ([mut q, mut k, mut v], [mut s])) in
                sides.iter().zip(gradients).zip([noised, clean])
            {
                (0..t).for_each(|i| s.row(i)[0] = 0.0);
                let [q_rows, k_rows, v_rows] = head.through_norms();
                q_or_k_backward(k_rows, 0, dk, &mut k, &mut s);
                v_backward(v_rows, 0, dv, &mut v, &mut s);
                q_or_k_backward(q_rows, 0, dq, &mut q, &mut s);
            }
        });
    });
}

impl Blocks {
    /// Adds the gradients of q, k and v `[T, D]` of both sides.
    fn add_gradients<A: Element>(self, sides: &[HeadBackward<A>; 2], gradients: &mut [[&mut [f32]; 3]; 2]) {
        let (t, d) = sides[0].q.shape();
        let scale = 1.0 / (d as f32).sqrt();
        with_scratch(4 * QUERIES * t, |scratch| {
            let mut parts = scratch.chunks_exact_mut(QUERIES * t);
            let [scores, dp, p, ds] = std::array::from_fn(|_| parts.next().expect("four of them"));
            for (i, positions) in (0..2).flat_map(|i| self.queries().map(move |positions| (i, positions))) {
                let n = positions.len();
                let of = |column| &<&[f32]>::clone(column)[positions.clone()];
                let queries = Queries { lse: of(&sides[i].lse), dot: of(&sides[i].dot), scale };
                let (q, d_o) = (sides[i].q.rows(positions.clone()), sides[i].d_o.rows(positions.clone()));
                for j in 0..2 {
                    let span = self.seen_by(SIDES[i], &positions, SIDES[j]);
                    if span.is_empty() {
                        continue;
                    }
                    let (k, v) = (sides[j].k.rows(span.clone()), sides[j].v.rows(span.clone()));
                    let all = n * span.len();
                    let (scores, dp) = (&mut scores[..all], &mut dp[..all]);
                    let (p, ds) = (stored_as::<A>(p, all), stored_as::<A>(ds, all));
                    matmul(k, q.transposed(), scores, n, Accumulate::Overwrite);
                    matmul(v, d_o.transposed(), dp, n, Accumulate::Overwrite);
                    let rows = (scores.chunks_exact(n).zip(dp.chunks_exact(n)))
                        .zip(p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)));
                    for (key, ((scores, dp), (p, ds))) in span.clone().zip(rows) {
                        weights_backward(queries, scores, dp, p, ds);
                        let seeing = self.seeing(SIDES[i], &positions, SIDES[j], key);
                        for weights in [p, ds] {
                            weights[..seeing.start].fill(A::default());
                            weights[seeing.end..].fill(A::default());
                        }
                    }
                    let (p, ds) = (View::row_major(&*p, span.len(), n), View::row_major(&*ds, span.len(), n));
                    let keys = span.start * d..span.end * d;
                    matmul(ds.transposed(), k, &mut gradients[i][0][positions.start * d..], d, Accumulate::Add);
                    matmul(ds, q, &mut gradients[j][1][keys.clone()], d, Accumulate::Add);
                    matmul(p, d_o, &mut gradients[j][2][keys], d, Accumulate::Add);
                }
            }
        });
    }
}
