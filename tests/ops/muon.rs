//! Muon's ops, each by itself.

use crate::harness::{Harness, Want, unit};
use crate::number::{Num, Table, exact};
use tempest::program::{
    DType, Gram, MUON_EPS, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NEWTON_SCHULZ, NewtonSchulz, Stack, StepArgs,
};

/// Matrices, rows and columns of each stack: square, tall and wide; within panels of 32 and across them, and more rows than a
/// worker takes; alone and together.
const CASES: [&[[usize; 3]]; 5] =
    [&[[1, 1, 1]], &[[3, 5, 5], [2, 7, 40], [1, 40, 7]], &[[2, 33, 33], [1, 66, 140]], &[[2, 130, 34]], &[[1, 1, 9]]];

/// PyTorch's `clip_grad_norm_` divides by the norm and this.
const CLIP_EPS: f64 = 1e-6;

fn each(mut f: impl FnMut(&str, Vec<Stack>, DType)) {
    for case in CASES {
        for dtype in [DType::F32, DType::Bf16] {
            let stacks = case.iter().map(|&[matrices, rows, cols]| Stack { matrices, rows, cols }).collect();
            f(&format!("{case:?} {dtype:?}"), stacks, dtype);
        }
    }
}

/// The shape of every matrix.
fn matrices(stacks: &[Stack]) -> Vec<Stack> {
    stacks.iter().flat_map(|&stack| vec![Stack { matrices: 1, ..stack }; stack.matrices]).collect()
}

fn squares(stacks: &[Stack]) -> Vec<Stack> {
    stacks.iter().map(|stack| stack.squares()).collect()
}

fn elements(stacks: &[Stack]) -> usize {
    matrices(stacks).iter().map(|matrix| matrix.len()).sum()
}

/// Where the matrices begin, the last first, with something before, between and behind them, and the elements in all.
fn places(stacks: &[Stack]) -> (Vec<u32>, usize) {
    let mut all = 3;
    let mut places: Vec<u32> = Vec::new();
    for matrix in matrices(stacks).iter().rev() {
        places.push(all as u32);
        all += matrix.len() + 5;
    }
    places.reverse();
    (places, all)
}

/// A row of numbers as the matrices that it holds.
fn cut(row: &Table, stacks: &[Stack]) -> Vec<Table> {
    let mut rest = row.data.as_slice();
    let mut take = |matrix: Stack| {
        let (data, after) = rest.split_at(matrix.len());
        rest = after;
        Table { rows: matrix.rows, cols: matrix.cols, data: data.to_vec() }
    };
    matrices(stacks).into_iter().map(&mut take).collect()
}

/// The row of some matrices.
fn joined(matrices: impl IntoIterator<Item = Table>) -> Vec<Num> {
    matrices.into_iter().flat_map(|table| table.data).collect()
}

/// Matrices whose rows and columns are about 1 long at most, as normalised ones' are.
fn short(b: &mut Harness, dtype: DType, stacks: &[Stack]) -> (Mat, Vec<Table>) {
    let values: Vec<f32> = matrices(stacks)
        .into_iter()
        .flat_map(|matrix| b.normals(matrix.len(), 1.0 / (matrix.rows.max(matrix.cols) as f32).sqrt()))
        .collect();
    let (x, row) = b.input(dtype, 1, values.len(), &values);
    (x, cut(&row, stacks))
}

/// Symmetric ones.
fn symmetric(b: &mut Harness, dtype: DType, squares: &[Stack]) -> (Mat, Vec<Table>) {
    let mut values = Vec::new();
    for Stack { rows: side, .. } in matrices(squares) {
        let drawn = b.normals(side * side, 1.0 / (side as f32).sqrt());
        let lower = |i: usize, j: usize| drawn[i.max(j) * side + i.min(j)];
        values.extend((0..side * side).map(|at| lower(at / side, at % side)));
    }
    let (x, row) = b.input(dtype, 1, values.len(), &values);
    (x, cut(&row, squares))
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
    each(|case, stacks, dtype| {
        for (clip, factor) in [(f32::INFINITY, None), (0.5, Some(512.0_f32))] {
            let mut b = Harness::default();
            let (begin, all) = places(&stacks);
            let (grads, g) = b.normal(DType::F32, 1, all, 0.5);
            let norm = 3.0;
            let metrics = metrics(&mut b, norm);
            let scale = factor.map(|factor| b.input(DType::F32, 1, 2, &[factor, 0.0]).0);
            let places = b.ids(1, begin.len(), &begin);
            let (m, before) = b.normal(DType::F32, 1, all, 0.1);
            let x = b.output(dtype, 1, elements(&stacks));
            let ratio = exact(f64::from(clip)) / (exact(f64::from(norm)) + exact(CLIP_EPS));
            let clipped = if ratio.v < 1.0 { ratio } else { exact(1.0) };
            let by = clipped / exact(f64::from(factor.unwrap_or(1.0)));
            let (keep, new) = (exact(f64::from(MUON_MOMENTUM)), exact(f64::from(1.0 - MUON_MOMENTUM)));
            let mut m_want = before.clone();
            let mut x_want = Vec::new();
            for (&first, matrix) in begin.iter().zip(matrices(&stacks)) {
                let mut direction = Vec::new();
                for i in first as usize..first as usize + matrix.len() {
                    let g = new * (g.data[i] * by);
                    m_want.data[i] = keep * before.data[i] + g;
                    direction.push(keep * m_want.data[i] + g);
                }
                let squares = direction.iter().fold(exact(0.0), |sum, n| sum + *n * *n);
                let norm = squares.sqrt() + exact(f64::from(MUON_EPS));
                x_want.extend(direction.iter().map(|n| *n / norm));
            }
            let wants = [Want::table(m, &m_want), Want::Numbers(x, x_want)];
            b.check(case, MuonMomentum { grads, metrics, scale, places, stacks: stacks.clone(), clip, m, x }, &wants);
        }
    });
}

/// Σ_k a(k)·b(k), of factors as a product of this dtype takes them.
fn product(len: usize, dtype: DType, a: impl Fn(usize) -> Num, b: impl Fn(usize) -> Num) -> Num {
    (0..len).fold(exact(0.0), |sum, k| sum + a(k).factor(unit(dtype)) * b(k).factor(unit(dtype)))
}

#[test]
fn gram_multiplies_the_short_side_with_itself() {
    each(|case, stacks, dtype| {
        let mut b = Harness::default();
        let (x, values) = short(&mut b, dtype, &stacks);
        let out = b.output(dtype, 1, elements(&squares(&stacks)));
        let want = values.iter().map(|x| {
            let (side, long) = (x.rows.min(x.cols), x.rows.max(x.cols));
            let at = |i: usize, k: usize| if x.rows > x.cols { x.at(k, i) } else { x.at(i, k) };
            Table::new(side, side, |i, j| product(long, dtype, |k| at(i, k), |k| at(j, k)))
        });
        let wants = [Want::Numbers(out, joined(want))];
        b.check(case, Gram { x, stacks, terms: None, out }, &wants);
    });
}

#[test]
fn gram_adds_a_symmetric_matrix_to_its_square() {
    each(|case, stacks, dtype| {
        let (mut b, stacks) = (Harness::default(), squares(&stacks));
        let (x, values) = symmetric(&mut b, dtype, &stacks);
        let out = b.output(dtype, 1, elements(&stacks));
        let [_, terms @ ..] = NEWTON_SCHULZ[0];
        let [linear, square] = terms.map(|term| exact(f64::from(term)));
        let want = values
            .iter()
            .map(|x| x.map(|i, j, at| linear * at + square * product(x.rows, dtype, |k| x.at(i, k), |k| x.at(j, k))));
        let wants = [Want::Numbers(out, joined(want))];
        b.check(case, Gram { x, stacks, terms: Some(terms), out }, &wants);
    });
}

#[test]
fn newton_schulz_multiplies_by_a_symmetric_matrix_on_the_short_side() {
    each(|case, stacks, dtype| {
        let mut harness = Harness::default();
        let (x, x_values) = short(&mut harness, dtype, &stacks);
        let (b, b_values) = symmetric(&mut harness, dtype, &squares(&stacks));
        let out = harness.output(dtype, 1, elements(&stacks));
        let [a, ..] = NEWTON_SCHULZ[0];
        let want = x_values.iter().zip(&b_values).map(|(x, b)| {
            let (left, right) = if x.rows > x.cols { (x, b) } else { (b, x) };
            x.map(|i, j, at| exact(f64::from(a)) * at + product(b.rows, dtype, |k| left.at(i, k), |k| right.at(k, j)))
        });
        let wants = [Want::Numbers(out, joined(want))];
        harness.check(case, NewtonSchulz { x, b, stacks, a, out }, &wants);
    });
}

#[test]
fn muon_step_moves_its_matrices_and_nothing_else() {
    each(|case, stacks, dtype| {
        for norm in [1.0, f32::INFINITY, f32::NAN] {
            let mut b = Harness::default();
            let args = StepArgs { lr: 0.02, ..StepArgs::default() };
            b.args = args;
            let metrics = metrics(&mut b, norm);
            let (begin, all) = places(&stacks);
            let (x, x_values) = short(&mut b, dtype, &stacks);
            let places = b.ids(1, begin.len(), &begin);
            let (params, p) = b.normal(DType::F32, 1, all, 1.0);
            let stored = (dtype == DType::Bf16).then(|| b.normal(dtype, 1, all, 1.0));
            let (rate, weight_decay) = (7.0_f32, 0.1_f32);
            let (lr, mut p_want) = (exact(f64::from(args.lr)), p.clone());
            let mut stored_want = stored.as_ref().map(|(_, table)| table.clone());
            for (x, &first) in x_values.iter().zip(&begin).filter(|_| norm.is_finite()) {
                let size = lr * exact(f64::from(rate)) * exact((x.rows as f64 / x.cols as f64).max(1.0)).sqrt();
                for (i, &x) in x.data.iter().enumerate() {
                    let at = first as usize + i;
                    let after = (exact(1.0) - lr * exact(f64::from(weight_decay))) * p.data[at] - size * x;
                    p_want.data[at] = after;
                    if let Some(table) = &mut stored_want {
                        table.data[at] = after;
                    }
                }
            }
            let mut wants = vec![Want::table(params, &p_want)];
            wants.extend(stored.iter().zip(&stored_want).map(|((mat, _), want)| Want::table(*mat, want)));
            let (stacks, stored) = (stacks.clone(), stored.map(|(mat, _)| mat));
            let op = MuonStep { metrics, x, places, stacks, rate, weight_decay, params, stored };
            b.check(&format!("{case}, norm {norm}"), op, &wants);
        }
    });
}

#[test]
fn a_gradient_that_is_no_number_leaves_the_momentum_and_has_no_direction() {
    let mut b = Harness::default();
    let (grads, _) = b.input(DType::F32, 1, 6, &[1.0, f32::INFINITY, 1.0, 1.0, f32::NAN, 1.0]);
    let metrics = metrics(&mut b, f32::NAN);
    let places = b.ids(1, 2, &[0, 3]);
    let (m, before) = b.normal(DType::F32, 1, 6, 1.0);
    let x = b.output(DType::F32, 1, 6);
    let wants = [Want::table(m, &before), Want::Bits(x, vec![0.0; 6])];
    let stacks = vec![Stack { matrices: 2, rows: 1, cols: 3 }];
    b.check("no number", MuonMomentum { grads, metrics, scale: None, places, stacks, clip: 1.0, m, x }, &wants);
}
