//! Element-wise operations: each lane's result depends on that lane's operands alone.

use crate::arith::bits::Permute;
use crate::arith::compare::Relation;
use crate::arith::convert::{Cvt, Type};
use crate::arith::float::{Extremum, Mode, Property};
use crate::arith::fp8::Fp8;
use crate::arith::half;
use crate::arith::video::{Mad, Scalar, Simd};

/// Width of an operand: 32 (or fewer) or 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// A [`super::Class::Word`] register.
    W,
    /// A [`super::Class::Double`] register.
    D,
}

/// Which half type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum HalfType {
    /// `f16`.
    F16,
    /// `bf16`.
    Bf16,
}

/// Type of the operands of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Compared {
    /// An integer or bit type.
    Integer(Type),
    /// `f32`, flushed or not.
    F32(bool),
    /// `f64`.
    F64,
    /// `f16` or `bf16`, flushed or not.
    Half(HalfType, bool),
}

/// An element-wise operation with its modifiers. Sixteen-bit values sit in the low half of a
/// word, whatever is above them.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Alu {
    // Moving bits.
    Mov32,
    Mov64,
    /// Low word of a double.
    Low,
    /// High word of a double.
    High,
    /// Two words to a double: `a` low.
    Join,
    /// Two halves to a word: `a` low.
    Join16,
    /// Low half of a word, zero-extended.
    Low16,
    /// High half.
    High16,
    /// A word to a double.
    ZeroExtend,
    SignExtend,

    // Integers. Addition, subtraction, low products and bit logic serve all widths up to 32.
    Add32,
    Add64,
    Sub32,
    Sub64,
    Mul32,
    Mul64,
    Mad32,
    Mad64,
    MulHi(Type),
    MulWide(Type),
    MadWide(Type),
    MadHi(Type),
    MadHiSat,
    AddSat,
    SubSat,
    Div(Type),
    Rem(Type),
    Min(Type),
    Max(Type),
    /// `min.relu.s32` and `max.relu.s32`; `true` for max.
    ExtremumRelu(bool),
    Min16x2(Type, bool),
    Max16x2(Type, bool),
    Add16x2,
    Sad(Type),
    Abs(Type),
    Neg32,
    Neg64,
    Mul24 {
        high: bool,
        signed: bool,
    },
    Mad24 {
        high: bool,
        signed: bool,
        sat: bool,
    },
    Dp4a {
        a_signed: bool,
        b_signed: bool,
    },
    Dp2a {
        a_signed: bool,
        b_signed: bool,
        high: bool,
    },

    // Bits.
    And32,
    And64,
    Or32,
    Or64,
    Xor32,
    Xor64,
    Not32,
    Not64,
    Cnot(Type),
    Shl16,
    Shl32,
    Shl64,
    Shr(Type),
    Shf {
        left: bool,
        wrap: bool,
    },
    Lop3(u8),
    Prmt(Permute),
    Bfe32(bool),
    Bfe64(bool),
    Bfi32,
    Bfi64,
    Bfind32 {
        signed: bool,
        shift_amount: bool,
    },
    Bfind64 {
        signed: bool,
        shift_amount: bool,
    },
    Fns,
    Bmsk(bool),
    Szext {
        clamp: bool,
        signed: bool,
    },
    Popc32,
    Popc64,
    Clz32,
    Clz64,
    Brev32,
    Brev64,
    VideoScalar(Scalar),
    VideoMad(Mad),
    VideoSimd(Simd),

    // Single precision.
    AddF32(Mode),
    SubF32(Mode),
    MulF32(Mode),
    FmaF32(Mode),
    DivF32(Mode),
    DivFullF32(bool),
    DivApproxF32(bool),
    RcpF32(Mode),
    SqrtF32(Mode),
    ExtremumF32(Extremum),
    AbsF32(bool),
    NegF32(bool),
    CopysignF32,
    Ex2F32(bool),
    Lg2F32(bool),
    SinF32(bool),
    CosF32(bool),
    TanhF32,
    RcpApproxF32(bool),
    SqrtApproxF32(bool),
    RsqrtF32(bool),
    TestpF32(Property),

    // Two floats in a double.
    AddF32x2(Mode),
    SubF32x2(Mode),
    MulF32x2(Mode),
    FmaF32x2(Mode),

    // Double precision.
    AddF64(Mode),
    SubF64(Mode),
    MulF64(Mode),
    FmaF64(Mode),
    DivF64(Mode),
    RcpF64(Mode),
    SqrtF64(Mode),
    ExtremumF64(bool),
    AbsF64,
    NegF64,
    CopysignF64,
    RcpFtzF64,
    RsqrtFtzF64,
    RsqrtF64,
    TestpF64(Property),

    // Half precision, `pair` for two at once.
    AddHalf(HalfType, half::Mode, bool),
    SubHalf(HalfType, half::Mode, bool),
    MulHalf(HalfType, half::Mode, bool),
    FmaHalf(HalfType, half::Mode, bool),
    ExtremumHalf(HalfType, Extremum, bool),
    NegHalf(HalfType, bool, bool),
    AbsHalf(HalfType, bool, bool),
    Ex2Half(HalfType, bool, bool),
    TanhHalf(HalfType, bool),

    // Conversions.
    Cvt(Cvt, Width, Width),
    CvtPair(Cvt),
    CvtPack {
        bits: u32,
        to_signed: bool,
        from_signed: bool,
    },
    Fp8Pack(Fp8, bool),
    Fp8PackHalf(Fp8, bool),
    Fp8Unpack(Fp8, bool),

    // Choosing and comparing.
    /// `slct`: `c` (a word) decides by its sign; `true` if it is an `f32`, then `.ftz`.
    Slct32(Option<bool>),
    Slct64(Option<bool>),
    /// `set` on pairs of halves.
    SetPair(Relation, HalfType, bool, SetResult),
}

/// What `set` writes for true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SetResult {
    /// All ones.
    Ones,
    /// 1.0 in half precision.
    F16,
    /// 1.0 in bfloat16.
    Bf16,
}

/// Register width of a type.
pub(super) fn width_of(ty: Type) -> Width {
    if ty.bits() == 64 { Width::D } else { Width::W }
}

impl Alu {
    /// Widths of result and operands.
    pub fn shape(self) -> (Width, &'static [Width]) {
        use Alu::*;
        use Width::{D, W};
        let same = |ty: Type, n: usize| match (width_of(ty), n) {
            (W, 1) => (W, &[W][..]),
            (W, 2) => (W, &[W, W][..]),
            (W, _) => (W, &[W, W, W][..]),
            (D, 1) => (D, &[D][..]),
            (D, 2) => (D, &[D, D][..]),
            (D, _) => (D, &[D, D, D][..]),
        };
        match self {
            Mov32
            | Low16
            | High16
            | Neg32
            | Not32
            | Popc32
            | Clz32
            | Brev32
            | Bfind32 { .. }
            | RcpF32(_)
            | SqrtF32(_)
            | AbsF32(_)
            | NegF32(_)
            | Ex2F32(_)
            | Lg2F32(_)
            | SinF32(_)
            | CosF32(_)
            | TanhF32
            | RcpApproxF32(_)
            | SqrtApproxF32(_)
            | RsqrtF32(_)
            | TestpF32(_)
            | NegHalf(..)
            | AbsHalf(..)
            | Ex2Half(..)
            | TanhHalf(..)
            | Fp8PackHalf(..)
            | Fp8Unpack(..) => (W, &[W]),
            Mov64 | Neg64 | Not64 | Brev64 | RcpF64(_) | SqrtF64(_) | AbsF64 | NegF64 | RcpFtzF64 | RsqrtFtzF64
            | RsqrtF64 => (D, &[D]),
            Low | High | Popc64 | Clz64 | Bfind64 { .. } | TestpF64(_) => (W, &[D]),
            ZeroExtend | SignExtend => (D, &[W]),
            Join => (D, &[W, W]),
            Join16
            | Add32
            | Sub32
            | Mul32
            | AddSat
            | SubSat
            | ExtremumRelu(_)
            | Min16x2(..)
            | Max16x2(..)
            | Add16x2
            | Mul24 { .. }
            | And32
            | Or32
            | Xor32
            | Shl16
            | Shl32
            | Bmsk(_)
            | Szext { .. }
            | AddF32(_)
            | SubF32(_)
            | MulF32(_)
            | DivF32(_)
            | DivFullF32(_)
            | DivApproxF32(_)
            | ExtremumF32(_)
            | CopysignF32
            | AddHalf(..)
            | SubHalf(..)
            | MulHalf(..)
            | ExtremumHalf(..)
            | CvtPair(_)
            | Fp8Pack(..)
            | SetPair(..) => (W, &[W, W]),
            Add64 | Sub64 | Mul64 | And64 | Or64 | Xor64 | AddF64(_) | SubF64(_) | MulF64(_) | DivF64(_)
            | ExtremumF64(_) | CopysignF64 | AddF32x2(_) | SubF32x2(_) | MulF32x2(_) => (D, &[D, D]),
            Mad32
            | MadHiSat
            | Mad24 { .. }
            | Dp4a { .. }
            | Dp2a { .. }
            | Shf { .. }
            | Lop3(_)
            | Prmt(_)
            | Bfe32(_)
            | Fns
            | VideoScalar(_)
            | VideoMad(_)
            | VideoSimd(_)
            | FmaF32(_)
            | FmaHalf(..)
            | CvtPack { .. }
            | Slct32(_) => (W, &[W, W, W]),
            Mad64 | FmaF64(_) | FmaF32x2(_) => (D, &[D, D, D]),
            MulWide(ty) if ty.bits() == 16 => (W, &[W, W]),
            MulWide(_) => (D, &[W, W]),
            MadWide(ty) if ty.bits() == 16 => (W, &[W, W, W]),
            MadWide(_) => (D, &[W, W, D]),
            MulHi(ty) | Div(ty) | Rem(ty) | Min(ty) | Max(ty) => same(ty, 2),
            MadHi(ty) | Sad(ty) => same(ty, 3),
            Abs(ty) | Cnot(ty) => same(ty, 1),
            Shr(ty) if ty.bits() == 64 => (D, &[D, W]),
            Shr(_) => (W, &[W, W]),
            Shl64 => (D, &[D, W]),
            Bfe64(_) => (D, &[D, W, W]),
            Bfi32 => (W, &[W, W, W, W]),
            Bfi64 => (D, &[D, D, W, W]),
            Slct64(_) => (D, &[D, D, W]),
            Cvt(_, to, from) => (
                to,
                match from {
                    W => &[W],
                    D => &[D],
                },
            ),
        }
    }
}
