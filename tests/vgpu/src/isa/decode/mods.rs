//! Opcodes taken apart.

use super::DecodeError;
use crate::arith::convert::Type;
use crate::arith::soft::Round;
use crate::isa::alu::{HalfType, Width};

/// Types that opcodes name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ty {
    Bits(u32),
    Unsigned(u32),
    Signed(u32),
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F32x2,
    F64,
    U16x2,
    S16x2,
    Pred,
}

impl Ty {
    pub(super) fn parse(name: &str) -> Option<Ty> {
        let bits = |digits: &str| digits.parse::<u32>().ok().filter(|b| [8, 16, 32, 64, 128].contains(b));
        Some(match name {
            "f16" => Ty::F16,
            "f16x2" => Ty::F16x2,
            "bf16" => Ty::Bf16,
            "bf16x2" => Ty::Bf16x2,
            "tf32" => Ty::Tf32,
            "f32" => Ty::F32,
            "f32x2" => Ty::F32x2,
            "f64" => Ty::F64,
            "u16x2" => Ty::U16x2,
            "s16x2" => Ty::S16x2,
            "pred" => Ty::Pred,
            _ => match name.split_at_checked(1)? {
                ("b", digits) => Ty::Bits(bits(digits)?),
                ("u", digits) => Ty::Unsigned(bits(digits)?),
                ("s", digits) => Ty::Signed(bits(digits)?),
                _ => return None,
            },
        })
    }

    pub(super) fn bits(self) -> u32 {
        match self {
            Ty::Bits(b) | Ty::Unsigned(b) | Ty::Signed(b) => b,
            Ty::F16 | Ty::Bf16 => 16,
            Ty::F64 | Ty::F32x2 => 64,
            Ty::Pred => 1,
            _ => 32,
        }
    }

    pub(super) fn width(self) -> Width {
        if self.bits() == 64 { Width::D } else { Width::W }
    }

    pub(super) fn signed(self) -> bool {
        matches!(self, Ty::Signed(_))
    }

    pub(super) fn is_integer(self) -> bool {
        matches!(self, Ty::Unsigned(_) | Ty::Signed(_) | Ty::Bits(_))
    }

    pub(super) fn half(self) -> Option<(HalfType, bool)> {
        Some(match self {
            Ty::F16 => (HalfType::F16, false),
            Ty::F16x2 => (HalfType::F16, true),
            Ty::Bf16 => (HalfType::Bf16, false),
            Ty::Bf16x2 => (HalfType::Bf16, true),
            _ => return None,
        })
    }

    /// The scalar type of conversions and integer arithmetic; bits count as unsigned.
    pub(super) fn scalar(self) -> Option<Type> {
        Some(match self {
            Ty::Bits(8) | Ty::Unsigned(8) => Type::U8,
            Ty::Bits(16) | Ty::Unsigned(16) => Type::U16,
            Ty::Bits(32) | Ty::Unsigned(32) => Type::U32,
            Ty::Bits(64) | Ty::Unsigned(64) => Type::U64,
            Ty::Signed(8) => Type::S8,
            Ty::Signed(16) => Type::S16,
            Ty::Signed(32) => Type::S32,
            Ty::Signed(64) => Type::S64,
            Ty::F16 => Type::F16,
            Ty::Bf16 => Type::Bf16,
            Ty::Tf32 => Type::Tf32,
            Ty::F32 => Type::F32,
            Ty::F64 => Type::F64,
            _ => return None,
        })
    }
}

/// The parts of an opcode; each is taken once, and what is left over is an error.
pub(super) struct Mods<'a> {
    /// The whole opcode.
    pub(super) opcode: &'a str,
    /// Its first part.
    pub(super) name: &'a str,
    parts: Vec<Option<&'a str>>,
}

impl<'a> Mods<'a> {
    pub(super) fn new(opcode: &'a str) -> Mods<'a> {
        let mut split = opcode.split('.');
        let name = split.next().unwrap_or("");
        Mods { opcode, name, parts: split.map(Some).collect() }
    }

    /// Whether a part is there, without taking it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parts.contains(&Some(name))
    }

    /// Takes a part.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let place = self.parts.iter_mut().find(|p| **p == Some(name));
        place.map(|p| *p = None).is_some()
    }

    /// Takes all parts that match; says whether there were any.
    pub(super) fn drop_if(&mut self, matches: impl Fn(&str) -> bool) -> bool {
        let mut any = false;
        for part in &mut self.parts {
            if part.is_some_and(&matches) {
                *part = None;
                any = true;
            }
        }
        any
    }

    /// Takes the first part that maps to something.
    pub(super) fn find<T>(&mut self, f: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        for part in &mut self.parts {
            if let Some(found) = part.and_then(&f) {
                *part = None;
                return Some(found);
            }
        }
        None
    }

    /// Takes the first part left.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        self.find(Some)
    }

    /// Takes the first type.
    pub(super) fn ty(&mut self) -> Result<Ty, DecodeError> {
        self.find(Ty::parse).ok_or_else(|| DecodeError::new(format!("`{}` lacks a type", self.opcode)))
    }

    /// Takes a rounding direction.
    pub(super) fn round(&mut self) -> Option<Round> {
        self.find(|p| {
            Some(match p {
                "rn" => Round::Rn,
                "rz" => Round::Rz,
                "rm" => Round::Rm,
                "rp" => Round::Rp,
                "rna" => Round::Rna,
                _ => return None,
            })
        })
    }

    /// Fails if anything is left.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        match self.parts.iter().flatten().next() {
            None => Ok(()),
            Some(part) => Err(DecodeError::new(format!("`.{part}` of `{}` is not supported", self.opcode))),
        }
    }

    /// An error that names the opcode.
    pub(super) fn unsupported(&self) -> DecodeError {
        DecodeError::new(format!("`{}` is not supported", self.opcode))
    }
}
