//! Matrix products with what stands around them: norms, rotary embedding, activation, residual, and their backwards.
//!
//! Every product goes tile by tile; a tile's rows are finished while they are in cache.

use super::math::{add, dot, squares, sum_squares, vectorized};
use super::rope;
use super::tiles::{col_tiles, narrowed, row_block, with_scratch};
use super::{Context, computed};
use crate::program::{
    Accumulate, DType, LinearRelu2, LinearResidual, Mat, NORM_EPS, NormLinearBackward, ProjectionBackward, Qkv,
    Relu2Backward, SUMSQ_COLS, WeightGrad, WeightGrads, rstd, sumsq_slots,
};
use crate::raw::arena::Operands;
use crate::raw::cpu::bands::{Band, bands};
use crate::raw::cpu::element::{Element, Format};
use crate::raw::cpu::gemm::{self, Lhs, PANEL, Panels, Rhs, View};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;

computed! {
    qkv(Qkv) by w;
    linear_residual(LinearResidual) by w;
    linear_relu2(LinearRelu2) by w;
    norm_linear_backward(NormLinearBackward) by w;
    relu2_backward(Relu2Backward) by w;
    projection_backward(ProjectionBackward) by w;
    weight_grads(WeightGrads);
}

/// Rows of `x` `[_, inner]` times the right-hand side into rows of `out`, tile by tile of whole `unit`s of columns. `finish`
/// makes of each row of a tile what is stored: it gets the row's number, its sums and their columns. What is stored as f32
/// is summed where it is stored.
pub(super) fn product_rows<X: Element, B: Element, Y: Element>(
    x: &[X],
    inner: usize,
    rhs: &Rhs<'_, B>,
    unit: usize,
    out: &mut [Y],
    mut finish: impl FnMut(usize, &mut [f32], Range<usize>),
) {
    let (rows, (_, cols)) = (x.len() / inner, rhs.shape());
    let a = View::row_major(x, rows, inner);
    if Y::FORMAT == Format::F32 {
        let out: &mut [f32] = bytemuck::cast_slice_mut(out);
        for tile in col_tiles(cols, unit) {
            rhs.multiply(a, tile.clone(), &mut out[tile.start..], cols, gemm::Accumulate::Overwrite);
            for (row, y) in out.chunks_exact_mut(cols).enumerate() {
                finish(row, &mut y[tile.clone()], tile.clone());
            }
        }
        return;
    }
    let widest = col_tiles(cols, unit).next().map_or(0, |tile| tile.len());
    with_scratch(rows * widest, |scratch| {
        for tile in col_tiles(cols, unit) {
            let sums = &mut scratch[..rows * tile.len()];
            rhs.multiply(a, tile.clone(), sums, tile.len(), gemm::Accumulate::Overwrite);
            for (row, (y, out)) in sums.chunks_exact_mut(tile.len()).zip(out.chunks_exact_mut(cols)).enumerate() {
                finish(row, y, tile.clone());
                Y::narrow(y, &mut out[tile.clone()]);
            }
        }
    });
}

/// As [`product_rows`] for rows of the residual stream or its gradient, which are narrowed to the matmuls' dtype once.
pub(super) fn stream_rows<A: Element, Y: Element>(
    x: &[f32],
    inner: usize,
    rhs: &Rhs<'_, A>,
    unit: usize,
    out: &mut [Y],
    finish: impl FnMut(usize, &mut [f32], Range<usize>),
) {
    with_scratch(x.len(), |scratch| product_rows(narrowed::<A>(x, scratch), inner, rhs, unit, out, finish));
}

/// r of rows `first..` from their partial sums of squares.
pub(super) fn rstds(sumsq: &[f32], slots: usize, cols: usize, first: usize, to: &mut [f32]) {
    for (r, sumsq) in to.iter_mut().zip(sumsq[first * slots..].chunks_exact(slots)) {
        *r = rstd(sumsq, cols);
    }
}

/// The same, and 1 where rows have none.
pub(super) fn rstds_or_one(sumsq: Option<&[f32]>, cols: usize, first: usize, to: &mut [f32]) {
    match sumsq {
        Some(sumsq) => rstds(sumsq, sumsq_slots(cols), cols, first, to),
        None => to.fill(1.0),
    }
}

fn qkv<A: Element>(Context { o, weights, rope, .. }: &mut Context<'_>, op: &Qkv) {
    let table = rope.expect("the op says that it reads a table");
    let Qkv { x, sumsq, w, heads, qkv, qk_rstd, .. } = *op;
    let (n, c, slots, heads) = (x.rows, x.cols, sumsq.cols, heads as usize);
    let (x, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let rhs = weights.transposed::<A>(o, w, n);
    let (block, d) = (row_block(n), c / heads);
    let blocks = (o.take::<A>(qkv).par_chunks_mut(block * 3 * c))
        .zip(o.take::<f32>(qk_rstd).par_chunks_mut(block * 2 * heads))
        .zip(x.par_chunks(block * c));
    blocks.enumerate().for_each(|(i, ((out, qk_rstd), x))| {
        with_scratch(block, |r| {
            rstds(sumsq, slots, c, i * block, r);
            stream_rows::<A, A>(x, c, &rhs, d, out, |row, y, tile| {
                let rstds = qk_rstd[row * 2 * heads..][..2 * heads].get_mut(tile.start / d..).unwrap_or_default();
                qkv_row(y, r[row], table, (i * block + row) % table.positions(), rstds);
            });
        });
    });
}

vectorized! {
/// Scales a row by r, then rotates and norms its heads of q and k; there are as many of those as `rstds`.
fn qkv_row(y: &mut [f32], r: f32, table: &rope::Table, position: usize, rstds: &mut [f32]) {
    let d = table.head_dim();
    y.iter_mut().for_each(|y| *y *= r);
    for (y, rstd) in y.chunks_exact_mut(d).zip(rstds) {
        table.rotate(position, y);
        *rstd = 1.0 / (sum_squares(y) / d as f32 + NORM_EPS).sqrt();
        y.iter_mut().for_each(|y| *y *= *rstd);
    }
}
}

fn linear_residual<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &LinearResidual) {
    let LinearResidual { a, w, residual, out, sumsq } = *op;
    let (n, inner, c, slots) = (a.rows, a.cols, out.cols, sumsq.cols);
    let (a, residual) = (o.get::<A>(a), o.get::<f32>(residual));
    let rhs = weights.transposed::<A>(o, w, n);
    let block = row_block(n);
    let blocks = (o.take::<f32>(out).par_chunks_mut(block * c))
        .zip(o.take::<f32>(sumsq).par_chunks_mut(block * slots))
        .zip(a.par_chunks(block * inner))
        .zip(residual.par_chunks(block * c));
    blocks.for_each(|(((out, sumsq), a), residual)| {
        product_rows(a, inner, &rhs, SUMSQ_COLS, out, |row, y, tile| {
            add(y, &residual[row * c..][tile.clone()]);
            squares(y, &mut sumsq[row * slots + tile.start / SUMSQ_COLS..]);
        });
    });
}

fn linear_relu2<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &LinearRelu2) {
    let LinearRelu2 { x, sumsq, w, h } = *op;
    let (n, c, f, slots) = (x.rows, x.cols, h.cols, sumsq.cols);
    let (x, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let rhs = weights.transposed::<A>(o, w, n);
    let block = row_block(n);
    let blocks = o.take::<A>(h).par_chunks_mut(block * f).zip(x.par_chunks(block * c));
    blocks.enumerate().for_each(|(i, (h, x))| {
        with_scratch(block, |r| {
            rstds(sumsq, slots, c, i * block, r);
            stream_rows::<A, A>(x, c, &rhs, 1, h, |row, y, _| relu2_row(y, r[row]));
        });
    });
}

vectorized! {
/// `y = relu(r·y)²`.
fn relu2_row(y: &mut [f32], r: f32) {
    for y in y {
        let u = r * *y;
        let u = if u > 0.0 { u } else { 0.0 * u };
        *y = u * u;
    }
}
}

fn norm_linear_backward<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &NormLinearBackward) {
    let NormLinearBackward { dy, w, x, sumsq, s, residual, dx } = *op;
    let (n, inner, c, slots, parts) = (x.rows, dy.cols, x.cols, sumsq.cols, s.cols);
    let (dy, x, sumsq, s) = (o.get::<A>(dy), o.get::<f32>(x), o.get::<f32>(sumsq), o.get::<f32>(s));
    let residual = residual.map(|r| o.get::<f32>(r));
    let rhs = weights.as_stored::<A>(o, w);
    let block = row_block(n);
    let blocks = o.take::<f32>(dx).par_chunks_mut(block * c).zip(dy.par_chunks(block * inner));
    blocks.enumerate().for_each(|(i, (dx, dy))| {
        let first = i * block;
        with_scratch(block, |pull| {
            rstds(sumsq, slots, c, first, pull);
            for (pull, s) in pull.iter_mut().zip(s[first * parts..].chunks_exact(parts)) {
                *pull *= *pull * s.iter().sum::<f32>() / c as f32;
            }
            let (x, residual) = (&x[first * c..], residual.map(|residual| &residual[first * c..]));
            product_rows(dy, inner, &rhs, 1, dx, |row, y, tile| {
                let place = row * c + tile.start..row * c + tile.end;
                pulled(y, &x[place.clone()], pull[row]);
                if let Some(residual) = residual {
                    add(y, &residual[place]);
                }
            });
        });
    });
}

vectorized! {
/// `y = y - x·pull`.
fn pulled(y: &mut [f32], x: &[f32], pull: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        *y -= x * pull;
    }
}
}

fn relu2_backward<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &Relu2Backward) {
    let Relu2Backward { dx, w, h, sumsq, dy, s } = *op;
    let (n, c, f, slots, parts) = (dx.rows, dx.cols, h.cols, sumsq.cols, s.cols);
    let (dx, h, sumsq) = (o.get::<f32>(dx), o.get::<A>(h), o.get::<f32>(sumsq));
    let rhs = weights.as_stored::<A>(o, w);
    let block = row_block(n);
    let blocks = (o.take::<A>(dy).par_chunks_mut(block * f))
        .zip(o.take::<f32>(s).par_chunks_mut(block * parts))
        .zip(dx.par_chunks(block * c))
        .zip(h.par_chunks(block * f));
    blocks.enumerate().for_each(|(i, (((dy, s), dx), h))| {
        with_scratch(block, |r| {
            rstds(sumsq, slots, c, i * block, r);
            stream_rows::<A, A>(dx, c, &rhs, SUMSQ_COLS, dy, |row, dh, tile| {
                let s = &mut s[row * parts + tile.start / SUMSQ_COLS..];
                relu2_backward_row(dh, r[row], &h[row * f..][tile], s);
            });
        });
    });
}

vectorized! {
/// `s = Σ 2·dh·h` per part, `dh = r·dh·2√h`.
fn relu2_backward_row<A: Element>(dh: &mut [f32], r: f32, h: &[A], s: &mut [f32]) {
    for ((dh, h), s) in dh.chunks(SUMSQ_COLS).zip(h.chunks(SUMSQ_COLS)).zip(s) {
        *s = 2.0 * dot(dh, h);
    }
    let factor = 2.0 * r;
    for (dh, h) in dh.iter_mut().zip(h) {
        *dh = factor * *dh * h.wide().sqrt();
    }
}
}

fn projection_backward<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &ProjectionBackward) {
    let ProjectionBackward { dx, w, o: out, heads, d_o, dot } = *op;
    let (n, inner, c, heads) = (dx.rows, dx.cols, out.cols, heads as usize);
    let d = c / heads;
    let (dx, out) = (o.get::<f32>(dx), o.get::<A>(out));
    let rhs = weights.as_stored::<A>(o, w);
    let block = row_block(n);
    let blocks = (o.take::<A>(d_o).par_chunks_mut(block * c))
        .zip(o.take::<f32>(dot).par_chunks_mut(block * heads))
        .zip(dx.par_chunks(block * inner))
        .zip(out.par_chunks(block * c));
    blocks.for_each(|(((d_o, dot), dx), out)| {
        stream_rows::<A, A>(dx, inner, &rhs, d, d_o, |row, y, tile| {
            projection_row(y, &out[row * c..][tile.clone()], d, &mut dot[row * heads + tile.start / d..]);
        });
    });
}

vectorized! {
/// Products with the attention's output per head, of `d` columns.
fn projection_row<A: Element>(y: &[f32], out: &[A], d: usize, dots: &mut [f32]) {
    for ((y, out), to) in y.chunks_exact(d).zip(out.chunks_exact(d)).zip(dots) {
        *to = dot(y, out);
    }
}
}

/// A tile of a weight's gradient, at most this many rows and columns.
const GRAD_TILE: [usize; 2] = [128, 384];

/// Rows of the batch that are multiplied in bf16 before the next: rearranged once for all tiles, they stay in L3.
const GRAD_ROWS: usize = 1024;

/// Memory for the rearranged operands of a group of weight gradients, kept between steps.
#[derive(Default)]
pub(super) struct GradMemory {
    sides: Vec<[Panels; 2]>,
}

/// One tile: which gradient of the group, its first row and column, and where it goes.
type GradTile<'a> = (usize, usize, usize, Band<'a, f32>);

/// `dw (+)= dyᵀ x` for a group; either side may be stored as f32 (the residual stream) or as the activations are.
fn weight_grads(Context { o, grads: memory, .. }: &mut Context<'_>, op: &WeightGrads) {
    let WeightGrads { grads, accumulate } = op;
    memory.sides.resize_with(memory.sides.len().max(grads.len()), Default::default);
    let mut tiles: Vec<GradTile> = Vec::new();
    for (index, grad) in grads.iter().enumerate() {
        let (out, inner) = (grad.dw.rows, grad.dw.cols);
        let even = |len: usize, most: usize| len.div_ceil(len.div_ceil(most)).next_multiple_of(PANEL);
        let (rows, cols) = (even(out, GRAD_TILE[0]), even(inner, GRAD_TILE[1]));
        let across = inner.div_ceil(cols);
        let cut = bands(o.take::<f32>(grad.dw), rows, inner, cols).enumerate();
        tiles.par_extend(cut.map(|(i, [band])| (index, i / across * rows, i % across * cols, band)));
    }
    let accumulate = match accumulate {
        Accumulate::Overwrite => gemm::Accumulate::Overwrite,
        Accumulate::Add => gemm::Accumulate::Add,
    };
    let all_f32 = grads.iter().all(|grad| [grad.dy, grad.x].into_iter().all(|mat| o.dtype(mat) == DType::F32));
    if all_f32 {
        // dy is read by columns where it lies; a tile takes long enough that rearranging its own part of x costs little.
        let sides: Vec<_> = grads.iter().map(|grad| [grad.dy, grad.x].map(|mat| side::<f32>(o, mat))).collect();
        return tiles.into_par_iter().for_each(|(index, row, col, mut dw)| {
            let [dy, x] = sides[index];
            let (rows, cols) = (row..row + dw.rows(), col..col + dw.width());
            gemm::matmul_into(dy.cols(rows).transposed(), x.cols(cols), &mut dw, accumulate);
        });
    }
    let n = grads[0].dy.rows;
    for first in (0..n).step_by(GRAD_ROWS) {
        let rows = first..n.min(first + GRAD_ROWS);
        let accumulate = if first == 0 { accumulate } else { gemm::Accumulate::Add };
        let sides = grads.iter().zip(&mut memory.sides);
        let products: Vec<Product> =
            sides.map(|(grad, sides)| Product::prepare(o, grad, rows.clone(), sides)).collect();
        tiles.par_iter_mut().for_each(|(index, row, col, dw)| products[*index].multiply(*row, *col, dw, accumulate));
    }
}

/// A stored matrix.
fn side<'a, T: Element>(o: &Operands<'a>, mat: Mat) -> View<'a, T> {
    View::row_major(o.get(mat), mat.rows, mat.cols)
}

/// Some rows of dy and x, for products in bf16.
enum Product<'a> {
    BothF32(Lhs<'a, f32>, Rhs<'a, f32>),
    F32Bf16(Lhs<'a, f32>, Rhs<'a, bf16>),
    Bf16F32(Lhs<'a, bf16>, Rhs<'a, f32>),
    BothBf16(Lhs<'a, bf16>, Rhs<'a, bf16>),
}

impl<'a> Product<'a> {
    fn prepare(o: &Operands<'a>, grad: &WeightGrad, rows: Range<usize>, [left, right]: &'a mut [Panels; 2]) -> Self {
        macro_rules! prepared {
            ($product:ident, $dy:ty, $x:ty) => {
                Product::$product(
                    Lhs::prepare_as(Format::Bf16, side::<$dy>(o, grad.dy).rows(rows.clone()).transposed(), left),
                    Rhs::prepare_as(Format::Bf16, side::<$x>(o, grad.x).rows(rows), right),
                )
            };
        }
        match [grad.dy, grad.x].map(|mat| o.dtype(mat) == DType::Bf16) {
            [false, false] => prepared!(BothF32, f32, f32),
            [false, true] => prepared!(F32Bf16, f32, bf16),
            [true, false] => prepared!(Bf16F32, bf16, f32),
            [true, true] => prepared!(BothBf16, bf16, bf16),
        }
    }

    /// The tile of `dyᵀ x` from `(row, col)` on.
    fn multiply(&self, row: usize, col: usize, dw: &mut Band<f32>, accumulate: gemm::Accumulate) {
        let rows = row..row + dw.rows();
        match self {
            Product::BothF32(dy, x) => x.multiply_into(dy, rows, col, dw, accumulate),
            Product::F32Bf16(dy, x) => x.multiply_into(dy, rows, col, dw, accumulate),
            Product::Bf16F32(dy, x) => x.multiply_into(dy, rows, col, dw, accumulate),
            Product::BothBf16(dy, x) => x.multiply_into(dy, rows, col, dw, accumulate),
        }
    }
}
