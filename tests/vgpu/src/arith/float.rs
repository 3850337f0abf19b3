//! `f32` and `f64` arithmetic with every rounding direction, `.ftz` and `.sat`.
//!
//! Round-to-nearest is the host's own. The directed `f32` forms go through `f64` with rounding to
//! odd (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums"): a sum or fma is
//! exact up to its last bit, which then remembers what was lost, so that the second rounding is
//! the only one. Quotients and roots of 24-bit numbers are never close enough to a 25-bit number
//! for the `f64` rounding to matter. The directed `f64` forms take the exact path of [`soft`].
//!
//! A NaN result is the one the hardware makes: `0x7fffffff`, and the plain quiet NaN for `f64`.

use super::soft::{self, Exact, Round, Value};

/// Modifiers of a floating-point instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Mode {
    /// Rounding direction.
    pub round: Round,
    /// `.ftz`: subnormal inputs and results become zeros of their sign.
    pub ftz: bool,
    /// `.sat`: clamp to [0, 1], NaN to 0.
    pub sat: bool,
}

impl Mode {
    /// A mode of this rounding direction and nothing else.
    pub const fn rounding(round: Round) -> Mode {
        Mode { round, ftz: false, sat: false }
    }
}

/// The NaN of `f32` results.
pub const NAN_F32: u32 = 0x7fff_ffff;
/// The NaN of `f64` results.
pub const NAN_F64: u64 = 0x7ff8_0000_0000_0000;

/// The value of an `f32` operand, subnormals as signed zeros under `.ftz`.
#[inline(always)]
pub fn input_f32(bits: u32, ftz: bool) -> f32 {
    let flushed = if ftz && bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits };
    f32::from_bits(flushed)
}

/// The bits of an `f32` result: canonical NaN, `.ftz`, `.sat`.
#[inline(always)]
pub fn output_f32(x: f32, mode: Mode) -> u32 {
    let bits = x.to_bits();
    let bits = if mode.ftz && bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits };
    if mode.sat {
        // NaN fails both comparisons and -0 the first one: +0.
        let low = if f32::from_bits(bits) > 0.0 { bits } else { 0 };
        return if x >= 1.0 { 0x3f80_0000 } else { low };
    }
    if x.is_nan() { NAN_F32 } else { bits }
}

#[inline(always)]
fn output_f64(x: f64, mode: Mode) -> u64 {
    if mode.sat {
        let low = if x > 0.0 { x.to_bits() } else { 0 };
        return if x >= 1.0 { 1f64.to_bits() } else { low };
    }
    if x.is_nan() { NAN_F64 } else { x.to_bits() }
}

/// `s + e` rounded to odd, where `s` is the sum rounded to nearest and `e` what that lost.
#[inline(always)]
fn to_odd(s: f64, e: f64) -> f64 {
    let bits = s.to_bits();
    // `e` is NaN when `s` is infinite or NaN.
    let inexact = e.abs() > 0.0;
    let outward = (e > 0.0) == (s > 0.0);
    let stepped = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f64::from_bits(if inexact && bits & 1 == 0 { stepped } else { bits })
}

/// `a + b` rounded to odd; both far inside the range of `f64`.
#[inline(always)]
pub(crate) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let s = a + b;
    let back = s - a;
    to_odd(s, (a - (s - back)) + (b - back))
}

/// Rounds to `f32` in the given direction.
#[inline(always)]
pub fn narrow(x: f64, round: Round) -> f32 {
    let near = x as f32;
    let wide = f64::from(near);
    let bits = near.to_bits();
    // Exponent ranges of f32 and f64 make `near` zero or infinite for some non-zero, finite `x`:
    // stepping the bits stays right at both ends.
    let away = wide.abs() > x.abs();
    let toward = wide.abs() < x.abs();
    let negative = bits >> 31 == 1;
    let step = |up: bool, down: bool| bits.wrapping_add(u32::from(up)).wrapping_sub(u32::from(down));
    f32::from_bits(match round {
        Round::Rn | Round::Rna => bits,
        Round::Rz => step(false, away),
        Round::Rm => step(negative && toward, !negative && away),
        Round::Rp => step(!negative && toward, negative && away),
    })
}

/// An exact zero sum rounds to -0 when rounding down, unless both terms were +0.
#[inline(always)]
fn zero_sum(x: f32, a_negative: bool, b_negative: bool, round: Round) -> f32 {
    if round == Round::Rm && x == 0.0 && (a_negative || b_negative) { -0.0 } else { x }
}

/// `add.f32`.
#[inline(always)]
pub fn add_f32(a: u32, b: u32, mode: Mode) -> u32 {
    let (x, y) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz));
    let sum = if mode.round == Round::Rn {
        x + y
    } else {
        let exact_zero = x == -y;
        let s = narrow(sum_to_odd(f64::from(x), f64::from(y)), mode.round);
        if exact_zero { zero_sum(s, x.is_sign_negative(), y.is_sign_negative(), mode.round) } else { s }
    };
    output_f32(sum, mode)
}

/// `sub.f32`.
#[inline(always)]
pub fn sub_f32(a: u32, b: u32, mode: Mode) -> u32 {
    add_f32(a, b ^ 0x8000_0000, mode)
}

/// `mul.f32`.
#[inline(always)]
pub fn mul_f32(a: u32, b: u32, mode: Mode) -> u32 {
    let (x, y) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz));
    let product = if mode.round == Round::Rn { x * y } else { narrow(f64::from(x) * f64::from(y), mode.round) };
    output_f32(product, mode)
}

/// `fma.rn.f32` for code compiled with the host's fused multiply-add enabled; elsewhere that is a
/// call into the C library, slower than [`fma_f32`].
#[inline(always)]
pub fn fma_f32_fused(a: u32, b: u32, c: u32, mode: Mode) -> u32 {
    let (x, y, z) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz), input_f32(c, mode.ftz));
    output_f32(x.mul_add(y, z), mode)
}

/// `fma.f32` and `mad.f32`.
#[inline(always)]
pub fn fma_f32(a: u32, b: u32, c: u32, mode: Mode) -> u32 {
    let (x, y, z) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz), input_f32(c, mode.ftz));
    let sum = if mode.round == Round::Rn && cfg!(target_feature = "fma") {
        x.mul_add(y, z)
    } else {
        let product = f64::from(x) * f64::from(y);
        let s = narrow(sum_to_odd(product, f64::from(z)), mode.round);
        let exact_zero = product == -f64::from(z);
        if exact_zero { zero_sum(s, product.is_sign_negative(), z.is_sign_negative(), mode.round) } else { s }
    };
    output_f32(sum, mode)
}

/// `div.rn/rz/rm/rp.f32`.
#[inline(always)]
pub fn div_f32(a: u32, b: u32, mode: Mode) -> u32 {
    let (x, y) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz));
    let quotient = if mode.round == Round::Rn { x / y } else { narrow(f64::from(x) / f64::from(y), mode.round) };
    output_f32(quotient, mode)
}

/// `rcp.rn/rz/rm/rp.f32`.
#[inline(always)]
pub fn rcp_f32(a: u32, mode: Mode) -> u32 {
    div_f32(0x3f80_0000, a, mode)
}

/// `sqrt.rn/rz/rm/rp.f32`.
#[inline(always)]
pub fn sqrt_f32(a: u32, mode: Mode) -> u32 {
    let x = input_f32(a, mode.ftz);
    let root = if mode.round == Round::Rn { x.sqrt() } else { narrow(f64::from(x).sqrt(), mode.round) };
    output_f32(root, mode)
}

/// Exact operands of an `f64` instruction, if both are finite.
fn finite(a: u64, b: u64) -> Option<(Exact, Exact)> {
    match (soft::F64.decode(a), soft::F64.decode(b)) {
        (Value::Finite(a), Value::Finite(b)) => Some((a, b)),
        _ => None,
    }
}

/// `add.f64`.
#[inline(always)]
pub fn add_f64(a: u64, b: u64, mode: Mode) -> u64 {
    let near = f64::from_bits(a) + f64::from_bits(b);
    if mode.round == Round::Rn { output_f64(near, mode) } else { directed_add(a, b, near, mode) }
}

fn directed_add(a: u64, b: u64, near: f64, mode: Mode) -> u64 {
    let sum = finite(a, b).map(|(a, b)| a.add(b, mode.round).round(soft::F64, mode.round));
    output_f64(sum.map_or(near, f64::from_bits), mode)
}

/// `sub.f64`.
#[inline(always)]
pub fn sub_f64(a: u64, b: u64, mode: Mode) -> u64 {
    add_f64(a, b ^ (1 << 63), mode)
}

/// `mul.f64`.
#[inline(always)]
pub fn mul_f64(a: u64, b: u64, mode: Mode) -> u64 {
    let near = f64::from_bits(a) * f64::from_bits(b);
    if mode.round == Round::Rn { output_f64(near, mode) } else { directed_mul(a, b, near, mode) }
}

fn directed_mul(a: u64, b: u64, near: f64, mode: Mode) -> u64 {
    let product = finite(a, b).map(|(a, b)| a.times(b).round(soft::F64, mode.round));
    output_f64(product.map_or(near, f64::from_bits), mode)
}

/// `fma.f64` and `mad.f64`.
#[inline(always)]
pub fn fma_f64(a: u64, b: u64, c: u64, mode: Mode) -> u64 {
    let near = f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c));
    if mode.round == Round::Rn { output_f64(near, mode) } else { directed_fma(a, b, c, near, mode) }
}

fn directed_fma(a: u64, b: u64, c: u64, near: f64, mode: Mode) -> u64 {
    let sum = match (finite(a, b), soft::F64.decode(c)) {
        (Some((a, b)), Value::Finite(c)) => Some(a.times(b).add(c, mode.round).round(soft::F64, mode.round)),
        _ => None,
    };
    output_f64(sum.map_or(near, f64::from_bits), mode)
}

/// `div.f64`.
#[inline(always)]
pub fn div_f64(a: u64, b: u64, mode: Mode) -> u64 {
    let near = f64::from_bits(a) / f64::from_bits(b);
    if mode.round == Round::Rn { output_f64(near, mode) } else { directed_div(a, b, near, mode) }
}

fn directed_div(a: u64, b: u64, near: f64, mode: Mode) -> u64 {
    let quotient =
        finite(a, b).filter(|(a, b)| !a.is_zero() && !b.is_zero()).map(|(a, b)| a.over(b).round(soft::F64, mode.round));
    output_f64(quotient.map_or(near, f64::from_bits), mode)
}

/// `rcp.f64`.
#[inline(always)]
pub fn rcp_f64(a: u64, mode: Mode) -> u64 {
    div_f64(1f64.to_bits(), a, mode)
}

/// `sqrt.f64`.
#[inline(always)]
pub fn sqrt_f64(a: u64, mode: Mode) -> u64 {
    let near = f64::from_bits(a).sqrt();
    if mode.round == Round::Rn { output_f64(near, mode) } else { directed_sqrt(a, near, mode) }
}

fn directed_sqrt(a: u64, near: f64, mode: Mode) -> u64 {
    match soft::F64.decode(a) {
        Value::Finite(x) if !x.is_zero() && !x.negative => {
            output_f64(f64::from_bits(x.sqrt().round(soft::F64, mode.round)), mode)
        }
        _ => output_f64(near, mode),
    }
}

/// Modifiers of `min` and `max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Extremum {
    /// `max` rather than `min`.
    pub max: bool,
    /// `.ftz`.
    pub ftz: bool,
    /// `.NaN`: a NaN operand makes the result NaN; without it a NaN loses.
    pub nan: bool,
    /// `.xorsign.abs`: compare magnitudes; the sign is the product of the signs.
    pub xorsign: bool,
}

/// `min.f32` and `max.f32`; -0 is less than +0.
#[inline(always)]
pub fn extremum_f32(a: u32, b: u32, mode: Extremum) -> u32 {
    let sign = (a ^ b) & 0x8000_0000;
    let clear = if mode.xorsign { 0x7fff_ffff } else { u32::MAX };
    let (x, y) = (input_f32(a, mode.ftz), input_f32(b, mode.ftz));
    let (x, y) = (f32::from_bits(x.to_bits() & clear), f32::from_bits(y.to_bits() & clear));
    let first_less = x < y || (x == y && x.is_sign_negative());
    let first = (first_less != mode.max) && !x.is_nan() || y.is_nan();
    let pick = if first { x } else { y };
    let none = if mode.nan { x.is_nan() || y.is_nan() } else { x.is_nan() && y.is_nan() };
    let signed = if mode.xorsign { pick.to_bits() | sign } else { pick.to_bits() };
    if none { NAN_F32 } else { signed }
}

/// `min.f64` and `max.f64`; -0 is less than +0, a NaN loses.
#[inline(always)]
pub fn extremum_f64(a: u64, b: u64, max: bool) -> u64 {
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    let first_less = x < y || (x == y && x.is_sign_negative());
    let first = (first_less != max) && !x.is_nan() || y.is_nan();
    let pick = if first { x } else { y };
    if x.is_nan() && y.is_nan() { NAN_F64 } else { pick.to_bits() }
}

/// `abs.f32`.
#[inline(always)]
pub fn abs_f32(a: u32, ftz: bool) -> u32 {
    input_f32(a, ftz).to_bits() & 0x7fff_ffff
}

/// `neg.f32`.
#[inline(always)]
pub fn neg_f32(a: u32, ftz: bool) -> u32 {
    input_f32(a, ftz).to_bits() ^ 0x8000_0000
}

/// `abs.f64`.
#[inline(always)]
pub fn abs_f64(a: u64) -> u64 {
    a & !(1 << 63)
}

/// `neg.f64`.
#[inline(always)]
pub fn neg_f64(a: u64) -> u64 {
    a ^ (1 << 63)
}

/// `copysign.f32 d, a, b`: the sign of `a` on the magnitude of `b`.
#[inline(always)]
pub fn copysign_f32(a: u32, b: u32) -> u32 {
    (a & 0x8000_0000) | (b & 0x7fff_ffff)
}

/// `copysign.f64 d, a, b`: the sign of `a` on the magnitude of `b`.
#[inline(always)]
pub fn copysign_f64(a: u64, b: u64) -> u64 {
    (a & (1 << 63)) | (b & !(1 << 63))
}

/// Properties that `testp` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Property {
    /// Neither infinite nor NaN.
    Finite,
    /// Plus or minus infinity.
    Infinite,
    /// Not a NaN.
    Number,
    /// A NaN.
    NotANumber,
    /// Neither zero, subnormal, infinite nor NaN.
    Normal,
    /// Subnormal and not zero.
    Subnormal,
}

/// `testp.f32`.
#[inline(always)]
pub fn testp_f32(a: u32, property: Property) -> bool {
    let x = f32::from_bits(a);
    match property {
        Property::Finite => x.is_finite(),
        Property::Infinite => x.is_infinite(),
        Property::Number => !x.is_nan(),
        Property::NotANumber => x.is_nan(),
        Property::Normal => x.is_normal(),
        Property::Subnormal => x.is_subnormal(),
    }
}

/// `testp.f64`.
#[inline(always)]
pub fn testp_f64(a: u64, property: Property) -> bool {
    let x = f64::from_bits(a);
    match property {
        Property::Finite => x.is_finite(),
        Property::Infinite => x.is_infinite(),
        Property::Number => !x.is_nan(),
        Property::NotANumber => x.is_nan(),
        Property::Normal => x.is_normal(),
        Property::Subnormal => x.is_subnormal(),
    }
}
