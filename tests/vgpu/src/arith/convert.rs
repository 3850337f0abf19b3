//! Every `cvt`.
//!
//! The common conversions are the host's own casts, which round to nearest even, saturate and map
//! NaN to 0 exactly as PTX asks; the others decode, and round once.

use super::float::{NAN_F64, input_f32, narrow};
use super::half::{self, Bf16, F16, Half};
use super::soft::{self, Exact, Format, Round, Value};

/// Types that `cvt` converts between.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Type {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    Bf16,
    /// As a destination only: 19 significant bits at the top of a word.
    Tf32,
    F32,
    F64,
}

impl Type {
    /// Size in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Type::U8 | Type::S8 => 8,
            Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 16,
            Type::U32 | Type::S32 | Type::F32 | Type::Tf32 => 32,
            Type::U64 | Type::S64 | Type::F64 => 64,
        }
    }

    /// Is it a floating-point type?
    pub const fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::Bf16 | Type::Tf32 | Type::F32 | Type::F64)
    }

    /// Is it a signed integer type?
    pub const fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    const fn format(self) -> Format {
        match self {
            Type::F16 => soft::F16,
            Type::Bf16 => soft::BF16,
            Type::Tf32 => soft::TF32,
            Type::F32 => soft::F32,
            _ => soft::F64,
        }
    }
}

/// A conversion with its modifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cvt {
    /// Destination type.
    pub to: Type,
    /// Source type.
    pub from: Type,
    /// Direction of the rounding modifier, integer (`.rni`) or not (`.rn`).
    pub round: Round,
    /// The rounding modifier is one of `.rni .rzi .rmi .rpi`. From floating point to integers
    /// it always is.
    pub integral: bool,
    /// `.ftz`: subnormal `f32` inputs and results become zeros.
    pub ftz: bool,
    /// `.sat`: integers clamp to the destination's range, floating point to [0, 1].
    pub sat: bool,
    /// `.relu`: negative results become 0.
    pub relu: bool,
    /// `.satfinite`: beyond the largest finite number is that number.
    pub satfinite: bool,
}

impl Cvt {
    /// A conversion without saturation or flushing.
    pub const fn new(to: Type, from: Type, round: Round) -> Cvt {
        let integral = from.is_float() && !to.is_float();
        Cvt { to, from, round, integral, ftz: false, sat: false, relu: false, satfinite: false }
    }
}

/// The value of an integer operand: the low bits of the register, by the type's signedness.
#[inline(always)]
fn integer(bits: u64, ty: Type) -> i128 {
    match ty {
        Type::U8 => i128::from(bits as u8),
        Type::U16 => i128::from(bits as u16),
        Type::U32 => i128::from(bits as u32),
        Type::S8 => i128::from(bits as i8),
        Type::S16 => i128::from(bits as i16),
        Type::S32 => i128::from(bits as i32),
        Type::S64 => i128::from(bits as i64),
        _ => i128::from(bits),
    }
}

/// The low bits of a value, extended to 64 by the type's signedness.
#[inline(always)]
fn extend(bits: u64, ty: Type) -> u64 {
    match ty {
        Type::U8 => u64::from(bits as u8),
        Type::U16 => u64::from(bits as u16),
        Type::U32 => u64::from(bits as u32),
        Type::S8 => bits as i8 as u64,
        Type::S16 => bits as i16 as u64,
        Type::S32 => bits as i32 as u64,
        _ => bits,
    }
}

/// The value of a floating-point operand; every format is exact in `f64`.
#[inline(always)]
fn float(bits: u64, ty: Type, ftz: bool) -> f64 {
    match ty {
        Type::F16 => f64::from(half::f16_to_f32(bits as u16)),
        Type::Bf16 => f64::from(half::bf16_to_f32(bits as u16)),
        Type::F32 | Type::Tf32 => f64::from(input_f32(bits as u32, ftz)),
        _ => f64::from_bits(bits),
    }
}

/// Rounds to an integral value; keeps the sign of zero.
#[inline(always)]
fn integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Rn | Round::Rna => x.round_ties_even(),
        Round::Rz => x.trunc(),
        Round::Rm => x.floor(),
        Round::Rp => x.ceil(),
    }
}

/// Converts the low bits of `bits`. The result is extended to 64 bits by the destination's
/// signedness, so that it can be written to a register of any width.
#[inline(always)]
pub fn cvt(c: Cvt, bits: u64) -> u64 {
    match (c.from.is_float(), c.to.is_float()) {
        (false, false) => {
            if c.sat {
                saturate(integer(bits, c.from), c.to)
            } else {
                extend(extend(bits, c.from), c.to)
            }
        }
        (true, false) => to_integer(float(bits, c.from, c.ftz), c),
        (false, true) => from_integer(bits, c),
        (true, true) => between_floats(float(bits, c.from, c.ftz), c),
    }
}

#[inline(always)]
fn saturate(value: i128, ty: Type) -> u64 {
    let bits = ty.bits();
    let (low, high) =
        if ty.is_signed() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    value.clamp(low, high) as u64
}

#[inline(always)]
fn to_integer(x: f64, c: Cvt) -> u64 {
    // The cast itself rounds toward zero.
    let x = if c.round == Round::Rz { x } else { integral(x, c.round) };
    match c.to {
        Type::U8 => u64::from(x as u8),
        Type::U16 => u64::from(x as u16),
        Type::U32 => u64::from(x as u32),
        Type::S8 => x as i8 as u64,
        Type::S16 => x as i16 as u64,
        Type::S32 => x as i32 as u64,
        Type::S64 => x as i64 as u64,
        _ => x as u64,
    }
}

#[inline(always)]
fn from_integer(bits: u64, c: Cvt) -> u64 {
    let bits = extend(bits, c.from);
    let signed = c.from.is_signed();
    let near = match (c.to, signed) {
        _ if c.round != Round::Rn => None,
        (Type::F32, true) => Some(u64::from((bits as i64 as f32).to_bits())),
        (Type::F32, false) => Some(u64::from((bits as f32).to_bits())),
        (Type::F64, true) => Some((bits as i64 as f64).to_bits()),
        (Type::F64, false) => Some((bits as f64).to_bits()),
        _ => None,
    };
    let encoded = near.unwrap_or_else(|| {
        let negative = signed && (bits as i64) < 0;
        let magnitude = if negative { bits.wrapping_neg() } else { bits };
        Exact::integer(negative, magnitude).round(c.to.format(), c.round)
    });
    finish(encoded, c)
}

#[inline(always)]
fn between_floats(x: f64, c: Cvt) -> u64 {
    let x = if c.integral { integral(x, c.round) } else { x };
    let round = if c.integral { Round::Rn } else { c.round };
    let encoded = match c.to {
        Type::F32 => u64::from(narrow(x, round).to_bits()),
        Type::F64 => x.to_bits(),
        // Only f64 sources have more bits than the f32 on the way.
        Type::F16 if round == Round::Rn && c.from != Type::F64 => u64::from(F16::narrow(x as f32)),
        Type::Bf16 if round == Round::Rn && c.from != Type::F64 => u64::from(Bf16::narrow(x as f32)),
        _ => round_to(x, c.to.format(), round),
    };
    finish(encoded, c)
}

fn round_to(x: f64, format: Format, round: Round) -> u64 {
    match soft::F64.decode(x.to_bits()) {
        Value::Nan => format.nan(),
        Value::Infinite { negative } => format.infinity() | if negative { format.sign() } else { 0 },
        Value::Finite(value) => value.round(format, round),
    }
}

/// Applies what comes after rounding to an encoded result, and aligns `tf32`.
#[inline(always)]
fn finish(encoded: u64, c: Cvt) -> u64 {
    let format = c.to.format();
    let infinity = format.infinity();
    let magnitude = encoded & (format.sign() - 1);
    let negative = encoded & format.sign() != 0;
    let nan = magnitude > infinity;
    let mut result = if nan { format.nan() } else { encoded };
    if c.ftz && c.to == Type::F32 && encoded & infinity == 0 {
        result &= format.sign();
    }
    if c.sat {
        let one = (format.bias() as u64) << format.mantissa;
        result = if nan || negative { 0 } else { (result & (format.sign() - 1)).min(one) };
    }
    if c.satfinite && magnitude == infinity {
        result = (result & format.sign()) | (infinity - 1);
    }
    if c.relu && negative && !nan {
        result = 0;
    }
    match c.to {
        Type::Tf32 if nan => 0x7fff_ffff,
        Type::Tf32 => result << 13,
        Type::F64 if nan && !c.sat => NAN_F64,
        _ => result,
    }
}

/// `cvt.{f16x2,bf16x2}.f32 d, a, b`: `a` goes to the upper half. `c` is the conversion of one.
#[inline(always)]
pub fn cvt_pair(c: Cvt, a: u32, b: u32) -> u32 {
    let (high, low) = (cvt(c, u64::from(a)), cvt(c, u64::from(b)));
    (high << 16 | low & 0xffff) as u32
}

/// `cvt.pack.sat.to.from{.b32} d, a, b{, c}`: `a` above `b`, both saturated to `bits` bits; for
/// types below 16 bits, the low bits of `c` above them.
#[inline(always)]
pub fn pack(bits: u32, to_signed: bool, from_signed: bool, a: u32, b: u32, c: u32) -> u32 {
    let (low, high) =
        if to_signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
    let value = |x: u32| if from_signed { i64::from(x as i32) } else { i64::from(x) };
    let part = |x: u32| value(x).clamp(low, high) as u32 & ((1u32 << bits) - 1);
    let packed = part(a) << bits | part(b);
    if bits < 16 { packed | c << (2 * bits) } else { packed }
}
