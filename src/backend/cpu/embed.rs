//! Token and time embedding with its norm, tokens with learned positions, and their backwards.

use super::decode::next;
use super::math::{add, dot, squares, sum_squares, vectorized};
use super::tiles::{row_block, with_scratch};
use super::{Context, computed};
use crate::program::{
    Accumulate, Embed, EmbedBackward, EmbedPositions, EmbedPositionsBackward, EmbedRowsBackward, Mat, NORM_EPS,
};
use crate::raw::arena::Operands;
use crate::raw::cpu::bands::bands;
use crate::raw::cpu::element::Element;
use rayon::prelude::*;

computed! {
    embed(Embed) by token;
    embed_backward(EmbedBackward);
    embed_rows_backward(EmbedRowsBackward) by de;
    embed_positions(EmbedPositions) by token;
    embed_positions_backward(EmbedPositionsBackward);
}

fn embed<W: Element>(Context { o, .. }: &mut Context<'_>, op: &Embed) {
    let Embed { ids, time, token, x, sumsq, rstd } = *op;
    let (c, positions) = (token.cols, ids.cols);
    let (tokens, token) = (o.get::<u32>(ids), o.get::<W>(token));
    let time = time.map(|(t, table)| (o.get::<u32>(t), o.get::<W>(table)));
    let slots = sumsq.cols;
    let rows = (o.take::<f32>(x).par_chunks_exact_mut(c))
        .zip(o.take::<f32>(sumsq).par_chunks_exact_mut(slots))
        .zip(o.take::<f32>(rstd));
    rows.enumerate().with_min_len(64).for_each(|(row, ((x, sumsq), rstd))| {
        let token = &token[tokens[row] as usize * c..][..c];
        let time = time.map(|(t, table)| &table[t[row / positions] as usize * c..][..c]);
        *rstd = embed_row(token, time, x, sumsq);
    });
}

vectorized! {
/// `x = norm(token + time)` and its sums of squares; returns r.
fn embed_row<W: Element>(token: &[W], time: Option<&[W]>, x: &mut [f32], sumsq: &mut [f32]) -> f32 {
    for (x, token) in x.iter_mut().zip(token) {
        *x = token.wide();
    }
    if let Some(time) = time {
        for (x, time) in x.iter_mut().zip(time) {
            *x += time.wide();
        }
    }
    let rstd = 1.0 / (sum_squares(x) / x.len() as f32 + NORM_EPS).sqrt();
    x.iter_mut().for_each(|x| *x *= rstd);
    squares(x, sumsq);
    rstd
}
}

vectorized! {
/// ⟨a, b⟩/C of rows.
fn mean_products(a: &[f32], b: &[f32], cols: usize, to: &mut [f32]) {
    for ((a, b), to) in a.chunks_exact(cols).zip(b.chunks_exact(cols)).zip(to) {
        *to = dot(a, b) / cols as f32;
    }
}
}

vectorized! {
/// `to += r·(dx - x·mean)`.
fn add_embedding_gradient(to: &mut [f32], dx: &[f32], x: &[f32], r: f32, mean: f32) {
    for ((to, dx), x) in to.iter_mut().zip(dx).zip(x) {
        *to += r * (dx - x * mean);
    }
}
}

/// Columns that one worker sums over all rows: a fixed cut, so that the order of every sum is the order of the rows.
const EMBED_COLS: usize = 64;

/// Of every row dx, x, r and ⟨dx, x⟩/C.
struct EmbeddedRows<'a> {
    cols: usize,
    dx: &'a [f32],
    x: &'a [f32],
    rstd: &'a [f32],
    means: &'a [f32],
}

impl EmbeddedRows<'_> {
    /// `to += r·(dx - x·mean)` of some columns of a row.
    fn add_gradient(&self, row: usize, first: usize, to: &mut [f32]) {
        let range = row * self.cols + first..row * self.cols + first + to.len();
        add_embedding_gradient(to, &self.dx[range.clone()], &self.x[range], self.rstd[row], self.means[row]);
    }

    /// A table's gradient, of which each row of these belongs to one row.
    fn add_up(&self, table: Mat, data: &mut [f32], accumulate: Accumulate, id_of: impl Fn(usize) -> u32 + Sync) {
        if accumulate == Accumulate::Overwrite {
            data.fill(0.0);
        }
        bands(data, table.rows, self.cols, EMBED_COLS).enumerate().for_each(|(band, [mut to])| {
            for row in 0..self.rstd.len() {
                self.add_gradient(row, band * EMBED_COLS, to.row(id_of(row) as usize));
            }
        });
    }
}

/// Lends the rows of an embedding's backward.
fn with_rows(o: &Operands<'_>, [dx, x, rstd]: [Mat; 3], then: impl FnOnce(&EmbeddedRows<'_>)) {
    let [n, cols] = dx.shape();
    let [dx, x, rstd] = [dx, x, rstd].map(|mat| o.get::<f32>(mat));
    let block = row_block(n);
    with_scratch(n, |means| {
        let rows = means.par_chunks_mut(block).zip(dx.par_chunks(block * cols)).zip(x.par_chunks(block * cols));
        rows.for_each(|((means, dx), x)| mean_products(dx, x, cols, means));
        then(&EmbeddedRows { cols, dx, x, rstd, means });
    });
}

fn embed_backward(Context { o, .. }: &mut Context<'_>, op: &EmbedBackward) {
    let EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } = *op;
    let (positions, tokens) = (ids.cols, o.get::<u32>(ids));
    with_rows(o, [dx, x, rstd], |rows| {
        rows.add_up(dtoken, o.take::<f32>(dtoken), accumulate, |row| tokens[row]);
        if let Some((t, dtime)) = time {
            let t = o.get::<u32>(t);
            rows.add_up(dtime, o.take::<f32>(dtime), accumulate, |row| t[row / positions]);
        }
    });
}

fn embed_rows_backward<A: Element>(Context { o, .. }: &mut Context<'_>, op: &EmbedRowsBackward) {
    let EmbedRowsBackward { time, dx, x, rstd, accumulate, de } = *op;
    let [n, cols] = dx.shape();
    with_rows(o, [dx, x, rstd], |rows| {
        o.take::<A>(de).par_chunks_exact_mut(cols).enumerate().with_min_len(64).for_each(|(row, de)| {
            with_scratch(cols, |gradient| {
                gradient.fill(0.0);
                rows.add_gradient(row, 0, gradient);
                A::narrow(gradient, de);
            });
        });
        if let Some((t, dtime)) = time {
            let (positions, t) = (n / t.rows, o.get::<u32>(t));
            rows.add_up(dtime, o.take::<f32>(dtime), accumulate, |row| t[row / positions]);
        }
    });
}

fn embed_positions<W: Element>(Context { o, .. }: &mut Context<'_>, op: &EmbedPositions) {
    let EmbedPositions { ids, open, token, position, x } = *op;
    let (c, positions) = (token.cols, ids.cols);
    let (tokens, token, table) = (o.get::<u32>(ids), o.get::<W>(token), o.get::<W>(position));
    let open = open.map(|(open, of)| (o.get::<u32>(open), of as usize));
    o.take::<f32>(x).par_chunks_exact_mut(c).enumerate().with_min_len(64).for_each(|(row, x)| {
        let position = open.map_or(row % positions, |(open, of)| next(open[row], of).unwrap_or(of - 1));
        let token = &token[tokens[row] as usize * c..][..c];
        for ((x, token), position) in x.iter_mut().zip(token).zip(&table[position * c..]) {
            *x = token.wide() + position.wide();
        }
    });
}

fn embed_positions_backward(Context { o, .. }: &mut Context<'_>, op: &EmbedPositionsBackward) {
    let EmbedPositionsBackward { ids, dx, accumulate, dtoken, dposition } = *op;
    let (n, c, positions) = (dx.rows, dx.cols, ids.cols);
    let (tokens, dx) = (o.get::<u32>(ids), o.get::<f32>(dx));
    let add_rows = |table: Mat, id_of: &(dyn Fn(usize) -> usize + Sync)| {
        let data = o.take::<f32>(table);
        if accumulate == Accumulate::Overwrite {
            data.fill(0.0);
        }
        bands(data, table.rows, c, EMBED_COLS).enumerate().for_each(|(band, [mut to])| {
            for row in 0..n {
                let to = to.row(id_of(row));
                add(to, &dx[row * c + band * EMBED_COLS..][..to.len()]);
            }
        });
    };
    add_rows(dtoken, &|row| tokens[row] as usize);
    add_rows(dposition, &|row| row % positions);
}
