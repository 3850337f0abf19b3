//! Muon's ops, each by itself.

use crate::harness::{Harness, Want, unit};
use crate::number::{Num, Table, exact};
use tempest::program::{
    DType, Gram, MUON_CHUNK, MUON_EPS, MUON_LARGEST, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NEWTON_SCHULZ,
    NewtonSchulz, Stack, StepArgs,
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

/// Matrices as they are, and divided by their lengths.
fn both(mut f: impl FnMut(&str, Vec<Stack>, DType, bool)) {
    for divided in [false, true] {
        each(|case, stacks, dtype| f(&format!("{case} divided: {divided}"), stacks, dtype, divided));
    }
}

/// Sums of squares of chunks of matrices, no matter of which, and 1/(√Σ + ε) of each; 1 where they are not divided.
fn lengths(b: &mut Harness, stacks: &[Stack], divided: bool) -> (Option<Mat>, Vec<Num>) {
    let matrices = matrices(stacks);
    if !divided {
        return (None, vec![exact(1.0); matrices.len()]);
    }
    let values: Vec<f32> = (0..chunks(stacks)).map(|i| 0.25 + i as f32).collect();
    let (sumsq, given) = b.input(DType::F32, 1, values.len(), &values);
    let mut rest = given.data.as_slice();
    let mut inverse = |matrix: &Stack| {
        let (own, after) = rest.split_at(matrix.chunks());
        rest = after;
        let sum = own.iter().fold(exact(0.0), |sum, part| sum + *part);
        exact(1.0) / (sum.sqrt() + exact(f64::from(MUON_EPS)))
    };
    (Some(sumsq), matrices.iter().map(&mut inverse).collect())
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

fn chunks(stacks: &[Stack]) -> usize {
    matrices(stacks).iter().map(|matrix| matrix.chunks()).sum()
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
            let (x, sumsq) = (b.output(dtype, 1, elements(&stacks)), b.output(DType::F32, 1, chunks(&stacks)));
            let ratio = exact(f64::from(clip)) / (exact(f64::from(norm)) + exact(CLIP_EPS));
            let clipped = if ratio.v < 1.0 { ratio } else { exact(1.0) };
            let by = clipped / exact(f64::from(factor.unwrap_or(1.0)));
            let (keep, new) = (exact(f64::from(MUON_MOMENTUM)), exact(f64::from(1.0 - MUON_MOMENTUM)));
            let mut m_want = before.clone();
            let (mut x_want, mut sumsq_want) = (Vec::new(), Vec::new());
            // 0.5·2¹⁵ is 2¹⁴.
            let magnified = exact(if clip.is_finite() { 32768.0 } else { 1.0 });
            for (&first, matrix) in begin.iter().zip(matrices(&stacks)) {
                let mut direction = Vec::new();
                for i in first as usize..first as usize + matrix.len() {
                    let g = new * (g.data[i] * by);
                    m_want.data[i] = keep * before.data[i] + g;
                    direction.push(magnified * (keep * m_want.data[i] + g));
                }
                let sum = |chunk: &[Num]| chunk.iter().fold(exact(0.0), |sum, n| sum + *n * *n);
                sumsq_want.extend(direction.chunks(MUON_CHUNK).map(sum));
                x_want.extend(direction);
            }
            let wants = [Want::table(m, &m_want), Want::Numbers(x, x_want), Want::Numbers(sumsq, sumsq_want)];
            let stacks = stacks.clone();
            b.check(case, MuonMomentum { grads, metrics, scale, places, stacks, clip, m, x, sumsq }, &wants);
        }
    });
}

#[test]
fn a_direction_of_gradients_that_are_not_clipped_ends_at_what_f16_holds() {
    let mut b = Harness::default();
    let (grads, _) = b.input(DType::F32, 1, 3, &[0.0; 3]);
    let metrics = metrics(&mut b, 1.0);
    let places = b.ids(1, 1, &[0]);
    let (m, _) = b.input(DType::F32, 1, 3, &[1e6, -1e7, 4.0]);
    let (x, sumsq) = (b.output(DType::F32, 1, 3), b.output(DType::F32, 1, 1));
    let after = [1e6, -1e7, 4.0].map(|before| exact(f64::from(MUON_MOMENTUM)) * exact(before));
    let direction = after.map(|m| exact(f64::from(MUON_MOMENTUM)) * m);
    let held = [exact(MUON_LARGEST.into()), exact((-MUON_LARGEST).into()), direction[2]];
    let sum = direction.iter().fold(exact(0.0), |sum, n| sum + *n * *n);
    let wants = [Want::Numbers(m, after.to_vec()), Want::Numbers(x, held.to_vec()), Want::Numbers(sumsq, vec![sum])];
    let (stacks, clip) = (vec![Stack { matrices: 1, rows: 1, cols: 3 }], f32::INFINITY);
    b.check("large", MuonMomentum { grads, metrics, scale: None, places, stacks, clip, m, x, sumsq }, &wants);
}

#[test]
fn a_direction_is_magnified_to_where_f16_is_exact_and_does_not_overflow() {
    for clip in [1.0, 0.999, 1.001, 0.1, 3.0, 1e-6, 1e6, f32::MIN_POSITIVE, f32::MAX] {
        let magnified = MuonMomentum::magnified(clip);
        assert_eq!(magnified.to_bits() & 0x007f_ffff, 0, "{magnified} is a power of two");
        let longest = f64::from(magnified) * f64::from(clip);
        assert!((16384.0..=32768.0).contains(&longest) || clip < 1e-20, "{clip}: {longest}");
    }
}

/// Σ_k a(k)·b(k), of factors as a product of this dtype takes them.
fn product(len: usize, dtype: DType, a: impl Fn(usize) -> Num, b: impl Fn(usize) -> Num) -> Num {
    (0..len).fold(exact(0.0), |sum, k| sum + a(k).factor(unit(dtype)) * b(k).factor(unit(dtype)))
}

#[test]
fn gram_multiplies_the_short_side_with_itself() {
    both(|case, stacks, dtype, divided| {
        let mut b = Harness::default();
        let (x, values) = short(&mut b, dtype, &stacks);
        let (sumsq, inverse) = lengths(&mut b, &stacks, divided);
        let out = b.output(dtype, 1, elements(&squares(&stacks)));
        let want = values.iter().zip(inverse).map(|(x, inverse)| {
            let (side, long) = (x.rows.min(x.cols), x.rows.max(x.cols));
            let at = |i: usize, k: usize| if x.rows > x.cols { x.at(k, i) } else { x.at(i, k) };
            Table::new(side, side, |i, j| inverse * inverse * product(long, dtype, |k| at(i, k), |k| at(j, k)))
        });
        let wants = [Want::Numbers(out, joined(want))];
        b.check(case, Gram { x, sumsq, stacks, terms: None, out }, &wants);
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
        b.check(case, Gram { x, sumsq: None, stacks, terms: Some(terms), out }, &wants);
    });
}

/// a·x + b x of each matrix, or a·x + x b where they are tall.
fn replaced(a: Num, x: &[Table], b: &[Table], dtype: DType) -> Vec<Table> {
    let each = |(x, b): (&Table, &Table)| {
        let (left, right) = if x.rows > x.cols { (x, b) } else { (b, x) };
        x.map(|i, j, at| a * at + product(b.rows, dtype, |k| left.at(i, k), |k| right.at(k, j)))
    };
    x.iter().zip(b).map(each).collect()
}

#[test]
fn newton_schulz_multiplies_by_a_symmetric_matrix_on_the_short_side() {
    both(|case, stacks, dtype, divided| {
        let mut harness = Harness::default();
        let (x, x_values) = short(&mut harness, dtype, &stacks);
        let (b, b_values) = symmetric(&mut harness, dtype, &squares(&stacks));
        let (sumsq, inverse) = lengths(&mut harness, &stacks, divided);
        let out = harness.output(dtype, 1, elements(&stacks));
        let [a, ..] = NEWTON_SCHULZ[0];
        let want = replaced(exact(f64::from(a)), &x_values, &b_values, dtype);
        let want = want.iter().zip(inverse).map(|(table, inverse)| table.map(|_, _, at| inverse * at));
        let wants = [Want::Numbers(out, joined(want))];
        harness.check(case, NewtonSchulz { x, sumsq, b, stacks, a, out }, &wants);
    });
}

#[test]
fn muon_step_moves_its_matrices_and_nothing_else() {
    each(|case, stacks, dtype| {
        for norm in [1.0, f32::INFINITY, f32::NAN] {
            let mut harness = Harness::default();
            let args = StepArgs { lr: 0.02, ..StepArgs::default() };
            harness.args = args;
            let metrics = metrics(&mut harness, norm);
            let (begin, all) = places(&stacks);
            let (x, x_values) = short(&mut harness, dtype, &stacks);
            let (b, b_values) = symmetric(&mut harness, dtype, &squares(&stacks));
            let places = harness.ids(1, begin.len(), &begin);
            let (params, p) = harness.normal(DType::F32, 1, all, 1.0);
            let stored = (dtype == DType::Bf16).then(|| harness.normal(dtype, 1, all, 1.0));
            let ([.., [a, ..]], rate, weight_decay) = (NEWTON_SCHULZ, 7.0_f32, 0.1_f32);
            let (lr, mut p_want) = (exact(f64::from(args.lr)), p.clone());
            let mut stored_want = stored.as_ref().map(|(_, table)| table.clone());
            let directions = replaced(exact(f64::from(a)), &x_values, &b_values, dtype);
            for (d, &first) in directions.iter().zip(&begin).filter(|_| norm.is_finite()) {
                let size = lr * exact(f64::from(rate)) * exact((d.rows as f64 / d.cols as f64).max(1.0)).sqrt();
                for (i, &d) in d.data.iter().enumerate() {
                    let at = first as usize + i;
                    let after = (exact(1.0) - lr * exact(f64::from(weight_decay))) * p.data[at] - size * d;
                    p_want.data[at] = after;
                    if let Some(table) = &mut stored_want {
                        table.data[at] = after;
                    }
                }
            }
            let mut wants = vec![Want::table(params, &p_want)];
            wants.extend(stored.iter().zip(&stored_want).map(|((mat, _), want)| Want::table(*mat, want)));
            let (stacks, stored) = (stacks.clone(), stored.map(|(mat, _)| mat));
            let op = MuonStep { metrics, x, b, places, stacks, a, rate, weight_decay, params, stored };
            harness.check(&format!("{case}, norm {norm}"), op, &wants);
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
    let (x, sumsq) = (b.output(DType::F32, 1, 6), b.output(DType::F32, 1, 2));
    let wants = [Want::table(m, &before), Want::Bits(x, vec![0.0; 6]), Want::Bits(sumsq, vec![0.0; 2])];
    let (stacks, clip) = (vec![Stack { matrices: 2, rows: 1, cols: 3 }], 1.0);
    b.check("no number", MuonMomentum { grads, metrics, scale: None, places, stacks, clip, m, x, sumsq }, &wants);
}
