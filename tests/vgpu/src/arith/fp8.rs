//! `e4m3` and `e5m2`, the two 8-bit floating-point formats.

use super::soft::{self, Exact, Round, Value};

/// One of the two formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Fp8 {
    /// 4 exponent bits, 3 mantissa bits, no infinities, largest 448.
    E4m3,
    /// 5 exponent bits, 2 mantissa bits, largest 57344.
    E5m2,
}

/// The encoding of `e4m3` without its special values.
const E4M3: soft::Format = soft::Format { exponent: 4, mantissa: 3 };

impl Fp8 {
    /// The exact value, as `f32`.
    #[inline]
    pub fn widen(self, bits: u8) -> f32 {
        match self {
            Fp8::E5m2 => super::half::f16_to_f32(u16::from(bits) << 8),
            Fp8::E4m3 => {
                let sign = u32::from(bits & 0x80) << 24;
                // 2^120 moves the bias from 7 to 127.
                let value = f32::from_bits(u32::from(bits & 0x7f) << 20) * f32::from_bits(0x7b80_0000);
                let nan = bits & 0x7f == 0x7f;
                f32::from_bits(if nan { 0x7fff_ffff } else { sign | value.to_bits() })
            }
        }
    }

    /// The nearest value, ties to even, with `.satfinite`: beyond the largest number is the
    /// largest number, NaN is NaN. `.relu` clears negative values.
    pub fn narrow(self, x: f32, relu: bool) -> u8 {
        let largest: u8 = match self {
            Fp8::E4m3 => 0x7e,
            Fp8::E5m2 => 0x7b,
        };
        match soft::F32.decode(u64::from(x.to_bits())) {
            Value::Nan => 0x7f,
            Value::Infinite { negative } | Value::Finite(Exact { negative, .. }) if relu && negative => 0,
            Value::Infinite { negative } => largest | u8::from(negative) << 7,
            Value::Finite(value) => {
                let sign = u8::from(value.negative) << 7;
                let magnitude = Exact { negative: false, ..value };
                // e4m3 uses the exponent that IEEE keeps for infinity, so it is rounded with one
                // exponent bit more and the same bias.
                let bits = match self {
                    Fp8::E5m2 => magnitude.round(soft::E5M2, Round::Rn),
                    Fp8::E4m3 if x.abs() >= 256.0 => {
                        let (units, _) = magnitude.round_at(5, Round::Rn);
                        0x70 + units.min(64) as u64
                    }
                    Fp8::E4m3 => magnitude.round(E4M3, Round::Rn),
                };
                sign | bits.min(u64::from(largest)) as u8
            }
        }
    }
}

/// `cvt.rn.satfinite.{e4m3x2,e5m2x2}.f32 d, a, b`: `a` goes to the upper byte.
#[inline]
pub fn pack(format: Fp8, a: f32, b: f32, relu: bool) -> u16 {
    u16::from(format.narrow(a, relu)) << 8 | u16::from(format.narrow(b, relu))
}

/// `cvt.rn.satfinite.{e4m3x2,e5m2x2}.f16x2`.
#[inline]
pub fn pack_f16x2(format: Fp8, a: u32, relu: bool) -> u16 {
    let (low, high) = (super::half::f16_to_f32(a as u16), super::half::f16_to_f32((a >> 16) as u16));
    pack(format, high, low, relu)
}

/// `cvt.rn.f16x2.{e4m3x2,e5m2x2}`: exact.
#[inline]
pub fn unpack_f16x2(format: Fp8, a: u16, relu: bool) -> u32 {
    let half = |byte: u8| {
        let bits = super::half::f32_to_f16(format.widen(byte));
        let negative = bits & 0x8000 != 0;
        u32::from(if relu && negative { 0 } else { bits })
    };
    half(a as u8) | half((a >> 8) as u8) << 16
}
