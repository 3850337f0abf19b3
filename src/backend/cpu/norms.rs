//! RMSNorm and LayerNorm with weights of their own, and their backwards.
//!
//! Arithmetic is f32 on rows that are widened as they are read: only what is written is compiled once per format. The
//! weights' gradients are summed per block of rows and then block by block, both by shape alone.

use super::math::{add, dot, sum, sum_squares, vectorized};
use super::tiles::{row_block, with_scratch};
use super::{Context, computed};
use crate::program::{Accumulate, DType, LayerNorm, LayerNormBackward, Mat, RmsNorm, RmsNormBackward};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use half::bf16;
use rayon::prelude::*;

computed! {
    rms_norm(RmsNorm) by y;
    layer_norm(LayerNorm) by y;
    rms_norm_backward(RmsNormBackward) by dx;
    layer_norm_backward(LayerNormBackward) by dx;
}

/// A matrix that is read row by row as f32, whatever it is stored as.
#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> Rows<'a> {
    pub(super) fn of(o: &Operands<'a>, mat: Mat) -> Self {
        match o.dtype(mat) {
            DType::Bf16 => Rows::Bf16(o.get(mat)),
            _ => Rows::F32(o.get(mat)),
        }
    }

    /// A row, in `wide` unless it is f32 where it lies; as many columns as `wide` has.
    pub(super) fn row<'w>(self, row: usize, wide: &'w mut [f32]) -> &'w [f32]
    where
        'a: 'w,
    {
        let columns = row * wide.len()..(row + 1) * wide.len();
        match self {
            Rows::F32(data) => &data[columns],
            Rows::Bf16(data) => {
                bf16::widen(&data[columns], wide);
                wide
            }
        }
    }
}

/// Lends `K` rows of the worker's own memory.
pub(super) fn with_rows<const K: usize, R>(cols: usize, f: impl FnOnce([&mut [f32]; K]) -> R) -> R {
    with_scratch(K * cols, |scratch| {
        let mut rows = scratch.chunks_exact_mut(cols);
        f(std::array::from_fn(|_| rows.next().expect("as many rows as were taken")))
    })
}

fn rms_norm<Y: Element>(Context { o, .. }: &mut Context<'_>, op: &RmsNorm) {
    let RmsNorm { x, gain, eps, y, rstd } = *op;
    let (n, c) = (x.rows, x.cols);
    let (x, gain, block) = (Rows::of(o, x), Rows::of(o, gain), row_block(n));
    let blocks = o.take::<Y>(y).par_chunks_mut(block * c).zip(o.take::<f32>(rstd).par_chunks_mut(block));
    with_rows(c, |[gain_wide]| {
        let gain = gain.row(0, gain_wide);
        blocks.enumerate().for_each(|(i, (y, rstd))| {
            with_rows(c, |[x_wide]| {
                for (j, (y, rstd)) in y.chunks_exact_mut(c).zip(rstd).enumerate() {
                    *rstd = rms_norm_row(x.row(i * block + j, x_wide), gain, eps, y);
                }
            });
        });
    });
}

vectorized! {
/// `y = x·r·gain`; returns r.
fn rms_norm_row<Y: Element>(x: &[f32], gain: &[f32], eps: f32, y: &mut [Y]) -> f32 {
    let rstd = 1.0 / (sum_squares(x) / x.len() as f32 + eps).sqrt();
    for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
        *y = Y::nearest(x * rstd * gain);
    }
    rstd
}
}

fn layer_norm<Y: Element>(Context { o, .. }: &mut Context<'_>, op: &LayerNorm) {
    let LayerNorm { x, gain, bias, eps, y, mean, rstd } = *op;
    let (n, c) = (x.rows, x.cols);
    let (x, gain, bias, block) = (Rows::of(o, x), Rows::of(o, gain), bias.map(|bias| Rows::of(o, bias)), row_block(n));
    let blocks = (o.take::<Y>(y).par_chunks_mut(block * c))
        .zip(o.take::<f32>(mean).par_chunks_mut(block))
        .zip(o.take::<f32>(rstd).par_chunks_mut(block));
    with_rows(c, |[gain_wide, bias_wide]| {
        bias_wide.fill(0.0);
        let gain = gain.row(0, gain_wide);
        let bias = match bias {
            Some(bias) => bias.row(0, bias_wide),
            None => bias_wide,
        };
        blocks.enumerate().for_each(|(i, ((y, mean), rstd))| {
            with_rows(c, |[x_wide, centred]| {
                for (j, ((y, mean), rstd)) in y.chunks_exact_mut(c).zip(mean).zip(rstd).enumerate() {
                    [*mean, *rstd] = layer_norm_row(x.row(i * block + j, x_wide), gain, bias, eps, centred, y);
                }
            });
        });
    });
}

vectorized! {
/// `y = (x - mean)·rstd·gain + bias`; returns mean and rstd. Squares are summed of what is left without the mean: Σx² less
/// the mean's would cancel where rows lie far from zero.
fn layer_norm_row<Y: Element>(
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    eps: f32,
    centred: &mut [f32],
    y: &mut [Y],
) -> [f32; 2] {
    let mean = sum(x) / x.len() as f32;
    for (centred, x) in centred.iter_mut().zip(x) {
        *centred = x - mean;
    }
    let rstd = 1.0 / (sum_squares(centred) / x.len() as f32 + eps).sqrt();
    for (((y, centred), gain), bias) in y.iter_mut().zip(centred).zip(gain).zip(bias) {
        *y = Y::nearest(*centred * rstd * gain + bias);
    }
    [mean, rstd]
}
}

fn rms_norm_backward<D: Element>(Context { o, .. }: &mut Context<'_>, op: &RmsNormBackward) {
    let RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain } = *op;
    let (n, c) = (x.rows, x.cols);
    let (dy, x, gain, rstd) = (Rows::of(o, dy), Rows::of(o, x), Rows::of(o, gain), o.get::<f32>(rstd));
    let block = row_block(n);
    let dx = o.take::<D>(dx).par_chunks_mut(block * c);
    with_scratch(n.div_ceil(block) * c, |parts| {
        with_rows(c, |[gain_wide]| {
            let gain = gain.row(0, gain_wide);
            dx.zip(parts.par_chunks_exact_mut(c)).enumerate().for_each(|(i, (dx, dgain))| {
                dgain.fill(0.0);
                with_rows(c, |[dy_wide, x_wide, g]| {
                    for (row, dx) in (i * block..).zip(dx.chunks_exact_mut(c)) {
                        let (dy, x) = (dy.row(row, dy_wide), x.row(row, x_wide));
                        rms_norm_backward_row(dy, x, gain, rstd[row], g, dx, dgain);
                    }
                });
            });
        });
        add_parts(parts.chunks_exact(c), accumulate, o.take(dgain));
    });
}

vectorized! {
/// `g = dy·gain`, `dx = r·(g - x·r²·⟨g, x⟩/C)`, `dgain += dy·x·r`.
fn rms_norm_backward_row<D: Element>(
    dy: &[f32],
    x: &[f32],
    gain: &[f32],
    rstd: f32,
    g: &mut [f32],
    dx: &mut [D],
    dgain: &mut [f32],
) {
    for ((g, dy), gain) in g.iter_mut().zip(dy).zip(gain) {
        *g = dy * gain;
    }
    let pull = rstd * rstd * (dot(g, x) / x.len() as f32);
    for ((dx, g), x) in dx.iter_mut().zip(g).zip(x) {
        *dx = D::nearest(rstd * (*g - x * pull));
    }
    for ((dgain, dy), x) in dgain.iter_mut().zip(dy).zip(x) {
        *dgain += dy * (x * rstd);
    }
}
}

fn layer_norm_backward<D: Element>(Context { o, .. }: &mut Context<'_>, op: &LayerNormBackward) {
    let LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias } = *op;
    let (n, c) = (x.rows, x.cols);
    let (dy, x, gain) = (Rows::of(o, dy), Rows::of(o, x), Rows::of(o, gain));
    let (mean, rstd) = (o.get::<f32>(mean), o.get::<f32>(rstd));
    let residual = residual.map(|residual| o.get::<D>(residual));
    let block = row_block(n);
    let dx = o.take::<D>(dx).par_chunks_mut(block * c);
    with_scratch(n.div_ceil(block) * 2 * c, |parts| {
        with_rows(c, |[gain_wide]| {
            let gain = gain.row(0, gain_wide);
            dx.zip(parts.par_chunks_exact_mut(2 * c)).enumerate().for_each(|(i, (dx, part))| {
                part.fill(0.0);
                let (dgain, dbias) = part.split_at_mut(c);
                with_rows(c, |[dy_wide, x_wide, normed, g]| {
                    for (row, dx) in (i * block..).zip(dx.chunks_exact_mut(c)) {
                        let (dy, x) = (dy.row(row, dy_wide), x.row(row, x_wide));
                        let around = residual.map(|residual| &residual[row * c..][..c]);
                        let was = Normed { x, mean: mean[row], rstd: rstd[row] };
                        layer_norm_backward_row(dy, was, gain, around, [normed, g], dx, dgain);
                        if op.dbias.is_some() {
                            add(dbias, dy);
                        }
                    }
                });
            });
        });
        add_parts(parts.chunks_exact(2 * c).map(|part| &part[..c]), accumulate, o.take(dgain));
        if let Some(dbias) = dbias {
            add_parts(parts.chunks_exact(2 * c).map(|part| &part[c..]), accumulate, o.take(dbias));
        }
    });
}

/// A row, and what normalised it.
struct Normed<'a> {
    x: &'a [f32],
    mean: f32,
    rstd: f32,
}

vectorized! {
/// `x̂ = (x - mean)·r`, `g = dy·gain`, `dx = [around +] r·(g - Σg/C - x̂·⟨g, x̂⟩/C)`, `dgain += dy·x̂`.
fn layer_norm_backward_row<D: Element>(
    dy: &[f32],
    Normed { x, mean: x_mean, rstd }: Normed,
    gain: &[f32],
    around: Option<&[D]>,
    [normed, g]: [&mut [f32]; 2],
    dx: &mut [D],
    dgain: &mut [f32],
) {
    for (normed, x) in normed.iter_mut().zip(x) {
        *normed = (x - x_mean) * rstd;
    }
    for ((g, dy), gain) in g.iter_mut().zip(dy).zip(gain) {
        *g = dy * gain;
    }
    let (mean, pull) = (sum(g) / g.len() as f32, dot(g, normed) / g.len() as f32);
    for (g, normed) in g.iter_mut().zip(&*normed) {
        *g = rstd * (*g - mean - normed * pull);
    }
    if let Some(around) = around {
        for (g, around) in g.iter_mut().zip(around) {
            *g += around.wide();
        }
    }
    for (dx, g) in dx.iter_mut().zip(&*g) {
        *dx = D::nearest(*g);
    }
    for ((dgain, dy), normed) in dgain.iter_mut().zip(dy).zip(&*normed) {
        *dgain += dy * normed;
    }
}
}

/// `to (+)= Σ parts`, one after the other.
pub(super) fn add_parts<'a>(parts: impl Iterator<Item = &'a [f32]>, accumulate: Accumulate, to: &mut [f32]) {
    if accumulate == Accumulate::Overwrite {
        to.fill(0.0);
    }
    parts.for_each(|part| add(to, part));
}
