//! Asynchronous copies, barriers in memory and warpgroup products.

use super::matrix::accumulator;
use super::memory::{atomic_op, atomic_type, drop_cache_hints, space};
use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::matrix::element::Element;
use crate::arith::matrix::layout::Shape;
use crate::isa::reg::Reg;
use crate::isa::{Bulk, Mbarrier, Op, Space, Wgmma};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

const WORD: Ty = Ty::Bits(32);

fn integer(operand: &Operand) -> Result<u64> {
    match operand {
        Operand::Int(value) => Ok(*value),
        _ => Err(DecodeError::new("an operand must be a constant")),
    }
}

impl Decoder<'_> {
    /// `cp.async` and all that starts with `cp`.
    pub(super) fn copy(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let reduce = m.take("reduce");
        if !m.take("async") {
            return Err(m.unsupported());
        }
        if m.take("bulk") {
            return self.bulk(reduce, m, o);
        }
        if m.take("commit_group") {
            m.finish()?;
            self.emit(Op::CopyCommit);
            return Ok(());
        }
        if m.take("wait_all") {
            m.finish()?;
            self.emit(Op::CopyWait { pending: None });
            return Ok(());
        }
        if m.take("wait_group") {
            m.finish()?;
            count(o, 1)?;
            self.emit(Op::CopyWait { pending: Some(integer(&o[0])? as u32) });
            return Ok(());
        }
        if m.take("mbarrier") || m.has("mbarrier::arrive") {
            if !m.take("arrive") {
                return Err(m.unsupported());
            }
            let extra = !m.take("noinc");
            let named = m.find(space);
            m.take("b64");
            m.finish()?;
            count(o, 1)?;
            let (addr, space) = self.place(named, &o[0])?;
            self.emit(Op::CopyArrive { addr, space, extra });
            return Ok(());
        }
        drop_cache_hints(m);
        let to_named = m.find(space);
        let from_named = m.find(space);
        m.finish()?;
        if o.len() < 3 {
            return count(o, 3);
        }
        let (to, to_space) = self.place(to_named, &o[0])?;
        let (from, from_space) = self.place(from_named, &o[1])?;
        let bytes = integer(&o[2])? as u32;
        if !matches!(bytes, 4 | 8 | 16) {
            return Err(m.unsupported());
        }
        let (mut size, mut ignore) = (Reg::NONE, Reg::NONE);
        if let Some(operand) = o.get(3) {
            if self.is_predicate(operand) {
                ignore = self.src_positive(operand)?;
            } else if self.src(operand, WORD)?.class() == crate::isa::reg::Class::Word && o.len() <= 5 {
                // A fourth operand of 64 bits is a cache policy.
                let policy = o.len() == 4 && self.is_double(operand);
                size = if policy { Reg::NONE } else { self.src(operand, WORD)? };
            }
        }
        self.emit(Op::CopyAsync { to, to_space, from, from_space, bytes, size, ignore });
        Ok(())
    }

    fn is_double(&self, operand: &Operand) -> bool {
        let Operand::Name(name) = operand else { return false };
        let set = self.state.scopes.register(name);
        set.is_some_and(|s| s.class == crate::isa::reg::Class::Double)
    }

    fn bulk(&mut self, reduce: bool, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.take("commit_group") {
            m.finish()?;
            self.emit(Op::Nop);
            return Ok(());
        }
        // Bulk copies land at issue, so their groups have nothing left to wait for.
        if m.take("wait_group") {
            m.take("read");
            m.finish()?;
            self.emit(Op::Nop);
            return Ok(());
        }
        if m.take("prefetch") {
            self.emit(Op::Nop);
            return Ok(());
        }
        drop_cache_hints(m);
        m.take("bulk_group");
        let counted = m.take("mbarrier::complete_tx::bytes");
        if m.has("tensor") || m.has("multicast::cluster") {
            return Err(m.unsupported());
        }
        let op = m.find(atomic_op);
        let spaces = (m.find(space), m.find(space));
        m.take("noftz");
        let ty = m.find(Ty::parse);
        m.finish()?;
        let atomic = match (reduce, op, ty) {
            (true, Some(op), Some(ty)) => Some((op, atomic_type(op, ty).ok_or_else(|| m.unsupported())?)),
            (false, None, None) => None,
            _ => return Err(m.unsupported()),
        };
        let load = match spaces {
            (Some(Space::Shared | Space::SharedCluster), Some(Space::Global)) => true,
            (Some(Space::Global), Some(Space::Shared)) => false,
            _ => return Err(m.unsupported()),
        };
        let bulk = match load {
            true if counted && o.len() >= 4 => Bulk::Load {
                to: self.address(&o[0])?.0,
                from: self.address(&o[1])?.0,
                bytes: self.src(&o[2], WORD)?,
                mbarrier: self.address(&o[3])?.0,
            },
            false if o.len() >= 3 => Bulk::Store {
                to: self.address(&o[0])?.0,
                from: self.address(&o[1])?.0,
                bytes: self.src(&o[2], WORD)?,
                reduce: atomic,
            },
            _ => return Err(m.unsupported()),
        };
        self.emit(Op::Bulk(Box::new(bulk)));
        Ok(())
    }

    pub(super) fn hopper(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        match m.name {
            "mbarrier" => self.mbarrier(m, o),
            "wgmma" => self.wgmma(m, o),
            _ => {
                let space = m.find(space).unwrap_or(Space::Generic);
                let ty = m.ty()?;
                m.finish()?;
                if m.name == "mapa" {
                    count(o, 3)?;
                    let (a, rank) = (self.src(&o[1], ty)?, self.src(&o[2], WORD)?);
                    let d = self.dst(&o[0], ty)?;
                    self.emit(Op::Mapa { d, a, rank, space });
                } else {
                    count(o, 2)?;
                    let a = self.src(&o[1], if space == Space::Generic { Ty::Bits(64) } else { ty })?;
                    let d = self.dst(&o[0], WORD)?;
                    self.emit(Op::GetCtaRank { d, a, space });
                }
                Ok(())
            }
        }
    }

    fn mbarrier(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        m.drop_if(|p| matches!(p, "release" | "acquire" | "relaxed" | "cta" | "cluster"));
        let name = m.next().ok_or_else(|| m.unsupported())?;
        let parity = m.take("parity");
        let (expect, drop) = (m.take("expect_tx"), name == "arrive_drop");
        m.take("noComplete");
        let named = m.find(space);
        m.take("b64");
        m.finish()?;
        if name == "pending_count" {
            count(o, 2)?;
            let state = self.src(&o[1], Ty::Bits(64))?;
            let what = Mbarrier::Pending { count: self.dst(&o[0], WORD)?, state };
            let addr = crate::isa::Addr { base: crate::isa::Base::Reg(self.double(0)), offset: 0 };
            self.emit(Op::Mbarrier { what: Box::new(what), addr, space: Space::Shared });
            return Ok(());
        }
        let waits = name == "test_wait" || name == "try_wait";
        let returns =
            waits || (matches!(name, "arrive" | "arrive_drop") && !matches!(o.first(), Some(Operand::Address { .. })));
        let first = usize::from(returns);
        let address = o.get(first).ok_or_else(|| m.unsupported())?;
        let (addr, space) = self.place(named, address)?;
        let operand = o.get(first + 1);
        let what = match name {
            "init" => Mbarrier::Init(self.src(operand.ok_or_else(|| m.unsupported())?, WORD)?),
            "inval" => Mbarrier::Invalidate,
            "expect_tx" => Mbarrier::Expect(self.src(operand.ok_or_else(|| m.unsupported())?, WORD)?),
            "complete_tx" => Mbarrier::Complete(self.src(operand.ok_or_else(|| m.unsupported())?, WORD)?),
            "arrive" | "arrive_drop" => {
                let number = match operand {
                    Some(operand) => self.src(operand, WORD)?,
                    None => Reg::NONE,
                };
                let state = match &o[0] {
                    Operand::Sink => Reg::NONE,
                    state if returns => self.dst(state, Ty::Bits(64))?,
                    _ => Reg::NONE,
                };
                let (count, expect) = if expect { (Reg::NONE, number) } else { (number, Reg::NONE) };
                Mbarrier::Arrive { state, count, expect, drop }
            }
            "test_wait" | "try_wait" => {
                let ty = if parity { WORD } else { Ty::Bits(64) };
                let state = self.src(operand.ok_or_else(|| m.unsupported())?, ty)?;
                let done = self.dst_predicate(&o[0])?;
                Mbarrier::Test { done, state, parity, suspends: name == "try_wait" }
            }
            _ => return Err(m.unsupported()),
        };
        self.emit(Op::Mbarrier { what: Box::new(what), addr, space });
        Ok(())
    }

    fn wgmma(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        // Products are done at issue: fences and groups have nothing left to order.
        if m.take("fence") || m.take("commit_group") || m.take("wait_group") {
            m.take("sync");
            m.take("aligned");
            m.finish()?;
            self.emit(Op::Nop);
            return Ok(());
        }
        if !m.take("mma_async") || m.has("sp") {
            return Err(m.unsupported());
        }
        m.take("sync");
        m.take("aligned");
        let shape = m.find(Shape::parse).ok_or_else(|| m.unsupported())?;
        let saturate = m.take("satfinite");
        let d_type = m.next().and_then(accumulator).ok_or_else(|| m.unsupported())?;
        let a_type = m.next().and_then(Element::parse).ok_or_else(|| m.unsupported())?;
        let b_type = m.next().and_then(Element::parse).ok_or_else(|| m.unsupported())?;
        m.finish()?;
        let known = matches!(
            a_type,
            Element::F16 | Element::Bf16 | Element::Tf32 | Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8
        );
        let depth = 256 / a_type.bits().max(1);
        if !known || shape.m != 64 || shape.k != depth || shape.n % 8 != 0 || shape.n > 256 || o.len() < 3 {
            return Err(m.unsupported());
        }
        // d, a, b{, scale-d{, imm-scale-a, imm-scale-b{, trans-a{, trans-b}}}}.
        let a_registers = matches!(o[1], Operand::Vector(_));
        let a = self.fragment(&o[1], true, if a_registers { WORD } else { Ty::Bits(64) })?;
        let b = self.src(&o[2], Ty::Bits(64))?;
        let scale_d = match o.get(3) {
            None => Reg::NONE,
            Some(operand) => self.src_positive(operand)?,
        };
        let constant = |i: usize| o.get(i).map_or(Ok(0), integer);
        let negative = |i: usize| Ok::<bool, DecodeError>((constant(i)? as i64) < 0);
        let negate = (negative(4)?, negative(5)?);
        let transposed = if a_registers { (false, constant(6)? == 1) } else { (constant(6)? == 1, constant(7)? == 1) };
        // D is read as well as written.
        let d = self.fragment(&o[0], false, WORD)?;
        let bits = d_type.bits();
        if d.len() != 64 * shape.n * bits / (128 * 32) || (a_registers && a.len() != 4) {
            return Err(DecodeError::new("fragments have other sizes"));
        }
        self.emit(Op::Wgmma(Box::new(Wgmma {
            shape,
            a_type,
            b_type,
            d_type,
            d,
            a,
            a_registers,
            b,
            scale_d,
            negate,
            transposed,
            saturate,
        })));
        Ok(())
    }
}
