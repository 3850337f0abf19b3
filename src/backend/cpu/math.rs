//! Vector arithmetic in plain loops, compiled for several instruction sets at once.
//!
//! A function under `vectorized!` exists once per instruction set and the best is chosen when it is first called; what it
//! calls is `#[inline(always)]`, so that it is compiled along. Sums run in fixed lanes and nothing is contracted, so every
//! instruction set gives the same bits.

use crate::raw::element::Element;

/// Compiles the function for AVX-512, AVX2 and the baseline.
macro_rules! vectorized {
    ($($function:tt)*) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+bmi1+bmi2",
            "x86_64+avx2+bmi1+bmi2"
        ))]
        $($function)*
    };
}
pub(super) use vectorized;

/// Partial sums that run beside each other: two AVX-512 vectors.
const LANES: usize = 32;

/// e^x within 2 ulp for x up to 88; 0 below -87.3 (where the result would be denormal) and for -∞.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2; e^r by its Taylor-like minimax polynomial (Cephes `expf`), times 2^n through the
/// exponent bits. The rounding adds and subtracts 1.5·2²³, which is branch-free.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = (p * r) * r + r + 1.0;
    // `shifted` holds n in its lowest bits: moved to the exponent, it adds n to that of e.
    let scaled = f32::from_bits(e.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.3 { 0.0 } else { scaled }
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
pub(super) fn exponentials<P: Element>(from: &[f32], scale: f32, shift: f32, to: &mut [P]) -> f32 {
    let (from, from_rest) = from.as_chunks::<LANES>();
    let (to, to_rest) = to.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for (from, to) in from.iter().zip(to) {
        for i in 0..LANES {
            let e = exp(scale * from[i] - shift);
            lanes[i] += e;
            to[i] = P::nearest(e);
        }
    }
    for (i, (from, to)) in from_rest.iter().zip(to_rest).enumerate() {
        let e = exp(scale * from - shift);
        lanes[i] += e;
        *to = P::nearest(e);
    }
    total(lanes)
}

vectorized! {
/// `to = e^(scale·from - max)` of one row; returns that max and the sum. Numbers that are -∞ become 0.
pub(super) fn softmax_weights<P: Element>(from: &[f32], scale: f32, to: &mut [P]) -> (f32, f32) {
    let max = scale * max(from);
    (max, exponentials(from, scale, max, to))
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
            let off = (f64::from(exp(x)) - wanted).abs() / ulp;
            assert!(off <= 2.0, "exp({x}) is {off} ulp off");
        }
        assert_eq!((exp(0.0), exp(-0.0), exp(f32::NEG_INFINITY), exp(-1e30)), (1.0, 1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_agree_with_f64_at_every_length() {
        for n in [0, 1, 31, 32, 33, 127, 1000] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let y: Vec<bf16> = x.iter().map(|x| bf16::nearest(0.5 - x)).collect();
            let wanted: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(y.wide())).sum();
            // n roundings of sums below n.
            assert!((f64::from(dot(&x, &y)) - wanted).abs() <= 1e-7 * (n * n) as f64);
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
