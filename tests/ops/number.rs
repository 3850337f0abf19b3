//! Numbers that carry how wrong they may be: a running error analysis (Higham, Accuracy and Stability of Numerical
//! Algorithms, section 3.3).
//!
//! A contract's formula is written once, over [`Num`]. Its values are in double precision; beside each stands a bound on
//! what a single-precision evaluation of the same formula, with its sums in any order, can be away from it. So each
//! element of each output has its own tolerance and none is chosen by hand.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// Unit roundoff of f32.
pub(crate) const F32: f64 = 1.0 / (1_u32 << 24) as f64;
/// Unit roundoff of bf16.
pub(crate) const BF16: f64 = 1.0 / 256.0;
/// Of an exponential or logarithm in f32: 4 units in the last place, which vectorised ones keep.
const TRANSCENDENTAL: f64 = 8.0 * F32;

/// A value and a bound on the error of computing it in f32.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Num {
    pub(crate) v: f64,
    pub(crate) e: f64,
}

/// A number that is given, not computed.
pub(crate) fn exact(v: f64) -> Num {
    Num { v, e: 0.0 }
}

impl Num {
    fn rounded(v: f64, e: f64) -> Num {
        Num { v, e: e + F32 * v.abs() }
    }

    pub(crate) fn sqrt(self) -> Num {
        let v = self.v.max(0.0).sqrt();
        Num::rounded(v, (self.v + self.e).max(0.0).sqrt() - (self.v - self.e).max(0.0).sqrt())
    }

    pub(crate) fn exp(self) -> Num {
        let v = self.v.exp();
        // What underflows may be flushed: 1.2e-38 is the least normal f32.
        Num { v, e: v * self.e.exp_m1() + TRANSCENDENTAL * v + 1.2e-38 }
    }

    pub(crate) fn ln(self) -> Num {
        let v = self.v.ln();
        Num { v, e: -(-(self.e / self.v).min(0.5)).ln_1p() + TRANSCENDENTAL * v.abs().max(F32) }
    }

    /// Φ, the normal distribution, whose density is at most 0.4: with an erf within 2 ulp of 1.
    pub(crate) fn normal_cdf(self) -> Num {
        Num { v: 0.5 + 0.5 * erf(self.v / std::f64::consts::SQRT_2), e: 0.4 * self.e + 4.0 * F32 }
    }

    /// Its density, whose slope is at most 0.25.
    pub(crate) fn normal_density(self) -> Num {
        let v =
            0.5 * std::f64::consts::FRAC_1_SQRT_2 * std::f64::consts::FRAC_2_SQRT_PI * (-0.5 * self.v * self.v).exp();
        Num { v, e: 0.25 * self.e + TRANSCENDENTAL }
    }

    pub(crate) fn max(self, other: Num) -> Num {
        Num { v: self.v.max(other.v), e: self.e.max(other.e) }
    }

    /// As it is where a bf16 matmul takes it for a factor.
    pub(crate) fn factor(self, unit: f64) -> Num {
        if unit > F32 { Num { e: self.e + unit * (self.v.abs() + self.e), ..self } } else { self }
    }
}

/// By its series of positive terms, 2/√π·e^(-x²)·Σ 2ⁿx^(2n+1)/(2n+1)!!.
pub(crate) fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, 0.0);
    for n in 0..200 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 3);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

impl Add for Num {
    type Output = Num;
    fn add(self, other: Num) -> Num {
        Num::rounded(self.v + other.v, self.e + other.e)
    }
}

impl Sub for Num {
    type Output = Num;
    fn sub(self, other: Num) -> Num {
        self + -other
    }
}

impl Neg for Num {
    type Output = Num;
    fn neg(self) -> Num {
        Num { v: -self.v, e: self.e }
    }
}

impl Mul for Num {
    type Output = Num;
    fn mul(self, other: Num) -> Num {
        let e = self.v.abs() * other.e + other.v.abs() * self.e + self.e * other.e;
        Num::rounded(self.v * other.v, e)
    }
}

impl Div for Num {
    type Output = Num;
    fn div(self, other: Num) -> Num {
        let v = self.v / other.v;
        let room = other.v.abs() - other.e;
        assert!(room > 0.0, "division by {other:?}, which may be zero");
        Num::rounded(v, (self.e + v.abs() * other.e) / room)
    }
}

/// A sum in any order: k - 1 roundings of partial sums that are at most Σ|x|.
pub(crate) fn sum(terms: impl Iterator<Item = Num>) -> Num {
    let (mut v, mut e, mut size, mut k) = (0.0, 0.0, 0.0, 0.0_f64);
    for x in terms {
        v += x.v;
        e += x.e;
        size += x.v.abs();
        k += 1.0;
    }
    Num { v, e: e + (k - 1.0).max(0.0) * F32 * size }
}

/// ⟨a, b⟩ in any order.
pub(crate) fn dot(a: impl Iterator<Item = Num>, b: impl Iterator<Item = Num>) -> Num {
    sum(a.zip(b).map(|(a, b)| a * b))
}

/// A row-major matrix.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) data: Vec<Num>,
}

impl Table {
    pub(crate) fn new(rows: usize, cols: usize, mut at: impl FnMut(usize, usize) -> Num) -> Table {
        let data = (0..rows * cols).map(|i| at(i / cols, i % cols)).collect();
        Table { rows, cols, data }
    }

    pub(crate) fn at(&self, row: usize, col: usize) -> Num {
        self.data[row * self.cols + col]
    }

    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = Num> + Clone + '_ {
        self.data[row * self.cols..][..self.cols].iter().copied()
    }

    pub(crate) fn col(&self, col: usize) -> impl Iterator<Item = Num> + Clone + '_ {
        self.data.iter().skip(col).step_by(self.cols).copied()
    }

    /// `self · otherᵀ`: both sides' rows are summed over.
    pub(crate) fn times_transposed(&self, other: &Table) -> Table {
        assert_eq!(self.cols, other.cols);
        Table::new(self.rows, other.rows, |i, j| dot(self.row(i), other.row(j)))
    }

    /// `self · other`.
    pub(crate) fn times(&self, other: &Table) -> Table {
        assert_eq!(self.cols, other.rows);
        Table::new(self.rows, other.cols, |i, j| dot(self.row(i), other.col(j)))
    }

    pub(crate) fn map(&self, mut f: impl FnMut(usize, usize, Num) -> Num) -> Table {
        Table::new(self.rows, self.cols, |i, j| f(i, j, self.at(i, j)))
    }
}
