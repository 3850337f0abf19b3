//! What is not a number, or infinite, somewhere in an input: it has to reach the norm of the gradients, by which the loss
//! scale learns of it.

use super::{head, optimizer};
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{
    Accumulate, Attention, AttentionMask, CrossEntropy, Embed, EmbedBackward, GradNorm, HeadLogits, HeadLoss,
    LinearRelu2, LinearResidual, Mat, NormLinearBackward, ProjectionBackward, Relu2Backward, RmsNorm, Scores,
    WeightGrad, WeightGrads, sumsq_slots,
};

/// What half precision makes of numbers too large, and what comes of it.
const BROKEN: [f32; 3] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// `[rows, inner, cols]` of tensor-core and of plain products.
const SHAPES: [[usize; 3]; 3] = [[33, 40, 96], [7, 3, 5], [33, 66, 96]];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for broken in BROKEN {
        let mut b = Harness::new(dtype);
        for shape in SHAPES {
            forward(&mut b, shape, broken);
            backward(&mut b, shape, broken);
        }
        b.run(watch, &format!("products with a {broken} in {dtype:?}"));
        let mut b = Harness::new(dtype);
        for (head_dim, positions) in [(32, 7), (64, 33), (10, 7)] {
            attention(&mut b, head_dim, positions, broken);
        }
        norms(&mut b, broken);
        b.run(watch, &format!("attention and norms with a {broken} in {dtype:?}"));
        let mut b = Harness::new(dtype);
        sums(&mut b, broken);
        b.run(watch, &format!("sums with a {broken} in {dtype:?}"));
    }
}

/// A stored matrix with one such number, in its last row but one where it has one.
fn stored(b: &mut Harness, [rows, cols]: [usize; 2], std: f32, broken: f32) -> Mat {
    let mut values = b.normals(rows * cols, std);
    values[rows.saturating_sub(2) * cols + cols / 2] = broken;
    b.stored_values(rows, cols, values)
}

fn forward(b: &mut Harness, [rows, inner, cols]: [usize; 3], broken: f32) {
    let (x, sumsq) = (stored(b, [rows, inner], 1.0, broken), b.sumsq(rows, inner));
    let (w, residual) = (b.stored(cols, inner, 0.2), b.stored(rows, cols, 1.0));
    let (out, sums) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)));
    b.push(LinearResidual { a: x, w, residual, out, sumsq: sums });
    let (h, logits) = (b.stored_out(rows, cols), b.float_out(rows, cols));
    b.push(LinearRelu2 { x, sumsq, w, h });
    b.push(HeadLogits { x, sumsq: Some(sumsq), w, logits });
    let target = b.some_ids(rows, 1, cols as u32);
    let (weight, scale, drop) = (b.uniform(rows, 1, 0.1, 1.0), None, None);
    let (cross_entropy, dlogits, s) = (b.float_out(rows, 1), b.stored_out(rows, cols), b.float_out(rows, 1));
    b.push(HeadLoss { x, sumsq: Some(sumsq), w, target, weight, scale, drop, cross_entropy, dlogits, s });
    b.push(CrossEntropy { logits, target, drop, cross_entropy });
}

fn backward(b: &mut Harness, [rows, inner, cols]: [usize; 3], broken: f32) {
    let (dy, w, x) = (stored(b, [rows, inner], 1.0, broken), b.stored(inner, cols, 0.2), b.stored(rows, cols, 1.0));
    let (sumsq, s, dx) = (b.sumsq(rows, cols), b.normal(rows, 1, 8.0), b.stored_out(rows, cols));
    b.push(NormLinearBackward { dy, w, x, sumsq, s, residual: None, dx });
    let squares = b.normals(rows * cols, 1.0).into_iter().map(|u| u.max(0.0) * u).collect();
    let (h, sumsq) = (b.stored_values(rows, cols, squares), b.sumsq(rows, inner));
    let (dh, s) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)));
    b.push(Relu2Backward { dx: dy, w, h, sumsq, dy: dh, s });
    let (d_o, dot) = (b.stored_out(rows, cols), b.float_out(rows, 1));
    b.push(ProjectionBackward { dx: dy, w, o: x, heads: 1, d_o, dot });
    let dw = b.float_out(inner, cols);
    b.push(WeightGrads { grads: vec![WeightGrad { dy, x, dw }], accumulate: Accumulate::Overwrite });
}

fn attention(b: &mut Harness, head_dim: usize, positions: u32, broken: f32) {
    let (rows, heads, mask) = (2 * positions as usize, 2, AttentionMask::Bidirectional);
    let width = heads as usize * head_dim;
    let qkv = stored(b, [rows, 3 * width], 1.0, broken);
    let (o, lse) = (b.stored_out(rows, width), b.float_out(rows, heads as usize));
    b.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout: None, o, lse });
}

fn norms(b: &mut Harness, broken: f32) {
    let (rows, cols) = (7, 24);
    let (x, gain) = (stored(b, [rows, cols], 1.0, broken), b.stored(1, cols, 1.0));
    let (y, rstd) = (b.stored_out(rows, cols), b.float_out(rows, 1));
    b.push(RmsNorm { x, gain, eps: 1e-5, y, rstd });
    let (ids, token) = (b.some_ids(rows, 1, 3), stored(b, [3, cols], 1.0, broken));
    let (e, sumsq, rstd) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)), b.float_out(rows, 1));
    b.push(Embed { ids, time: None, token, x: e, sumsq, rstd });
    let (dx, x, rstd) = (stored(b, [rows, cols], 1.0, broken), b.stored(rows, cols, 1.0), b.uniform(rows, 1, 0.5, 2.0));
    let dtoken = b.float_out(3, cols);
    b.push(EmbedBackward { ids, time: None, dx, x, rstd, accumulate: Accumulate::Overwrite, dtoken });
}

/// In a row with a weight, in one without, which does not count, and among gradients.
fn sums(b: &mut Harness, broken: f32) {
    for counts in [true, false] {
        let rows = 33;
        let mut values = vec![1.5; rows];
        values[20] = broken;
        let weights = (0..rows).map(|row| if row == 20 && !counts { 0.0 } else { 0.5 }).collect();
        let (cross_entropy, weight) = (b.float(rows, 1, values), b.float(rows, 1, weights));
        head::sums_of(b, cross_entropy, weight, 3);
    }
    for (n, place) in [(37, 20), (37, 36)] {
        let mut values = b.normals(n, 1.0);
        values[place] = broken;
        let (grads, metrics) = (b.float(1, n, values), b.normal(1, 4, 1.0));
        b.push(GradNorm { grads, scale: None, metrics });
        optimizer::step(b, n, grads, metrics, None);
    }
}
