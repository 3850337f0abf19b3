//! Texts from left to right.

use super::math::{dot, softmax_weights, vectorized};
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::program::{AppendToken, BROKEN, CachedAttention, Counted, FillCache, LastToken, OpenRow, Shift};
use crate::raw::cpu::bands::{Band, bands};
use crate::raw::cpu::element::Element;
use rayon::prelude::*;

computed! {
    shift(Shift);
    open_row(OpenRow) by x;
    last_token(LastToken);
    fill_cache(FillCache) by qkv;
    cached_attention(CachedAttention) by qkv;
    append_token(AppendToken);
}

fn shift(Context { o, args, .. }: &mut Context<'_>, op: &Shift) {
    let Shift { x0, start, ref counted, xt, weight } = *op;
    let positions = x0.cols;
    for (x0, xt) in o.get::<u32>(x0).chunks_exact(positions).zip(o.take::<u32>(xt).chunks_exact_mut(positions)) {
        xt[0] = start;
        xt[1..].copy_from_slice(&x0[..positions - 1]);
    }
    let Some(weight) = weight else { return };
    for (b, weight) in o.take::<f32>(weight).chunks_exact_mut(positions).enumerate() {
        match counted {
            Counted::Mean { sequences } => weight.fill((1.0 / (f64::from(*sequences) * positions as f64)) as f32),
            Counted::Once { range, windows } => {
                let (i, gaps) = (u64::from((args.sequence + b as u32).min(windows - 1)), u64::from(windows - 1));
                let start = |i: u64| i * (range.end - range.start - positions as u64) / gaps.max(1);
                let new = if i == 0 { positions } else { (start(i) - start(i - 1)).min(positions as u64) as usize };
                weight[..positions - new].fill(0.0);
                weight[positions - new..].fill(1.0);
            }
        }
    }
}

fn open_row<A: Element>(Context { o, .. }: &mut Context<'_>, op: &OpenRow) {
    let OpenRow { x, sumsq, remaining, out } = *op;
    let (positions, remaining) = (x.rows / remaining.rows, o.get::<u32>(remaining));
    let row = |b: usize| b * positions + next(remaining[b], positions).unwrap_or(positions - 1);
    copy_rows(o.get::<A>(x), o.take(out), x.cols, row);
    if let Some([sumsq, out_sumsq]) = sumsq {
        copy_rows(o.get::<f32>(sumsq), o.take(out_sumsq), sumsq.cols, row);
    }
}

/// `to[b] = from[row(b)]`.
fn copy_rows<T: Copy>(from: &[T], to: &mut [T], cols: usize, row: impl Fn(usize) -> usize) {
    for (b, to) in to.chunks_exact_mut(cols).enumerate() {
        to.copy_from_slice(&from[row(b) * cols..][..cols]);
    }
}

/// Where a text's next token goes; none where nothing is open, or the text is broken.
pub(super) fn next(remaining: u32, positions: usize) -> Option<usize> {
    next_of(1, remaining, positions)
}

/// Where the first of its next `n` tokens goes; none where fewer are open.
fn next_of(n: usize, remaining: u32, positions: usize) -> Option<usize> {
    let remaining = remaining as usize;
    (n..=positions).contains(&remaining).then(|| positions - remaining)
}

fn last_token(Context { o, .. }: &mut Context<'_>, op: &LastToken) {
    let LastToken { x, remaining, start, ids } = *op;
    let texts = o.get::<u32>(x).chunks_exact(x.cols).zip(o.get::<u32>(remaining)).zip(o.take::<u32>(ids));
    for ((x, &remaining), id) in texts {
        *id = next(remaining, x.len()).and_then(|position| position.checked_sub(1)).map_or(start, |last| x[last]);
    }
}

fn fill_cache<A: Element>(Context { o, .. }: &mut Context<'_>, op: &FillCache) {
    let FillCache { qkv, positions, cache } = *op;
    let (t, c) = (positions as usize, qkv.cols / 3);
    let filled = qkv.rows * t / cache.rows;
    let texts = o.get::<A>(qkv).chunks_exact(filled * 3 * c).zip(o.take::<A>(cache).chunks_exact_mut(t * 2 * c));
    for (qkv, cache) in texts {
        for (qkv, cache) in qkv.chunks_exact(3 * c).zip(cache.chunks_exact_mut(2 * c)) {
            cache.copy_from_slice(&qkv[c..]);
        }
    }
}

/// A task is a head of a text.
fn cached_attention<A: Element>(Context { o, rope, .. }: &mut Context<'_>, op: &CachedAttention) {
    let CachedAttention { qkv, remaining, positions, heads, cache, o: out, .. } = *op;
    let (t, c, heads) = (positions as usize, out.cols, heads as usize);
    let (d, rows) = (c / heads, out.rows / remaining.rows);
    let (qkv, remaining) = (o.get::<A>(qkv), o.get::<u32>(remaining));
    let tasks = bands(o.take::<A>(out), rows, c, d).zip(bands::<_, 2>(o.take::<A>(cache), t, 2 * c, d));
    tasks.enumerate().for_each(|(task, ([mut out], [mut keys, mut values]))| {
        let (text, head) = (task / heads, task % heads);
        let Some(first) = next_of(rows, remaining[text], t) else {
            return (0..rows).for_each(|row| out.row(row).fill(A::default()));
        };
        let end = first + rows;
        let part = |row: usize, part: usize| &qkv[(text * rows + row) * 3 * c + part * c + head * d..][..d];
        with_scratch(2 * d + 2 * end, |scratch| {
            let (rotated, rest) = scratch.split_at_mut(d);
            let (sum, rest) = rest.split_at_mut(d);
            let (scores, p) = rest.split_at_mut(end);
            let rotate = |rotated: &mut [f32], from: &[A]| {
                rotated.iter_mut().zip(from).for_each(|(to, from)| *to = from.wide());
                rope.iter().for_each(|table| table.rotate(first, rotated));
            };
            for row in 0..rows {
                rotate(rotated, part(row, 1));
                keys.row(first + row).iter_mut().zip(&*rotated).for_each(|(to, k)| *to = A::nearest(*k));
                values.row(first + row).copy_from_slice(part(row, 2));
            }
            for row in 0..rows {
                rotate(rotated, part(row, 0));
                attend_to(rotated, &mut keys, &mut values, scores, p, sum);
                out.row(row).iter_mut().zip(&*sum).for_each(|(to, sum)| *to = A::nearest(*sum));
            }
        });
    });
}

vectorized! {
/// `sum = softmax(q·keys/√D)·values` over the first rows, as many as there are scores.
fn attend_to<A: Element>(
    q: &[f32],
    keys: &mut Band<A>,
    values: &mut Band<A>,
    scores: &mut [f32],
    p: &mut [f32],
    sum: &mut [f32],
) {
    for (j, score) in scores.iter_mut().enumerate() {
        *score = dot(q, &*keys.row(j));
    }
    let (_, total) = softmax_weights(scores, 1.0 / (q.len() as f32).sqrt(), p);
    sum.fill(0.0);
    for (j, p) in p.iter().enumerate() {
        for (sum, v) in sum.iter_mut().zip(values.row(j)) {
            *sum += p * v.wide();
        }
    }
    sum.iter_mut().for_each(|sum| *sum /= total);
}
}

fn append_token(Context { o, args, .. }: &mut Context<'_>, op: &AppendToken) {
    let AppendToken { candidate, confidence, x, masked, committed_at, remaining } = *op;
    let positions = x.cols;
    let (candidate, confidence) = (o.get::<u32>(candidate), o.get::<f32>(confidence));
    let (x, masked, committed_at) = (o.take::<u32>(x), o.take::<u32>(masked), o.take::<u32>(committed_at));
    for (b, remaining) in o.take::<u32>(remaining).iter_mut().enumerate() {
        let Some(position) = next(*remaining, positions) else { continue };
        if confidence[b].is_nan() {
            *remaining = BROKEN;
            continue;
        }
        let at = b * positions + position;
        (x[at], masked[at], committed_at[at]) = (candidate[b], 0, args.step as u32);
        *remaining -= 1;
    }
}
