//! Vector arithmetic in plain loops, compiled for several instruction sets at once.
//!
//! A function under `vectorized!` exists once per instruction set and the best is chosen when it is first called; what it
//! calls is `#[inline(always)]`, so that it is compiled along. Sums run in fixed lanes. Only exponentials are contracted, where
//! the CPU can: apart from them every instruction set gives the same bits.

use crate::program::SUMSQ_COLS;
use crate::raw::cpu::element::Element;

/// Compiles the function for AVX-512, AVX2 and the baseline.
macro_rules! vectorized {
    ($($function:tt)*) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+bmi1+bmi2",
            "x86_64+avx2+bmi1+bmi2+fma"
        ))]
        $($function)*
    };
}
pub(super) use vectorized;

/// Partial sums that run beside each other: two AVX-512 vectors.
const LANES: usize = 32;

/// Whether a·b + c in one rounding is an instruction, and so worth using.
pub(super) fn contracts() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return cfg!(target_arch = "aarch64");
}

/// a·b + c, in one rounding if `FMA`.
#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^(scale·x - shift) within 2 ulp of that exponent's, for exponents up to 88; 0 below -87.3 (where the result would be
/// denormal) and for -∞. `FMA` is what [`contracts`] says.
///
/// The exponent is n ln 2 + r with |r| ≤ ln 2 / 2; e^r by the polynomial of Cephes' `expf`, times 2^n through the exponent
/// bits. The rounding adds and subtracts 1.5·2²³, which is branch-free.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(scale: f32, x: f32, shift: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = multiply_add::<FMA>(scale, x, -shift);
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FMA>(n, -LN2_LOW, multiply_add::<FMA>(n, -LN2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = multiply_add::<FMA>(p, r, c);
    }
    let e = multiply_add::<FMA>(p * r, r, r) + 1.0;
    // `shifted` holds n in its lowest bits: moved to the exponent, it adds n to that of e.
    let scaled = f32::from_bits(e.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.3 { 0.0 } else { scaled }
}

/// e^(-u²/2) and Φ(u), the normal distribution, which share their exponential: Φ(-|u|) = e^(-u²/2)·t·P(t) with
/// t = 1 / (1 + 0.26·|u|), P of degree 8 fitted to 2·10⁻⁸ of it where the exponential is not 0.
#[inline(always)]
fn normal<const FMA: bool>(u: f32) -> (f32, f32) {
    let e = exp::<FMA>(-0.5 * u, u, 0.0);
    let t = 1.0 / multiply_add::<FMA>(0.26, u.abs(), 1.0);
    let mut p = 3.095_255_3e-2;
    for c in [
        -0.155_017_1,
        0.256_044_92,
        -0.156_206_44,
        0.164_623_57,
        4.943_750_8e-2,
        0.103_445_18,
        0.102_957_14,
        0.103_762_664,
    ] {
        p = multiply_add::<FMA>(p, t, c);
    }
    let tail = e * (t * p);
    (e, if u > 0.0 { 1.0 - tail } else { tail })
}

/// u·Φ(u).
#[inline(always)]
pub(super) fn gelu<const FMA: bool>(u: f32) -> f32 {
    u * normal::<FMA>(u).1
}

/// Its derivative, Φ(u) + u·φ(u).
#[inline(always)]
pub(super) fn gelu_slope<const FMA: bool>(u: f32) -> f32 {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let (e, cdf) = normal::<FMA>(u);
    multiply_add::<FMA>(u * DENSITY_AT_0, e, cdf)
}

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}

/// Σ x·y in fixed lanes.
#[inline(always)]
pub(super) fn dot<X: Element, Y: Element>(x: &[X], y: &[Y]) -> f32 {
    let n = x.len().min(y.len());
    let ((x, x_rest), (y, y_rest)) = (x[..n].as_chunks::<LANES>(), y[..n].as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for i in 0..LANES {
            lanes[i] += x[i].wide() * y[i].wide();
        }
    }
    for (i, (x, y)) in x_rest.iter().zip(y_rest).enumerate() {
        lanes[i] += x.wide() * y.wide();
    }
    total(lanes)
}

/// Σ x in fixed lanes.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    total(lanes)
}

/// Σ x² in fixed lanes.
#[inline(always)]
pub(super) fn sum_squares(x: &[f32]) -> f32 {
    dot(x, x)
}

/// The largest of x; -∞ of none.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, larger)
}

/// `to = e^(scale·from - shift)` and the sum of what was stored before its rounding.
#[inline(always)]
fn exponentials<P: Element, const FMA: bool>(from: &[f32], scale: f32, shift: f32, to: &mut [P]) -> f32 {
    let (from, from_rest) = from.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for (from, to) in from.iter().zip(to) {
        for i in 0..LANES {
            let e = exp::<FMA>(scale, from[i], shift);
            lanes[i] += e;
            to[i] = P::nearest(e);
        }
    }
    for (i, (from, to)) in from_rest.iter().zip(to_rest).enumerate() {
        let e = exp::<FMA>(scale, *from, shift);
        lanes[i] += e;
        *to = P::nearest(e);
    }
    total(lanes)
}

/// `to = e^(scale·from - max)` of one row; returns that max and the sum. Numbers that are -∞ become 0.
pub(super) fn softmax_weights<P: Element>(from: &[f32], scale: f32, to: &mut [P]) -> (f32, f32) {
    if contracts() {
        softmax_weights_of::<P, true>(from, scale, to)
    } else {
        softmax_weights_of::<P, false>(from, scale, to)
    }
}

vectorized! {
fn softmax_weights_of<P: Element, const FMA: bool>(from: &[f32], scale: f32, to: &mut [P]) -> (f32, f32) {
    let max = scale * max(from);
    (max, exponentials::<P, FMA>(from, scale, max, to))
}
}

vectorized! {
/// `to += from`.
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
}

vectorized! {
/// The sum of squares of each part of a row.
pub(super) fn squares(row: &[f32], sumsq: &mut [f32]) {
    for (part, sum) in row.chunks(SUMSQ_COLS).zip(sumsq) {
        *sum = sum_squares(part);
    }
}
}

vectorized! {
/// `to = nearest(scale·from)`.
pub(super) fn store_scaled<T: Element>(from: &[f32], scale: f32, to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::nearest(scale * from);
    }
}
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in 0..2_000_000 {
            let x = -87.2 + i as f32 * (175.2 / 2_000_000.0);
            let wanted = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((wanted as f32).to_bits() + 1)) - f64::from(wanted as f32);
            for found in [exp::<true>(1.0, x, 0.0), exp::<false>(1.0, x, 0.0)] {
                let off = (f64::from(found) - wanted).abs() / ulp;
                assert!(off <= 2.0, "exp({x}) is {off} ulp off");
            }
        }
        let special = [0.0, -0.0, f32::NEG_INFINITY, -1e30];
        assert_eq!(special.map(|x| exp::<true>(1.0, x, 0.0)), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(special.map(|x| exp::<false>(1.0, x, 0.0)), [1.0, 1.0, 0.0, 0.0]);
        assert!(exp::<true>(1.0, f32::NAN, 0.0).is_nan() && exp::<false>(1.0, f32::NAN, 0.0).is_nan());
    }

    /// Φ(-a) for a ≥ 0: by erf's series of positive terms, 2/√π·e^(-x²)·Σ 2ⁿx^(2n+1)/(2n+1)!!, where little is left of 1, and
    /// by erfc's continued fraction beyond (Abramowitz and Stegun 7.1.14).
    fn normal_tail(a: f64) -> f64 {
        let x = a * std::f64::consts::FRAC_1_SQRT_2;
        if x < 2.0 {
            let (mut term, mut sum) = (x, 0.0);
            for n in 0..100 {
                sum += term;
                term *= 2.0 * x * x / f64::from(2 * n + 3);
            }
            return 0.5 - 0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
        }
        let below = (1..200).rev().fold(x, |below, n| x + 0.5 * f64::from(n) / below);
        0.25 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / below
    }

    #[test]
    fn the_normal_distribution_is_right_in_its_tails() {
        for i in -60_000..=60_000 {
            let u = i as f32 * 2e-4;
            let tail = normal_tail(f64::from(u).abs());
            let wanted = if u > 0.0 { 1.0 - tail } else { tail };
            // The exponent u²/2 is rounded once, the exponential is within 2 ulp, P(t)·t of eight terms within 3, and two
            // roundings join them; 1 less the tail has one of its own.
            let half_ulp = 2.0_f64.powi(-24);
            let bound = half_ulp * ((0.5 * f64::from(u * u) + 12.0) * tail + if u > 0.0 { 1.0 } else { 0.0 });
            for found in [normal::<true>(u).1, normal::<false>(u).1] {
                let off = (f64::from(found) - wanted).abs();
                assert!(off <= bound, "Φ({u}) is {found}, wanted {wanted}: {:.1} of what is allowed", off / bound);
            }
        }
        assert!(normal::<true>(f32::NAN).1.is_nan() && gelu_slope::<true>(f32::NAN).is_nan());
        assert_eq!([f32::INFINITY, 20.0, -20.0, f32::NEG_INFINITY].map(|u| normal::<false>(u).1), [1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn sums_agree_with_f64_at_every_length() {
        for n in [0, 1, 31, 32, 33, 127, 1000] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let y: Vec<bf16> = x.iter().map(|x| bf16::nearest(0.5 - x)).collect();
            let wanted: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(y.wide())).sum();
            // n roundings of sums below n.
            assert!((f64::from(dot(&x, &y)) - wanted).abs() <= 1e-7 * (n * n) as f64);
            let wanted: f64 = x.iter().copied().map(f64::from).sum();
            assert!((f64::from(sum(&x)) - wanted).abs() <= 1e-7 * (n * n) as f64);
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(max(&x), largest);
        }
    }

    #[test]
    fn softmax_weights_sum_to_what_they_say() {
        let from: Vec<f32> = (0..77).map(|i| (i as f32 * 1.7).sin() * 30.0).chain([f32::NEG_INFINITY]).collect();
        let mut to = vec![1.0_f32; from.len()];
        let (max, sum) = softmax_weights(&from, 0.125, &mut to);
        let wanted: Vec<f64> = from.iter().map(|x| (0.125 * f64::from(*x) - f64::from(max)).exp()).collect();
        assert!(to.iter().zip(&wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6));
        // 78 terms of at most 1, each within 1e-6.
        assert!((f64::from(sum) - wanted.iter().sum::<f64>()).abs() < 1e-4);
        assert_eq!(to[77], 0.0);
    }
}
