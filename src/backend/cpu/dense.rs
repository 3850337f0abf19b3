//! Matrix products with biases, GELU, and their backwards.

use super::linear::{product_tiles, stream_tiles};
use super::math::{contracts, gelu, gelu_slope, vectorized};
use super::norms::{Rows, add_parts, with_rows};
use super::tiles::{row_block, with_scratch};
use super::{Context, computed};
use crate::program::{BiasGrad, DType, GeluBackward, Linear, LinearBackward, LinearGelu, Mat};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use rayon::prelude::*;
use std::ops::Range;

computed! {
    linear(Linear) by w;
    linear_gelu(LinearGelu) by w;
    linear_backward(LinearBackward) by w;
    gelu_backward(GeluBackward) by w;
    bias_grad(BiasGrad);
}

/// A bias `[1, cols]` in f32, zeros where there is none.
fn with_bias<R>(o: &Operands<'_>, bias: Option<Mat>, cols: usize, f: impl FnOnce(&[f32]) -> R) -> R {
    with_rows(cols, |[wide]| {
        wide.fill(0.0);
        f(match bias {
            Some(bias) => Rows::of(o, bias).row(0, wide),
            None => wide,
        })
    })
}

fn linear<A: Element>(cx: &mut Context<'_>, op: &Linear) {
    // With a residual the result is as the stream is stored.
    match cx.o.dtype(op.y) {
        DType::Bf16 => linear_into::<A, half::bf16>(cx, op),
        _ => linear_into::<A, f32>(cx, op),
    }
}

fn linear_into<A: Element, Y: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &Linear) {
    let Linear { x, w, bias, residual, y } = *op;
    let (n, inner, cols) = (x.rows, x.cols, y.cols);
    let (x, residual) = (o.get::<A>(x), residual.map(|residual| o.get::<Y>(residual)));
    let rhs = weights.transposed::<A>(o, w, n);
    let block = row_block(n);
    let blocks = o.take::<Y>(y).par_chunks_mut(block * cols).zip(x.par_chunks(block * inner));
    with_bias(o, bias, cols, |bias| {
        blocks.enumerate().for_each(|(i, (out, x))| {
            let residual = residual.map(|residual| &residual[i * block * cols..]);
            product_tiles(x, inner, &rhs, 1, |y, tile| linear_epilogue(y, tile, bias, residual, out, cols));
        });
    });
}

vectorized! {
/// `out = [residual +] y + bias`.
fn linear_epilogue<Y: Element>(
    y: &mut [f32],
    tile: Range<usize>,
    bias: &[f32],
    residual: Option<&[Y]>,
    out: &mut [Y],
    cols: usize,
) {
    let bias = &bias[tile.clone()];
    for (j, (y, out)) in y.chunks_exact_mut(tile.len()).zip(out.chunks_exact_mut(cols)).enumerate() {
        for (y, bias) in y.iter_mut().zip(bias) {
            *y += bias;
        }
        if let Some(residual) = residual {
            for (y, residual) in y.iter_mut().zip(&residual[j * cols..][tile.clone()]) {
                *y += residual.wide();
            }
        }
        for (out, y) in out[tile.clone()].iter_mut().zip(&*y) {
            *out = Y::nearest(*y);
        }
    }
}
}

fn linear_gelu<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &LinearGelu) {
    let LinearGelu { x, w, bias, u, h } = *op;
    let (n, inner, cols) = (x.rows, x.cols, h.cols);
    let rhs = weights.transposed::<A>(o, w, n);
    let (x, block) = (o.get::<A>(x), row_block(n));
    let blocks = (o.take::<A>(h).par_chunks_mut(block * cols))
        .zip(o.take::<A>(u).par_chunks_mut(block * cols))
        .zip(x.par_chunks(block * inner));
    with_bias(o, bias, cols, |bias| {
        blocks.for_each(|((h, u), x)| {
            product_tiles(x, inner, &rhs, 1, |y, tile| match contracts() {
                true => gelu_epilogue::<A, true>(y, tile, bias, u, h, cols),
                false => gelu_epilogue::<A, false>(y, tile, bias, u, h, cols),
            });
        });
    });
}

vectorized! {
/// `u = y + bias`, `h = gelu(u)`.
fn gelu_epilogue<A: Element, const FMA: bool>(
    y: &[f32],
    tile: Range<usize>,
    bias: &[f32],
    u: &mut [A],
    h: &mut [A],
    cols: usize,
) {
    let bias = &bias[tile.clone()];
    let rows = y.chunks_exact(tile.len()).zip(u.chunks_exact_mut(cols)).zip(h.chunks_exact_mut(cols));
    for ((y, u), h) in rows {
        let (u, h) = (&mut u[tile.clone()], &mut h[tile.clone()]);
        for (((u, h), y), bias) in u.iter_mut().zip(h).zip(y).zip(bias) {
            let sum = y + bias;
            *u = A::nearest(sum);
            *h = A::nearest(gelu::<FMA>(sum));
        }
    }
}
}

fn linear_backward<A: Element>(cx: &mut Context<'_>, op: &LinearBackward) {
    // A gradient of the stream is stored as that.
    match cx.o.dtype(op.dx) {
        DType::Bf16 => linear_backward_into::<A, half::bf16>(cx, op),
        _ => linear_backward_into::<A, f32>(cx, op),
    }
}

fn linear_backward_into<A: Element, X: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &LinearBackward) {
    let LinearBackward { dy, w, dx } = *op;
    let (n, inner, cols) = (dy.rows, dy.cols, dx.cols);
    let rhs = weights.as_stored::<A>(o, w);
    let (block, dx) = (row_block(n), o.take::<X>(dx));
    let store = |dx: &mut [X], y: &[f32], tile: Range<usize>| {
        for (y, dx) in y.chunks_exact(tile.len()).zip(dx.chunks_exact_mut(cols)) {
            X::narrow(y, &mut dx[tile.clone()]);
        }
    };
    let blocks = dx.par_chunks_mut(block * cols);
    // The gradient of the stream is f32 whatever the matmuls read.
    if o.dtype(dy) == DType::F32 {
        let blocks = blocks.zip(o.get::<f32>(dy).par_chunks(block * inner));
        return blocks.for_each(|(dx, dy)| stream_tiles::<A>(dy, inner, &rhs, 1, |y, tile| store(dx, y, tile)));
    }
    let blocks = blocks.zip(o.get::<A>(dy).par_chunks(block * inner));
    blocks.for_each(|(dx, dy)| product_tiles(dy, inner, &rhs, 1, |y, tile| store(dx, y, tile)));
}

fn gelu_backward<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &GeluBackward) {
    let GeluBackward { dx, w, u, du } = *op;
    let (n, c, f) = (dx.rows, dx.cols, u.cols);
    let (dx, u) = (o.get::<f32>(dx), o.get::<A>(u));
    let rhs = weights.as_stored::<A>(o, w);
    let block = row_block(n);
    let blocks = o.take::<A>(du).par_chunks_mut(block * f).zip(dx.par_chunks(block * c)).zip(u.par_chunks(block * f));
    blocks.for_each(|((du, dx), u)| {
        stream_tiles::<A>(dx, c, &rhs, 1, |dh, tile| match contracts() {
            true => gelu_backward_epilogue::<A, true>(dh, tile, u, du, f),
            false => gelu_backward_epilogue::<A, false>(dh, tile, u, du, f),
        });
    });
}

vectorized! {
/// `du = dh·gelu'(u)`.
fn gelu_backward_epilogue<A: Element, const FMA: bool>(
    dh: &[f32],
    tile: Range<usize>,
    u: &[A],
    du: &mut [A],
    cols: usize,
) {
    for ((dh, u), du) in dh.chunks_exact(tile.len()).zip(u.chunks_exact(cols)).zip(du.chunks_exact_mut(cols)) {
        for ((du, dh), u) in du[tile.clone()].iter_mut().zip(dh).zip(&u[tile.clone()]) {
            *du = A::nearest(dh * gelu_slope::<FMA>(u.wide()));
        }
    }
}
}

/// Rows are summed per block, and then block by block.
fn bias_grad(Context { o, .. }: &mut Context<'_>, op: &BiasGrad) {
    let BiasGrad { dy, accumulate, db } = *op;
    let (n, cols, block) = (dy.rows, dy.cols, row_block(dy.rows));
    let dy = Rows::of(o, dy);
    with_scratch(n.div_ceil(block) * cols, |parts| {
        parts.par_chunks_exact_mut(cols).enumerate().for_each(|(i, part)| {
            part.fill(0.0);
            with_rows(cols, |[wide]| {
                (i * block..n.min((i + 1) * block)).for_each(|row| super::math::add(part, dy.row(row, wide)));
            });
        });
        add_parts(parts.chunks_exact(cols), accumulate, o.take(db));
    });
}
