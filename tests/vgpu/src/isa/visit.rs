//! The registers that an operation reads and writes.

use super::address::{Addr, Base};
use super::op::{Bulk, Mbarrier, Op};
use super::program::Inst;
use super::reg::Reg;

/// Whether a register is read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Use,
    Define,
}

fn address(addr: &Addr, f: &mut impl FnMut(Reg, Role)) {
    if let Base::Reg(reg) = addr.base {
        f(reg, Role::Use);
    }
}

/// Calls `f` for every register slot of an instruction; constants and sinks are left out.
pub(super) fn visit(inst: &Inst, mut f: impl FnMut(Reg, Role)) {
    let mut f = |reg: Reg, role: Role| {
        if reg.is_some() && !reg.is_constant() {
            f(reg, role);
        }
    };
    f(inst.guard.predicate, Role::Use);
    let mut parts = |uses: &[Reg], defines: &[Reg]| {
        uses.iter().for_each(|r| f(*r, Role::Use));
        defines.iter().for_each(|r| f(*r, Role::Define));
    };
    match &inst.op {
        Op::Nop
        | Op::Bra { .. }
        | Op::System { .. }
        | Op::Ret
        | Op::Exit
        | Op::Trap
        | Op::Yield
        | Op::Fence { .. }
        | Op::CopyCommit
        | Op::CopyWait { .. }
        | Op::ClusterArrive { .. }
        | Op::ClusterWait { .. } => {}
        Op::Alu { d, a, b, c, .. } => parts(&[*a, *b, *c], &[*d]),
        Op::Alu4 { d, src, .. } => parts(&src[..], &[*d]),
        Op::Special { d, .. } | Op::LoadParam { d, .. } | Op::ActiveMask { d } => parts(&[], &[*d]),
        Op::Selp { d, a, b, p } => parts(&[*a, *b, *p], &[*d]),
        Op::Setp { d, q, a, b, with, .. } | Op::SetpPair { d, q, a, b, with, .. } => {
            parts(&[*a, *b, with.map_or(Reg::NONE, |w| w.1)], &[*d, *q]);
        }
        Op::ToPredicate { d, a }
        | Op::Cvta { d, a, .. }
        | Op::IsSpace { d, a, .. }
        | Op::Movmatrix { d, a }
        | Op::GetCtaRank { d, a, .. } => parts(&[*a], &[*d]),
        Op::Predicate { d, a, b, .. } => parts(&[*a, *b], &[*d]),
        Op::Carry { d, a, b, carry_in, carry_out, .. } => {
            parts(&[*a, *b, *carry_in], &[*d, *carry_out]);
        }
        Op::Load { d, addr, .. } | Op::Ldmatrix { d, addr, .. } => {
            parts(&[], d);
            address(addr, &mut f);
        }
        Op::Store { src, addr, .. } | Op::Stmatrix { src, addr, .. } => {
            parts(src, &[]);
            address(addr, &mut f);
        }
        Op::Atomic { d, addr, b, c, .. } => {
            parts(b, d);
            parts(&[*c], &[]);
            address(addr, &mut f);
        }
        Op::Brx { index, .. } => parts(&[*index], &[]),
        Op::Call(call) => {
            if let Err(reg) = call.target {
                parts(&[reg], &[]);
            }
        }
        Op::Shfl { d, p, a, b, c, mask, .. } => parts(&[*a, *b, *c, *mask], &[*d, *p]),
        Op::Vote { d, a, mask, .. } | Op::Redux { d, a, mask, .. } => parts(&[*a, *mask], &[*d]),
        Op::Match { d, p, a, mask, .. } => parts(&[*a, *mask], &[*d, *p]),
        Op::Elect { d, p, mask } => parts(&[*mask], &[*d, *p]),
        Op::WarpSync { mask } => parts(&[*mask], &[]),
        Op::Barrier { id, count, d, p, .. } => parts(&[*id, *count, *p], &[*d]),
        Op::CopyAsync { to, from, size, ignore, .. } => {
            parts(&[*size, *ignore], &[]);
            address(to, &mut f);
            address(from, &mut f);
        }
        Op::CopyArrive { addr, .. } => address(addr, &mut f),
        Op::Matrix(op) => {
            for uses in [&op.a, &op.b, &op.c] {
                parts(uses, &[]);
            }
            parts(&[], &op.d);
        }
        Op::WmmaLoad(op) => {
            parts(&[op.stride], &op.regs);
            address(&op.addr, &mut f);
        }
        Op::WmmaStore(op) => {
            parts(&op.regs, &[]);
            parts(&[op.stride], &[]);
            address(&op.addr, &mut f);
        }
        Op::Wgmma(op) => {
            parts(&op.a, &[]);
            parts(&[op.b, op.scale_d], &[]);
            parts(&op.d, &op.d);
        }
        Op::Mbarrier { what, addr, .. } => {
            match &**what {
                Mbarrier::Init(r) | Mbarrier::Expect(r) | Mbarrier::Complete(r) => parts(&[*r], &[]),
                Mbarrier::Invalidate => {}
                Mbarrier::Arrive { state, count, expect, .. } => parts(&[*count, *expect], &[*state]),
                Mbarrier::Test { done, state, .. } => parts(&[*state], &[*done]),
                Mbarrier::Pending { count, state } => parts(&[*state], &[*count]),
            }
            address(addr, &mut f);
        }
        Op::Bulk(bulk) => match &**bulk {
            Bulk::Load { to, from, bytes, mbarrier } => {
                parts(&[*bytes], &[]);
                for addr in [to, from, mbarrier] {
                    address(addr, &mut f);
                }
            }
            Bulk::Store { to, from, bytes, .. } => {
                parts(&[*bytes], &[]);
                for addr in [to, from] {
                    address(addr, &mut f);
                }
            }
        },
        Op::Mapa { d, a, rank, .. } => parts(&[*a, *rank], &[*d]),
    }
}
