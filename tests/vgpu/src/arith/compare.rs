//! The eighteen relations of `setp`, `set` and `vset`.

use super::float::input_f32;
use super::half::{self, Half};

/// A comparison operator. The `u` forms of floating-point comparisons also hold when an operand
/// is NaN; `lo ls hi hs` are the unsigned integer forms of `lt le gt ge`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Lo,
    Ls,
    Hi,
    Hs,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    /// Both operands are numbers.
    Num,
    /// An operand is NaN.
    Nan,
}

impl Relation {
    /// The relation of this PTX name.
    pub fn parse(name: &str) -> Option<Relation> {
        use Relation::*;
        Some(match name {
            "eq" => Eq,
            "ne" => Ne,
            "lt" => Lt,
            "le" => Le,
            "gt" => Gt,
            "ge" => Ge,
            "lo" => Lo,
            "ls" => Ls,
            "hi" => Hi,
            "hs" => Hs,
            "equ" => Equ,
            "neu" => Neu,
            "ltu" => Ltu,
            "leu" => Leu,
            "gtu" => Gtu,
            "geu" => Geu,
            "num" => Num,
            "nan" => Nan,
            _ => return None,
        })
    }
}

/// Compares ordered values: integers of their own signedness.
#[inline(always)]
pub fn integer<T: Ord>(relation: Relation, a: T, b: T) -> bool {
    match relation {
        Relation::Eq | Relation::Equ => a == b,
        Relation::Ne | Relation::Neu => a != b,
        Relation::Lt | Relation::Lo | Relation::Ltu => a < b,
        Relation::Le | Relation::Ls | Relation::Leu => a <= b,
        Relation::Gt | Relation::Hi | Relation::Gtu => a > b,
        Relation::Ge | Relation::Hs | Relation::Geu => a >= b,
        Relation::Num => true,
        Relation::Nan => false,
    }
}

/// Compares partially ordered values: floating-point numbers.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::double_comparisons)] // NaN decides
pub fn float<T: PartialOrd>(relation: Relation, a: T, b: T) -> bool {
    let ordered = |x: &T| x.partial_cmp(x).is_some();
    match relation {
        Relation::Eq => a == b,
        Relation::Ne => a < b || a > b,
        Relation::Lt | Relation::Lo => a < b,
        Relation::Le | Relation::Ls => a <= b,
        Relation::Gt | Relation::Hi => a > b,
        Relation::Ge | Relation::Hs => a >= b,
        Relation::Equ => !(a < b || a > b),
        Relation::Neu => a != b,
        Relation::Ltu => !(a >= b),
        Relation::Leu => !(a > b),
        Relation::Gtu => !(a <= b),
        Relation::Geu => !(a < b),
        Relation::Num => ordered(&a) && ordered(&b),
        Relation::Nan => !(ordered(&a) && ordered(&b)),
    }
}

/// `setp.f32`.
#[inline(always)]
pub fn f32(relation: Relation, a: u32, b: u32, ftz: bool) -> bool {
    float(relation, input_f32(a, ftz), input_f32(b, ftz))
}

/// `setp.f64`.
#[inline(always)]
pub fn f64(relation: Relation, a: u64, b: u64) -> bool {
    float(relation, f64::from_bits(a), f64::from_bits(b))
}

/// `setp.f16`, `setp.bf16`.
#[inline(always)]
pub fn half<H: Half>(relation: Relation, a: u16, b: u16, ftz: bool) -> bool {
    let value = |bits| half::value::<H>(bits, ftz);
    float(relation, value(a), value(b))
}
