//! `f16` and `bf16` arithmetic, alone and in pairs, each operation rounded once.
//!
//! Values are widened until products are exact; sums keep what they lose in an odd last bit, all
//! the way down to the one rounding into the half format.

use super::float::{self, Extremum, sum_to_odd};

/// One of the two 16-bit formats, as a type, so that each operation is written once.
pub trait Half {
    /// Exact value.
    fn widen(bits: u16) -> f32;
    /// To nearest, ties to even; NaN becomes [`NAN`].
    fn narrow(x: f32) -> u16;
    /// The product, rounded once.
    fn product(x: f32, y: f32) -> u16;
    /// `x·y + z`, rounded once.
    fn fused(x: f32, y: f32, z: f32) -> u16;
    /// Bits of infinity; also the mask of the exponent field.
    const INFINITY: u16;
    /// Bits of 1.
    const ONE: u16;
}

/// `.f16`: 5 exponent bits, 10 mantissa bits.
#[derive(Clone, Copy, Debug)]
pub struct F16;
/// `.bf16`: the upper half of an `f32`.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

/// The NaN of both half formats.
pub const NAN: u16 = 0x7fff;

impl Half for F16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        f16_to_f32(bits)
    }
    #[inline(always)]
    fn narrow(x: f32) -> u16 {
        f32_to_f16(x)
    }
    // 22 significant bits between 2^-48 and 2^32: exact in f32, as is what a sum loses.
    #[inline(always)]
    fn product(x: f32, y: f32) -> u16 {
        f32_to_f16(x * y)
    }
    #[inline(always)]
    fn fused(x: f32, y: f32, z: f32) -> u16 {
        let product = x * y;
        let s = product + z;
        let back = s - product;
        f32_to_f16(to_odd(s, (product - (s - back)) + (z - back)))
    }
    const INFINITY: u16 = 0x7c00;
    const ONE: u16 = 0x3c00;
}

impl Half for Bf16 {
    #[inline(always)]
    fn widen(bits: u16) -> f32 {
        bf16_to_f32(bits)
    }
    #[inline(always)]
    fn narrow(x: f32) -> u16 {
        f32_to_bf16(x)
    }
    // Products of numbers near 2^±126 leave the range of f32.
    #[inline(always)]
    fn product(x: f32, y: f32) -> u16 {
        narrow_odd::<Bf16>(f64::from(x) * f64::from(y))
    }
    #[inline(always)]
    fn fused(x: f32, y: f32, z: f32) -> u16 {
        narrow_odd::<Bf16>(sum_to_odd(f64::from(x) * f64::from(y), f64::from(z)))
    }
    const INFINITY: u16 = 0x7f80;
    const ONE: u16 = 0x3f80;
}

/// The value of an `f16`.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let sign = u32::from(bits & 0x8000) << 16;
    // 2^112 moves the exponent bias from 15 to 127 and normalises subnormals on the way.
    let scaled = f32::from_bits(magnitude) * f32::from_bits(0x7780_0000);
    let finite = scaled.to_bits();
    let special = finite | 0x7f80_0000;
    f32::from_bits(sign | if bits & 0x7c00 == 0x7c00 { special } else { finite })
}

/// The nearest `f16`, ties to even.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Adding 0.5 leaves 2^-24, the unit of subnormal halves, as the last bit of the sum.
    let small = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let large = if magnitude > 0x7f80_0000 { 0x7fff } else { 0x7c00 };
    let half = if magnitude < 113 << 23 { small } else { normal };
    let half = if magnitude >= 143 << 23 { large } else { half };
    let sign = if magnitude > 0x7f80_0000 { 0 } else { (bits >> 16) & 0x8000 };
    (half | sign) as u16
}

/// The value of a `bf16`.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest `bf16`, ties to even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { NAN } else { rounded as u16 }
}

/// Modifiers of an arithmetic instruction on halves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Mode {
    /// `.ftz`: subnormal inputs and results become zeros of their sign.
    pub ftz: bool,
    /// `.sat`: clamp to [0, 1], NaN to 0.
    pub sat: bool,
    /// `.relu`: negative results become 0; NaN stays.
    pub relu: bool,
}

#[inline(always)]
fn flush<H: Half>(bits: u16, ftz: bool) -> u16 {
    if ftz && bits & H::INFINITY == 0 { bits & 0x8000 } else { bits }
}

/// The value of an operand.
#[inline(always)]
pub fn value<H: Half>(bits: u16, ftz: bool) -> f32 {
    H::widen(flush::<H>(bits, ftz))
}

/// Is it a NaN?
#[inline(always)]
pub fn is_nan<H: Half>(bits: u16) -> bool {
    bits & 0x7fff > H::INFINITY
}

/// Applies `.ftz`, `.sat` and `.relu` to a result.
#[inline(always)]
pub fn output<H: Half>(bits: u16, mode: Mode) -> u16 {
    let bits = flush::<H>(bits, mode.ftz);
    let nan = is_nan::<H>(bits);
    let negative = bits & 0x8000 != 0;
    if mode.sat {
        let low = if negative || nan { 0 } else { bits };
        return if low > H::ONE { H::ONE } else { low };
    }
    if nan {
        return NAN;
    }
    if mode.relu && negative { 0 } else { bits }
}

/// Rounds a number that carries its lost bits in an odd last bit, once.
#[inline(always)]
fn narrow_odd<H: Half>(x: f64) -> u16 {
    let near = x as f32;
    let wide = f64::from(near);
    let bits = near.to_bits();
    let outward = wide.abs() < x.abs();
    let inexact = (wide - x).abs() > 0.0;
    let stepped = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    H::narrow(f32::from_bits(if inexact && bits & 1 == 0 { stepped } else { bits }))
}

/// `s + e` rounded to odd, where `s` is the sum rounded to nearest and `e` what that lost.
#[inline(always)]
fn to_odd(s: f32, e: f32) -> f32 {
    let bits = s.to_bits();
    // `e` is NaN when `s` is infinite or NaN.
    let inexact = e.abs() > 0.0;
    let outward = (e > 0.0) == (s > 0.0);
    let stepped = if outward { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    f32::from_bits(if inexact && bits & 1 == 0 { stepped } else { bits })
}

/// `add.f16`, `add.bf16`: `f32` has more than twice the bits, so its rounding does no harm.
#[inline(always)]
pub fn add<H: Half>(a: u16, b: u16, mode: Mode) -> u16 {
    output::<H>(H::narrow(value::<H>(a, mode.ftz) + value::<H>(b, mode.ftz)), mode)
}

/// `sub.f16`, `sub.bf16`.
#[inline(always)]
pub fn sub<H: Half>(a: u16, b: u16, mode: Mode) -> u16 {
    add::<H>(a, b ^ 0x8000, mode)
}

/// `mul.f16`, `mul.bf16`.
#[inline(always)]
pub fn mul<H: Half>(a: u16, b: u16, mode: Mode) -> u16 {
    output::<H>(H::product(value::<H>(a, mode.ftz), value::<H>(b, mode.ftz)), mode)
}

/// `fma.rn.f16`, `fma.rn.bf16`.
#[inline(always)]
pub fn fma<H: Half>(a: u16, b: u16, c: u16, mode: Mode) -> u16 {
    let sum = H::fused(value::<H>(a, mode.ftz), value::<H>(b, mode.ftz), value::<H>(c, mode.ftz));
    output::<H>(sum, mode)
}

/// `min` and `max` of halves; -0 is less than +0.
#[inline(always)]
pub fn extremum<H: Half>(a: u16, b: u16, mode: Extremum) -> u16 {
    let (a, b) = (flush::<H>(a, mode.ftz), flush::<H>(b, mode.ftz));
    let wide = Extremum { ftz: false, ..mode };
    let pick = float::extremum_f32(H::widen(a).to_bits(), H::widen(b).to_bits(), wide);
    H::narrow(f32::from_bits(pick))
}

/// `neg`.
#[inline(always)]
pub fn neg<H: Half>(a: u16, ftz: bool) -> u16 {
    flush::<H>(a, ftz) ^ 0x8000
}

/// `abs`.
#[inline(always)]
pub fn abs<H: Half>(a: u16, ftz: bool) -> u16 {
    flush::<H>(a, ftz) & 0x7fff
}

/// A function of one half, applied through `f32` and rounded to the format (`ex2`, `tanh`).
#[inline(always)]
pub fn through_f32<H: Half>(a: u16, ftz: bool, f: impl Fn(f32) -> f32) -> u16 {
    let mode = Mode { ftz, ..Mode::default() };
    output::<H>(H::narrow(f(H::widen(flush::<H>(a, ftz)))), mode)
}

/// Applies a function to both halves of a word.
#[inline(always)]
pub fn pair1(a: u32, f: impl Fn(u16) -> u16) -> u32 {
    u32::from(f(a as u16)) | u32::from(f((a >> 16) as u16)) << 16
}

/// Applies a function to both halves of two words.
#[inline(always)]
pub fn pair2(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

/// Applies a function to both halves of three words.
#[inline(always)]
pub fn pair3(a: u32, b: u32, c: u32, f: impl Fn(u16, u16, u16) -> u16) -> u32 {
    let low = f(a as u16, b as u16, c as u16);
    let high = f((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
    u32::from(low) | u32::from(high) << 16
}
