//! Muon: one task is one matrix, or some rows of one of its products.

use super::math::vectorized;
use super::optimizer::{gradient_scale, norm_of};
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::program::{
    Gram, MUON_CHUNK, MUON_EPS, MUON_LARGEST, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NewtonSchulz, Stack,
};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use crate::raw::cpu::gemm::{Accumulate, PANEL, Panels, Rhs, View};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

computed! {
    muon_momentum(MuonMomentum) by x;
    gram(Gram) by x;
    newton_schulz(NewtonSchulz) by x;
    muon_step(MuonStep) by x;
}

/// One of a stack's, where it lies in the row of all, and where its `[S, S]` and its sums of squares lie in theirs.
struct Matrix {
    rows: usize,
    cols: usize,
    at: Range<usize>,
    square: Range<usize>,
    sumsq: Range<usize>,
}

impl Matrix {
    fn side(&self) -> usize {
        self.rows.min(self.cols)
    }
}

fn matrices(stacks: &[Stack]) -> Vec<Matrix> {
    let next = |end: &mut usize, len| {
        let start = std::mem::replace(end, *end + len);
        start..*end
    };
    let (mut end, mut square_end, mut sumsq_end) = (0, 0, 0);
    let mut matrix = |stack: Stack| Matrix {
        rows: stack.rows,
        cols: stack.cols,
        at: next(&mut end, stack.len()),
        square: next(&mut square_end, stack.squares().len()),
        sumsq: next(&mut sumsq_end, stack.chunks()),
    };
    stacks.iter().flat_map(|&stack| std::iter::repeat_n(stack, stack.matrices)).map(&mut matrix).collect()
}

/// Where they lie among all parameters.
fn scattered(matrices: &[Matrix], places: &[u32]) -> Vec<Range<usize>> {
    matrices.iter().zip(places).map(|(of, &place)| place as usize..place as usize + of.at.len()).collect()
}

/// Some ranges of all, which do not overlap, in any order.
fn parts<T>(mut all: &mut [T], ranges: impl IntoIterator<Item = Range<usize>>) -> Vec<&mut [T]> {
    let ranges: Vec<Range<usize>> = ranges.into_iter().collect();
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_unstable_by_key(|&i| ranges[i].start);
    let mut parts: Vec<&mut [T]> = ranges.iter().map(|_| Default::default()).collect();
    let mut passed = 0;
    for i in order {
        let (part, rest) = std::mem::take(&mut all)[ranges[i].start - passed..].split_at_mut(ranges[i].len());
        (parts[i], all, passed) = (part, rest, ranges[i].end);
    }
    parts
}

/// What brings each matrix to length 1.
fn inverse_lengths(o: &Operands<'_>, matrices: &[Matrix], sumsq: Option<Mat>) -> Vec<f32> {
    let Some(sumsq) = sumsq else { return vec![1.0; matrices.len()] };
    let sumsq = o.get::<f32>(sumsq);
    let inverse = |of: &Matrix| {
        let sum: f64 = sumsq[of.sumsq.clone()].iter().map(|&part| f64::from(part)).sum();
        1.0 / (sum.sqrt() as f32 + MUON_EPS)
    };
    matrices.iter().map(inverse).collect()
}

fn muon_momentum<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &MuonMomentum) {
    let MuonMomentum { grads, metrics, scale, places, ref stacks, clip, m, x, sumsq } = *op;
    let norm = norm_of(o, args, metrics);
    let (out, sumsq) = (o.take::<A>(x), o.take::<f32>(sumsq));
    if !norm.is_finite() {
        sumsq.fill(0.0);
        return out.fill(A::nearest(0.0));
    }
    let (matrices, factor) = (matrices(stacks), gradient_scale(o, norm, clip, scale));
    let (places, grads) = (scattered(&matrices, o.get(places)), o.get::<f32>(grads));
    let momenta = parts(o.take::<f32>(m), places.iter().cloned()).into_par_iter();
    let sumsq = parts(sumsq, matrices.iter().map(|of| of.sumsq.clone()));
    let out = parts(out, matrices.into_iter().map(|of| of.at));
    let magnified = MuonMomentum::magnified(clip);
    momenta.zip(out).zip(sumsq).zip(places).for_each(|(((m, x), sumsq), place)| {
        let chunks = m.chunks_mut(MUON_CHUNK).zip(x.chunks_mut(MUON_CHUNK)).zip(grads[place].chunks(MUON_CHUNK));
        for (((m, x), g), sumsq) in chunks.zip(sumsq) {
            *sumsq = momentum(g, factor, m, magnified, x) as f32;
        }
    });
}

vectorized! {
/// `m ← μ·m + (1-μ)·g` and `n = μ·m + (1-μ)·g`, magnified; returns the sum of their squares, in fixed lanes.
fn momentum<A: Element>(g: &[f32], factor: f32, m: &mut [f32], magnified: f32, x: &mut [A]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0.0; LANES];
    for ((m, x), g) in m.chunks_mut(LANES).zip(x.chunks_mut(LANES)).zip(g.chunks(LANES)) {
        for (((m, x), g), lane) in m.iter_mut().zip(x).zip(g).zip(&mut lanes) {
            let g = (1.0 - MUON_MOMENTUM) * (g * factor);
            *m = MUON_MOMENTUM * *m + g;
            let n = magnified * (MUON_MOMENTUM * *m + g);
            *lane += f64::from(n) * f64::from(n);
            *x = A::nearest(n.clamp(-MUON_LARGEST, MUON_LARGEST));
        }
    }
    lanes.iter().sum()
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
    let Gram { x, sumsq, ref stacks, terms, out } = *op;
    let matrices = matrices(stacks);
    let lengths = inverse_lengths(o, &matrices, sumsq);
    let out = parts(o.take::<A>(out), matrices.iter().map(|of| of.square.clone()));
    let x = o.get::<A>(x);
    out.into_par_iter().zip(matrices).zip(lengths).for_each(|((out, of), length)| {
        let (side, x) = (of.side(), &x[of.at]);
        let view = View::row_major(x, of.rows, of.cols);
        let left = if of.rows > of.cols { view.transposed() } else { view };
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
                            None => scaled(length * length, y, &mut out[..width]),
                            Some([b, c]) => combined(b, &x[(first + i) * side..][..width], c, y, &mut out[..width]),
                        }
                    }
                });
            });
        });
        mirrored(out, side);
    });
}

vectorized! {
/// `out = c·y`.
fn scaled<A: Element>(c: f32, y: &[f32], out: &mut [A]) {
    for (out, y) in out.iter_mut().zip(y) {
        *out = A::nearest(c * y);
    }
}
}

vectorized! {
/// The lower half of a square, written to the upper: in blocks, each in registers between its rows and its columns.
fn mirrored<A: Element>(square: &mut [A], side: usize) {
    const BLOCK: usize = 16;
    for row in (0..side).step_by(BLOCK) {
        let whole = if row + BLOCK <= side { row } else { 0 };
        for col in (0..whole).step_by(BLOCK) {
            let mut block = [[A::default(); BLOCK]; BLOCK];
            for (i, line) in block.iter_mut().enumerate() {
                line.copy_from_slice(&square[(row + i) * side + col..][..BLOCK]);
            }
            for j in 0..BLOCK {
                let line: [A; BLOCK] = std::array::from_fn(|i| block[i][j]);
                square[(col + j) * side + row..][..BLOCK].copy_from_slice(&line);
            }
        }
        for i in row..side.min(row + BLOCK) {
            for j in whole..i {
                square[j * side + i] = square[i * side + j];
            }
        }
    }
}
}

/// Rows of X that are replaced at a time: what was summed of them stays in L1.
const ROWS: usize = 32;

/// b x of some rows of a matrix, or x b where it is tall, as they come: `each(out, x, y)`, of whatever lies as x does.
fn replaced<A: Element, T: Send>(
    x: &[A],
    b: &[A],
    of: &Matrix,
    out: &mut [T],
    each: impl Fn(&mut [T], &[A], &[f32]) + Sync,
) {
    let (side, cols) = (of.side(), of.cols);
    let (x_view, b_view) = (View::row_major(x, of.rows, cols), View::row_major(b, side, side));
    let (left, right) = if of.rows > cols { (x_view, b_view) } else { (b_view, x_view) };
    with_panels(|panels| {
        let right = Rhs::prepare_alone(right, panels);
        let blocks = out.par_chunks_mut(ROWS * cols).zip(x.par_chunks(ROWS * cols));
        blocks.enumerate().for_each(|(block, (out, x))| {
            let first = block * ROWS;
            with_scratch(out.len(), |y| {
                let left = left.rows(first..first + out.len() / cols);
                right.multiply(left, 0..cols, y, cols, Accumulate::Overwrite);
                each(out, x, y);
            });
        });
    });
}

fn newton_schulz<A: Element>(Context { o, .. }: &mut Context<'_>, op: &NewtonSchulz) {
    let NewtonSchulz { x, sumsq, b, ref stacks, a, out } = *op;
    let matrices = matrices(stacks);
    let lengths = inverse_lengths(o, &matrices, sumsq);
    let out = parts(o.take::<A>(out), matrices.iter().map(|of| of.at.clone()));
    let (x, b) = (o.get::<A>(x), o.get::<A>(b));
    out.into_par_iter().zip(matrices).zip(lengths).for_each(|((out, of), length)| {
        replaced(&x[of.at.clone()], &b[of.square.clone()], &of, out, |out, x, y| {
            combined(length * a, x, length, y, out)
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
    let MuonStep { metrics, x, b, places, ref stacks, a, rate, weight_decay, params, stored } = *op;
    if !norm_of(o, args, metrics).is_finite() {
        return;
    }
    let (matrices, x, b) = (matrices(stacks), o.get::<A>(x), o.get::<A>(b));
    let places = scattered(&matrices, o.get(places));
    let (size, shrink) = (args.lr * rate, 1.0 - args.lr * weight_decay);
    let mut params = parts(o.take::<f32>(params), places.iter().cloned());
    params.par_iter_mut().zip(matrices).for_each(|(p, of)| {
        let size = size * (of.rows as f32 / of.cols as f32).max(1.0).sqrt();
        replaced(&x[of.at.clone()], &b[of.square.clone()], &of, p, |p, x, y| step(p, shrink, a, x, y, size));
    });
    if let Some(stored) = stored {
        let copies = parts(o.take::<A>(stored), places);
        copies.into_par_iter().zip(&params).for_each(|(to, p)| A::narrow(p, to));
    }
}

vectorized! {
fn step<A: Element>(p: &mut [f32], shrink: f32, a: f32, x: &[A], y: &[f32], size: f32) {
    for ((p, x), y) in p.iter_mut().zip(x).zip(y) {
        *p = *p * shrink - size * (a * x.wide() + y);
    }
}
}
