//! Matrix products with what surrounds them.

use super::dense;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{
    Accumulate, DType, HeadLogits, LinearRelu2, LinearResidual, NormLinearBackward, ProjectionBackward, Qkv,
    Relu2Backward, WeightGrad, WeightGrads, sumsq_slots,
};

/// `[rows, inner, cols]`: tensor-core shapes that end within tiles in every direction, and plain ones.
pub(super) const SHAPES: [[usize; 3]; 10] = [
    [1, 8, 8],
    [7, 24, 40],
    [33, 96, 136],
    [65, 136, 264],
    [130, 200, 96],
    [129, 64, 24],
    [33, 202, 40],
    [33, 130, 66],
    [7, 3, 5],
    [33, 66, 96],
];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    tiny(watch, dtype);
    for shape in SHAPES {
        let mut b = Harness::new(dtype);
        forward(&mut b, shape);
        backward(&mut b, shape);
        b.run(watch, &format!("products {shape:?} in {dtype:?}"));
    }
}

pub(super) fn forward(b: &mut Harness, [rows, inner, cols]: [usize; 3]) {
    let std = (inner as f32).powf(-0.5);
    let (a, w, residual) = (b.stored(rows, inner, 1.0), b.stored(cols, inner, std), b.stored(rows, cols, 1.0));
    let (out, sums) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)));
    b.push(LinearResidual { a, w, residual, out, sumsq: sums });
    let sumsq = b.sumsq(rows, inner);
    let (h, logits) = (b.stored_out(rows, cols), b.float_out(rows, cols));
    b.push(LinearRelu2 { x: a, sumsq, w, h });
    b.push(HeadLogits { x: a, sumsq: Some(sumsq), w, logits });
}

pub(super) fn backward(b: &mut Harness, [rows, inner, cols]: [usize; 3]) {
    let std = (inner as f32).powf(-0.5);
    let (dy, w, x) = (b.stored(rows, inner, 1.0), b.stored(inner, cols, std), b.stored(rows, cols, 1.0));
    for (residual, parts) in [(None, 1), (Some(b.stored(rows, cols, 1.0)), 3)] {
        let (sumsq, s, dx) = (b.sumsq(rows, cols), b.normal(rows, parts, 8.0), b.stored_out(rows, cols));
        b.push(NormLinearBackward { dy, w, x, sumsq, s, residual, dx });
    }
    let squares = b.normals(rows * cols, 1.0).into_iter().map(|u| u.max(0.0) * u).collect();
    let (h, sumsq) = (b.stored_values(rows, cols, squares), b.sumsq(rows, inner));
    let (dh, s) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)));
    b.push(Relu2Backward { dx: dy, w, h, sumsq, dy: dh, s });
    let heads = (1..=4).rev().find(|heads| cols % heads == 0).unwrap();
    let (d_o, dot) = (b.stored_out(rows, cols), b.float_out(rows, heads));
    b.push(ProjectionBackward { dx: dy, w, o: x, heads: heads as u32, d_o, dot });
    for (accumulate, dw) in
        [(Accumulate::Overwrite, b.float_out(inner, cols)), (Accumulate::Add, b.normal(inner, cols, 1.0))]
    {
        b.push(WeightGrads { grads: vec![WeightGrad { dy, x, dw }], accumulate });
    }
}

/// Rows so small that the ε of their norm counts.
fn tiny(watch: &mut Watch, dtype: DType) {
    for (rows, inner, cols) in [(33, 136, 40), (7, 66, 96)] {
        let mut b = Harness::new(dtype);
        let (x, w) = (b.stored(rows, inner, 3e-4), b.stored(cols, inner, 0.1));
        let slots = sumsq_slots(inner);
        let square = 9e-8 * (inner as f32) / (slots as f32);
        let sumsq = b.uniform(rows, slots, 0.5 * square, 2.0 * square);
        let (h, logits) = (b.stored_out(rows, cols), b.float_out(rows, cols));
        b.push(LinearRelu2 { x, sumsq, w, h });
        b.push(HeadLogits { x, sumsq: Some(sumsq), w, logits });
        b.run(watch, &format!("tiny rows of {inner} in {dtype:?}"));
    }
}

/// Heads of every dimension, within tiles and across them.
pub(crate) fn heads(watch: &mut Watch) {
    let dtype = watch.dtype();
    for (heads, head_dim) in [(1, 2), (5, 6), (3, 16), (9, 16), (5, 32), (3, 64), (2, 128), (1, 130), (3, 8)] {
        let width = heads * head_dim;
        let mut b = Harness::new(dtype);
        let slow = !matches!(head_dim, 16 | 32 | 64 | 128);
        for (rows, positions) in [(1, 1), (33, 11), (130, 13)] {
            if slow && rows > 33 {
                continue;
            }
            // Where heads are tiny, the ε of their norm counts.
            let std = if rows == 33 { 1e-3 } else { (width as f32).powf(-0.5) };
            qkv(&mut b, [rows, positions], [heads, head_dim], std);
            let (dx, w, o) = (b.stored(rows, 40, 1.0), b.stored(40, width, 0.2), b.stored(rows, width, 1.0));
            let (d_o, dot) = (b.stored_out(rows, width), b.float_out(rows, heads));
            b.push(ProjectionBackward { dx, w, o, heads: heads as u32, d_o, dot });
        }
        b.run(watch, &format!("{heads} heads of {head_dim} in {dtype:?}"));
    }
}

pub(super) fn qkv(b: &mut Harness, [rows, positions]: [usize; 2], [heads, head_dim]: [usize; 2], std: f32) {
    let width = heads * head_dim;
    let (x, w) = (b.stored(rows, width, 1.0), b.stored(3 * width, width, std));
    let (sumsq, qkv, qk_rstd) = (b.sumsq(rows, width), b.stored_out(rows, 3 * width), b.float_out(rows, 2 * heads));
    b.push(Qkv { x, sumsq, w, positions: positions as u32, heads: heads as u32, qkv, qk_rstd });
}

/// Groups of more matrices than a launch takes, of every sort; rows in one slice, in several, and one slice without any.
pub(crate) fn weight_grads(watch: &mut Watch) {
    let dtype = watch.dtype();
    let shapes = [(24, 40), (66, 96), (136, 24), (40, 136), (2, 24), (8, 8), (264, 8), (136, 66), (67, 40)];
    for (rows, shapes) in [(1, &shapes[..]), (33, &shapes), (700, &shapes[..7]), (2570, &shapes[..2])] {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::new(dtype);
            let grads = shapes.iter().map(|&(out, inner)| {
                let (dy, x) = (b.stored(rows, out, 1.0), b.stored(rows, inner, 1.0));
                let dw = match accumulate {
                    Accumulate::Overwrite => b.float_out(out, inner),
                    Accumulate::Add => b.normal(out, inner, 1.0),
                };
                WeightGrad { dy, x, dw }
            });
            let grads = grads.collect();
            b.push(WeightGrads { grads, accumulate });
            b.run(watch, &format!("weight gradients of {rows} rows in {dtype:?}, {accumulate:?}"));
        }
    }
}

/// So many tiles that they are taken large: there are 128 of them.
pub(crate) fn large_cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    forward(&mut b, [129, 40, 64 * 128 - 8]);
    forward(&mut b, [64 * 128 - 9, 72, 136]);
    b.run(watch, &format!("large products in {dtype:?}"));
    let mut b = Harness::new(dtype);
    dense::forward(&mut b, [129, 40, 64 * 128 - 8]);
    b.run(watch, &format!("large products with biases in {dtype:?}"));
    // Logits of a number of symbols that is no multiple of 4.
    let mut b = Harness::new(dtype);
    let (x, w, sumsq) = (b.stored(129, 40, 1.0), b.stored(8191, 40, 0.2), b.sumsq(129, 40));
    let logits = b.float_out(129, 8191);
    b.push(HeadLogits { x, sumsq: Some(sumsq), w, logits });
    b.run(watch, &format!("many symbols in {dtype:?}"));
    // Seven heads of 16 (336 columns, three tiles) and two of 64.
    for (rows, positions, heads, head_dim) in [(28 * 193, 193, 7, 16), (5389, 17, 2, 64)] {
        let mut b = Harness::new(dtype);
        qkv(&mut b, [rows, positions], [heads, head_dim], 0.1);
        b.run(watch, &format!("many rows of {heads} heads in {dtype:?}"));
    }
}
