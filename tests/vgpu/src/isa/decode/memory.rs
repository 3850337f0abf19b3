//! Loads, stores, atomics and addresses.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::isa::alu::Alu;
use crate::isa::reg::Reg;
use crate::isa::{Addr, AtomicOp, AtomicType, Base, Element8, Op, Order, Space};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

/// The state space that a part of an opcode names.
pub(super) fn space(part: &str) -> Option<Space> {
    Some(match part {
        "global" | "const" => Space::Global,
        "shared" | "shared::cta" => Space::Shared,
        "shared::cluster" => Space::SharedCluster,
        "local" => Space::Local,
        "param" | "param::entry" | "param::func" => Space::Param,
        _ => return None,
    })
}

/// Takes what only a cache cares about.
pub(super) fn drop_cache_hints(m: &mut Mods<'_>) {
    m.drop_if(|p| {
        matches!(p, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "nc" | "unified")
            || p.starts_with("L1::")
            || p.starts_with("L2::")
    });
}

/// Takes order and scope. Narrower scopes than the GPU's order nothing between blocks.
fn order(m: &mut Mods<'_>) -> Order {
    let strong = m.drop_if(|p| matches!(p, "volatile" | "relaxed" | "mmio"));
    let (acquire, release) = (m.take("acquire"), m.take("release"));
    let both = m.drop_if(|p| matches!(p, "acq_rel" | "sc"));
    m.take("weak");
    let narrow = m.drop_if(|p| matches!(p, "cta" | "cluster"));
    m.drop_if(|p| matches!(p, "gpu" | "sys"));
    match (acquire || both, release || both) {
        (false, false) if strong => Order::Strong,
        (false, false) => Order::Weak,
        _ if narrow => Order::Strong,
        (true, false) => Order::Acquire,
        (false, true) => Order::Release,
        (true, true) => Order::Both,
    }
}

impl Decoder<'_> {
    pub(super) fn memory(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        match m.name {
            "ld" | "ldu" => self.load(m, o),
            "st" => self.store(m, o),
            "atom" | "red" => self.atomic(m, o),
            "cvta" => self.cvta(m, o),
            "isspacep" => self.isspacep(m, o),
            "membar" | "fence" => {
                let orders = !m.has("proxy") && !m.has("mbarrier_init");
                let is_wide = orders && m.drop_if(|p| matches!(p, "gl" | "gpu" | "sys"));
                m.drop_if(|_| true);
                self.emit(Op::Fence { is_wide });
                Ok(())
            }
            "createpolicy" => {
                m.drop_if(|_| true);
                let a = self.double(0);
                let d = self.dst(o.first().unwrap_or(&Operand::Sink), Ty::Bits(64))?;
                self.alu(Alu::Mov64, d, &[a]);
                Ok(())
            }
            // Hints to caches.
            _ => {
                m.drop_if(|_| true);
                self.emit(Op::Nop);
                Ok(())
            }
        }
    }

    /// The space of an access: what the opcode says, else what its symbol implies.
    pub(super) fn resolve_space(&self, named: Option<Space>, implied: Option<Space>) -> Space {
        match (named, implied) {
            (Some(Space::Param), Some(Space::Frame)) => Space::Frame,
            (Some(Space::Param), None) if !self.state.kernel => Space::Frame,
            (Some(space), _) => space,
            (None, Some(space)) => space,
            (None, None) => Space::Generic,
        }
    }

    fn vector_length(m: &mut Mods<'_>) -> usize {
        m.find(|p| match p {
            "v2" => Some(2),
            "v4" => Some(4),
            "v8" => Some(8),
            _ => None,
        })
        .unwrap_or(1)
    }

    fn memory_element(m: &mut Mods<'_>) -> Result<(Ty, Element8)> {
        let ty = m.ty()?;
        if !matches!(ty.bits(), 8 | 16 | 32 | 64) {
            return Err(m.unsupported());
        }
        Ok((ty, Element8 { bytes: (ty.bits() / 8) as u8, signed: ty.signed() }))
    }

    fn load(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let order = if m.has("nc") { Order::ReadOnly } else { order(m) };
        drop_cache_hints(m);
        let named = m.find(space);
        let length = Self::vector_length(m);
        let (ty, element) = Self::memory_element(m)?;
        m.finish()?;
        if o.len() != 2 && o.len() != 3 {
            return count(o, 2);
        }
        let (addr, implied) = self.address(&o[1])?;
        let space = self.resolve_space(named, implied);
        let operands = self.elements(&o[0]);
        if operands.len() != length {
            return Err(DecodeError::new(format!("vector has {} elements", operands.len())));
        }
        let mut d = Vec::new();
        for operand in &operands {
            d.push(match operand {
                Operand::Sink => Reg::NONE,
                operand => self.dst(operand, ty)?,
            });
        }
        let fixed = match addr.base {
            Base::Reg(reg) if reg.is_constant() => Some(self.program.doubles[reg.index()]),
            _ => None,
        };
        match (space, fixed) {
            (Space::Param, Some(at)) if length == 1 && d[0].is_some() => {
                let offset = at.wrapping_add(addr.offset as u64) as u32;
                self.emit(Op::LoadParam { d: d[0], offset, element });
            }
            _ => self.emit(Op::Load { space, order, element, d: d.into(), addr }),
        }
        Ok(())
    }

    fn store(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let order = order(m);
        if m.has("async") || m.has("bulk") {
            return Err(m.unsupported());
        }
        drop_cache_hints(m);
        let named = m.find(space);
        let length = Self::vector_length(m);
        let (ty, element) = Self::memory_element(m)?;
        m.finish()?;
        if o.len() != 2 && o.len() != 3 {
            return count(o, 2);
        }
        let (addr, implied) = self.address(&o[0])?;
        let space = match self.resolve_space(named, implied) {
            Space::Param => Space::Frame,
            other => other,
        };
        let operands = self.elements(&o[1]);
        if operands.len() != length {
            return Err(DecodeError::new(format!("vector has {} elements", operands.len())));
        }
        let mut src = Vec::new();
        for operand in &operands {
            src.push(self.src(operand, ty)?);
        }
        self.emit(Op::Store { space, order, element, src: src.into(), addr });
        Ok(())
    }

    fn atomic(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.has("async") {
            return Err(m.unsupported());
        }
        // Atomics are relaxed unless they say otherwise.
        let order = match order(m) {
            Order::Weak => Order::Strong,
            order => order,
        };
        drop_cache_hints(m);
        m.take("noftz");
        let named = m.find(space);
        let op = m.find(atomic_op).ok_or_else(|| m.unsupported())?;
        let length = Self::vector_length(m);
        let ty = m.ty()?;
        m.finish()?;
        let atomic_type = atomic_type(op, ty).ok_or_else(|| m.unsupported())?;
        let returns = m.name == "atom";
        let first = usize::from(returns);
        let needed = first + 2 + usize::from(op == AtomicOp::Cas);
        if o.len() < needed || o.len() > needed + 1 {
            return count(o, needed);
        }
        let (addr, implied) = self.address(&o[first])?;
        let space = self.resolve_space(named, implied);
        let mut b = Vec::new();
        for operand in self.elements(&o[first + 1]) {
            b.push(self.src(&operand, ty)?);
        }
        if b.len() != length {
            return Err(DecodeError::new(format!("vector has {} elements", b.len())));
        }
        let c = if op == AtomicOp::Cas { self.src(&o[first + 2], ty)? } else { Reg::NONE };
        let mut d = Vec::new();
        if returns && o[0] != Operand::Sink {
            for operand in self.elements(&o[0]) {
                d.push(self.dst(&operand, ty)?);
            }
            if d.len() != length {
                return Err(DecodeError::new(format!("vector has {} elements", d.len())));
            }
        }
        self.emit(Op::Atomic { op, ty: atomic_type, order, space, d: d.into(), addr, b: b.into(), c });
        Ok(())
    }

    fn cvta(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let to = m.take("to");
        let window = m.find(space).ok_or_else(|| m.unsupported())?;
        let ty = m.ty()?;
        m.finish()?;
        count(o, 2)?;
        if ty.bits() != 64 {
            return Err(m.unsupported());
        }
        let a = self.src(&o[1], ty)?;
        let d = self.dst(&o[0], ty)?;
        self.emit(Op::Cvta { d, a, window, to });
        Ok(())
    }

    fn isspacep(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let window = m.find(space).ok_or_else(|| m.unsupported())?;
        m.finish()?;
        count(o, 2)?;
        let a = self.src(&o[1], Ty::Bits(64))?;
        let d = self.dst_predicate(&o[0])?;
        self.emit(Op::IsSpace { d, a, window });
        Ok(())
    }

    /// An address and its space, for instructions that need one of some spaces.
    pub(super) fn place(&mut self, named: Option<Space>, o: &Operand) -> Result<(Addr, Space)> {
        let (addr, implied) = self.address(o)?;
        Ok((addr, self.resolve_space(named, implied)))
    }
}

pub(super) fn atomic_op(name: &str) -> Option<AtomicOp> {
    Some(match name {
        "add" => AtomicOp::Add,
        "min" => AtomicOp::Min,
        "max" => AtomicOp::Max,
        "and" => AtomicOp::And,
        "or" => AtomicOp::Or,
        "xor" => AtomicOp::Xor,
        "exch" => AtomicOp::Exch,
        "cas" => AtomicOp::Cas,
        "inc" => AtomicOp::Inc,
        "dec" => AtomicOp::Dec,
        _ => return None,
    })
}

pub(super) fn atomic_type(op: AtomicOp, ty: Ty) -> Option<AtomicType> {
    let float = matches!(op, AtomicOp::Add | AtomicOp::Min | AtomicOp::Max);
    Some(match ty {
        Ty::Bits(16) if matches!(op, AtomicOp::Cas | AtomicOp::Exch) => AtomicType::B16,
        Ty::Bits(32) | Ty::Unsigned(32) => AtomicType::U32,
        Ty::Signed(32) => AtomicType::S32,
        Ty::Bits(64) | Ty::Unsigned(64) => AtomicType::U64,
        Ty::Signed(64) => AtomicType::S64,
        Ty::F32 if matches!(op, AtomicOp::Exch | AtomicOp::Cas) => AtomicType::U32,
        Ty::F64 if matches!(op, AtomicOp::Exch | AtomicOp::Cas) => AtomicType::U64,
        Ty::F32 if float => AtomicType::F32,
        Ty::F64 if float => AtomicType::F64,
        Ty::F16 if float => AtomicType::F16,
        Ty::Bf16 if float => AtomicType::Bf16,
        Ty::F16x2 if float => AtomicType::F16x2,
        Ty::Bf16x2 if float => AtomicType::Bf16x2,
        _ => return None,
    })
}
