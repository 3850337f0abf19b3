//! `setp`.

use super::frame::{Constants, Frame};
use crate::arith::compare::{self, Relation};
use crate::arith::convert::Type;
use crate::arith::half::{Bf16, F16};
use crate::isa::{Compared, HalfType, Logic, Reg};

/// The lanes for which `f` holds.
#[inline(always)]
pub(super) fn lanes_where(f: impl Fn(usize) -> bool) -> u32 {
    let mut bits = [0u32; 32];
    for (i, bit) in bits.iter_mut().enumerate() {
        *bit = u32::from(f(i)) << i;
    }
    bits.iter().fold(0, |all, bit| all | bit)
}

#[inline(always)]
fn integers<T: Ord + Copy>(relation: Relation, x: [T; 32], y: [T; 32]) -> u32 {
    match relation {
        Relation::Eq => lanes_where(|i| x[i] == y[i]),
        Relation::Ne => lanes_where(|i| x[i] != y[i]),
        Relation::Lt | Relation::Lo => lanes_where(|i| x[i] < y[i]),
        Relation::Le | Relation::Ls => lanes_where(|i| x[i] <= y[i]),
        Relation::Gt | Relation::Hi => lanes_where(|i| x[i] > y[i]),
        Relation::Ge | Relation::Hs => lanes_where(|i| x[i] >= y[i]),
        other => lanes_where(|i| compare::integer(other, x[i], y[i])),
    }
}

/// The lanes where `a REL b`.
#[inline(always)]
pub(super) fn compared(f: &Frame, k: &Constants, relation: Relation, ty: Compared, a: Reg, b: Reg) -> u32 {
    // The unsigned relations compare as unsigned whatever the type says.
    let unsigned = matches!(relation, Relation::Lo | Relation::Ls | Relation::Hi | Relation::Hs);
    match ty {
        Compared::Integer(ty) if ty.bits() == 64 => {
            let (x, y) = (*f.d(k, a), *f.d(k, b));
            if ty == Type::S64 && !unsigned {
                integers(relation, x.map(|v| v as i64), y.map(|v| v as i64))
            } else {
                integers(relation, x, y)
            }
        }
        Compared::Integer(ty) => {
            let (x, y) = (*f.w(k, a), *f.w(k, b));
            match ty {
                Type::S32 if !unsigned => integers(relation, x.map(|v| v as i32), y.map(|v| v as i32)),
                Type::S16 if !unsigned => integers(relation, x.map(|v| v as i16), y.map(|v| v as i16)),
                Type::S8 if !unsigned => integers(relation, x.map(|v| v as i8), y.map(|v| v as i8)),
                Type::U16 | Type::S16 => integers(relation, x.map(|v| v as u16), y.map(|v| v as u16)),
                Type::U8 | Type::S8 => integers(relation, x.map(|v| v as u8), y.map(|v| v as u8)),
                _ => integers(relation, x, y),
            }
        }
        Compared::F32(ftz) => {
            let (x, y) = (f.w(k, a), f.w(k, b));
            if ftz {
                return lanes_where(|i| compare::f32(relation, x[i], y[i], true));
            }
            let x = x.map(f32::from_bits);
            let y = y.map(f32::from_bits);
            match relation {
                Relation::Eq => lanes_where(|i| x[i] == y[i]),
                Relation::Lt => lanes_where(|i| x[i] < y[i]),
                Relation::Le => lanes_where(|i| x[i] <= y[i]),
                Relation::Gt => lanes_where(|i| x[i] > y[i]),
                Relation::Ge => lanes_where(|i| x[i] >= y[i]),
                Relation::Neu => lanes_where(|i| x[i] != y[i]),
                other => lanes_where(|i| compare::float(other, x[i], y[i])),
            }
        }
        Compared::F64 => {
            let (x, y) = (f.d(k, a), f.d(k, b));
            lanes_where(|i| compare::f64(relation, x[i], y[i]))
        }
        Compared::Half(half, ftz) => {
            let (x, y) = (f.w(k, a), f.w(k, b));
            lanes_where(|i| half_relation(relation, half, ftz, x[i] as u16, y[i] as u16))
        }
    }
}

/// `a REL b` of halves.
#[inline(always)]
pub(super) fn half_relation(relation: Relation, half: HalfType, ftz: bool, a: u16, b: u16) -> bool {
    match half {
        HalfType::F16 => compare::half::<F16>(relation, a, b, ftz),
        HalfType::Bf16 => compare::half::<Bf16>(relation, a, b, ftz),
    }
}

/// Combines a result with a predicate.
#[inline(always)]
pub(super) fn combine(f: &Frame, value: u32, with: Option<(Logic, Reg, bool)>) -> u32 {
    match with {
        None => value,
        Some((logic, reg, negate)) => {
            let other = f.p(reg) ^ if negate { u32::MAX } else { 0 };
            match logic {
                Logic::And => value & other,
                Logic::Or => value | other,
                Logic::Xor => value ^ other,
            }
        }
    }
}
