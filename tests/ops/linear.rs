//! Matrix products and what surrounds them.

use crate::harness::{Harness, Want, unit};
use crate::number::{Num, Table, dot, exact, sum};
use tempest::program::{
    Accumulate, DType, LinearRelu2, LinearResidual, Mat, NORM_EPS, NormLinearBackward, ProjectionBackward, Qkv,
    Relu2Backward, SUMSQ_COLS, WeightGrad, WeightGrads, sumsq_slots,
};

/// Sizes of one case, odd on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// B.
    pub(crate) sequences: usize,
    /// T.
    pub(crate) positions: usize,
    /// H.
    pub(crate) heads: usize,
    /// C.
    pub(crate) width: usize,
    /// F, or V.
    pub(crate) wide: usize,
}

const fn size(sequences: usize, positions: usize, heads: usize, width: usize, wide: usize) -> Size {
    Size { sequences, positions, heads, width, wide }
}

const SIZES: [Size; 6] = [
    size(1, 1, 1, 2, 3),
    size(7, 1, 3, 6, 25),
    size(1, 7, 2, 20, 80),
    size(1, 33, 1, 130, 129),
    size(3, 5, 3, 132, 257),
    size(4, 75, 2, 36, 66),
];

impl Size {
    pub(crate) fn rows(self) -> usize {
        self.sequences * self.positions
    }
}

/// Every size in both dtypes.
pub(crate) fn each(mut f: impl FnMut(&str, Size, DType)) {
    for size in SIZES {
        for dtype in [DType::F32, DType::Bf16] {
            f(&format!("{size:?} {dtype:?}"), size, dtype);
        }
    }
}

/// A stream x with its sums of squares, and r of each row by its own definition.
pub(crate) struct Stream {
    pub(crate) x: Mat,
    pub(crate) sumsq: Mat,
    pub(crate) values: Table,
    pub(crate) r: Vec<Num>,
}

/// r of a row with these sums of squares.
fn r_of(sumsq: &Table, row: usize, cols: usize) -> Num {
    exact(1.0) / (sum(sumsq.row(row)) / exact(cols as f64) + exact(f64::from(NORM_EPS))).sqrt()
}

/// Sums of squares per 128 columns.
fn squares(x: &Table) -> Table {
    Table::new(x.rows, sumsq_slots(x.cols), |i, slot| {
        let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(x.cols);
        sum(cols.map(|j| x.at(i, j) * x.at(i, j)))
    })
}

pub(crate) fn stream(b: &mut Harness, rows: usize, cols: usize) -> Stream {
    // Some rows so short that the norm's ε, 1.2e-7, is most of what is under the root.
    let (x, values) = b.normal(DType::F32, rows, cols, if rows == 7 { 2e-4 } else { 1.5 });
    let stored: Vec<f32> = squares(&values).data.iter().map(|s| s.v as f32).collect();
    let (sumsq, stored) = b.input(DType::F32, rows, sumsq_slots(cols), &stored);
    let r = (0..rows).map(|row| r_of(&stored, row, cols)).collect();
    Stream { x, sumsq, values, r }
}

pub(crate) fn scaled(y: Table, r: &[Num]) -> Table {
    y.map(|row, _, y| r[row] * y)
}

/// Turns one head's columns by the angles of its position: y₁ = x₁ cos + x₂ sin, y₂ = x₂ cos - x₁ sin.
pub(crate) fn rotate(position: usize, head: &[Num]) -> Vec<Num> {
    let half = head.len() / 2;
    let turn = |i: usize| {
        let angle = position as f64 / 10_000_f64.powf(2.0 * i as f64 / head.len() as f64);
        // Tables of cosines and sines are rounded to f32.
        [angle.cos(), angle.sin()].map(|v| Num { v, e: crate::number::F32 })
    };
    let first = (0..half).map(|i| head[i] * turn(i)[0] + head[half + i] * turn(i)[1]);
    let second = (0..half).map(|i| head[half + i] * turn(i)[0] - head[i] * turn(i)[1]);
    first.chain(second).collect()
}

#[test]
fn qkv_projects_rotates_and_norms_each_head() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let (n, c, heads) = (size.rows(), size.width, size.heads);
        let s = stream(&mut b, n, c);
        let (w, weights) = b.normal(dtype, 3 * c, c, 1.0 / (c as f32).sqrt());
        let (qkv, qk_rstd) = (b.output(dtype, n, 3 * c), b.output(DType::F32, n, 2 * heads));
        let mut y = scaled(s.values.times_transposed(&weights), &s.r);
        let mut r = Table::new(n, 2 * heads, |_, _| exact(0.0));
        let d = c / heads;
        for row in 0..n {
            for head in 0..2 * heads {
                let at = row * 3 * c + head * d;
                let turned = rotate(row % size.positions, &y.data[at..at + d]);
                let mean = dot(turned.iter().copied(), turned.iter().copied()) / exact(d as f64);
                let head_r = exact(1.0) / (mean + exact(f64::from(NORM_EPS))).sqrt();
                r.data[row * 2 * heads + head] = head_r;
                turned.iter().enumerate().for_each(|(i, y_i)| y.data[at + i] = *y_i * head_r);
            }
        }
        let positions = size.positions as u32;
        let op = Qkv { x: s.x, sumsq: s.sumsq, w, positions, heads: heads as u32, qkv, qk_rstd };
        b.check(case, op, &[Want::table(qkv, &y), Want::table(qk_rstd, &r)]);
    });
}

#[test]
fn linear_residual_adds_the_product_and_leaves_sums_of_squares() {
    each(|case, size, dtype| {
        for inner in [size.width, size.wide] {
            let mut b = Harness::default();
            let (n, c) = (size.rows(), size.width);
            let (a, activations) = b.normal(dtype, n, inner, 1.0);
            let (w, weights) = b.normal(dtype, c, inner, 1.0 / (inner as f32).sqrt());
            let (residual, around) = b.normal(DType::F32, n, c, 1.0);
            let (out, sumsq) = (b.output(DType::F32, n, c), b.output(DType::F32, n, sumsq_slots(c)));
            let y = activations.times_transposed(&weights).map(|i, j, y| around.at(i, j) + y);
            let op = LinearResidual { a, w, residual, out, sumsq };
            b.check(case, op, &[Want::table(out, &y), Want::table(sumsq, &squares(&y))]);
        }
    });
}

#[test]
fn linear_relu2_squares_what_is_positive() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let s = stream(&mut b, size.rows(), size.width);
        let (w, weights) = b.normal(dtype, size.wide, size.width, 1.0 / (size.width as f32).sqrt());
        let h = b.output(dtype, size.rows(), size.wide);
        let y = scaled(s.values.times_transposed(&weights), &s.r);
        let want = y.map(|_, _, y| {
            let u = y.max(exact(0.0));
            u * u
        });
        b.check(case, LinearRelu2 { x: s.x, sumsq: s.sumsq, w, h }, &[Want::table(h, &want)]);
    });
}

#[test]
fn norm_linear_backward_pulls_gradients_back_to_the_stream() {
    each(|case, size, dtype| {
        for (around, parts) in [(false, 1), (true, 3)] {
            let mut b = Harness::default();
            let (n, c, inner) = (size.rows(), size.width, size.wide);
            let (dy, gradient) = b.normal(dtype, n, inner, 1.0);
            let (w, weights) = b.normal(dtype, inner, c, 1.0 / (inner as f32).sqrt());
            let x = stream(&mut b, n, c);
            let (s, partial) = b.normal(DType::F32, n, parts, 1.0);
            let residual = around.then(|| b.normal(DType::F32, n, c, 1.0));
            let dx = b.output(DType::F32, n, c);
            let want = gradient.times(&weights).map(|i, j, y| {
                let pull = x.r[i] * x.r[i] * sum(partial.row(i)) / exact(c as f64);
                let branch = y - x.values.at(i, j) * pull;
                residual.as_ref().map_or(branch, |(_, d)| d.at(i, j) + branch)
            });
            let residual = residual.map(|(mat, _)| mat);
            let op = NormLinearBackward { dy, w, x: x.x, sumsq: x.sumsq, s, residual, dx };
            b.check(case, op, &[Want::table(dx, &want)]);
        }
    });
}

#[test]
fn relu2_backward_uses_what_the_square_left() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let (n, c, f) = (size.rows(), size.width, size.wide);
        let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
        let (w, weights) = b.normal(dtype, c, f, 1.0 / (c as f32).sqrt());
        let squared: Vec<f32> = b.normals(n * f, 1.0).iter().map(|u| u.max(0.0) * u.max(0.0)).collect();
        let (h, hidden) = b.input(dtype, n, f, &squared);
        // Sums of squares of some x that is not among the operands.
        let lengths: Vec<f32> = (0..n * sumsq_slots(c)).map(|i| c as f32 * (0.5 + i as f32 * 0.01)).collect();
        let (sumsq, lengths) = b.input(DType::F32, n, sumsq_slots(c), &lengths);
        let (dy, s) = (b.output(dtype, n, f), b.output(DType::F32, n, sumsq_slots(f)));
        let dh = gradient.times(&weights);
        let want = dh.map(|i, j, dh| r_of(&lengths, i, c) * dh * exact(2.0) * hidden.at(i, j).sqrt());
        let sums = Table::new(n, sumsq_slots(f), |i, slot| {
            let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(f);
            sum(cols.map(|j| exact(2.0) * dh.at(i, j) * hidden.at(i, j)))
        });
        let op = Relu2Backward { dx, w, h, sumsq, dy, s };
        b.check(case, op, &[Want::table(dy, &want), Want::table(s, &sums)]);
    });
}

#[test]
fn projection_backward_leaves_each_heads_dot() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let (n, c, heads) = (size.rows(), size.width, size.heads);
        let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
        let (w, weights) = b.normal(dtype, c, c, 1.0 / (c as f32).sqrt());
        let (o, out) = b.normal(dtype, n, c, 1.0);
        let (d_o, dot_out) = (b.output(dtype, n, c), b.output(DType::F32, n, heads));
        let want = gradient.times(&weights);
        let d = c / heads;
        // D of the gradient as computed or as stored: either is what the attention's backward means.
        let dots = Table::new(n, heads, |i, head| {
            dot((head * d..head * d + d).map(|j| want.at(i, j).factor(unit(dtype))), out.row(i).skip(head * d).take(d))
        });
        let op = ProjectionBackward { dx, w, o, heads: heads as u32, d_o, dot: dot_out };
        b.check(case, op, &[Want::table(d_o, &want), Want::table(dot_out, &dots)]);
    });
}

#[test]
fn weight_grads_of_a_group_are_written_or_added() {
    each(|case, size, dtype| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let (mut grads, mut wants) = (Vec::new(), Vec::new());
            // The stream's gradient is f32 whatever the activations are: every pair of dtypes meets.
            for (out, inner, dy_dtype, x_dtype) in [
                (size.width, size.wide, DType::F32, dtype),
                (size.wide, size.width, dtype, DType::F32),
                (3 * size.width, size.width, dtype, dtype),
            ] {
                let (dy, gradient) = b.normal(dy_dtype, size.rows(), out, 1.0);
                let (x, values) = b.normal(x_dtype, size.rows(), inner, 1.0);
                let product = |i, j| dot(gradient.col(i), values.col(j));
                let (dw, want) = match accumulate {
                    Accumulate::Overwrite => (b.output(DType::F32, out, inner), Table::new(out, inner, product)),
                    Accumulate::Add => {
                        let (dw, before) = b.normal(DType::F32, out, inner, 3.0);
                        (dw, before.map(|i, j, before| before + product(i, j)))
                    }
                };
                grads.push(WeightGrad { dy, x, dw });
                wants.push(Want::table(dw, &want));
            }
            b.check(&format!("{case} {accumulate:?}"), WeightGrads { grads, accumulate }, &wants);
        }
    });
}
