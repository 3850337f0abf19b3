//! RMSNorm and LayerNorm with weights: their values in every mixture of formats, and their backwards against slopes.

use crate::harness::{Harness, Want};
use crate::number::{F32, Num, Table, dot, exact, sum};
use tempest::program::{Accumulate, DType, LayerNorm, LayerNormBackward, Mat, Op, RmsNorm, RmsNormBackward};

/// (N, C), odd on purpose; the last two are several blocks of rows.
const SIZES: [(usize, usize); 6] = [(1, 1), (7, 2), (33, 6), (1, 257), (70, 33), (300, 129)];

/// Not what a norm without weights has.
const EPS: f32 = 1e-5;

const FORMATS: [DType; 2] = [DType::F32, DType::Bf16];

/// Every size with every mixture of formats of x, the weights and what comes out, y or dx.
fn each(mut f: impl FnMut(&str, (usize, usize), [DType; 3])) {
    for size in SIZES {
        for x in FORMATS {
            for weights in FORMATS {
                for out in FORMATS {
                    f(&format!("N, C = {size:?} x {x:?} weights {weights:?} out {out:?}"), size, [x, weights, out]);
                }
            }
        }
    }
}

/// ε of the ops, as they are told it.
fn eps() -> Num {
    exact(f64::from(EPS))
}

fn columns(x: &Table) -> Num {
    exact(x.cols as f64)
}

/// y and rstd of [`Op::RmsNorm`].
fn rms_norm(x: &Table, gain: &Table) -> [Table; 2] {
    let rstd = Table::new(x.rows, 1, |i, _| exact(1.0) / (dot(x.row(i), x.row(i)) / columns(x) + eps()).sqrt());
    [x.map(|i, j, x| x * rstd.at(i, 0) * gain.at(0, j)), rstd]
}

/// y, mean and rstd of [`Op::LayerNorm`].
fn layer_norm(x: &Table, gain: &Table, bias: Option<&Table>) -> [Table; 3] {
    let mean = Table::new(x.rows, 1, |i, _| sum(x.row(i)) / columns(x));
    let centred = x.map(|i, _, x| x - mean.at(i, 0));
    let rstd = Table::new(x.rows, 1, |i, _| {
        let variance = dot(centred.row(i), centred.row(i)) / columns(x);
        exact(1.0) / (variance + eps()).sqrt()
    });
    let y = centred.map(|i, j, d| {
        let y = d * rstd.at(i, 0) * gain.at(0, j);
        bias.map_or(y, |bias| y + bias.at(0, j))
    });
    [y, mean, rstd]
}

/// dx and dgain of [`Op::RmsNormBackward`].
fn rms_norm_backward(dy: &Table, x: &Table, gain: &Table, rstd: &Table) -> [Table; 2] {
    let g = dy.map(|_, j, dy| dy * gain.at(0, j));
    let dx = g.map(|i, j, g_ij| {
        let r = rstd.at(i, 0);
        r * (g_ij - x.at(i, j) * (r * r) * (dot(g.row(i), x.row(i)) / columns(x)))
    });
    let dgain = Table::new(1, x.cols, |_, j| sum((0..x.rows).map(|i| dy.at(i, j) * x.at(i, j) * rstd.at(i, 0))));
    [dx, dgain]
}

/// dx, dgain and dbias of [`Op::LayerNormBackward`].
fn layer_norm_backward(dy: &Table, x: &Table, gain: &Table, mean: &Table, rstd: &Table) -> [Table; 3] {
    let normed = x.map(|i, _, x| (x - mean.at(i, 0)) * rstd.at(i, 0));
    let g = dy.map(|_, j, dy| dy * gain.at(0, j));
    let dx = g.map(|i, j, g_ij| {
        let (mean, pull) = (sum(g.row(i)) / columns(x), dot(g.row(i), normed.row(i)) / columns(x));
        rstd.at(i, 0) * (g_ij - mean - normed.at(i, j) * pull)
    });
    let dgain = Table::new(1, x.cols, |_, j| dot(dy.col(j), normed.col(j)));
    let dbias = Table::new(1, x.cols, |_, j| sum(dy.col(j)));
    [dx, dgain, dbias]
}

/// Rows that lie off zero, those of 6 and 33 columns by far more than they spread: a variance taken as Σx²/C less mean²
/// would be lost there, and longer sums might lose it too.
fn off_zero(b: &mut Harness, dtype: DType, (n, c): (usize, usize)) -> (Mat, Table) {
    let away = if (6..64).contains(&c) { 30.0 } else { 1.0 };
    let values: Vec<f32> = b.normals(n * c, 1.0).iter().map(|z| z + away).collect();
    b.input(dtype, n, c, &values)
}

/// Any positive numbers.
fn positive(b: &mut Harness, n: usize) -> (Mat, Table) {
    let values: Vec<f32> = b.normals(n, 0.25).iter().map(|z| z.exp()).collect();
    b.input(DType::F32, n, 1, &values)
}

/// Where a weight's gradient goes, and what it then holds.
fn summed(b: &mut Harness, accumulate: Accumulate, gradient: &Table) -> (Mat, Table) {
    match accumulate {
        Accumulate::Overwrite => (b.output(DType::F32, 1, gradient.cols), gradient.clone()),
        Accumulate::Add => {
            let (mat, before) = b.normal(DType::F32, 1, gradient.cols, 3.0);
            (mat, before.map(|_, j, before| before + gradient.at(0, j)))
        }
    }
}

#[test]
fn rms_norm_scales_rows_to_unit_length_and_columns_by_their_gain() {
    each(|case, (n, c), [x, weights, y]| {
        let mut b = Harness::default();
        // Some rows so short that ε is most of what is under the root.
        let (x, values) = b.normal(x, n, c, if n == 7 { 2e-3 } else { 1.5 });
        let (gain, gains) = b.normal(weights, 1, c, 1.0);
        let (y, rstd) = (b.output(y, n, c), b.output(DType::F32, n, 1));
        let [y_want, rstd_want] = rms_norm(&values, &gains);
        let op = RmsNorm { x, gain, eps: EPS, y, rstd };
        b.check(case, op, &[Want::table(y, &y_want), Want::table(rstd, &rstd_want)]);
    });
}

#[test]
fn rms_norm_backward_takes_out_what_lies_along_the_row() {
    each(|case, (n, c), [x, weights, dx]| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            for dy_format in FORMATS {
                let mut b = Harness::default();
                let (dy, gradient) = b.normal(dy_format, n, c, 1.0);
                let (x, values) = b.normal(x, n, c, 1.0);
                let (gain, gains) = b.normal(weights, 1, c, 1.0);
                let (rstd, r) = positive(&mut b, n);
                let [dx_want, dgain_want] = rms_norm_backward(&gradient, &values, &gains, &r);
                let dx = b.output(dx, n, c);
                let (dgain, dgain_want) = summed(&mut b, accumulate, &dgain_want);
                let op = RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain };
                let wants = [Want::table(dx, &dx_want), Want::table(dgain, &dgain_want)];
                b.check(&format!("{case} dy {dy_format:?} {accumulate:?}"), op, &wants);
            }
        }
    });
}

#[test]
fn layer_norm_centres_rows_before_it_scales_them() {
    each(|case, size @ (n, c), [x, weights, y]| {
        let mut b = Harness::default();
        let (x, values) = off_zero(&mut b, x, size);
        let (gain, gains) = b.normal(weights, 1, c, 1.0);
        let bias = (c != 33).then(|| b.normal(weights, 1, c, 1.0));
        let y = b.output(y, n, c);
        let [mean, rstd] = [(); 2].map(|()| b.output(DType::F32, n, 1));
        let wants = layer_norm(&values, &gains, bias.as_ref().map(|(_, biases)| biases));
        let bias = bias.map(|(bias, _)| bias);
        let wants: Vec<_> = wants.iter().zip([y, mean, rstd]).map(|(want, mat)| Want::table(mat, want)).collect();
        b.check(case, LayerNorm { x, gain, bias, eps: EPS, y, mean, rstd }, &wants);
    });
}

#[test]
fn layer_norm_backward_takes_out_the_mean_and_what_lies_along_the_row() {
    each(|case, (n, c), [x, weights, dx]| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            for dy_format in FORMATS {
                let mut b = Harness::default();
                let (dy, gradient) = b.normal(dy_format, n, c, 1.0);
                let (x, values) = b.normal(x, n, c, 1.0);
                let (gain, gains) = b.normal(weights, 1, c, 1.0);
                let (mean, means) = b.normal(DType::F32, n, 1, 0.5);
                let (rstd, r) = positive(&mut b, n);
                let [mut dx_want, dgain_want, dbias_want] = layer_norm_backward(&gradient, &values, &gains, &means, &r);
                let residual = (dy_format == DType::F32).then(|| b.normal(dx, n, c, 1.0));
                if let Some((_, around)) = &residual {
                    dx_want = dx_want.map(|i, j, dx| around.at(i, j) + dx);
                }
                let residual = residual.map(|(residual, _)| residual);
                let dx = b.output(dx, n, c);
                let (dgain, dgain_want) = summed(&mut b, accumulate, &dgain_want);
                let dbias = (c != 33).then(|| summed(&mut b, accumulate, &dbias_want));
                let mut wants = vec![Want::table(dx, &dx_want), Want::table(dgain, &dgain_want)];
                wants.extend(dbias.iter().map(|(dbias, want)| Want::table(*dbias, want)));
                let dbias = dbias.map(|(dbias, _)| dbias);
                let op = LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias };
                b.check(&format!("{case} dy {dy_format:?} {accumulate:?}"), op, &wants);
            }
        }
    });
}

/// (N, C) of the slopes.
const SLOPES: [(usize, usize); 3] = [(7, 6), (33, 33), (5, 130)];

/// What a norm is a function of, a random direction in each, and the gradient of ⟨dy, y⟩ as the op found it and as the
/// formula has it.
struct Slope {
    inputs: Vec<Table>,
    directions: Vec<Vec<f32>>,
    found: Vec<Vec<f32>>,
    wanted: Vec<Table>,
    dy: Table,
}

impl Slope {
    /// In each input, ⟨gradient, v⟩ must be the slope along v of ⟨dy, y⟩ in double precision: a central difference, whose
    /// own error is h² = 1e-12 of a third derivative and ε/h ≈ 2e-10 of the terms in rounding.
    #[track_caller]
    fn check(&self, case: &str, y: impl Fn(&[Table]) -> Table) {
        let h = 1e-6;
        let terms = |inputs: &[Table]| {
            let y = y(inputs);
            y.data.iter().zip(&self.dy.data).map(|(y, dy)| y.v * dy.v).collect::<Vec<f64>>()
        };
        let size: f64 = terms(&self.inputs).iter().map(|term| term.abs()).sum();
        for (k, v) in self.directions.iter().enumerate() {
            let moved = |h: f64| {
                let mut inputs = self.inputs.clone();
                inputs[k].data.iter_mut().zip(v).for_each(|(x, v)| x.v += h * f64::from(*v));
                terms(&inputs).iter().sum::<f64>()
            };
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            let (mut along, mut bound, mut square) = (0.0, 1e-9 * size, 0.0_f64);
            for ((found, want), v) in self.found[k].iter().zip(&self.wanted[k].data).zip(v) {
                let (found, v) = (f64::from(*found), f64::from(*v));
                along += found * v;
                bound += v.abs() * (want.e + F32 * (want.v.abs() + want.e));
                square += found * v * found * v;
            }
            assert!((along - slope).abs() <= bound, "{case}, input {k}: {along}, wanted {slope} ± {bound:.1e}");
            assert!(bound <= 1e-3 * square.sqrt(), "{case}, input {k}: ± {bound:.1e} proves nothing of {along}");
        }
    }
}

#[test]
fn rms_norm_backward_has_the_slopes_of_rms_norm() {
    for (n, c) in SLOPES {
        let mut b = Harness::default();
        let (dy, gradient) = b.normal(DType::F32, n, c, 1.0);
        let (x, values) = b.normal(DType::F32, n, c, 1.5);
        let (gain, gains) = b.normal(DType::F32, 1, c, 1.0);
        let directions = vec![b.normals(n * c, 1.0), b.normals(c, 1.0)];
        let [y, dx] = [(); 2].map(|()| b.output(DType::F32, n, c));
        let (rstd, dgain) = (b.output(DType::F32, n, 1), b.output(DType::F32, 1, c));
        let ops = [
            Op::from(RmsNorm { x, gain, eps: EPS, y, rstd }),
            Op::from(RmsNormBackward { dy, x, gain, rstd, accumulate: Accumulate::Overwrite, dx, dgain }),
        ];
        let found = b.run(&ops, &[dx, dgain]);
        let [_, r] = rms_norm(&values, &gains);
        let wanted = rms_norm_backward(&gradient, &values, &gains, &r).to_vec();
        let slope = Slope { inputs: vec![values, gains], directions, found, wanted, dy: gradient };
        slope.check(&format!("[{n}, {c}]"), |inputs| {
            let [y, _] = rms_norm(&inputs[0], &inputs[1]);
            y
        });
    }
}

#[test]
fn layer_norm_backward_has_the_slopes_of_layer_norm() {
    for (n, c) in SLOPES {
        let mut b = Harness::default();
        let (dy, gradient) = b.normal(DType::F32, n, c, 1.0);
        let (x, values) = b.normal(DType::F32, n, c, 1.5);
        let [(gain, gains), (bias, biases)] = [(); 2].map(|()| b.normal(DType::F32, 1, c, 1.0));
        let directions = vec![b.normals(n * c, 1.0), b.normals(c, 1.0), b.normals(c, 1.0)];
        let [y, dx] = [(); 2].map(|()| b.output(DType::F32, n, c));
        let [mean, rstd] = [(); 2].map(|()| b.output(DType::F32, n, 1));
        let [dgain, dbias] = [(); 2].map(|()| b.output(DType::F32, 1, c));
        let accumulate = Accumulate::Overwrite;
        let ops = [
            Op::from(LayerNorm { x, gain, bias: Some(bias), eps: EPS, y, mean, rstd }),
            Op::from(LayerNormBackward {
                dy,
                x,
                gain,
                mean,
                rstd,
                residual: None,
                accumulate,
                dx,
                dgain,
                dbias: Some(dbias),
            }),
        ];
        let found = b.run(&ops, &[dx, dgain, dbias]);
        let [_, means, r] = layer_norm(&values, &gains, Some(&biases));
        let wanted = layer_norm_backward(&gradient, &values, &gains, &means, &r).to_vec();
        let slope = Slope { inputs: vec![values, gains, biases], directions, found, wanted, dy: gradient };
        slope.check(&format!("[{n}, {c}]"), |inputs| {
            let [y, ..] = layer_norm(&inputs[0], &inputs[1], Some(&inputs[2]));
            y
        });
    }
}

#[test]
fn weight_gradients_have_the_same_bits_on_any_number_of_threads() {
    let on = |threads: usize| {
        let run = || {
            let mut b = Harness::default();
            let (n, c) = (1001, 67);
            let [(dy, _), (x, _)] = [(); 2].map(|()| b.normal(DType::Bf16, n, c, 1.0));
            let (gain, _) = b.normal(DType::F32, 1, c, 1.0);
            let ((mean, _), (rstd, _)) = (b.normal(DType::F32, n, 1, 0.5), positive(&mut b, n));
            let [dx, dx_rms] = [(); 2].map(|()| b.output(DType::F32, n, c));
            let [dgain, dbias, dgain_rms] = [(); 3].map(|()| b.output(DType::F32, 1, c));
            let accumulate = Accumulate::Overwrite;
            let ops = [
                Op::from(LayerNormBackward {
                    dy,
                    x,
                    gain,
                    mean,
                    rstd,
                    residual: None,
                    accumulate,
                    dx,
                    dgain,
                    dbias: Some(dbias),
                }),
                Op::from(RmsNormBackward { dy, x, gain, rstd, accumulate, dx: dx_rms, dgain: dgain_rms }),
            ];
            b.run(&ops, &[dgain, dbias, dgain_rms])
        };
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    };
    let alone = on(1);
    assert!([2, 3, 7].into_iter().all(|threads| on(threads) == alone));
}
