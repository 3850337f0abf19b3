//! The `.approx` functions, computed in `f64` and rounded once to the result's format.
//!
//! Hardware is allowed a few units in the last place; these results are within one, but for logarithms near 0.

use super::float::{Mode, input_f32, output_f32};
use super::soft::Round;

const LN_2: f64 = core::f64::consts::LN_2;

fn plain(ftz: bool) -> Mode {
    Mode { round: Round::Rn, ftz, sat: false }
}

/// `2^x` for `x` in `f32`'s range of exponents, relative error below 2^-40.
///
/// `x = n + r` with `|r| <= 1/2`; a Taylor polynomial gives `2^r`, and `n` goes into the exponent.
#[inline(always)]
fn exp2(x: f64) -> f64 {
    let x = x.clamp(-200.0, 200.0);
    // 1.5·2^52: adding it rounds to an integer, which then stands in the low mantissa bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let shifted = x + MAGIC;
    let n = shifted - MAGIC;
    let y = (x - n) * LN_2;
    let mut p = 1.0 / 39_916_800.0;
    for k in [3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        p = p * y + 1.0 / k;
    }
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()) << 52;
    f64::from_bits(p.to_bits().wrapping_add(exponent))
}

/// `log2(x)` of a positive, finite, normal `f64`.
///
/// `x = 2^n · m` with `m` in [√½, √2); `ln m = 2 artanh((m-1)/(m+1))` as an odd series.
#[inline(always)]
fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let n = (bits.wrapping_sub(SQRT_HALF) as i64) >> 52;
    let m = f64::from_bits(bits.wrapping_sub((n as u64) << 52));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 1.0 / 23.0;
    for k in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p * z + 1.0 / k;
    }
    // n fits an i32, and that conversion is a vector instruction everywhere.
    f64::from(n as i32) + 2.0 / LN_2 * s * p
}

/// `ex2.approx.f32`.
#[inline(always)]
pub fn ex2_f32(a: u32, ftz: bool) -> u32 {
    let x = input_f32(a, ftz);
    let y = exp2(f64::from(x)) as f32;
    output_f32(if x.is_nan() { x } else { y }, plain(ftz))
}

/// `lg2.approx.f32`. Near 1, where the logarithm is small, hardware is as far off as elsewhere: its error is bounded by
/// 2^-22 for inputs in (0.5, 2), not by a share of the result. There the result is a multiple of 2^-22.
#[inline(always)]
pub fn lg2_f32(a: u32, ftz: bool) -> u32 {
    const STEPS: f64 = 4_194_304.0;
    let x = input_f32(a, ftz);
    let y = log2(f64::from(x));
    let y = if x > 0.5 && x < 2.0 { (y * STEPS).round_ties_even() / STEPS } else { y } as f32;
    let y = if x > 0.0 { y } else { f32::NAN };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    output_f32(if x == f32::INFINITY { x } else { y }, plain(ftz))
}

/// `sin.approx.f32`.
#[inline]
pub fn sin_f32(a: u32, ftz: bool) -> u32 {
    output_f32(f64::from(input_f32(a, ftz)).sin() as f32, plain(ftz))
}

/// `cos.approx.f32`.
#[inline]
pub fn cos_f32(a: u32, ftz: bool) -> u32 {
    output_f32(f64::from(input_f32(a, ftz)).cos() as f32, plain(ftz))
}

/// `tanh.approx.f32`.
#[inline]
pub fn tanh_f32(a: u32) -> u32 {
    output_f32(f64::from(f32::from_bits(a)).tanh() as f32, plain(false))
}

/// `rcp.approx.f32`.
#[inline(always)]
pub fn rcp_f32(a: u32, ftz: bool) -> u32 {
    output_f32(1.0 / input_f32(a, ftz), plain(ftz))
}

/// `sqrt.approx.f32`.
#[inline(always)]
pub fn sqrt_f32(a: u32, ftz: bool) -> u32 {
    output_f32(input_f32(a, ftz).sqrt(), plain(ftz))
}

/// `rsqrt.approx.f32`.
#[inline(always)]
pub fn rsqrt_f32(a: u32, ftz: bool) -> u32 {
    output_f32((1.0 / f64::from(input_f32(a, ftz)).sqrt()) as f32, plain(ftz))
}

/// `div.full.f32`: scales its operands, so it is good over the whole range.
#[inline(always)]
pub fn div_full_f32(a: u32, b: u32, ftz: bool) -> u32 {
    output_f32(input_f32(a, ftz) / input_f32(b, ftz), plain(ftz))
}

/// `div.approx.f32`: `a · (1/b)`, whose reciprocal is 0 for `|b|` beyond 2^126.
#[inline(always)]
pub fn div_approx_f32(a: u32, b: u32, ftz: bool) -> u32 {
    let (x, y) = (input_f32(a, ftz), input_f32(b, ftz));
    let vanishes = y.abs() > f32::from_bits(0x7e80_0000) && y.is_finite();
    let quotient = if vanishes { x * 0f32.copysign(y) } else { x / y };
    output_f32(quotient, plain(ftz))
}

/// `ex2.approx` on a half's value.
#[inline(always)]
pub fn ex2_half(x: f32) -> f32 {
    f32::from_bits(ex2_f32(x.to_bits(), false))
}

/// `tanh.approx` on a half's value.
#[inline]
pub fn tanh_half(x: f32) -> f32 {
    f64::from(x).tanh() as f32
}

/// The high word of an `f64` operand or result; the low one does not exist for the
/// `.approx.ftz.f64` instructions. Subnormals are flushed, NaN is canonical.
#[inline]
fn high_word(x: u64) -> u64 {
    let high = x & 0xffff_ffff_0000_0000;
    if f64::from_bits(x).is_nan() {
        0x7fff_ffff_0000_0000
    } else if high & 0x7ff0_0000_0000_0000 == 0 {
        high & (1 << 63)
    } else {
        high
    }
}

/// `rcp.approx.ftz.f64`: reads and writes high words only.
#[inline]
pub fn rcp_ftz_f64(a: u64) -> u64 {
    high_word((1.0 / f64::from_bits(high_word(a))).to_bits())
}

/// `rsqrt.approx.ftz.f64`: reads and writes high words only.
#[inline]
pub fn rsqrt_ftz_f64(a: u64) -> u64 {
    high_word((1.0 / f64::from_bits(high_word(a)).sqrt()).to_bits())
}

/// `rsqrt.approx.f64`.
#[inline]
pub fn rsqrt_f64(a: u64) -> u64 {
    let y = 1.0 / f64::from_bits(a).sqrt();
    if y.is_nan() { super::float::NAN_F64 } else { y.to_bits() }
}
