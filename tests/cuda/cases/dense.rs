//! Matrix products with biases, GELU, and their backwards.

use super::linear::SHAPES;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Accumulate, BiasGrad, GeluBackward, HeadLogits, Linear, LinearBackward, LinearGelu};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for shape in SHAPES {
        let mut b = Harness::new(dtype);
        forward(&mut b, shape);
        backward(&mut b, shape);
        b.run(watch, &format!("products with biases {shape:?} in {dtype:?}"));
    }
    let mut b = Harness::new(dtype);
    for [rows, cols] in [[1, 1], [7, 5], [33, 66], [300, 64], [700, 67], [2500, 130]] {
        bias(&mut b, rows, cols);
    }
    b.run(watch, &format!("gradients of biases in {dtype:?}"));
}

/// Products forward; with biases and residuals in every way.
pub(super) fn forward(b: &mut Harness, [rows, inner, cols]: [usize; 3]) {
    let std = (inner as f32).powf(-0.5);
    let (x, w, around) = (b.stored(rows, inner, 1.0), b.stored(cols, inner, std), b.stored(rows, cols, 1.0));
    let biases = b.stored(1, cols, 1.0);
    for (bias, residual) in [(None, None), (Some(biases), None), (None, Some(around)), (Some(biases), Some(around))] {
        let y = b.stored_out(rows, cols);
        b.push(Linear { x, w, bias, residual, y });
    }
    for bias in [None, Some(biases)] {
        let [u, h] = [(); 2].map(|()| b.stored_out(rows, cols));
        b.push(LinearGelu { x, w, bias, u, h });
    }
    let logits = b.float_out(rows, cols);
    b.push(HeadLogits { x, sumsq: None, w, logits });
}

fn backward(b: &mut Harness, [rows, inner, cols]: [usize; 3]) {
    let std = (inner as f32).powf(-0.5);
    let (dy, w) = (b.stored(rows, inner, 1.0), b.stored(inner, cols, std));
    let dx = b.stored_out(rows, cols);
    b.push(LinearBackward { dy, w, dx });
    let (u, du) = (b.stored(rows, cols, 1.5), b.stored_out(rows, cols));
    b.push(GeluBackward { dx: dy, w, u, du });
}

fn bias(b: &mut Harness, rows: usize, cols: usize) {
    let dy = b.stored(rows, cols, 1.0);
    for (accumulate, db) in [(Accumulate::Overwrite, b.float_out(1, cols)), (Accumulate::Add, b.normal(1, cols, 1.0))] {
        b.push(BiasGrad { dy, accumulate, db });
    }
}
