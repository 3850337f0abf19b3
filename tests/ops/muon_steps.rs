//! Muon's ops together, against the singular values and vectors of what they are given.

use crate::harness::Harness;
use tempest::program::{DType, Gram, MuonMomentum, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, NewtonSchulz, Op, Stack};

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

/// What the five steps make of a singular value of X.
fn through(s: f64) -> f64 {
    let [a, b, c] = NEWTON_SCHULZ.map(f64::from);
    (0..NEWTON_SCHULZ_STEPS).fold(s, |s, _| s * (a + b * s * s + c * s.powi(4)))
}

/// The direction of a step whose momentum was 0, of a gradient whose norm is taken to be 1.
fn direction(given: &[f32], rows: usize, cols: usize, dtype: DType) -> Vec<f32> {
    let mut b = Harness::default();
    let stacks = vec![Stack { matrices: 1, rows, cols }];
    let squares: Vec<Stack> = stacks.iter().map(|stack| stack.squares()).collect();
    let side = rows.min(cols);
    let (grads, _) = b.input(DType::F32, 1, given.len(), given);
    let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, 1.0, 1.0]);
    let places = b.ids(1, 1, &[0]);
    let (m, _) = b.input(DType::F32, 1, given.len(), &vec![0.0; given.len()]);
    let [mut x, mut next] = [(); 2].map(|()| b.output(dtype, 1, given.len()));
    let [gram, square] = [(); 2].map(|()| b.output(dtype, 1, side * side));
    let ([a, terms @ ..], clip) = (NEWTON_SCHULZ, f32::INFINITY);
    let stacks = || stacks.clone();
    let mut ops: Vec<Op> =
        vec![MuonMomentum { grads, metrics, scale: None, places, stacks: stacks(), clip, m, x }.into()];
    for _ in 0..NEWTON_SCHULZ_STEPS {
        ops.push(Gram { x, stacks: stacks(), terms: None, out: gram }.into());
        ops.push(Gram { x: gram, stacks: squares.clone(), terms: Some(terms), out: square }.into());
        ops.push(NewtonSchulz { x, b: square, stacks: stacks(), a, out: next }.into());
        (x, next) = (next, x);
    }
    b.run(&ops, &[x]).remove(0)
}

/// ‖got - want‖.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum::<f64>().sqrt()
}

/// Each of a step's three products is off by at most 40·2⁻²⁴ of ‖X‖ ≤ 3, times |a| + |b| + |c| ≈ 10: 7·10⁻⁵; the steps behind
/// it enlarge that by the polynomial's steepest slope, 3.4445, each: by 3.4445⁵ at most, 690 over all of them.
const SINGLE: f64 = 0.05;

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
        assert!(left < 0.32 * (rows.min(cols) as f64).sqrt(), "singular values above 1/500 end within 0.68 and 1.21");
    }
}
