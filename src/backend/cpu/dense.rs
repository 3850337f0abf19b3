//! Matrix products with biases, GELU, and their backwards.

use super::linear::{product_rows, stream_rows};
use super::math::{add, contracts, gelu, gelu_slope, vectorized};
use super::norms::{Rows, add_parts, with_rows};
use super::tiles::{row_block, with_scratch};
use super::{Context, computed};
use crate::program::{BiasGrad, DType, GeluBackward, Linear, LinearBackward, LinearGelu, Mat};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use rayon::prelude::*;

computed! {
    linear(Linear) by w;
    linear_gelu(LinearGelu) by w;
    linear_backward(LinearBackward) by w;
    gelu_backward(GeluBackward) by w;
    bias_grad(BiasGrad);
}

/// A bias `[1, cols]` in f32, where there is one.
fn with_bias<R>(o: &Operands<'_>, bias: Option<Mat>, cols: usize, f: impl FnOnce(Option<&[f32]>) -> R) -> R {
    match bias {
        Some(bias) => with_rows(cols, |[wide]| f(Some(Rows::of(o, bias).row(0, wide)))),
        None => f(None),
    }
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
            product_rows(x, inner, &rhs, 1, out, |row, y, tile| {
                if let Some(bias) = bias {
                    add(y, &bias[tile.clone()]);
                }
                if let Some(residual) = residual {
                    add_stored(y, &residual[row * cols..][tile]);
                }
            });
        });
    });
}

vectorized! {
/// `to += from`, widened.
fn add_stored<Y: Element>(to: &mut [f32], from: &[Y]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from.wide();
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
            product_rows(x, inner, &rhs, 1, u, |row, y, tile| {
                if let Some(bias) = bias {
                    add(y, &bias[tile.clone()]);
                }
                let h = &mut h[row * cols..][tile];
                match contracts() {
                    true => gelu_row::<A, true>(y, h),
                    false => gelu_row::<A, false>(y, h),
                }
            });
        });
    });
}

vectorized! {
/// `h = gelu(y)`.
fn gelu_row<A: Element, const FMA: bool>(y: &[f32], h: &mut [A]) {
    for (h, y) in h.iter_mut().zip(y) {
        *h = A::nearest(gelu::<FMA>(*y));
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
    let block = row_block(n);
    let blocks = o.take::<X>(dx).par_chunks_mut(block * cols);
    // The gradient of the stream is f32 whatever the matmuls read.
    if o.dtype(dy) == DType::F32 {
        let blocks = blocks.zip(o.get::<f32>(dy).par_chunks(block * inner));
        return blocks.for_each(|(dx, dy)| stream_rows::<A, X>(dy, inner, &rhs, 1, dx, |_, _, _| ()));
    }
    let blocks = blocks.zip(o.get::<A>(dy).par_chunks(block * inner));
    blocks.for_each(|(dx, dy)| product_rows(dy, inner, &rhs, 1, dx, |_, _, _| ()));
}

fn gelu_backward<A: Element>(Context { o, weights, .. }: &mut Context<'_>, op: &GeluBackward) {
    let GeluBackward { dx, w, u, du } = *op;
    let (n, c, f) = (dx.rows, dx.cols, u.cols);
    let (dx, u) = (o.get::<f32>(dx), o.get::<A>(u));
    let rhs = weights.as_stored::<A>(o, w);
    let block = row_block(n);
    let blocks = o.take::<A>(du).par_chunks_mut(block * f).zip(dx.par_chunks(block * c)).zip(u.par_chunks(block * f));
    blocks.for_each(|((du, dx), u)| {
        stream_rows::<A, A>(dx, c, &rhs, 1, du, |row, dh, tile| match contracts() {
            true => gelu_backward_row::<A, true>(dh, &u[row * f..][tile]),
            false => gelu_backward_row::<A, false>(dh, &u[row * f..][tile]),
        });
    });
}

vectorized! {
/// `dh = dh·gelu'(u)`.
fn gelu_backward_row<A: Element, const FMA: bool>(dh: &mut [f32], u: &[A]) {
    for (dh, u) in dh.iter_mut().zip(u) {
        *dh *= gelu_slope::<FMA>(u.wide());
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
                (i * block..n.min((i + 1) * block)).for_each(|row| add(part, dy.row(row, wide)));
            });
        });
        add_parts(parts.chunks_exact(cols), accumulate, o.take(db));
    });
}
