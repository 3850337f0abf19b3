//! Matrix products with what stands around them: norms, rotary embedding, activation, residual, and their backwards.
//!
//! Every product goes block of rows by block of rows; the block's epilogue runs while its tile is in cache.

use super::embed::sum_squares;
use super::rope;
use super::tiles::{row_block, with_scratch};
use crate::program::{Accumulate, DType, Mat, NORM_EPS, SUMSQ_COLS, WeightGrad, rstd};
use crate::raw::arena::Operands;
use crate::raw::element::Element;
use crate::raw::gemm::{self, Panels, Rhs, View, matmul};
use half::bf16;
use rayon::prelude::*;

/// `tile = a[first..] · rhs` for the rows that `out` has.
pub(super) fn product<A: Element, B: Element>(
    a: &[A],
    inner: usize,
    first: usize,
    rhs: &Rhs<'_, B>,
    cols: usize,
    tile: &mut [f32],
) {
    let rows = tile.len() / cols;
    let a = View::row_major(&a[first * inner..(first + rows) * inner], rows, inner);
    rhs.multiply(a, 0..cols, tile, cols, gemm::Accumulate::Overwrite);
}

pub(super) fn qkv<A: Element>(
    o: &Operands<'_>,
    panels: &mut Panels,
    table: &rope::Table,
    x: Mat,
    sumsq: Mat,
    w: Mat,
    heads: u32,
    qkv: Mat,
    qk_rstd: Mat,
) {
    let (n, c, slots, heads) = (x.rows, x.cols, sumsq.cols, heads as usize);
    let (xs, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), 3 * c, c).transposed(), panels);
    let (block, d) = (row_block(n), c / heads);
    let positions = table.positions();
    let blocks =
        (o.take::<A>(qkv).par_chunks_mut(block * 3 * c)).zip(o.take::<f32>(qk_rstd).par_chunks_mut(block * 2 * heads));
    blocks.enumerate().for_each(|(i, (out, qk_rstd))| {
        let first = i * block;
        with_scratch(out.len(), |y| {
            product(xs, c, first, &rhs, 3 * c, y);
            let rows =
                y.chunks_exact_mut(3 * c).zip(out.chunks_exact_mut(3 * c)).zip(qk_rstd.chunks_exact_mut(2 * heads));
            for (j, ((y, out), qk_rstd)) in rows.enumerate() {
                let row = first + j;
                let r = rstd(&sumsq[row * slots..][..slots], c);
                y.iter_mut().for_each(|y| *y *= r);
                for (head, head_rstd) in y.chunks_exact_mut(d).zip(qk_rstd) {
                    table.rotate(row % positions, head);
                    *head_rstd = 1.0 / (head.iter().map(|y| y * y).sum::<f32>() / d as f32 + NORM_EPS).sqrt();
                    head.iter_mut().for_each(|y| *y *= *head_rstd);
                }
                A::narrow(y, out);
            }
        });
    });
}

pub(super) fn linear_residual<A: Element>(
    o: &Operands<'_>,
    panels: &mut Panels,
    a: Mat,
    w: Mat,
    residual: Mat,
    out: Mat,
    sumsq: Mat,
) {
    let (n, inner, c, slots) = (a.rows, a.cols, out.cols, sumsq.cols);
    let (a, residual) = (o.get::<A>(a), o.get::<f32>(residual));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), c, inner).transposed(), panels);
    let block = row_block(n);
    let blocks = o.take::<f32>(out).par_chunks_mut(block * c).zip(o.take::<f32>(sumsq).par_chunks_mut(block * slots));
    blocks.enumerate().for_each(|(i, (out, sumsq))| {
        let first = i * block;
        product(a, inner, first, &rhs, c, out);
        for (j, (out, sumsq)) in out.chunks_exact_mut(c).zip(sumsq.chunks_exact_mut(slots)).enumerate() {
            out.iter_mut().zip(&residual[(first + j) * c..]).for_each(|(y, x)| *y += x);
            sum_squares(out, sumsq);
        }
    });
}

pub(super) fn linear_relu2<A: Element>(o: &Operands<'_>, panels: &mut Panels, x: Mat, sumsq: Mat, w: Mat, h: Mat) {
    let (n, c, f, slots) = (x.rows, x.cols, h.cols, sumsq.cols);
    let (x, sumsq) = (o.get::<f32>(x), o.get::<f32>(sumsq));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), f, c).transposed(), panels);
    let block = row_block(n);
    o.take::<A>(h).par_chunks_mut(block * f).enumerate().for_each(|(i, h)| {
        let first = i * block;
        with_scratch(h.len(), |y| {
            product(x, c, first, &rhs, f, y);
            for (j, (y, h)) in y.chunks_exact(f).zip(h.chunks_exact_mut(f)).enumerate() {
                let r = rstd(&sumsq[(first + j) * slots..][..slots], c);
                for (h, y) in h.iter_mut().zip(y) {
                    let u = (r * y).max(0.0);
                    *h = A::nearest(u * u);
                }
            }
        });
    });
}

#[allow(clippy::too_many_arguments, reason = "the op's fields, in the op's order")]
pub(super) fn norm_linear_backward<A: Element>(
    o: &Operands<'_>,
    panels: &mut Panels,
    dy: Mat,
    w: Mat,
    x: Mat,
    sumsq: Mat,
    s: Mat,
    residual: Option<Mat>,
    dx: Mat,
) {
    let (n, inner, c, slots, parts) = (x.rows, dy.cols, x.cols, sumsq.cols, s.cols);
    let (dy, x, sumsq, s) = (o.get::<A>(dy), o.get::<f32>(x), o.get::<f32>(sumsq), o.get::<f32>(s));
    let residual = residual.map(|r| o.get::<f32>(r));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), inner, c), panels);
    let block = row_block(n);
    o.take::<f32>(dx).par_chunks_mut(block * c).enumerate().for_each(|(i, dx)| {
        let first = i * block;
        product(dy, inner, first, &rhs, c, dx);
        for (j, dx) in dx.chunks_exact_mut(c).enumerate() {
            let row = first + j;
            let r = rstd(&sumsq[row * slots..][..slots], c);
            let pull = r * r * s[row * parts..][..parts].iter().sum::<f32>() / c as f32;
            dx.iter_mut().zip(&x[row * c..]).for_each(|(dx, x)| *dx -= x * pull);
            if let Some(residual) = residual {
                dx.iter_mut().zip(&residual[row * c..]).for_each(|(dx, d)| *dx += d);
            }
        }
    });
}

pub(super) fn relu2_backward<A: Element>(
    o: &Operands<'_>,
    panels: &mut Panels,
    dx: Mat,
    w: Mat,
    h: Mat,
    sumsq: Mat,
    dy: Mat,
    s: Mat,
) {
    let (n, c, f, slots, parts) = (dx.rows, dx.cols, h.cols, sumsq.cols, s.cols);
    let (dx, h, sumsq) = (o.get::<f32>(dx), o.get::<A>(h), o.get::<f32>(sumsq));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), c, f), panels);
    let block = row_block(n);
    let blocks = o.take::<A>(dy).par_chunks_mut(block * f).zip(o.take::<f32>(s).par_chunks_mut(block * parts));
    blocks.enumerate().for_each(|(i, (dy, s))| {
        let first = i * block;
        with_scratch(dy.len(), |dh| {
            product(dx, c, first, &rhs, f, dh);
            let rows = dh.chunks_exact(f).zip(dy.chunks_exact_mut(f)).zip(s.chunks_exact_mut(parts));
            for (j, ((dh, dy), s)) in rows.enumerate() {
                let row = first + j;
                let r = rstd(&sumsq[row * slots..][..slots], c);
                let h = &h[row * f..][..f];
                let spans = dh.chunks(SUMSQ_COLS).zip(dy.chunks_mut(SUMSQ_COLS)).zip(h.chunks(SUMSQ_COLS)).zip(s);
                for (((dh, dy), h), s) in spans {
                    let mut sum = 0.0;
                    for ((dh, dy), h) in dh.iter().zip(dy).zip(h) {
                        let h = h.wide();
                        *dy = A::nearest(r * dh * 2.0 * h.sqrt());
                        sum += 2.0 * dh * h;
                    }
                    *s = sum;
                }
            }
        });
    });
}

pub(super) fn projection_backward<A: Element>(
    o: &Operands<'_>,
    panels: &mut Panels,
    dx: Mat,
    w: Mat,
    out: Mat,
    heads: u32,
    d_o: Mat,
    dot: Mat,
) {
    let (n, inner, c, heads) = (dx.rows, dx.cols, out.cols, heads as usize);
    let (dx, out) = (o.get::<f32>(dx), o.get::<A>(out));
    let rhs = Rhs::prepare(View::row_major(o.get::<A>(w), inner, c), panels);
    let block = row_block(n);
    let blocks = o.take::<A>(d_o).par_chunks_mut(block * c).zip(o.take::<f32>(dot).par_chunks_mut(block * heads));
    blocks.enumerate().for_each(|(i, (d_o, dot))| {
        let first = i * block;
        with_scratch(d_o.len(), |y| {
            product(dx, inner, first, &rhs, c, y);
            A::narrow(y, d_o);
            let out = &out[first * c..][..y.len()];
            for ((y, out), dot) in y.chunks_exact(c / heads).zip(out.chunks_exact(c / heads)).zip(dot) {
                *dot = y.iter().zip(out).map(|(y, o)| y * o.wide()).sum();
            }
        });
    });
}

/// `dw (+)= dyᵀ x`; either side may be stored as f32 (the residual stream) or as the activations are.
pub(super) fn weight_grad(o: &Operands<'_>, grad: WeightGrad, accumulate: Accumulate) {
    match (o.dtype(grad.dy), o.dtype(grad.x)) {
        (DType::Bf16, DType::Bf16) => weight_grad_of::<bf16, bf16>(o, grad, accumulate),
        (DType::Bf16, _) => weight_grad_of::<bf16, f32>(o, grad, accumulate),
        (_, DType::Bf16) => weight_grad_of::<f32, bf16>(o, grad, accumulate),
        _ => weight_grad_of::<f32, f32>(o, grad, accumulate),
    }
}

fn weight_grad_of<D: Element, X: Element>(o: &Operands<'_>, grad: WeightGrad, accumulate: Accumulate) {
    let (n, out, inner) = (grad.dy.rows, grad.dy.cols, grad.x.cols);
    let (dy, x) = (o.get::<D>(grad.dy), o.get::<X>(grad.x));
    let accumulate = match accumulate {
        Accumulate::Overwrite => gemm::Accumulate::Overwrite,
        Accumulate::Add => gemm::Accumulate::Add,
    };
    let block = row_block(out);
    o.take::<f32>(grad.dw).par_chunks_mut(block * inner).enumerate().for_each(|(i, dw)| {
        let rows = dw.len() / inner;
        let dy = View::row_major(dy, n, out).cols(i * block..i * block + rows).transposed();
        matmul(dy, View::row_major(x, n, inner), dw, inner, accumulate);
    });
}
