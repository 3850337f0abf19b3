//! Collectives of a warp and barriers of a block.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::isa::reg::{Class, Reg};
use crate::isa::{BarrierKind, Op, Redux, Shuffle, Vote};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

const WORD: Ty = Ty::Bits(32);

impl Decoder<'_> {
    pub(super) fn warp(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        match m.name {
            "bar" | "barrier" => return self.barrier(m, o),
            "activemask" => {
                m.ty()?;
                m.finish()?;
                count(o, 1)?;
                let d = self.dst(&o[0], WORD)?;
                self.emit(Op::ActiveMask { d });
                return Ok(());
            }
            _ => {}
        }
        // Without .sync, for targets before sm_70, they take the lanes that are there.
        let sync = m.take("sync");
        if !sync && !matches!(m.name, "shfl" | "vote") {
            return Err(m.unsupported());
        }
        match m.name {
            "shfl" => self.shfl(sync, m, o),
            "vote" => self.vote(sync, m, o),
            "match" => self.match_(m, o),
            "redux" => self.redux(m, o),
            _ => {
                m.finish()?;
                count(o, 2)?;
                let mask = self.src(&o[1], WORD)?;
                let (d, p) = match &o[0] {
                    Operand::Pair(d, p) => (self.dst(d, WORD)?, self.dst_predicate(p)?),
                    d => (self.dst(d, WORD)?, Reg::NONE),
                };
                self.emit(Op::Elect { d, p, mask });
                Ok(())
            }
        }
    }

    /// The lanes that execute the instruction.
    fn active_mask(&mut self) -> Reg {
        let d = self.temp(Class::Word);
        self.push(Op::ActiveMask { d }, true);
        d
    }

    fn shfl(&mut self, sync: bool, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let mode = m.find(|p| {
            Some(match p {
                "up" => Shuffle::Up,
                "down" => Shuffle::Down,
                "bfly" => Shuffle::Butterfly,
                "idx" => Shuffle::Index,
                _ => return None,
            })
        });
        let mode = mode.ok_or_else(|| m.unsupported())?;
        if m.ty()?.bits() != 32 {
            return Err(m.unsupported());
        }
        m.finish()?;
        count(o, if sync { 5 } else { 4 })?;
        let a = self.src(&o[1], WORD)?;
        let (b, c) = (self.src(&o[2], WORD)?, self.src(&o[3], WORD)?);
        let mask = if sync { self.src(&o[4], WORD)? } else { self.active_mask() };
        let (d, p) = match &o[0] {
            Operand::Pair(d, p) => (self.dst(d, WORD)?, self.dst_predicate(p)?),
            d => (self.dst(d, WORD)?, Reg::NONE),
        };
        self.emit(Op::Shfl { mode, d, p, a, b, c, mask });
        Ok(())
    }

    fn vote(&mut self, sync: bool, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let mode = m.find(|p| {
            Some(match p {
                "all" => Vote::All,
                "any" => Vote::Any,
                "uni" => Vote::Uniform,
                "ballot" => Vote::Ballot,
                _ => return None,
            })
        });
        let mode = mode.ok_or_else(|| m.unsupported())?;
        m.ty()?;
        m.finish()?;
        count(o, if sync { 3 } else { 2 })?;
        let (a, negate) = self.src_predicate(&o[1])?;
        let mask = if sync { self.src(&o[2], WORD)? } else { self.active_mask() };
        let d = if mode == Vote::Ballot { self.dst(&o[0], WORD)? } else { self.dst_predicate(&o[0])? };
        self.emit(Op::Vote { mode, d, a, negate, mask });
        Ok(())
    }

    fn match_(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let all = m.take("all");
        if !all && !m.take("any") {
            return Err(m.unsupported());
        }
        let ty = m.ty()?;
        m.finish()?;
        count(o, 3)?;
        let a = self.src(&o[1], ty)?;
        let mask = self.src(&o[2], WORD)?;
        let (d, p) = match &o[0] {
            Operand::Pair(d, p) if all => (self.dst(d, WORD)?, self.dst_predicate(p)?),
            d => (self.dst(d, WORD)?, Reg::NONE),
        };
        self.emit(Op::Match { all, d, p, a, mask });
        Ok(())
    }

    fn redux(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let name = m.find(|p| ["add", "min", "max", "and", "or", "xor"].contains(&p).then_some(p));
        let (abs, nan) = (m.take("abs"), m.take("NaN"));
        let ty = m.ty()?;
        m.finish()?;
        let op = match (name.unwrap_or(""), ty) {
            ("min" | "max", Ty::F32) => Redux::Float { max: name == Some("max"), abs, nan },
            _ if abs || nan || ty.bits() != 32 || !ty.is_integer() => return Err(m.unsupported()),
            ("add", _) => Redux::Add,
            ("min", Ty::Signed(_)) => Redux::MinS,
            ("max", Ty::Signed(_)) => Redux::MaxS,
            ("min", _) => Redux::MinU,
            ("max", _) => Redux::MaxU,
            ("and", _) => Redux::And,
            ("or", _) => Redux::Or,
            ("xor", _) => Redux::Xor,
            _ => return Err(m.unsupported()),
        };
        count(o, 3)?;
        let a = self.src(&o[1], ty)?;
        let mask = self.src(&o[2], WORD)?;
        let d = self.dst(&o[0], ty)?;
        self.emit(Op::Redux { op, d, a, mask });
        Ok(())
    }

    fn barrier(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.take("warp") {
            if !m.take("sync") {
                return Err(m.unsupported());
            }
            m.finish()?;
            count(o, 1)?;
            let mask = self.src(&o[0], WORD)?;
            self.emit(Op::WarpSync { mask });
            return Ok(());
        }
        if m.take("cluster") {
            let (arrive, wait) = (m.take("arrive"), m.take("wait"));
            m.drop_if(|p| matches!(p, "release" | "relaxed" | "acquire"));
            let aligned = m.take("aligned");
            m.finish()?;
            match (arrive, wait) {
                (true, false) => self.emit(Op::ClusterArrive { aligned }),
                (false, true) => self.emit(Op::ClusterWait { aligned }),
                _ => return Err(m.unsupported()),
            }
            return Ok(());
        }
        m.take("cta");
        let aligned = m.take("aligned") || m.name == "bar";
        let reduces = m.take("red");
        let kind = m.find(|p| {
            Some(match p {
                "sync" => BarrierKind::Sync,
                "arrive" => BarrierKind::Arrive,
                "popc" => BarrierKind::Popc,
                "and" => BarrierKind::And,
                "or" => BarrierKind::Or,
                _ => return None,
            })
        });
        let kind = kind.ok_or_else(|| m.unsupported())?;
        if reduces {
            m.ty()?;
        }
        m.finish()?;
        if reduces != matches!(kind, BarrierKind::Popc | BarrierKind::And | BarrierKind::Or) {
            return Err(m.unsupported());
        }
        // red: d, a{, b}, {!}c; sync and arrive: a{, b}.
        let (d, p, negate, numbers) = if reduces {
            if o.len() < 3 {
                return count(o, 3);
            }
            let (p, negate) = self.src_predicate(&o[o.len() - 1])?;
            let d = if kind == BarrierKind::Popc { self.dst(&o[0], WORD)? } else { self.dst_predicate(&o[0])? };
            (d, p, negate, &o[1..o.len() - 1])
        } else {
            (Reg::NONE, Reg::NONE, false, o)
        };
        let (id, threads) = match numbers {
            [] => return Err(DecodeError::new("lacks a barrier")),
            [id] => (self.src(id, WORD)?, Reg::NONE),
            [id, threads] => (self.src(id, WORD)?, self.src(threads, WORD)?),
            _ => return count(o, 2),
        };
        if kind == BarrierKind::Arrive && !threads.is_some() {
            return Err(DecodeError::new("an arrival needs a number of threads"));
        }
        self.emit(Op::Barrier { kind, aligned, id, count: threads, d, p, negate });
        Ok(())
    }
}
