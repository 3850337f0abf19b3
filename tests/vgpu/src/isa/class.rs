//! Classes of instructions, for counting.

use super::alu::Alu;
use super::op::Op;

/// Index into [`crate::count::CLASSES`].
pub fn class(op: &Op) -> usize {
    match op {
        Op::Alu { f, .. } | Op::Alu4 { f, .. } => alu(*f),
        Op::Carry { .. } | Op::Setp { .. } | Op::SetpPair { .. } => 0,
        Op::Special { .. }
        | Op::Selp { .. }
        | Op::ToPredicate { .. }
        | Op::Predicate { .. }
        | Op::Cvta { .. }
        | Op::IsSpace { .. } => 3,
        Op::LoadParam { .. }
        | Op::Load { .. }
        | Op::CopyAsync { .. }
        | Op::Ldmatrix { .. }
        | Op::WmmaLoad(_)
        | Op::Bulk(_) => 4,
        Op::Store { .. } | Op::Stmatrix { .. } | Op::WmmaStore(_) => 5,
        Op::Atomic { .. } => 6,
        Op::Shfl { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::ActiveMask { .. }
        | Op::Elect { .. }
        | Op::WarpSync { .. }
        | Op::Movmatrix { .. } => 7,
        Op::Matrix(_) | Op::Wgmma(_) => 8,
        _ => 9,
    }
}

fn alu(f: Alu) -> usize {
    use Alu::*;
    match f {
        Mov32 | Mov64 | Low | High | Join | Join16 | Low16 | High16 | ZeroExtend | SignExtend | Slct32(_)
        | Slct64(_) => 3,
        Cvt(..) | CvtPair(_) | CvtPack { .. } | Fp8Pack(..) | Fp8PackHalf(..) | Fp8Unpack(..) => 2,
        AddF32(_) | SubF32(_) | MulF32(_) | FmaF32(_) | DivF32(_) | DivFullF32(_) | DivApproxF32(_) | RcpF32(_)
        | SqrtF32(_) | ExtremumF32(_) | AbsF32(_) | NegF32(_) | CopysignF32 | Ex2F32(_) | Lg2F32(_) | SinF32(_)
        | CosF32(_) | TanhF32 | RcpApproxF32(_) | SqrtApproxF32(_) | RsqrtF32(_) | TestpF32(_) | AddF32x2(_)
        | SubF32x2(_) | MulF32x2(_) | FmaF32x2(_) | AddF64(_) | SubF64(_) | MulF64(_) | FmaF64(_) | DivF64(_)
        | RcpF64(_) | SqrtF64(_) | ExtremumF64(_) | AbsF64 | NegF64 | CopysignF64 | RcpFtzF64 | RsqrtFtzF64
        | RsqrtF64 | TestpF64(_) | AddHalf(..) | SubHalf(..) | MulHalf(..) | FmaHalf(..) | ExtremumHalf(..)
        | NegHalf(..) | AbsHalf(..) | Ex2Half(..) | TanhHalf(..) | SetPair(..) => 1,
        _ => 0,
    }
}
