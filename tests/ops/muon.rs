//! Muon's ops, each by itself and all of an update together.

use crate::harness::{Harness, Want, unit};
use crate::number::{Num, Table, exact};
use tempest::program::{
    DType, Gram, MUON_EPS, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS,
    NewtonSchulz, Op, Stack, StepArgs,
};

/// `[matrices, rows, columns]`: square, tall and wide; within panels of 32 and across them, and more rows than a worker takes.
const STACKS: [[usize; 3]; 7] = [[1, 1, 1], [3, 5, 5], [2, 33, 33], [2, 7, 40], [1, 40, 7], [2, 130, 34], [1, 66, 140]];

/// PyTorch's `clip_grad_norm_` divides by the norm and this.
const CLIP_EPS: f64 = 1e-6;

fn each(mut f: impl FnMut(&str, [usize; 3], DType)) {
    for stack in STACKS {
        for dtype in [DType::F32, DType::Bf16] {
            f(&format!("{stack:?} {dtype:?}"), stack, dtype);
        }
    }
}

fn stack(all: Mat, matrices: usize) -> Stack {
    Stack { all, matrices }
}

/// Where matrices of `len` elements begin, with something before, between and behind them, and the elements in all.
fn places(matrices: usize, len: usize) -> (Vec<u32>, usize) {
    let places: Vec<u32> = (0..matrices).map(|i| (3 + i * (len + 5)) as u32).collect();
    let all = 3 + matrices * (len + 5);
    (places, all)
}

/// Metrics of four steps; this norm is that of step 6.
fn metrics(b: &mut Harness, norm: f32) -> Mat {
    let mut rows = vec![f32::NAN; 4 * 4];
    rows[2 * 4 + 2] = norm;
    b.args.step = 6;
    b.input(DType::F32, 4, 4, &rows).0
}

#[test]
fn muon_momentum_is_averaged_and_its_direction_normalised() {
    each(|case, [n, rows, cols], dtype| {
        for (clip, factor) in [(f32::INFINITY, None), (0.5, Some(512.0_f32))] {
            let mut b = Harness::default();
            let len = rows * cols;
            let (begin, all) = places(n, len);
            let (grads, g) = b.normal(DType::F32, 1, all, 0.5);
            let norm = 3.0;
            let metrics = metrics(&mut b, norm);
            let scale = factor.map(|factor| b.input(DType::F32, 1, 2, &[factor, 0.0]).0);
            let place = b.ids(1, n, &begin);
            let (m, before) = b.normal(DType::F32, 1, all, 0.1);
            let x = b.output(dtype, n * rows, cols);
            let ratio = exact(f64::from(clip)) / (exact(f64::from(norm)) + exact(CLIP_EPS));
            let clipped = if ratio.v < 1.0 { ratio } else { exact(1.0) };
            let by = clipped / exact(f64::from(factor.unwrap_or(1.0)));
            let (keep, new) = (exact(f64::from(MUON_MOMENTUM)), exact(f64::from(1.0 - MUON_MOMENTUM)));
            let mut m_want = before.clone();
            let mut x_want = Vec::new();
            for &first in &begin {
                let first = first as usize;
                let mut direction = Vec::new();
                for i in first..first + len {
                    let g = new * (g.data[i] * by);
                    m_want.data[i] = keep * before.data[i] + g;
                    direction.push(keep * m_want.data[i] + g);
                }
                let squares = direction.iter().fold(exact(0.0), |sum, n| sum + *n * *n);
                let norm = squares.sqrt() + exact(f64::from(MUON_EPS));
                x_want.extend(direction.iter().map(|n| *n / norm));
            }
            let wants = [Want::table(m, &m_want), Want::Numbers(x, x_want)];
            let op = MuonMomentum { grads, metrics, scale, places: place, clip, m, x: stack(x, n) };
            b.check(case, op, &wants);
        }
    });
}

/// Σ_k a(k)·b(k), of factors as a product of this dtype takes them.
fn product(len: usize, dtype: DType, a: impl Fn(usize) -> Num, b: impl Fn(usize) -> Num) -> Num {
    (0..len).fold(exact(0.0), |sum, k| sum + a(k).factor(unit(dtype)) * b(k).factor(unit(dtype)))
}

/// x of some matrices whose rows and columns are short, as a normalised one's are, and the element (i, j) of matrix `n`.
fn short(b: &mut Harness, dtype: DType, [n, rows, cols]: [usize; 3]) -> (Mat, Table) {
    b.normal(dtype, n * rows, cols, 1.0 / (rows.max(cols) as f32).sqrt())
}

#[test]
fn gram_multiplies_the_short_side_with_itself() {
    each(|case, shape @ [n, rows, cols], dtype| {
        let mut b = Harness::default();
        let (x, values) = short(&mut b, dtype, shape);
        let (side, long) = (rows.min(cols), rows.max(cols));
        let out = b.output(dtype, n * side, side);
        let at = |matrix: usize, i: usize, k: usize| match rows > cols {
            true => values.at(matrix * rows + k, i),
            false => values.at(matrix * rows + i, k),
        };
        let want = Table::new(n * side, side, |row, j| {
            let (matrix, i) = (row / side, row % side);
            product(long, dtype, |k| at(matrix, i, k), |k| at(matrix, j, k))
        });
        let op = Gram { x: stack(x, n), terms: None, out: stack(out, n) };
        b.check(case, op, &[Want::table(out, &want)]);
    });
}

#[test]
fn gram_adds_a_symmetric_matrix_to_its_square() {
    each(|case, [n, rows, cols], dtype| {
        let mut b = Harness::default();
        let side = rows.min(cols);
        let drawn = b.normals(n * side * side, 1.0 / (side as f32).sqrt());
        let symmetric = |i: usize| {
            let (row, col) = (i / side % side, i % side);
            drawn[i / (side * side) * side * side + row.max(col) * side + row.min(col)]
        };
        let (x, values) = b.input(dtype, n * side, side, &(0..drawn.len()).map(symmetric).collect::<Vec<_>>());
        let out = b.output(dtype, n * side, side);
        let terms = [-4.775, 2.0315];
        let [linear, square] = terms.map(|term: f32| exact(f64::from(term)));
        let want = Table::new(n * side, side, |row, j| {
            let other = row / side * side + j;
            linear * values.at(row, j) + square * product(side, dtype, |k| values.at(row, k), |k| values.at(other, k))
        });
        let op = Gram { x: stack(x, n), terms: Some(terms), out: stack(out, n) };
        b.check(case, op, &[Want::table(out, &want)]);
    });
}

#[test]
fn newton_schulz_multiplies_by_a_symmetric_matrix_on_the_short_side() {
    each(|case, shape @ [n, rows, cols], dtype| {
        let mut b = Harness::default();
        let (x, x_values) = short(&mut b, dtype, shape);
        let side = rows.min(cols);
        let drawn = b.normals(n * side * side, 1.0);
        let symmetric = |i: usize| {
            let (row, col) = (i / side % side, i % side);
            drawn[i / (side * side) * side * side + row.max(col) * side + row.min(col)]
        };
        let (square, values) = b.input(dtype, n * side, side, &(0..drawn.len()).map(symmetric).collect::<Vec<_>>());
        let out = b.output(dtype, n * rows, cols);
        let a = 3.4445_f32;
        let want = Table::new(n * rows, cols, |row, j| {
            let matrix = row / rows;
            let (x_at, b_at) = (|i, k| x_values.at(matrix * rows + i, k), |i, k| values.at(matrix * side + i, k));
            let sum = match rows > cols {
                true => product(side, dtype, |k| x_at(row % rows, k), |k| b_at(k, j)),
                false => product(side, dtype, |k| b_at(row % rows, k), |k| x_at(k, j)),
            };
            exact(f64::from(a)) * x_values.at(row, j) + sum
        });
        let op = NewtonSchulz { x: stack(x, n), b: stack(square, n), a, out: stack(out, n) };
        b.check(case, op, &[Want::table(out, &want)]);
    });
}

#[test]
fn muon_step_moves_its_matrices_and_nothing_else() {
    each(|case, [n, rows, cols], dtype| {
        for norm in [1.0, f32::INFINITY, f32::NAN] {
            let mut b = Harness::default();
            let args = StepArgs { lr: 0.02, ..StepArgs::default() };
            b.args = args;
            let metrics = metrics(&mut b, norm);
            let len = rows * cols;
            let (begin, all) = places(n, len);
            let (x, x_values) = b.normal(dtype, n * rows, cols, 1.0);
            let place = b.ids(1, n, &begin);
            let (params, p) = b.normal(DType::F32, 1, all, 1.0);
            let stored = (dtype == DType::Bf16).then(|| b.normal(dtype, 1, all, 1.0));
            let (rate, weight_decay) = (7.0_f32, 0.1_f32);
            let lr = exact(f64::from(args.lr));
            let shape = exact((rows as f64 / cols as f64).max(1.0)).sqrt();
            let mut p_want = p.clone();
            let mut stored_want = stored.as_ref().map(|(_, table)| table.clone());
            for (i, &x) in x_values.data.iter().enumerate().filter(|_| norm.is_finite()) {
                let at = begin[i / len] as usize + i % len;
                let size = lr * exact(f64::from(rate)) * shape;
                let after = (exact(1.0) - lr * exact(f64::from(weight_decay))) * p.data[at] - size * x;
                p_want.data[at] = after;
                if let Some(table) = &mut stored_want {
                    table.data[at] = after;
                }
            }
            let mut wants = vec![Want::table(params, &p_want)];
            wants.extend(stored.iter().zip(&stored_want).map(|((mat, _), want)| Want::table(*mat, want)));
            let stored = stored.map(|(mat, _)| mat);
            let op = MuonStep { metrics, x: stack(x, n), places: place, rate, weight_decay, params, stored };
            b.check(&format!("{case}, norm {norm}"), op, &wants);
        }
    });
}

#[test]
fn a_gradient_that_is_no_number_leaves_the_momentum_and_has_no_direction() {
    let mut b = Harness::default();
    let (grads, _) = b.input(DType::F32, 1, 6, &[1.0, f32::INFINITY, 1.0, 1.0, f32::NAN, 1.0]);
    let metrics = metrics(&mut b, f32::NAN);
    let place = b.ids(1, 2, &[0, 3]);
    let (m, before) = b.normal(DType::F32, 1, 6, 1.0);
    let x = b.output(DType::F32, 2, 3);
    let wants = [Want::table(m, &before), Want::Bits(x, vec![0.0; 6])];
    b.check(
        "no number",
        MuonMomentum { grads, metrics, scale: None, places: place, clip: 1.0, m, x: stack(x, 2) },
        &wants,
    );
}

/// A gradient with known singular vectors: `Σ s_k u_k v_kᵀ` for the first unit vectors, reflected on both sides, so that what
/// comes out is known as well: each singular value goes through the polynomial by itself.
#[test]
fn the_steps_together_take_each_singular_value_through_the_polynomial() {
    let values = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0];
    for [rows, cols] in [[9, 9], [40, 9], [9, 40]] {
        let norm = values.iter().map(|s| s * s).sum::<f64>().sqrt();
        let through = |s: f64| {
            let [a, b, c] = NEWTON_SCHULZ.map(f64::from);
            (0..NEWTON_SCHULZ_STEPS).fold(s / norm, |s, _| s * (a + b * s * s + c * s.powi(4)))
        };
        // I - 2/n·J, which reflects at the vector of ones.
        let reflected = |n: usize, i: usize, k: usize| f64::from(i == k) - 2.0 / n as f64;
        let matrix = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let element = |i, j| {
                values.iter().enumerate().map(|(k, &s)| f(s) * reflected(rows, i, k) * reflected(cols, k, j)).sum()
            };
            (0..rows * cols).map(|at| element(at / cols, at % cols)).collect()
        };
        let (given, wanted) = (matrix(&|s| s), matrix(&through));
        let mut b = Harness::default();
        let given: Vec<f32> = given.iter().map(|&g| g as f32).collect();
        let (grads, _) = b.input(DType::F32, 1, rows * cols, &given);
        let metrics = metrics(&mut b, 1.0);
        let place = b.ids(1, 1, &[0]);
        let (m, _) = b.input(DType::F32, 1, rows * cols, &vec![0.0; rows * cols]);
        let mut out = |rows, cols| stack(b.output(DType::F32, rows, cols), 1);
        let (mut x, mut next, gram, square) = (out(rows, cols), out(rows, cols), out(9, 9), out(9, 9));
        let [linear, terms @ ..] = NEWTON_SCHULZ;
        let clip = f32::INFINITY;
        let mut ops: Vec<Op> = vec![MuonMomentum { grads, metrics, scale: None, places: place, clip, m, x }.into()];
        for _ in 0..NEWTON_SCHULZ_STEPS {
            ops.push(Gram { x, terms: None, out: gram }.into());
            ops.push(Gram { x: gram, terms: Some(terms), out: square }.into());
            ops.push(NewtonSchulz { x, b: square, a: linear, out: next }.into());
            (x, next) = (next, x);
        }
        let got = b.run(&ops, &[x.all]).remove(0);
        let off = got.iter().zip(&wanted).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum::<f64>().sqrt();
        // Each of a step's three products is off by at most 40·2⁻²⁴ of ‖X‖ ≤ 3, times |a| + |b| + |c| ≈ 10: 7·10⁻⁵; the steps
        // behind it enlarge that by the polynomial's steepest slope, 3.4445, each: by 3.4445⁵ at most, 690 over all of them.
        assert!(off < 0.05, "[{rows}, {cols}]: off by {off}");
    }
}
