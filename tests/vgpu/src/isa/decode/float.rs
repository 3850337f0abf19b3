//! Floating-point arithmetic.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::convert::{Cvt, Type};
use crate::arith::float::{Extremum, Mode, Property};
use crate::arith::half;
use crate::arith::soft::Round;
use crate::isa::Op;
use crate::isa::alu::{Alu, Width};
use crate::isa::reg::{Class, Reg};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

impl Decoder<'_> {
    /// `add sub mul fma mad div min max abs neg` of floating-point types.
    pub(super) fn float_arithmetic(&mut self, m: &mut Mods<'_>, ty: Ty, o: &[Operand]) -> Result<()> {
        if ty.half().is_some() {
            return self.half_arithmetic(m, ty, o);
        }
        let (approx, full) = (m.take("approx"), m.take("full"));
        let round = m.round();
        let (ftz, sat) = (m.take("ftz"), m.take("sat"));
        let mode = Mode { round: round.unwrap_or(Round::Rn), ftz, sat };
        let extremum = Extremum { max: m.name == "max", ftz, nan: m.take("NaN"), xorsign: m.take("xorsign") };
        if extremum.xorsign && !m.take("abs") {
            return Err(m.unsupported());
        }
        let f = match (m.name, ty) {
            ("add", Ty::F32) => Alu::AddF32(mode),
            ("sub", Ty::F32) => Alu::SubF32(mode),
            ("mul", Ty::F32) => Alu::MulF32(mode),
            ("fma" | "mad", Ty::F32) => Alu::FmaF32(mode),
            ("div", Ty::F32) if full => Alu::DivFullF32(ftz),
            ("div", Ty::F32) if approx => Alu::DivApproxF32(ftz),
            // Before rounding modifiers existed, div.f32 meant the full-range approximation.
            ("div", Ty::F32) if round.is_none() => Alu::DivFullF32(ftz),
            ("div", Ty::F32) => Alu::DivF32(mode),
            ("min" | "max", Ty::F32) => {
                m.finish()?;
                return self.extremum(Alu::ExtremumF32(extremum), ty, o);
            }
            ("abs", Ty::F32) => Alu::AbsF32(ftz),
            ("neg", Ty::F32) => Alu::NegF32(ftz),
            ("add", Ty::F32x2) => Alu::AddF32x2(mode),
            ("sub", Ty::F32x2) => Alu::SubF32x2(mode),
            ("mul", Ty::F32x2) => Alu::MulF32x2(mode),
            ("fma", Ty::F32x2) => Alu::FmaF32x2(mode),
            ("add", Ty::F64) => Alu::AddF64(mode),
            ("sub", Ty::F64) => Alu::SubF64(mode),
            ("mul", Ty::F64) => Alu::MulF64(mode),
            ("fma" | "mad", Ty::F64) => Alu::FmaF64(mode),
            ("div", Ty::F64) => Alu::DivF64(mode),
            ("min" | "max", Ty::F64) if !extremum.nan && !extremum.xorsign => Alu::ExtremumF64(extremum.max),
            ("abs", Ty::F64) => Alu::AbsF64,
            ("neg", Ty::F64) => Alu::NegF64,
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        self.simple(f, ty, o)
    }

    /// `min` and `max` of two or three operands.
    fn extremum(&mut self, f: Alu, ty: Ty, o: &[Operand]) -> Result<()> {
        if o.len() != 4 {
            return self.simple(f, ty, o);
        }
        let (a, b) = (self.src(&o[1], ty)?, self.src(&o[2], ty)?);
        let c = self.src(&o[3], ty)?;
        let partial = self.temp(Class::Word);
        self.helper(Op::Alu { f, d: partial, a, b, c: Reg::NONE });
        let d = self.dst(&o[0], ty)?;
        self.alu(f, d, &[partial, c]);
        Ok(())
    }

    fn half_arithmetic(&mut self, m: &mut Mods<'_>, ty: Ty, o: &[Operand]) -> Result<()> {
        let Some((half, pair)) = ty.half() else { return Err(m.unsupported()) };
        let round = m.round();
        if !matches!(round, None | Some(Round::Rn)) {
            return Err(m.unsupported());
        }
        m.take("noftz");
        let mode = half::Mode { ftz: m.take("ftz"), sat: m.take("sat"), relu: m.take("relu") };
        let extremum = Extremum { max: m.name == "max", ftz: mode.ftz, nan: m.take("NaN"), xorsign: m.take("xorsign") };
        if extremum.xorsign && !m.take("abs") {
            return Err(m.unsupported());
        }
        let f = match m.name {
            "add" => Alu::AddHalf(half, mode, pair),
            "sub" => Alu::SubHalf(half, mode, pair),
            "mul" => Alu::MulHalf(half, mode, pair),
            "fma" => Alu::FmaHalf(half, mode, pair),
            "min" | "max" => Alu::ExtremumHalf(half, extremum, pair),
            "abs" => Alu::AbsHalf(half, mode.ftz, pair),
            "neg" => Alu::NegHalf(half, mode.ftz, pair),
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        self.simple(f, ty, o)
    }

    /// `add.f32.f16 d, a, c` and its like: the first operands are widened, exactly.
    pub(super) fn mixed(&mut self, m: &mut Mods<'_>, to: Ty, from: Ty, o: &[Operand]) -> Result<()> {
        let (Ty::F32, Ty::F16 | Ty::Bf16) = (to, from) else { return Err(m.unsupported()) };
        let mode = Mode { round: m.round().unwrap_or(Round::Rn), ftz: m.take("ftz"), sat: m.take("sat") };
        let (f, narrow) = match m.name {
            "add" => (Alu::AddF32(mode), 1),
            "sub" => (Alu::SubF32(mode), 1),
            "fma" => (Alu::FmaF32(mode), 2),
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        count(o, narrow + 2)?;
        let from_type = if from == Ty::F16 { Type::F16 } else { Type::Bf16 };
        let widen = Alu::Cvt(Cvt::new(Type::F32, from_type, Round::Rn), Width::W, Width::W);
        let mut src = Vec::new();
        for operand in &o[1..=narrow] {
            let a = self.src(operand, from)?;
            src.push(self.convert(widen, Class::Word, a));
        }
        src.push(self.src(&o[narrow + 1], to)?);
        let d = self.dst(&o[0], to)?;
        self.alu(f, d, &src);
        Ok(())
    }

    /// Functions of one operand, `copysign` and `testp`.
    pub(super) fn float(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.name == "testp" {
            return self.testp(m, o);
        }
        let ty = m.ty()?;
        let approx = m.take("approx");
        let round = m.round();
        let ftz = m.take("ftz");
        let exact = Mode { round: round.unwrap_or(Round::Rn), ftz, sat: false };
        let f = match (m.name, ty) {
            ("rcp", Ty::F32) if round.is_none() => Alu::RcpApproxF32(ftz),
            ("rcp", Ty::F32) => Alu::RcpF32(exact),
            ("rcp", Ty::F64) if approx => Alu::RcpFtzF64,
            ("rcp", Ty::F64) => Alu::RcpF64(exact),
            ("sqrt", Ty::F32) if round.is_none() => Alu::SqrtApproxF32(ftz),
            ("sqrt", Ty::F32) => Alu::SqrtF32(exact),
            ("sqrt", Ty::F64) => Alu::SqrtF64(exact),
            ("rsqrt", Ty::F32) => Alu::RsqrtF32(ftz),
            ("rsqrt", Ty::F64) if ftz => Alu::RsqrtFtzF64,
            ("rsqrt", Ty::F64) => Alu::RsqrtF64,
            ("sin", Ty::F32) => Alu::SinF32(ftz),
            ("cos", Ty::F32) => Alu::CosF32(ftz),
            ("lg2", Ty::F32) => Alu::Lg2F32(ftz),
            ("ex2", Ty::F32) => Alu::Ex2F32(ftz),
            ("tanh", Ty::F32) => Alu::TanhF32,
            ("copysign", Ty::F32) => Alu::CopysignF32,
            ("copysign", Ty::F64) => Alu::CopysignF64,
            ("ex2" | "tanh", _) => {
                let Some((half, pair)) = ty.half() else { return Err(m.unsupported()) };
                if m.name == "ex2" { Alu::Ex2Half(half, ftz, pair) } else { Alu::TanhHalf(half, pair) }
            }
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        self.simple(f, ty, o)
    }

    fn testp(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let property = m.find(|p| {
            Some(match p {
                "finite" => Property::Finite,
                "infinite" => Property::Infinite,
                "number" => Property::Number,
                "notanumber" => Property::NotANumber,
                "normal" => Property::Normal,
                "subnormal" => Property::Subnormal,
                _ => return None,
            })
        });
        let property = property.ok_or_else(|| m.unsupported())?;
        let ty = m.ty()?;
        let f = match ty {
            Ty::F32 => Alu::TestpF32(property),
            Ty::F64 => Alu::TestpF64(property),
            _ => return Err(m.unsupported()),
        };
        m.finish()?;
        count(o, 2)?;
        let a = self.src(&o[1], ty)?;
        let d = self.dst_predicate(&o[0])?;
        let word = self.temp(Class::Word);
        self.alu(f, word, &[a]);
        self.push(Op::ToPredicate { d, a: word }, true);
        Ok(())
    }
}
