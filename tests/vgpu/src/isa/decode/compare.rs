//! `setp`, `set`, `selp`, `slct`.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::compare::Relation;
use crate::isa::alu::{Alu, Compared, HalfType, SetResult};
use crate::isa::reg::{Class, Reg};
use crate::isa::{Logic, Op};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

/// A comparison's relation, combining operator and flushing.
struct Comparison {
    relation: Relation,
    logic: Option<Logic>,
    ftz: bool,
}

fn comparison(m: &mut Mods<'_>) -> Result<Comparison> {
    let relation = m.find(Relation::parse).ok_or_else(|| m.unsupported())?;
    let logic = m.find(|p| {
        Some(match p {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => return None,
        })
    });
    Ok(Comparison { relation, logic, ftz: m.take("ftz") })
}

fn compared(ty: Ty, ftz: bool) -> Option<Compared> {
    Some(match ty {
        Ty::F32 => Compared::F32(ftz),
        Ty::F64 => Compared::F64,
        Ty::F16 => Compared::Half(HalfType::F16, ftz),
        Ty::Bf16 => Compared::Half(HalfType::Bf16, ftz),
        _ if ty.is_integer() => Compared::Integer(ty.scalar()?),
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn comparison(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        match m.name {
            "setp" => self.setp(m, o),
            "set" => self.set(m, o),
            "selp" => self.selp(m, o),
            _ => self.slct(m, o),
        }
    }

    fn combined(&mut self, logic: Option<Logic>, o: &[Operand]) -> Result<Option<(Logic, Reg, bool)>> {
        count(o, if logic.is_some() { 4 } else { 3 })?;
        Ok(match logic {
            None => None,
            Some(logic) => {
                let (c, negate) = self.src_predicate(&o[3])?;
                Some((logic, c, negate))
            }
        })
    }

    fn setp(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let c = comparison(m)?;
        let ty = m.ty()?;
        m.finish()?;
        let with = self.combined(c.logic, o)?;
        let (a, b) = (self.src(&o[1], ty)?, self.src(&o[2], ty)?);
        let (d, q) = match &o[0] {
            Operand::Pair(d, q) => (self.dst_predicate(d)?, self.dst_predicate(q)?),
            d => (self.dst_predicate(d)?, Reg::NONE),
        };
        if let Some((half, true)) = ty.half() {
            let (relation, ftz) = (c.relation, c.ftz);
            self.emit(Op::SetpPair { relation, half, ftz, d, q, a, b, with });
            return Ok(());
        }
        let ty = compared(ty, c.ftz).ok_or_else(|| m.unsupported())?;
        self.emit(Op::Setp { relation: c.relation, ty, d, q, a, b, with });
        Ok(())
    }

    fn set(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let c = comparison(m)?;
        let (to, from) = (m.ty()?, m.ty()?);
        m.finish()?;
        if let Some((half, true)) = from.half() {
            if c.logic.is_some() {
                return Err(m.unsupported());
            }
            let result = match to {
                Ty::F16x2 => SetResult::F16,
                Ty::Bf16x2 => SetResult::Bf16,
                _ => SetResult::Ones,
            };
            return self.simple(Alu::SetPair(c.relation, half, c.ftz, result), Ty::Bits(32), o);
        }
        let with = self.combined(c.logic, o)?;
        let (a, b) = (self.src(&o[1], from)?, self.src(&o[2], from)?);
        let ty = compared(from, c.ftz).ok_or_else(|| m.unsupported())?;
        let p = self.temp(Class::Predicate);
        self.helper(Op::Setp { relation: c.relation, ty, d: p, q: Reg::NONE, a, b, with });
        let truth = match to {
            Ty::F32 => 1f32.to_bits(),
            Ty::F16 => 0x3c00,
            Ty::Bf16 => 0x3f80,
            _ if to.bits() <= 32 => u32::MAX,
            _ => return Err(m.unsupported()),
        };
        let (a, b) = (self.word(truth), self.word(0));
        let d = self.dst(&o[0], to)?;
        self.emit(Op::Selp { d, a, b, p });
        Ok(())
    }

    fn selp(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let ty = m.ty()?;
        m.finish()?;
        count(o, 4)?;
        let (a, b) = (self.src(&o[1], ty)?, self.src(&o[2], ty)?);
        let p = self.src_positive(&o[3])?;
        let d = self.dst(&o[0], ty)?;
        self.emit(Op::Selp { d, a, b, p });
        Ok(())
    }

    fn slct(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let ftz = m.take("ftz");
        let (ty, by) = (m.ty()?, m.ty()?);
        m.finish()?;
        count(o, 4)?;
        let float = match by {
            Ty::F32 => Some(ftz),
            Ty::Signed(32) => None,
            _ => return Err(m.unsupported()),
        };
        let src = [self.src(&o[1], ty)?, self.src(&o[2], ty)?, self.src(&o[3], by)?];
        let d = self.dst(&o[0], ty)?;
        let f = if ty.bits() == 64 { Alu::Slct64(float) } else { Alu::Slct32(float) };
        self.alu(f, d, &src);
        Ok(())
    }

    /// `mov`, with its packing and unpacking of vectors.
    pub(super) fn mov(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let vector = m.take("v2") || m.take("v4") || m.take("v8");
        let ty = m.ty()?;
        m.finish()?;
        count(o, 2)?;
        if ty == Ty::Pred {
            let a = self.src_positive(&o[1])?;
            let d = self.dst_predicate(&o[0])?;
            self.emit(Op::Predicate { logic: Logic::And, d, a, b: Self::predicate(true) });
            return Ok(());
        }
        let (to, mut from) = (self.elements(&o[0]), self.elements(&o[1]));
        if let (4, [Operand::Name(name)]) = (to.len(), from.as_slice())
            && ["%tid", "%ntid", "%ctaid", "%nctaid"].contains(&name.as_str())
        {
            from = ["x", "y", "z", "w"].map(|part| Operand::Name(format!("{name}.{part}"))).into();
        }
        if vector || (to.len() > 1 && to.len() == from.len()) {
            return self.mov_vector(ty, &to, &from);
        }
        if from.len() > 1 {
            return self.pack(ty, &o[0], &from);
        }
        if to.len() > 1 {
            return self.unpack(ty, &to, &o[1]);
        }
        if self.is_predicate(&o[1]) {
            return Err(DecodeError::new("a predicate cannot be moved to a number"));
        }
        let a = self.src(&o[1], ty)?;
        let d = self.dst(&o[0], ty)?;
        let f = if d.class() == Class::Double { Alu::Mov64 } else { Alu::Mov32 };
        self.alu(f, d, &[a]);
        Ok(())
    }

    fn mov_vector(&mut self, ty: Ty, to: &[Operand], from: &[Operand]) -> Result<()> {
        if to.len() != from.len() {
            return Err(DecodeError::new("vectors differ in length"));
        }
        let (class, f) = if ty.bits() == 64 { (Class::Double, Alu::Mov64) } else { (Class::Word, Alu::Mov32) };
        // Through temporaries: the vectors may share registers.
        let mut values = Vec::new();
        for operand in from {
            let a = self.src(operand, ty)?;
            values.push(self.convert(f, class, a));
        }
        for (operand, value) in to.iter().zip(values) {
            if *operand != Operand::Sink {
                let d = self.dst(operand, ty)?;
                self.alu(f, d, &[value]);
            }
        }
        Ok(())
    }

    fn pack(&mut self, ty: Ty, to: &Operand, from: &[Operand]) -> Result<()> {
        let part = ty.bits() / from.len() as u32;
        let element = Ty::Bits(part);
        let mut parts = Vec::new();
        for operand in from {
            parts.push(self.src_wide(operand, element, element.width())?);
        }
        let d = self.dst(to, ty)?;
        match (ty.bits(), part) {
            (64, 32) => self.alu(Alu::Join, d, &parts),
            (32, 16) => self.alu(Alu::Join16, d, &parts),
            (64, 16) => {
                let low = self.join16(parts[0], parts[1]);
                let high = self.join16(parts[2], parts[3]);
                self.alu(Alu::Join, d, &[low, high]);
            }
            (16 | 32, 8) => {
                let mut packed = self.word(0);
                for (i, value) in parts.into_iter().enumerate() {
                    let (at, width) = (self.word(8 * i as u32), self.word(8));
                    let sum = self.temp(Class::Word);
                    let src = Box::new([value, packed, at, width]);
                    self.helper(Op::Alu4 { f: Alu::Bfi32, d: sum, src });
                    packed = sum;
                }
                self.alu(Alu::Mov32, d, &[packed]);
            }
            _ => return Err(DecodeError::new("this packing is not supported")),
        }
        Ok(())
    }

    fn join16(&mut self, a: Reg, b: Reg) -> Reg {
        let d = self.temp(Class::Word);
        self.helper(Op::Alu { f: Alu::Join16, d, a, b, c: Reg::NONE });
        d
    }

    fn unpack(&mut self, ty: Ty, to: &[Operand], from: &Operand) -> Result<()> {
        let part = ty.bits() / to.len() as u32;
        let a = self.src(from, ty)?;
        let words = match (ty.bits(), part) {
            (64, 32) | (64, 16) => {
                vec![self.convert(Alu::Low, Class::Word, a), self.convert(Alu::High, Class::Word, a)]
            }
            (32, 16) | (16 | 32, 8) => vec![self.convert(Alu::Mov32, Class::Word, a)],
            _ => return Err(DecodeError::new("this unpacking is not supported")),
        };
        for (i, operand) in to.iter().enumerate() {
            if *operand == Operand::Sink {
                continue;
            }
            let bit = i as u32 * part;
            let word = words[(bit / 32) as usize];
            let d = self.dst(operand, Ty::Bits(part))?;
            match part {
                32 => self.alu(Alu::Mov32, d, &[word]),
                16 => self.alu(if bit.is_multiple_of(32) { Alu::Low16 } else { Alu::High16 }, d, &[word]),
                _ => {
                    let (at, width) = (self.word(bit % 32), self.word(8));
                    self.alu(Alu::Bfe32(false), d, &[word, at, width]);
                }
            }
        }
        Ok(())
    }
}
