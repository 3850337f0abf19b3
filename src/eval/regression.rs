//! A smooth curve through cross-entropies over the number of masked tokens: the control variate of the estimates.

/// A cubic in k/L, or nothing where there is too little to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cubic {
    coefficients: [f64; TERMS],
    maskable: f64,
}

const TERMS: usize = 4;

/// Fewer points than this leave the estimate plain, since a fit to its own noise would promise too much.
const LEAST_POINTS: usize = 32;

impl Cubic {
    /// Least squares over points (k, mean cross-entropy), each weighted by k: a mean over k tokens has a variance near 1/k.
    pub(super) fn fit(points: impl Iterator<Item = (f64, f64)>, maskable: usize) -> Self {
        let maskable = maskable as f64;
        let (mut normal, mut count) = ([[0.0; TERMS + 1]; TERMS], 0);
        for (k, y) in points {
            let x = basis(k / maskable);
            for i in 0..TERMS {
                for j in 0..TERMS {
                    normal[i][j] += k * x[i] * x[j];
                }
                normal[i][TERMS] += k * x[i] * y;
            }
            count += 1;
        }
        let coefficients = if count >= LEAST_POINTS { solve(normal) } else { None };
        Cubic { coefficients: coefficients.unwrap_or([0.0; TERMS]), maskable }
    }

    /// The curve at k.
    pub(super) fn at(&self, k: f64) -> f64 {
        basis(k / self.maskable).iter().zip(&self.coefficients).map(|(x, c)| x * c).sum()
    }
}

/// Legendre polynomials on [0, 1]: the normal equations of 1, s, s², s³ would lose half the digits.
fn basis(s: f64) -> [f64; TERMS] {
    let x = 2.0 * s - 1.0;
    [1.0, x, 0.5 * (3.0 * x * x - 1.0), 0.5 * x * (5.0 * x * x - 3.0)]
}

/// Gaussian elimination with row exchange; none where the points do not determine the curve.
fn solve(mut m: [[f64; TERMS + 1]; TERMS]) -> Option<[f64; TERMS]> {
    let scale = m.iter().flat_map(|row| &row[..TERMS]).fold(0.0_f64, |s, x| s.max(x.abs()));
    for i in 0..TERMS {
        let pivot = (i..TERMS).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))?;
        m.swap(i, pivot);
        if m[i][i].abs() <= 1e-9 * scale {
            return None;
        }
        let pivot = m[i];
        for row in i + 1..TERMS {
            let factor = m[row][i] / pivot[i];
            m[row].iter_mut().zip(pivot).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = [0.0; TERMS];
    for i in (0..TERMS).rev() {
        let known: f64 = (i + 1..TERMS).map(|j| m[i][j] * x[j]).sum();
        x[i] = (m[i][TERMS] - known) / m[i][i];
    }
    x.iter().all(|c| c.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cubic_is_found_again() {
        let f = |k: f64| 1.0 - 0.02 * k + 3e-4 * k * k - 1e-6 * k * k * k;
        let fit = Cubic::fit((1..=100).map(|k| (f64::from(k), f(f64::from(k)))), 100);
        for k in 1..=100 {
            assert!((fit.at(f64::from(k)) - f(f64::from(k))).abs() < 1e-9, "{k}");
        }
    }

    #[test]
    fn points_that_determine_no_curve_leave_it_at_zero() {
        let few = Cubic::fit((1..20).map(|k| (f64::from(k), 1.0)), 100);
        let same = Cubic::fit((0..50).map(|_| (7.0, 1.0)), 100);
        assert_eq!((few.at(5.0), same.at(5.0)), (0.0, 0.0));
    }
}
