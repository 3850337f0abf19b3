//! Attention and its backward, with the backward of the head norm and rotary embedding behind it.
//!
//! One task is one head of one sequence. Scores are made block by block, all keys (forward) or all queries (backward) of a
//! block at once, and never leave the cache. The backward goes over blocks of keys with the scores transposed: then dk and dv
//! are finished block by block, and only dq is summed over blocks. Where attention is causal, a block of queries has the keys
//! up to its last one, and a block of keys the queries from its first one on.

use super::dropout::Draws;
use super::math::{contracts, dot as dot_product, exp, softmax_weights, store_scaled, vectorized};
use super::rope;
use super::tiles::{stored_as, with_scratch};
use super::{Context, attention_blocks, computed};
use crate::program::{
    Attention, AttentionBackward, AttentionMask, Lots, NORM_EPS, StepArgs, rstd, sumsq_slots, weight_number,
};
use crate::raw::cpu::bands::{Band, bands};
use crate::raw::cpu::element::Element;
use crate::raw::cpu::gemm::{Accumulate, PANEL, Panels, Rhs, View, matmul};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

computed! {
    attention(Attention) by qkv;
    attention_backward(AttentionBackward) by qkv;
}

/// Queries of a block of the forward: their scores against a few hundred keys stay in L2.
const QUERIES: usize = 64;

/// Keys of a block of the backward: more, because adding a block's share to dq costs a transposition.
const KEYS: usize = 128;

/// Queries or keys of a block: at most so many, and fewer where attention is causal, so that little is computed in vain.
fn block_of(mask: AttentionMask, t: usize, most: usize) -> usize {
    match mask {
        AttentionMask::Causal => t.div_ceil(4).next_multiple_of(PANEL).min(most).min(t),
        _ => most.min(t),
    }
}

thread_local! {
    static PANELS: RefCell<[Panels; 4]> = RefCell::default();
}

/// One head's columns of one sequence's rows.
pub(super) fn head_of<A>(rows: &[A], row_len: usize, first_col: usize, d: usize) -> View<'_, A> {
    View::strided(&rows[first_col..], rows.len() / row_len, d, row_len)
}

fn attention<A: Element>(context: &mut Context<'_>, op: &Attention) {
    if let AttentionMask::Blocks { length } = op.mask {
        return attention_blocks::attention::<A>(context, op, length as usize);
    }
    let Attention { qkv, positions, heads, mask, dropout, o: out, lse, .. } = *op;
    let (o, args) = (&mut context.o, context.args);
    let (t, c, heads) = (positions as usize, out.cols, heads as usize);
    let d = c / heads;
    let qkv = o.get::<A>(qkv);
    let tasks = bands(o.take::<A>(out), t, c, d).zip(bands(o.take::<f32>(lse), t, heads, 1));
    tasks.enumerate().for_each(|(task, ([mut out], [mut lse]))| {
        let (sequence, head) = (task / heads, task % heads);
        let qkv = &qkv[sequence * t * 3 * c..][..t * 3 * c];
        let [q, k, v] = [0, c, 2 * c].map(|part| head_of(qkv, 3 * c, part + head * d, d));
        let draws = draws_of(args, dropout, sequence, head);
        attend([q, k, v], mask, draws, &mut out, &mut lse);
    });
}

/// The lots of one head of one sequence.
fn draws_of(args: &StepArgs, dropout: Option<Lots>, sequence: usize, head: usize) -> Option<Draws> {
    dropout.map(|lots| Draws::new(args, Lots { place: lots.place + head as u32, ..lots }, sequence))
}

/// One head of one sequence: q, k, v `[T, D]`.
fn attend<A: Element>(
    [q, k, v]: [View<A>; 3],
    mask: AttentionMask,
    draws: Option<Draws>,
    out: &mut Band<A>,
    lse: &mut Band<f32>,
) {
    let (t, d) = q.shape();
    let scale = 1.0 / (d as f32).sqrt();
    let mut panels = PANELS.take();
    let [k_panels, v_panels, ..] = &mut panels;
    let (k, v) = (Rhs::prepare_alone(k.transposed(), k_panels), Rhs::prepare_alone(v, v_panels));
    let block = block_of(mask, t, QUERIES);
    with_scratch(block * (2 * t + d), |scratch| {
        let (scores, rest) = scratch.split_at_mut(block * t);
        let (p, y) = rest.split_at_mut(block * t);
        for first in (0..t).step_by(block) {
            let n = block.min(t - first);
            let keys = if mask == AttentionMask::Causal { first + n } else { t };
            let (scores, p, y) = (&mut scores[..n * keys], stored_as::<A>(p, n * keys), &mut y[..n * d]);
            k.multiply(q.rows(first..first + n), 0..keys, scores, keys, Accumulate::Overwrite);
            let mut factors = [0.0; QUERIES];
            for (i, (scores, p)) in scores.chunks_exact_mut(keys).zip(p.chunks_exact_mut(keys)).enumerate() {
                if mask == AttentionMask::Causal {
                    scores[first + i + 1..].fill(f32::NEG_INFINITY);
                }
                let (max, sum) = softmax_weights(scores, scale, p);
                lse.row(first + i)[0] = max + sum.ln();
                factors[i] = 1.0 / sum;
                if let Some(draws) = draws {
                    // The scores have been used up.
                    draws.factors(weight_number(t, first + i, 0), scores);
                    multiply(p, scores);
                }
            }
            v.rows(0..keys).multiply(View::row_major(p, n, keys), 0..d, y, d, Accumulate::Overwrite);
            for (i, (y, factor)) in y.chunks_exact(d).zip(factors).enumerate() {
                store_scaled(y, factor, out.row(first + i));
            }
        }
    });
    PANELS.replace(panels);
}

fn attention_backward<A: Element>(context: &mut Context<'_>, op: &AttentionBackward) {
    if let AttentionMask::Blocks { length } = op.mask {
        return attention_blocks::attention_backward::<A>(context, op, length as usize);
    }
    let (t, c, heads) = (op.positions as usize, op.d_o.cols, op.heads as usize);
    let d = c / heads;
    let inputs = Inputs::<A>::of(context, op);
    let o = &mut context.o;
    let tasks = bands::<_, 3>(o.take::<A>(op.dqkv), t, 3 * c, d);
    let Some(norms) = op.norms else {
        return tasks.enumerate().for_each(|(task, [mut dq, mut dk, mut dv])| {
            with_scratch(COLUMNS * t + t * d, |scratch| {
                let (columns, dq_sum) = scratch.split_at_mut(COLUMNS * t);
                let head = inputs.head(task / heads, task % heads, columns);
                dq_sum.fill(0.0);
                let draws = draws_of(context.args, op.dropout, task / heads, task % heads);
                head.blocks(op.mask, draws, dq_sum, |first, dk_block, dv_block| {
                    store_rows(first, dk_block, &mut dk);
                    store_rows(first, dv_block, &mut dv);
                });
                store_rows(0, dq_sum, &mut dq);
            });
        });
    };
    let tasks = tasks.zip(bands(o.take::<f32>(norms.s), t, heads, 1));
    tasks.enumerate().for_each(|(task, ([mut dq, mut dk, mut dv], [mut s]))| {
        with_scratch(COLUMNS * t + t * d, |scratch| {
            let (columns, dq_sum) = scratch.split_at_mut(COLUMNS * t);
            let head = inputs.head(task / heads, task % heads, columns);
            let [q_rows, k_rows, v_rows] = head.through_norms();
            dq_sum.fill(0.0);
            head.blocks(op.mask, None, dq_sum, |first, dk_block, dv_block| {
                for i in 0..dk_block.len() / d {
                    s.row(first + i)[0] = 0.0;
                }
                q_or_k_backward(k_rows, first, dk_block, &mut dk, &mut s);
                v_backward(v_rows, first, dv_block, &mut dv, &mut s);
            });
            q_or_k_backward(q_rows, 0, dq_sum, &mut dq, &mut s);
        });
    });
}

/// What the backward reads, all of it.
pub(super) struct Inputs<'a, A> {
    qkv: &'a [A],
    d_o: &'a [A],
    lse: &'a [f32],
    dot: &'a [f32],
    /// Factors of the head norms, sums of squares and angles, where there are norms.
    norms: Option<(&'a [f32], &'a [f32], &'a rope::Table)>,
    positions: usize,
    heads: usize,
    /// C.
    width: usize,
}

/// Numbers of each row that a head's backward gathers.
pub(super) const COLUMNS: usize = 5;

impl<'a, A: Element> Inputs<'a, A> {
    pub(super) fn of(context: &Context<'a>, op: &AttentionBackward) -> Self {
        let o = &context.o;
        Inputs {
            qkv: o.get::<A>(op.qkv),
            d_o: o.get::<A>(op.d_o),
            lse: o.get::<f32>(op.lse),
            dot: o.get::<f32>(op.dot),
            norms: op.norms.map(|norms| {
                let table = context.rope.expect("the op says that it reads a table");
                (o.get::<f32>(norms.qk_rstd), o.get::<f32>(norms.sumsq), table)
            }),
            positions: op.positions as usize,
            heads: op.heads as usize,
            width: op.d_o.cols,
        }
    }

    /// Those of one head of one sequence; `columns` `[5, T]` takes what is gathered.
    pub(super) fn head<'b>(&self, sequence: usize, head: usize, columns: &'b mut [f32]) -> HeadBackward<'b, A>
    where
        'a: 'b,
    {
        let (t, c, heads) = (self.positions, self.width, self.heads);
        let (d, first, stride, slots) = (c / heads, sequence * t, 3 * c, sumsq_slots(c));
        let qkv = &self.qkv[first * stride..][..t * stride];
        let [q, k, v] = [0, c, 2 * c].map(|part| head_of(qkv, stride, part + head * d, d));
        let d_o = head_of(&self.d_o[first * c..][..t * c], c, head * d, d);
        let mut columns = columns.chunks_exact_mut(t);
        let mut column_of = |from: &[f32], width: usize, col: usize| -> &'b [f32] {
            let to = columns.next().expect("five columns");
            let rows = from[first * width..][..t * width].chunks_exact(width);
            to.iter_mut().zip(rows).for_each(|(to, row)| *to = row[col]);
            to
        };
        let [lse, dot] = [self.lse, self.dot].map(|from| column_of(from, heads, head));
        let Some((qk_rstd, sumsq, table)) = self.norms else {
            return HeadBackward { q, k, v, d_o, lse, dot, rows: None };
        };
        let [q_rstd, k_rstd] = [head, heads + head].map(|col| column_of(qk_rstd, 2 * heads, col));
        let r = columns.next().expect("five columns");
        for (r, sumsq) in r.iter_mut().zip(sumsq[first * slots..].chunks_exact(slots)) {
            *r = rstd(sumsq, c);
        }
        let r = &*r;
        let part = |part: usize, head_rstd| HeadRows { y: &qkv[part * c + head * d..], stride, head_rstd, r, table };
        let rows = Some([(0, q_rstd), (1, k_rstd), (2, q_rstd)].map(|(i, rstd)| part(i, rstd)));
        HeadBackward { q, k, v, d_o, lse, dot, rows }
    }
}

/// What the gradients of one head of one sequence are made of: `[T, D]` each, per query its lse and ⟨do, o⟩, and what goes
/// back from q, k and v to the projection.
pub(super) struct HeadBackward<'a, A> {
    pub(super) q: View<'a, A>,
    pub(super) k: View<'a, A>,
    pub(super) v: View<'a, A>,
    pub(super) d_o: View<'a, A>,
    pub(super) lse: &'a [f32],
    pub(super) dot: &'a [f32],
    rows: Option<[HeadRows<'a, A>; 3]>,
}

impl<'a, A: Element> HeadBackward<'a, A> {
    /// What goes back through norms from q, k and v; panics where there are none.
    pub(super) fn through_norms(&self) -> &[HeadRows<'a, A>; 3] {
        self.rows.as_ref().expect("the op has norms")
    }

    /// Gradients of q (added to `dq` `[T, D]`), k and v (given to `finish`, with the first key, block by block).
    fn blocks(
        &self,
        mask: AttentionMask,
        draws: Option<Draws>,
        dq: &mut [f32],
        mut finish: impl FnMut(usize, &mut [f32], &mut [f32]),
    ) {
        let (t, d) = self.q.shape();
        let scale = 1.0 / (d as f32).sqrt();
        let mut panels = PANELS.take();
        let [q_panels, qt_panels, d_o_panels, d_ot_panels] = &mut panels;
        let q = Rhs::prepare_alone(self.q, q_panels);
        let qt = Rhs::prepare_alone(self.q.transposed(), qt_panels);
        let d_o = Rhs::prepare_alone(self.d_o, d_o_panels);
        let d_ot = Rhs::prepare_alone(self.d_o.transposed(), d_ot_panels);
        let block = block_of(mask, t, KEYS);
        let dropped = if draws.is_some() { block * (t + 1) } else { 0 };
        with_scratch(block * (4 * t + 2 * d) + dropped, |scratch| {
            let (scores, rest) = scratch.split_at_mut(block * t);
            let (dp, rest) = rest.split_at_mut(block * t);
            let (p, rest) = rest.split_at_mut(block * t);
            let (ds, rest) = rest.split_at_mut(block * t);
            let (dk, rest) = rest.split_at_mut(block * d);
            let (dv, factors) = rest.split_at_mut(block * d);
            for first in (0..t).step_by(block) {
                let n = block.min(t - first);
                let queries = if mask == AttentionMask::Causal { first } else { 0 }..t;
                let m = queries.len();
                let (scores, dp, dk, dv) = (&mut scores[..n * m], &mut dp[..n * m], &mut dk[..n * d], &mut dv[..n * d]);
                let (p, ds) = (stored_as::<A>(p, n * m), stored_as::<A>(ds, n * m));
                let k = self.k.rows(first..first + n);
                qt.multiply(k, queries.clone(), scores, m, Accumulate::Overwrite);
                d_ot.multiply(self.v.rows(first..first + n), queries.clone(), dp, m, Accumulate::Overwrite);
                draws.inspect(|draws| factors_of_keys(*draws, first..first + n, queries.clone(), t, factors));
                let of_queries = Queries { lse: &self.lse[queries.clone()], dot: &self.dot[queries.clone()], scale };
                let rows = (scores.chunks_exact(m).zip(dp.chunks_exact_mut(m)))
                    .zip(p.chunks_exact_mut(m))
                    .zip(ds.chunks_exact_mut(m));
                for (i, (((scores, dp), p), ds)) in rows.enumerate() {
                    let factors = draws.map(|_| &factors[i * m..][..m]);
                    factors.inspect(|factors| multiply(dp, factors));
                    weights_backward(of_queries, scores, dp, p, ds);
                    factors.inspect(|factors| multiply(p, factors));
                    if mask == AttentionMask::Causal {
                        p[..i].fill(A::default());
                        ds[..i].fill(A::default());
                    }
                }
                let (p, ds) = (View::row_major(&*p, n, m), View::row_major(&*ds, n, m));
                d_o.rows(queries.clone()).multiply(p, 0..d, dv, d, Accumulate::Overwrite);
                q.rows(queries.clone()).multiply(ds, 0..d, dk, d, Accumulate::Overwrite);
                matmul(ds.transposed(), k, &mut dq[queries.start * d..], d, Accumulate::Add);
                finish(first, dk, dv);
            }
        });
        PANELS.replace(panels);
    }
}

/// `weights ← weights·factors`, dropped where those are 0.
fn multiply<A: Element>(weights: &mut [A], factors: &[f32]) {
    weights.iter_mut().zip(factors).for_each(|(p, factor)| *p = A::nearest(p.wide() * factor));
}

/// What the weights of some keys are multiplied by, `[keys, queries]`; behind that `factors` has room for a query's.
fn factors_of_keys(draws: Draws, keys: Range<usize>, queries: Range<usize>, t: usize, factors: &mut [f32]) {
    let (factors, of_query) = factors.split_at_mut(factors.len() / (t + 1) * t);
    for (i, query) in queries.clone().enumerate() {
        let of_query = &mut of_query[..keys.len()];
        draws.factors(weight_number(t, query, keys.start), of_query);
        factors[i..].iter_mut().step_by(queries.len()).zip(of_query).for_each(|(to, factor)| *to = *factor);
    }
}

/// What [`weights_backward`] reads beside its scores, per query.
#[derive(Clone, Copy)]
pub(super) struct Queries<'a> {
    pub(super) lse: &'a [f32],
    pub(super) dot: &'a [f32],
    pub(super) scale: f32,
}

/// Rows of a gradient `[n, D]` become rows of `out` from `first` on.
fn store_rows<A: Element>(first: usize, gradient: &[f32], out: &mut Band<A>) {
    let d = out.row(0).len();
    gradient.chunks_exact(d).enumerate().for_each(|(i, gradient)| store_scaled(gradient, 1.0, out.row(first + i)));
}

/// One key against all queries: `p = e^(scale·score - lse)`, `ds = scale·p·(dp - dot)`.
pub(super) fn weights_backward<A: Element>(queries: Queries, scores: &[f32], dp: &[f32], p: &mut [A], ds: &mut [A]) {
    if contracts() {
        weights_backward_of::<A, true>(queries, scores, dp, p, ds);
    } else {
        weights_backward_of::<A, false>(queries, scores, dp, p, ds);
    }
}

vectorized! {
fn weights_backward_of<A: Element, const FMA: bool>(
    queries: Queries,
    scores: &[f32],
    dp: &[f32],
    p: &mut [A],
    ds: &mut [A],
) {
    let n = scores.len();
    let (lse, dot, scale) = (&queries.lse[..n], &queries.dot[..n], queries.scale);
    let (dp, p, ds) = (&dp[..n], &mut p[..n], &mut ds[..n]);
    for i in 0..n {
        let e = exp::<FMA>(scale, scores[i], lse[i]);
        p[i] = A::nearest(e);
        ds[i] = A::nearest(scale * e * (dp[i] - dot[i]));
    }
}
}

/// One head's rows of q, k or v as the attention read them, and what its backward needs per row.
pub(super) struct HeadRows<'a, A> {
    /// From the head's first column of the sequence's first row on.
    y: &'a [A],
    stride: usize,
    head_rstd: &'a [f32],
    r: &'a [f32],
    table: &'a rope::Table,
}

vectorized! {
/// Backward of head norm, rotary embedding and the norm before the matmul: rows of `gradient` `[n, D]`, from position
/// `first` on, become rows of `out`; `s += ε·r_head²·⟨dŷ, ŷ⟩`.
pub(super) fn q_or_k_backward<A: Element>(
    rows: &HeadRows<A>,
    first: usize,
    gradient: &mut [f32],
    out: &mut Band<A>,
    s: &mut Band<f32>,
) {
    let d = out.row(0).len();
    for (i, gradient) in gradient.chunks_exact_mut(d).enumerate() {
        let row = first + i;
        let (y, head_rstd) = (&rows.y[row * rows.stride..][..d], rows.head_rstd[row]);
        let dot = dot_product(gradient, y);
        let (factor, pull) = (rows.r[row] * head_rstd, dot / d as f32);
        for (g, y) in gradient.iter_mut().zip(y) {
            *g = factor * (*g - y.wide() * pull);
        }
        rows.table.rotate_back(row, gradient);
        for (out, g) in out.row(row).iter_mut().zip(gradient) {
            *out = A::nearest(*g);
        }
        s.row(row)[0] += NORM_EPS * head_rstd * head_rstd * dot;
    }
}
}

vectorized! {
/// As `q_or_k_backward` for v, which only the norm before the matmul has scaled: `s += ⟨dv, v⟩`.
pub(super) fn v_backward<A: Element>(
    rows: &HeadRows<A>,
    first: usize,
    gradient: &mut [f32],
    out: &mut Band<A>,
    s: &mut Band<f32>,
) {
    let d = out.row(0).len();
    for (i, gradient) in gradient.chunks_exact(d).enumerate() {
        let row = first + i;
        s.row(row)[0] += dot_product(gradient, &rows.y[row * rows.stride..][..d]);
        for (out, g) in out.row(row).iter_mut().zip(gradient) {
            *out = A::nearest(rows.r[row] * g);
        }
    }
}
}
