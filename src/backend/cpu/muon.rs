//! Muon: one task is one matrix, or some rows of one of its products.

use super::math::vectorized;
use super::optimizer::{gradient_scale, norm_of, squares};
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::program::{Gram, MUON_EPS, MUON_MOMENTUM, MuonMomentum, MuonStep, NewtonSchulz};
use crate::raw::cpu::element::Element;
use crate::raw::cpu::gemm::{Accumulate, PANEL, Panels, Rhs, View};
use rayon::prelude::*;
use std::cell::RefCell;

computed! {
    muon_momentum(MuonMomentum) by x.all;
    gram(Gram) by x.all;
    newton_schulz(NewtonSchulz) by x.all;
    muon_step(MuonStep) by x.all;
}

/// The matrices that begin at `places`, each of `len` elements, out of all.
fn scattered<'a, T>(mut all: &'a mut [T], places: &[u32], len: usize) -> Vec<&'a mut [T]> {
    let mut passed = 0;
    let take = |&place: &u32| {
        let (matrix, rest) = std::mem::take(&mut all)[place as usize - passed..].split_at_mut(len);
        (all, passed) = (rest, place as usize + len);
        matrix
    };
    places.iter().map(take).collect()
}

fn muon_momentum<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &MuonMomentum) {
    let MuonMomentum { grads, metrics, scale, places, clip, m, x } = *op;
    let norm = norm_of(o, args, metrics);
    let out = o.take::<A>(x.all);
    if !norm.is_finite() {
        return out.fill(A::nearest(0.0));
    }
    let (len, places, factor) = (out.len() / x.matrices, o.get::<u32>(places), gradient_scale(o, norm, clip, scale));
    let grads = o.get::<f32>(grads);
    let matrices = scattered(o.take::<f32>(m), places, len).into_par_iter().zip(out.par_chunks_mut(len)).zip(places);
    matrices.for_each(|((m, x), &place)| {
        with_scratch(len, |n| {
            momentum(&grads[place as usize..][..len], factor, m, n);
            let norm = squares(n).sqrt() as f32;
            normalised(n, 1.0 / (norm + MUON_EPS), x);
        });
    });
}

vectorized! {
/// `m ← μ·m + (1-μ)·g`, `n = μ·m + (1-μ)·g`.
fn momentum(g: &[f32], factor: f32, m: &mut [f32], n: &mut [f32]) {
    for ((m, n), g) in m.iter_mut().zip(n).zip(g) {
        let g = (1.0 - MUON_MOMENTUM) * (g * factor);
        *m = MUON_MOMENTUM * *m + g;
        *n = MUON_MOMENTUM * *m + g;
    }
}
}

vectorized! {
fn normalised<A: Element>(n: &[f32], factor: f32, x: &mut [A]) {
    for (x, n) in x.iter_mut().zip(n) {
        *x = A::nearest(n * factor);
    }
}
}

thread_local! {
    static PANELS: RefCell<Vec<Panels>> = const { RefCell::new(Vec::new()) };
}

/// Lends memory for a packed operand, kept from call to call. Calls may nest.
fn with_panels(f: impl FnOnce(&mut Panels)) {
    let mut panels = PANELS.with_borrow_mut(Vec::pop).unwrap_or_default();
    f(&mut panels);
    PANELS.with_borrow_mut(|kept| kept.push(panels));
}

fn gram<A: Element>(Context { o, .. }: &mut Context<'_>, op: &Gram) {
    let Gram { x, terms, out } = *op;
    let ([rows, cols], side) = (x.shape(), x.short());
    let matrices = o.take::<A>(out.all).par_chunks_mut(side * side).zip(o.get::<A>(x.all).par_chunks(rows * cols));
    matrices.for_each(|(out, x)| {
        let view = View::row_major(x, rows, cols);
        let left = if rows > cols { view.transposed() } else { view };
        with_panels(|panels| {
            let right = Rhs::prepare_alone(left.transposed(), panels);
            // A panel of rows up to the diagonal.
            out.par_chunks_mut(PANEL * side).enumerate().for_each(|(block, out)| {
                let first = block * PANEL;
                let height = out.len() / side;
                let width = first + height;
                with_scratch(height * width, |y| {
                    right.multiply(left.rows(first..width), 0..width, y, width, Accumulate::Overwrite);
                    for (i, (y, out)) in y.chunks_exact(width).zip(out.chunks_exact_mut(side)).enumerate() {
                        match terms {
                            None => A::narrow(y, &mut out[..width]),
                            Some([b, c]) => combined(b, &x[(first + i) * side..][..width], c, y, &mut out[..width]),
                        }
                    }
                });
            });
        });
        for row in 1..side {
            for col in 0..row {
                out[col * side + row] = out[row * side + col];
            }
        }
    });
}

/// Rows of X that one worker replaces at a time.
const ROWS: usize = 128;

fn newton_schulz<A: Element>(Context { o, .. }: &mut Context<'_>, op: &NewtonSchulz) {
    let NewtonSchulz { x, b, a, out } = *op;
    let ([rows, cols], side) = (x.shape(), x.short());
    let matrices = (o.take::<A>(out.all).par_chunks_mut(rows * cols))
        .zip(o.get::<A>(x.all).par_chunks(rows * cols))
        .zip(o.get::<A>(b.all).par_chunks(side * side));
    matrices.for_each(|((out, x), b)| {
        let (x_view, b_view) = (View::row_major(x, rows, cols), View::row_major(b, side, side));
        let (left, right) = if rows > cols { (x_view, b_view) } else { (b_view, x_view) };
        with_panels(|panels| {
            let right = Rhs::prepare_alone(right, panels);
            let blocks = out.par_chunks_mut(ROWS * cols).zip(x.par_chunks(ROWS * cols));
            blocks.enumerate().for_each(|(block, (out, x))| {
                let first = block * ROWS;
                with_scratch(out.len(), |y| {
                    let left = left.rows(first..first + out.len() / cols);
                    right.multiply(left, 0..cols, y, cols, Accumulate::Overwrite);
                    combined(a, x, 1.0, y, out);
                });
            });
        });
    });
}

vectorized! {
/// `out = a·x + c·y`.
fn combined<A: Element>(a: f32, x: &[A], c: f32, y: &[f32], out: &mut [A]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = A::nearest(a * x.wide() + c * y);
    }
}
}

fn muon_step<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &MuonStep) {
    let MuonStep { metrics, x, places, rate, weight_decay, params, stored } = *op;
    if !norm_of(o, args, metrics).is_finite() {
        return;
    }
    let [rows, cols] = x.shape();
    let (len, places) = (rows * cols, o.get::<u32>(places));
    let size = args.lr * rate * (rows as f32 / cols as f32).max(1.0).sqrt();
    let shrink = 1.0 - args.lr * weight_decay;
    let mut params = scattered(o.take::<f32>(params), places, len);
    params.par_iter_mut().zip(o.get::<A>(x.all).par_chunks(len)).for_each(|(p, x)| step(p, shrink, x, size));
    if let Some(stored) = stored {
        let copies = scattered(o.take::<A>(stored), places, len);
        copies.into_par_iter().zip(&params).for_each(|(to, p)| A::narrow(p, to));
    }
}

vectorized! {
fn step<A: Element>(p: &mut [f32], shrink: f32, x: &[A], size: f32) {
    for (p, x) in p.iter_mut().zip(x) {
        *p = *p * shrink - size * x.wide();
    }
}
}
