//! Integer arithmetic, bits and logic; sums and products of all types start here.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::bits::Permute;
use crate::arith::convert::Type;
use crate::isa::alu::{Alu, Width};
use crate::isa::reg::{Class, Reg};
use crate::isa::{Logic, Op};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

/// The operation of this width.
fn by_width(ty: Ty, word: Alu, double: Alu) -> Alu {
    if ty.width() == Width::D { double } else { word }
}

impl Decoder<'_> {
    pub(super) fn arithmetic(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        match m.name {
            "dp4a" | "dp2a" => return self.dot_product(m, o),
            "shf" | "lop3" | "prmt" | "bfe" | "bfi" | "bfind" | "fns" | "bmsk" | "szext" | "popc" | "clz" | "brev"
            | "cnot" | "shl" | "shr" => return self.bits(m, o),
            "and" | "or" | "xor" | "not" => return self.logic(m, o),
            "addc" | "subc" | "madc" => return self.carry(m, o),
            _ if m.has("cc") => return self.carry(m, o),
            _ => {}
        }
        let mut probe = m.find(Ty::parse).ok_or_else(|| m.unsupported())?;
        if m.name == "fma" && probe.is_integer() {
            return Err(m.unsupported());
        }
        if !probe.is_integer() && !matches!(probe, Ty::U16x2 | Ty::S16x2) {
            // fma.rn.bf16x2.f32 and its like name two types; only equal ones are executed.
            if let Some(second) = m.find(Ty::parse) {
                if second != probe {
                    return self.mixed(m, probe, second, o);
                }
                probe = second;
            }
            return self.float_arithmetic(m, probe, o);
        }
        self.integer(m, probe, o)
    }

    fn integer(&mut self, m: &mut Mods<'_>, ty: Ty, o: &[Operand]) -> Result<()> {
        let pair = matches!(ty, Ty::U16x2 | Ty::S16x2);
        let scalar = match ty {
            Ty::U16x2 => Type::U16,
            Ty::S16x2 => Type::S16,
            _ => ty.scalar().filter(|t| t.bits() >= 16).ok_or_else(|| m.unsupported())?,
        };
        let sat = m.take("sat");
        let (hi, lo, wide) = (m.take("hi"), m.take("lo"), m.take("wide"));
        let relu = m.take("relu");
        let f = match m.name {
            "add" if pair => Alu::Add16x2,
            "min" if pair => Alu::Min16x2(scalar, relu),
            "max" if pair => Alu::Max16x2(scalar, relu),
            _ if pair => return Err(m.unsupported()),
            "min" if relu && scalar == Type::S32 => Alu::ExtremumRelu(false),
            "max" if relu && scalar == Type::S32 => Alu::ExtremumRelu(true),
            _ if relu => return Err(m.unsupported()),
            "add" if sat && scalar == Type::S32 => Alu::AddSat,
            "sub" if sat && scalar == Type::S32 => Alu::SubSat,
            "mad" if sat && hi && scalar == Type::S32 => Alu::MadHiSat,
            "mad24" => Alu::Mad24 { high: hi, signed: ty.signed(), sat },
            _ if sat => return Err(m.unsupported()),
            "add" => by_width(ty, Alu::Add32, Alu::Add64),
            "sub" => by_width(ty, Alu::Sub32, Alu::Sub64),
            "mul" if hi => Alu::MulHi(scalar),
            "mul" if wide => Alu::MulWide(scalar),
            "mul" if lo => by_width(ty, Alu::Mul32, Alu::Mul64),
            "mad" if hi => Alu::MadHi(scalar),
            "mad" if wide => Alu::MadWide(scalar),
            "mad" if lo => by_width(ty, Alu::Mad32, Alu::Mad64),
            "mul24" => Alu::Mul24 { high: hi, signed: ty.signed() },
            "div" => Alu::Div(scalar),
            "rem" => Alu::Rem(scalar),
            "min" => Alu::Min(scalar),
            "max" => Alu::Max(scalar),
            "abs" => Alu::Abs(scalar),
            "neg" => by_width(ty, Alu::Neg32, Alu::Neg64),
            "sad" => Alu::Sad(scalar),
            _ => return Err(m.unsupported()),
        };
        // Untyped bits have no product of twice their width.
        if wide && (scalar.bits() > 32 || !matches!(ty, Ty::Signed(_) | Ty::Unsigned(_))) {
            return Err(m.unsupported());
        }
        m.finish()?;
        // Wide results have twice the bits: their third operand too.
        let result = if wide { double_width(ty) } else { ty };
        let (_, widths) = f.shape();
        count(o, widths.len() + 1)?;
        let mut src = Vec::new();
        for (i, operand) in o[1..].iter().enumerate() {
            src.push(self.src(operand, if i == 2 { result } else { ty })?);
        }
        let d = self.dst(&o[0], result)?;
        self.alu(f, d, &src);
        Ok(())
    }

    fn dot_product(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let (hi, lo) = (m.take("hi"), m.take("lo"));
        let (a, b) = (m.ty()?, m.ty()?);
        let f = match m.name {
            "dp4a" => Alu::Dp4a { a_signed: a.signed(), b_signed: b.signed() },
            _ if hi != lo => Alu::Dp2a { a_signed: a.signed(), b_signed: b.signed(), high: hi },
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        self.simple(f, Ty::Signed(32), o)
    }

    /// An operation whose operands are all of one type but for what its shape says.
    pub(super) fn simple(&mut self, f: Alu, ty: Ty, o: &[Operand]) -> Result<()> {
        let (to, widths) = f.shape();
        count(o, widths.len() + 1)?;
        let mut src = Vec::new();
        for (operand, width) in o[1..].iter().zip(widths) {
            let ty = if *width == ty.width() { ty } else { Ty::Unsigned(32) };
            src.push(self.src_wide(operand, ty, *width)?);
        }
        let d = self.dst_wide(&o[0], to, ty.signed())?;
        self.alu(f, d, &src);
        Ok(())
    }

    fn bits(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let wrap = m.take("wrap");
        let clamp = m.take("clamp");
        let left = m.take("l");
        let right = m.take("r");
        let shift_amount = m.take("shiftamt");
        let permute = m.find(|p| {
            Some(match p {
                "f4e" => Permute::Forward,
                "b4e" => Permute::Backward,
                "rc8" => Permute::ReplicateByte,
                "ecl" => Permute::EdgeLeft,
                "ecr" => Permute::EdgeRight,
                "rc16" => Permute::ReplicateHalf,
                _ => return None,
            })
        });
        let logic = m.find(|p| (p == "and" || p == "or").then_some(p));
        let ty = m.ty()?;
        let scalar = ty.scalar().filter(|t| t.bits() >= 16).ok_or_else(|| m.unsupported())?;
        let signed = ty.signed();
        if let ("lop3", Some(_)) = (m.name, logic) {
            return self.lop3_predicate(logic == Some("or"), m, o);
        }
        let f = match m.name {
            "shl" if ty.bits() == 16 => Alu::Shl16,
            "shl" => by_width(ty, Alu::Shl32, Alu::Shl64),
            "shr" => Alu::Shr(scalar),
            "shf" if left != right && wrap != clamp => Alu::Shf { left, wrap },
            "lop3" => return self.lop3(m, o),
            "prmt" => Alu::Prmt(permute.unwrap_or_default()),
            "bfe" => by_width(ty, Alu::Bfe32(signed), Alu::Bfe64(signed)),
            "bfi" => by_width(ty, Alu::Bfi32, Alu::Bfi64),
            "bfind" => by_width(ty, Alu::Bfind32 { signed, shift_amount }, Alu::Bfind64 { signed, shift_amount }),
            "fns" => Alu::Fns,
            "bmsk" => Alu::Bmsk(clamp),
            "szext" => Alu::Szext { clamp, signed },
            "popc" => by_width(ty, Alu::Popc32, Alu::Popc64),
            "clz" => by_width(ty, Alu::Clz32, Alu::Clz64),
            "brev" => by_width(ty, Alu::Brev32, Alu::Brev64),
            "cnot" => Alu::Cnot(scalar),
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        self.simple(f, ty, o)
    }

    fn table(operand: &Operand) -> Result<u8> {
        match operand {
            Operand::Int(value) => Ok(*value as u8),
            _ => Err(DecodeError::new("the table of lop3 must be a constant")),
        }
    }

    fn lop3(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        m.finish()?;
        count(o, 5)?;
        self.simple(Alu::Lop3(Self::table(&o[4])?), Ty::Bits(32), &o[..4])
    }

    /// `lop3.and.b32 d|p, a, b, c, table, q`: `p = (d ≠ 0) and q`.
    fn lop3_predicate(&mut self, or: bool, m: &Mods<'_>, o: &[Operand]) -> Result<()> {
        m.finish()?;
        count(o, 6)?;
        let Operand::Pair(d, p) = &o[0] else { return Err(m.unsupported()) };
        let word = Ty::Bits(32);
        let src = [self.src(&o[1], word)?, self.src(&o[2], word)?, self.src(&o[3], word)?];
        let q = self.src_positive(&o[5])?;
        let (d, p) = (self.dst(d, word)?, self.dst_predicate(p)?);
        let truth = self.temp(Class::Predicate);
        self.alu(Alu::Lop3(Self::table(&o[4])?), d, &src);
        self.push(Op::ToPredicate { d: truth, a: d }, true);
        let logic = if or { Logic::Or } else { Logic::And };
        self.push(Op::Predicate { logic, d: p, a: truth, b: q }, true);
        Ok(())
    }

    fn logic(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let ty = m.ty()?;
        m.finish()?;
        if ty == Ty::Pred {
            count(o, if m.name == "not" { 2 } else { 3 })?;
            let a = self.src_positive(&o[1])?;
            let b = if m.name == "not" { Self::predicate(true) } else { self.src_positive(&o[2])? };
            let d = self.dst_predicate(&o[0])?;
            let logic = match m.name {
                "and" => Logic::And,
                "or" => Logic::Or,
                _ => Logic::Xor,
            };
            self.emit(Op::Predicate { logic, d, a, b });
            return Ok(());
        }
        if !ty.is_integer() || !(16..=64).contains(&ty.bits()) {
            return Err(m.unsupported());
        }
        let f = match m.name {
            "and" => by_width(ty, Alu::And32, Alu::And64),
            "or" => by_width(ty, Alu::Or32, Alu::Or64),
            "xor" => by_width(ty, Alu::Xor32, Alu::Xor64),
            _ => by_width(ty, Alu::Not32, Alu::Not64),
        };
        self.simple(f, ty, o)
    }

    /// `add.cc`, `addc`, `mad.lo.cc`, …: a product becomes an operand of a carrying sum.
    fn carry(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let sets = m.take("cc");
        let uses = m.name.ends_with('c');
        let (hi, lo) = (m.take("hi"), m.take("lo"));
        let ty = m.ty()?;
        let scalar = ty.scalar().filter(|t| t.bits() >= 32).ok_or_else(|| m.unsupported())?;
        m.finish()?;
        let product = m.name.starts_with("mad");
        if product && hi == lo {
            return Err(m.unsupported());
        }
        count(o, if product { 4 } else { 3 })?;
        let mut a = self.src(&o[1], ty)?;
        let mut b = self.src(&o[2], ty)?;
        if product {
            let class = if ty.width() == Width::D { Class::Double } else { Class::Word };
            let f = if hi { Alu::MulHi(scalar) } else { by_width(ty, Alu::Mul32, Alu::Mul64) };
            let d = self.temp(class);
            self.helper(Op::Alu { f, d, a, b, c: Reg::NONE });
            a = d;
            b = self.src(&o[3], ty)?;
        }
        let flag = match self.state.carry {
            Some(flag) => flag,
            None => {
                let flag = self.temp(Class::Predicate);
                self.state.carry = Some(flag);
                flag
            }
        };
        let d = self.dst(&o[0], ty)?;
        self.emit(Op::Carry {
            subtract: m.name.starts_with("sub"),
            d,
            a,
            b,
            carry_in: if uses { flag } else { Self::predicate(false) },
            carry_out: if sets { flag } else { Reg::NONE },
        });
        Ok(())
    }
}

/// The type with twice the bits.
fn double_width(ty: Ty) -> Ty {
    match ty {
        Ty::Signed(b) => Ty::Signed(2 * b),
        Ty::Unsigned(b) => Ty::Unsigned(2 * b),
        other => other,
    }
}
