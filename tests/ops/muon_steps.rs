//! Muon's ops together, against the singular values and vectors of what they are given.

use crate::harness::Harness;
use tempest::program::{
    DType, Gram, MuonMomentum, MuonStep, NEWTON_SCHULZ, NEWTON_SCHULZ_LEAST, NewtonSchulz, Op, Stack,
};

/// Row-major.
struct Matrix {
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    fn rows(&self) -> usize {
        self.data.len() / self.cols
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j]
    }

    fn transposed(&self) -> Matrix {
        let rows = self.rows();
        Matrix { cols: rows, data: (0..self.data.len()).map(|at| self.at(at % rows, at / rows)).collect() }
    }

    /// Singular triplets (s, u, v) of a matrix that is not wide: one-sided Jacobi (Golub and Van Loan, Matrix Computations,
    /// 8.6.3) turns pairs of columns until all are orthogonal.
    fn singular(&self) -> Vec<(f64, Vec<f64>, Vec<f64>)> {
        let n = self.cols;
        let mut columns: Vec<Vec<f64>> = (0..n).map(|j| (0..self.rows()).map(|i| self.at(i, j)).collect()).collect();
        let mut turns: Vec<Vec<f64>> = (0..n).map(|j| (0..n).map(|i| f64::from(u8::from(i == j))).collect()).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for _ in 0..30 {
            for p in 0..n {
                for q in p + 1..n {
                    let (pp, qq) = (dot(&columns[p], &columns[p]), dot(&columns[q], &columns[q]));
                    let pq = dot(&columns[p], &columns[q]);
                    if pq.abs() <= 1e-15 * (pp * qq).sqrt() {
                        continue;
                    }
                    let tau = (qq - pp) / (2.0 * pq);
                    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
                    let c = 1.0 / (1.0 + t * t).sqrt();
                    for all in [&mut columns, &mut turns] {
                        let (left, right) = all.split_at_mut(q);
                        for (a, b) in left[p].iter_mut().zip(&mut right[0]) {
                            (*a, *b) = (c * *a - c * t * *b, c * t * *a + c * *b);
                        }
                    }
                }
            }
        }
        let triplet = |(column, v): (Vec<f64>, Vec<f64>)| {
            let s = dot(&column, &column).sqrt();
            (s, column.iter().map(|u| u / s).collect(), v)
        };
        columns.into_iter().zip(turns).map(triplet).collect()
    }
}

/// a·s + b·s³ + c·s⁵.
fn quintic([a, b, c]: [f32; 3], s: f64) -> f64 {
    let square = s * s;
    s * (f64::from(a) + square * (f64::from(b) + square * f64::from(c)))
}

/// What all steps make of a singular value of X.
fn through(s: f64) -> f64 {
    NEWTON_SCHULZ.into_iter().fold(s, |s, terms| quintic(terms, s))
}

/// The direction of a step whose momentum was 0, of a gradient whose norm is taken to be 1: that of parameters that were 0.
fn direction(given: &[f32], rows: usize, cols: usize, dtype: DType) -> Vec<f32> {
    let mut b = Harness::default();
    b.args.lr = 1.0;
    let stacks = || vec![Stack { matrices: 1, rows, cols }];
    let squares: Vec<Stack> = stacks().iter().map(|stack| stack.squares()).collect();
    let side = rows.min(cols);
    let (grads, _) = b.input(DType::F32, 1, given.len(), given);
    let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, 1.0, 1.0]);
    let places = b.ids(1, 1, &[0]);
    let [m, params] = [(); 2].map(|()| b.input(DType::F32, 1, given.len(), &vec![0.0; given.len()]).0);
    let [mut x, mut next] = [(); 2].map(|()| b.output(dtype, 1, given.len()));
    let [gram, square] = [(); 2].map(|()| b.output(dtype, 1, side * side));
    let lengths = b.output(DType::F32, 1, 1);
    let clip = f32::INFINITY;
    let mut ops: Vec<Op> =
        vec![MuonMomentum { grads, metrics, scale: None, places, stacks: stacks(), clip, m, x, sumsq: lengths }.into()];
    let mut sumsq = Some(lengths);
    for (i, [a, terms @ ..]) in NEWTON_SCHULZ.into_iter().enumerate() {
        ops.push(Gram { x, sumsq, stacks: stacks(), terms: None, out: gram }.into());
        ops.push(Gram { x: gram, sumsq: None, stacks: squares.clone(), terms: Some(terms), out: square }.into());
        ops.push(if i + 1 < NEWTON_SCHULZ.len() {
            NewtonSchulz { x, sumsq, b: square, stacks: stacks(), a, out: next }.into()
        } else {
            let (b, rate, weight_decay, stored) = (square, 1.0, 0.0, None);
            MuonStep { metrics, x, b, places, stacks: stacks(), a, rate, weight_decay, params, stored }.into()
        });
        (x, next, sumsq) = (next, x, None);
    }
    let longer = (rows as f32 / cols as f32).max(1.0).sqrt();
    b.run(&ops, &[params]).remove(0).iter().map(|p| -p / longer).collect()
}

/// ‖got - want‖.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum::<f64>().sqrt()
}

/// A step's products are off by at most 56·2⁻²⁴ of a·s + |b|·s³ + |c|·s⁵, the terms of a singular value s: 51, 46 and 31 at the
/// ends of the three intervals. The steps behind enlarge that by their steepest slopes, 11.3 and 7.4, which are at those ends as
/// well: 1.4·10⁻², 1.1·10⁻³ and 1·10⁻⁴.
const SINGLE: f64 = 0.016;

/// A gradient with known singular vectors, `Σ s_k u_k v_kᵀ` for the first unit vectors, reflected on both sides: what comes out
/// is known as well, each singular value goes through the polynomial by itself.
#[test]
fn the_steps_together_take_each_singular_value_through_the_polynomial() {
    let values = [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0];
    for [rows, cols] in [[9, 9], [40, 9], [9, 40]] {
        let norm = values.iter().map(|s| s * s).sum::<f64>().sqrt();
        // I - 2/n·J, which reflects at the vector of ones.
        let reflected = |n: usize, i: usize, k: usize| f64::from(u8::from(i == k)) - 2.0 / n as f64;
        let matrix = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let element = |i, j| {
                values.iter().enumerate().map(|(k, &s)| f(s) * reflected(rows, i, k) * reflected(cols, k, j)).sum()
            };
            (0..rows * cols).map(|at| element(at / cols, at % cols)).collect()
        };
        let (given, wanted) = (matrix(&|s| s), matrix(&|s| through(s / norm)));
        let given: Vec<f32> = given.iter().map(|&g| g as f32).collect();
        let off = distance(&direction(&given, rows, cols, DType::F32), &wanted);
        assert!(off < SINGLE, "[{rows}, {cols}]: off by {off}");
    }
}

/// Of a matrix U S Vᵀ drawn at random the result is U p(S) Vᵀ, and as near to the polar factor U Vᵀ, to which Muon's step goes,
/// as the polynomial brings its singular values to 1.
#[test]
fn a_drawn_matrix_keeps_its_singular_vectors_and_comes_near_its_polar_factor() {
    for [rows, cols] in [[24, 24], [56, 24], [24, 56]] {
        let given = Harness::default().normals(rows * cols, 1.0);
        let matrix = Matrix { cols, data: given.iter().map(|&g| f64::from(g)).collect() };
        let norm = matrix.data.iter().map(|g| g * g).sum::<f64>().sqrt();
        let triplets = match rows < cols {
            true => matrix.transposed().singular().into_iter().map(|(s, u, v)| (s, v, u)).collect(),
            false => matrix.singular(),
        };
        let made = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let at = |i: usize, j: usize| triplets.iter().map(|(s, u, v)| f(*s) * u[i] * v[j]).sum::<f64>();
            (0..rows * cols).map(|at_| at(at_ / cols, at_ % cols)).collect()
        };
        assert!(distance(&given, &made(&|s| s)) < 1e-6 * norm, "[{rows}, {cols}]: the decomposition is the matrix's");
        let got = direction(&given, rows, cols, DType::F32);
        let off = distance(&got, &made(&|s| through(s / norm)));
        assert!(off < SINGLE, "[{rows}, {cols}]: off by {off} of U p(S) Vᵀ");
        // ‖U p(S) Vᵀ - U Vᵀ‖ = ‖p(S) - I‖.
        let left = triplets.iter().map(|(s, _, _)| (through(s / norm) - 1.0).powi(2)).sum::<f64>().sqrt();
        let off = distance(&got, &made(&|_| 1.0));
        assert!((off - left).abs() < SINGLE, "[{rows}, {cols}]: {off} from the polar factor, not {left}");
        assert!(left < 0.5 * (rows.min(cols) as f64).sqrt(), "singular values above 1/198 end within 0.50 and 1.50");
    }
}

/// Where numbers are rounded to 8 bits the intervals' margins keep singular values below 1.50 but for what the last step rounds.
/// Numbers whose squares sum to n·s² are off by r = 2⁻⁸·0.4·s/√n in the root mean square, as a matrix by 2·√n·r = 0.0031·s. On
/// the last interval, where X is below 1.86, that is 0.016 for B below 2.8 times X, and 0.046 for A below 3.5 times |b| ≤ 2.3
/// times X; the last X itself is not rounded.
#[test]
fn in_bf16_no_singular_value_ends_above_what_the_steps_leave() {
    let drawn = Harness::default().normals(24 * 24, 1.0);
    let of_rank_one: Vec<f32> = (0..24 * 24).map(|at| drawn[at / 24] * drawn[at % 24]).collect();
    for given in [drawn, of_rank_one] {
        let data = direction(&given, 24, 24, DType::Bf16).into_iter().map(f64::from).collect();
        let largest = Matrix { cols: 24, data }.singular().into_iter().map(|(s, ..)| s).fold(0.0, f64::max);
        assert!((0.5..1.57).contains(&largest), "{largest}");
    }
}

/// By Chebyshev's theorem no odd quintic is nearer to 1 on an interval than one whose errors there are largest, equal and of
/// alternating signs at four points. The numbers of each are rounded to f32, and their terms are 51 in sum at most: 3·10⁻⁶ at
/// its ends, which the slopes of the next ones, 11 and 7, enlarge to 2.3·10⁻⁴.
#[test]
fn each_polynomial_is_nearest_to_one_where_the_one_before_it_ends() {
    let [mut low, mut high] = [NEWTON_SCHULZ_LEAST, 1.0 + 2_f64.powi(-8)];
    for terms @ [a, b, c] in NEWTON_SCHULZ {
        // a + 3b·t + 5c·t² = 0 of t = s².
        let [a, b, c] = [a, b, c].map(f64::from);
        let root = (9.0 * b * b - 20.0 * a * c).sqrt();
        let turns = [-root, root].map(|root| ((-3.0 * b + root) / (10.0 * c)).sqrt());
        assert!(low < turns[0] && turns[1] < high, "{turns:?}");
        let errors = [low, turns[0], turns[1], high].map(|s| 1.0 - quintic(terms, s));
        let most = errors[0];
        for (error, sign) in errors.iter().zip([1.0, -1.0, 1.0, -1.0]) {
            assert!((sign * error - most).abs() < 2.5e-4, "{terms:?}: {errors:?} on {low} to {high}");
        }
        [low, high] = [1.0 - most, 1.01 * (1.0 + most)];
    }
    assert!(1.0 - low < 0.5, "singular values of at least {NEWTON_SCHULZ_LEAST} end at {low}");
}
