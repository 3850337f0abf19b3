//! How tensor cores add products up: aligned and truncated, not rounded one after the other.
//!
//! A block of products and the accumulator are added at once. Each term `s·2^e`, where `e` is the
//! sum of the factors' exponents and `1 ≤ |s| < 4`, is aligned to the largest `e` and cut off (toward
//! zero) behind so many bits; the aligned terms are added exactly; the sum is normalised and cut
//! off to `f32`, or rounded to nearest for `f16`. What differs between architectures is how many
//! products make a block, and how many bits more than the 23 of an `f32` the alignment keeps:
//!
//! | architecture       | products of 16 bits | of tf32 | bits kept more | of fp8                          |
//! | ------------------ | ------------------- | ------- | -------------- | ------------------------------- |
//! | sm_80              | 8                   | 4       | 1              |                                 |
//! | sm_89              | 8                   | 4       | 1              | 16, 13 bits in all, also of `D` |
//! | sm_90 `mma.sync`   | 16                  | 8       | 2              | 32                              |
//! | sm_90 `wgmma`      | 16                  | 8       | 2              | 32, 13 bits in all, also of `D` |
//!
//! Truncation, alignment and the exact sum were found on V100, T4 and A100 by Fasi, Higham, Mikaitis
//! and Pranesh, *Numerical behavior of NVIDIA tensor cores*, PeerJ Computer Science 7:e330 (2021); the
//! two bits and 16 products of H100 by Li et al., *FTTN* (arXiv 2403.00232, 2024); Ada by Khattak and
//! Mikaitis, *Generalized methodology … Part I* (arXiv 2510.15884, 2025). That these rules are the whole
//! of it was shown bit for bit against cards by Xie et al., *MMA-Sim* (arXiv 2511.10909, 2025), and by
//! Khattak and Mikaitis, *Accurate models of NVIDIA tensor cores* (arXiv 2512.07004, 2025).
//! Nothing here was compared with a card by us.

use super::element::Element;
use crate::arith::half;

/// How sums of floating-point products are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sums {
    /// One product after the other in the order of `k`, each sum rounded to nearest: no card does so.
    #[default]
    Rounded,
    /// As a card's tensor cores do.
    Truncated(TensorCore),
}

/// What distinguishes the tensor cores of one architecture from those of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TensorCore {
    /// Bits of a row of `A` whose products are added at once: 128 are 8 halves.
    pub depth_bits: usize,
    /// Bits that the alignment keeps behind the 23 of an `f32`.
    pub extra_bits: u32,
    /// Products of fp8 keep 13 bits, and so does `D`.
    pub is_fp8_short: bool,
}

/// Fraction bits that sums of fp8 keep where they are short.
const SHORT: u32 = 13;

impl TensorCore {
    /// sm_80.
    pub const AMPERE: TensorCore = TensorCore { depth_bits: 128, extra_bits: 1, is_fp8_short: false };
    /// sm_89.
    pub const ADA: TensorCore = TensorCore { depth_bits: 128, extra_bits: 1, is_fp8_short: true };
    /// sm_90, `mma.sync`.
    pub const HOPPER: TensorCore = TensorCore { depth_bits: 256, extra_bits: 2, is_fp8_short: false };
    /// The same, `wgmma`.
    pub const HOPPER_WGMMA: TensorCore = TensorCore { is_fp8_short: true, ..TensorCore::HOPPER };

    /// How sums of this type of product are made.
    pub(super) const fn rules(self, a: Element, b: Element, is_half: bool) -> Rules {
        let is_short = self.is_fp8_short && matches!(a, Element::E4m3 | Element::E5m2);
        let fraction = if is_short { SHORT } else { 23 + self.extra_bits };
        let lost = if is_short { 52 - SHORT } else { 52 - 23 };
        Rules { fraction: fraction as f32, least: (least(a), least(b)), is_half, lost: (1 << lost) - 1 }
    }

    /// `c` and products of pairs, added as blocks of [`TensorCore::depth_bits`] are.
    pub fn dot(self, (a, b): (Element, Element), pairs: &[(f32, f32)], c: f32, is_half: bool) -> f32 {
        let rules = self.rules(a, b, is_half);
        pairs.chunks(self.depth_bits / a.bits()).fold(c, |c, block| rules.add(block.iter().copied(), c))
    }
}

/// The exponent that subnormal numbers of a type have.
const fn least(element: Element) -> i32 {
    match element {
        Element::F16 | Element::E5m2 => -14,
        Element::E4m3 => -6,
        _ => -126,
    }
}

/// How the sum of one block is made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Rules {
    /// Bits that are kept behind the point of the term with the largest exponent.
    pub(super) fraction: f32,
    /// The exponent that subnormal factors have, of `A` and of `B`.
    pub(super) least: (i32, i32),
    /// `D` is `f16`, rounded to nearest.
    is_half: bool,
    /// Else what is cut off, of the fraction of an `f64`.
    lost: u64,
}

/// The exponent of zero: below that of every number, and of every product with another. Exponents are
/// whole `f32`s: compilers keep the order of their maxima, and so their columns beside each other.
const NONE: f32 = -1000.0;
/// Products with exponents below this are zero.
pub(super) const ZERO: f32 = -800.0;

impl Rules {
    /// The exponent of a finite factor, and that of subnormal ones of its type.
    #[inline(always)]
    pub(super) fn exponent(x: f32, least: i32) -> f32 {
        let field = (x.to_bits() >> 23 & 255) as i32;
        let exponent = (field - 127).max(least) as f32;
        if x == 0.0 { NONE } else { exponent }
    }

    /// The exponent of the accumulator.
    #[inline(always)]
    pub(super) fn accumulator_exponent(c: f32) -> f32 {
        Rules::exponent(c, -126)
    }

    /// One block, any numbers.
    #[cold]
    pub(super) fn add(self, products: impl Iterator<Item = (f32, f32)> + Clone, c: f32) -> f32 {
        let exponent = |x, y| Self::exponent(x, self.least.0) + Self::exponent(y, self.least.1);
        let terms = products.map(|(x, y)| (f64::from(x) * f64::from(y), exponent(x, y)));
        let plain: f64 = terms.clone().map(|(p, _)| p).sum::<f64>() + f64::from(c);
        if !plain.is_finite() {
            return plain as f32;
        }
        let largest = terms.clone().map(|(_, e)| e).fold(Self::accumulator_exponent(c), f32::max);
        if largest < ZERO {
            return plain as f32;
        }
        let (scale, unscale) = (power(self.fraction - largest), power(largest - self.fraction));
        let sum = terms.map(|(p, _)| (p * scale).trunc()).sum::<f64>() + (f64::from(c) * scale).trunc();
        self.narrow(&[sum * unscale])[0]
    }

    /// Exact, finite sums as they are stored.
    #[inline(always)]
    pub(super) fn narrow<const N: usize>(self, sums: &[f64; N]) -> [f32; N] {
        // Loops, since what `map` calls need not be compiled for the host's vectors.
        let mut narrow = [0.0; N];
        if self.is_half {
            for n in 0..N {
                narrow[n] = self.narrow_half(sums[n]);
            }
        } else {
            for n in 0..N {
                narrow[n] = self.narrow_single(sums[n]);
            }
        }
        narrow
    }

    #[inline(always)]
    fn narrow_half(self, sum: f64) -> f32 {
        // The last bit of the `f32` is set if anything was cut off: it rounds as the sum itself would.
        let bits = sum.to_bits();
        let odd = bits & !self.lost | u64::from(bits & self.lost != 0) << 29;
        half::f16_to_f32(half::f32_to_f16(f64::from_bits(odd) as f32))
    }

    #[inline(always)]
    fn narrow_single(self, sum: f64) -> f32 {
        // What is too large becomes infinite by the conversion. The last bit of subnormal numbers stands still.
        let ordinary = f64::from_bits(sum.to_bits() & !self.lost);
        let tiny = (sum * power(149.0)).trunc() * power(-149.0);
        (if sum.abs() < power(-120.0) { tiny } else { ordinary }) as f32
    }
}

/// `2^e` for whole exponents of normal numbers.
#[inline(always)]
pub(super) fn power(e: f32) -> f64 {
    // The sum's last bits are the field of the exponent.
    const BIAS: f64 = (1u64 << 52) as f64 + 1023.0;
    f64::from_bits((f64::from(e) + BIAS).to_bits() << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(core: TensorCore, pairs: &[(f32, f32)], c: f32) -> f32 {
        core.dot((Element::F16, Element::F16), pairs, c, false)
    }

    /// Fasi et al., section 3.3: what lies below the last bit of a larger accumulator is cut off,
    /// whatever it would add up to; one bit more survives on A100, two on H100.
    #[test]
    fn terms_lose_what_lies_behind_the_kept_bits() {
        let ulp = 2f32.powi(-23);
        for (core, kept) in [(TensorCore::AMPERE, 1), (TensorCore::ADA, 1), (TensorCore::HOPPER, 2)] {
            // Four terms of the last kept bit are at least two units of the result's.
            let smallest = 2f32.powi(-12);
            let last = (smallest, 2f32.powi(-11 - kept));
            assert_eq!(single(core, &[last; 4], 1.0), 1.0 + 4.0 * ulp * 2f32.powi(-kept), "{core:?}");
            // Half of it vanishes from every term.
            let half = (smallest, 2f32.powi(-12 - kept));
            assert_eq!(single(core, &[half; 8], 1.0), 1.0, "{core:?}");
            assert_eq!(single(core, &[(smallest, -half.1); 8], 1.0), 1.0, "{core:?}");
        }
    }

    /// Fasi et al., section 3.4: the sum is cut off toward zero, of either sign.
    #[test]
    fn sums_are_cut_off_toward_zero() {
        let most = (1.0, 1.0);
        let pairs = [most, (2f32.powi(-12), 2f32.powi(-12))];
        // 2 + 2⁻²⁴ is kept by the alignment, not by the result.
        assert_eq!(single(TensorCore::AMPERE, &pairs, 1.0), 2.0);
        let pairs = [(-1.0, 1.0), (2f32.powi(-12), -2f32.powi(-12))];
        assert_eq!(single(TensorCore::HOPPER, &pairs, -1.0), -2.0);
        // To nearest it would be 1 + 2⁻²³.
        let pairs = [(2f32.powi(-12), 2f32.powi(-12)), (2f32.powi(-13), 2f32.powi(-12))];
        assert_eq!(single(TensorCore::HOPPER, &pairs, 1.0), 1.0);
    }

    /// The exponent that terms are aligned to is that before a product is normalised, and sums
    /// within a block are not normalised between terms.
    #[test]
    fn terms_are_aligned_to_the_sum_of_the_factors_exponents() {
        // 1.5·1.5 = 2.25 has exponent 0 here: 2⁻²⁴ of another term survives, though 2.25 has exponent 1.
        let pairs = [(1.5, 1.5), (-1.5, 1.5), (2f32.powi(-12), 2f32.powi(-12))];
        assert_eq!(single(TensorCore::AMPERE, &pairs, 0.0), 2f32.powi(-24));
        // What cancels aligns all the same.
        let pairs = [(2.0, 1.0), (-2.0, 1.0), (2f32.powi(-12), 2f32.powi(-12))];
        assert_eq!(single(TensorCore::AMPERE, &pairs, 0.0), 0.0);
    }

    /// 8 products make a block on sm_80, 16 on sm_90: the ninth meets the sum of the others.
    #[test]
    fn blocks_have_the_architectures_size() {
        let mut pairs = [(0.0, 0.0); 16];
        pairs[0] = (2f32.powi(12), 2f32.powi(12));
        pairs[8] = (-2f32.powi(12), 2f32.powi(12));
        pairs[9] = (0.25, 1.0);
        // 2²⁴ + 1 is cut to 2²⁴ before the other eight come.
        assert_eq!(single(TensorCore::AMPERE, &pairs, 1.0), 0.0);
        // All at once: 1 is within 25 bits of 2²⁴, 0.25 is not.
        assert_eq!(single(TensorCore::HOPPER, &pairs, 1.0), 1.0);
        pairs[9] = (0.5, 1.0);
        assert_eq!(single(TensorCore::HOPPER, &pairs, 1.0), 1.5);
    }

    #[test]
    fn infinities_overflow_and_subnormals_come_out() {
        let core = TensorCore::HOPPER;
        let bf16 = |pairs: &[(f32, f32)], c| core.dot((Element::Bf16, Element::Bf16), pairs, c, false);
        assert!(bf16(&[(f32::INFINITY, 0.0)], 1.0).is_nan());
        assert_eq!(bf16(&[(f32::INFINITY, -1.0)], 1.0), f32::NEG_INFINITY);
        let large = 2f32.powi(127);
        assert_eq!(bf16(&[(large, 2.0)], 0.0), f32::INFINITY);
        assert_eq!(bf16(&[(large, 1.5)], 0.0), 1.5 * large);
        assert_eq!(bf16(&[(2f32.powi(-126), 2f32.powi(-20))], 0.0), 2f32.powi(-146));
        assert_eq!(bf16(&[(2f32.powi(-126), 1.75 * 2f32.powi(-23))], 0.0), 2f32.powi(-149));
        assert_eq!(bf16(&[], 2f32.powi(-149)), 2f32.powi(-149));
    }

    #[test]
    fn halves_are_rounded_to_nearest_and_short_sums_cut() {
        let pairs = [(1.0, 1.0), (2f32.powi(-11), 1.0), (2f32.powi(-12), 2f32.powi(-12))];
        assert_eq!(TensorCore::HOPPER.dot((Element::F16, Element::F16), &pairs, 0.0, true), 1.0 + 2f32.powi(-10));
        let pairs = [(1.0, 1.0), (2f32.powi(-6), 2f32.powi(-7)), (2f32.powi(-7), 2f32.powi(-7))];
        let short = TensorCore::HOPPER_WGMMA.dot((Element::E5m2, Element::E4m3), &pairs, 0.0, false);
        assert_eq!(short, 1.0 + 2f32.powi(-13));
        assert_eq!(TensorCore::HOPPER.dot((Element::E5m2, Element::E4m3), &pairs, 0.0, false), short + 2f32.powi(-14));
    }
}
