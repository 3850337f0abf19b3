//! Element types of matrix operands and how they become numbers.

use crate::arith::fp8::Fp8;
use crate::arith::half;

/// The value of one register of every lane.
pub type Row = [u32; 32];

/// Element type of a multiplicand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Element {
    F16,
    Bf16,
    Tf32,
    F64,
    E4m3,
    E5m2,
    S8,
    U8,
    S4,
    U4,
    B1,
}

/// Element type of an accumulator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Accumulator {
    F16,
    F32,
    F64,
    S32,
}

impl Accumulator {
    /// Size in bits.
    pub const fn bits(self) -> usize {
        match self {
            Accumulator::F16 => 16,
            Accumulator::F32 | Accumulator::S32 => 32,
            Accumulator::F64 => 64,
        }
    }
}

impl Element {
    /// The element type of this PTX name.
    pub fn parse(name: &str) -> Option<Element> {
        Some(match name {
            "f16" => Element::F16,
            "bf16" => Element::Bf16,
            "tf32" => Element::Tf32,
            "f64" => Element::F64,
            "e4m3" => Element::E4m3,
            "e5m2" => Element::E5m2,
            "s8" => Element::S8,
            "u8" => Element::U8,
            "s4" => Element::S4,
            "u4" => Element::U4,
            "b1" => Element::B1,
            _ => return None,
        })
    }

    /// Size in bits.
    pub const fn bits(self) -> usize {
        match self {
            Element::F64 => 64,
            Element::Tf32 => 32,
            Element::F16 | Element::Bf16 => 16,
            Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8 => 8,
            Element::S4 | Element::U4 => 4,
            Element::B1 => 1,
        }
    }

    /// Is the product one of integers (or bits)?
    pub const fn is_integer(self) -> bool {
        matches!(self, Element::S8 | Element::U8 | Element::S4 | Element::U4 | Element::B1)
    }

    /// Elements in a 32-bit register; 1 for `f64`, whose register has 64 bits.
    pub const fn per_register(self) -> usize {
        if self.bits() > 32 { 1 } else { 32 / self.bits() }
    }

    /// The floating-point value of the element in the low bits of a word. Only for types narrower
    /// than 64 bits; integers are exact too.
    #[inline(always)]
    pub fn value(self, bits: u32) -> f32 {
        match self {
            Element::F16 => half::f16_to_f32(bits as u16),
            Element::Bf16 => half::bf16_to_f32(bits as u16),
            // The tensor core reads 19 bits of the word.
            Element::Tf32 | Element::F64 => f32::from_bits(bits & 0xffff_e000),
            Element::E4m3 => Fp8::E4m3.widen(bits as u8),
            Element::E5m2 => Fp8::E5m2.widen(bits as u8),
            _ => self.integer(bits) as f32,
        }
    }

    /// The integer value of the element in the low bits of a word.
    #[inline(always)]
    pub fn integer(self, bits: u32) -> i32 {
        match self {
            Element::S8 => i32::from(bits as i8),
            Element::U8 => i32::from(bits as u8),
            Element::S4 => (bits << 28) as i32 >> 28,
            Element::U4 => (bits & 15) as i32,
            _ => (bits & 1) as i32,
        }
    }
}
