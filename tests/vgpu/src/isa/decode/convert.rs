//! `cvt`.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::convert::{Cvt, Type};
use crate::arith::fp8::Fp8;
use crate::arith::soft::Round;
use crate::isa::alu::Alu;
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

fn fp8(name: &str) -> Option<Fp8> {
    match name {
        "e4m3x2" => Some(Fp8::E4m3),
        "e5m2x2" => Some(Fp8::E5m2),
        _ => None,
    }
}

impl Decoder<'_> {
    pub(super) fn cvt(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.take("pack") {
            return self.cvt_pack(m, o);
        }
        let integral = m.find(|p| {
            Some(match p {
                "rni" => Round::Rn,
                "rzi" => Round::Rz,
                "rmi" => Round::Rm,
                "rpi" => Round::Rp,
                _ => return None,
            })
        });
        let round = m.round();
        let (ftz, sat) = (m.take("ftz"), m.take("sat"));
        let (relu, satfinite) = (m.take("relu"), m.take("satfinite"));
        if m.has("e4m3x2") || m.has("e5m2x2") {
            return self.cvt_fp8(relu, m, o);
        }
        let (to, from) = (m.ty()?, m.ty()?);
        m.finish()?;
        let pair = matches!(to, Ty::F16x2 | Ty::Bf16x2);
        let single = match to {
            Ty::F16x2 => Type::F16,
            Ty::Bf16x2 => Type::Bf16,
            _ => to.scalar().ok_or_else(|| m.unsupported())?,
        };
        let from_type = from.scalar().ok_or_else(|| m.unsupported())?;
        let mut cvt = Cvt::new(single, from_type, integral.or(round).unwrap_or(Round::Rn));
        cvt.integral |= integral.is_some();
        (cvt.ftz, cvt.sat, cvt.relu, cvt.satfinite) = (ftz, sat, relu, satfinite);
        if integral.is_none() && round.is_none() && cvt.integral {
            // Float to integer without a direction truncates.
            cvt.round = Round::Rz;
        }
        if pair {
            if from != Ty::F32 {
                return Err(m.unsupported());
            }
            count(o, 3)?;
            let src = [self.src(&o[1], from)?, self.src(&o[2], from)?];
            let d = self.dst(&o[0], to)?;
            self.alu(Alu::CvtPair(cvt), d, &src);
            return Ok(());
        }
        count(o, 2)?;
        let a = self.src(&o[1], from)?;
        let d = self.dst(&o[0], to)?;
        self.alu(Alu::Cvt(cvt, to.width(), from.width()), d, &[a]);
        Ok(())
    }

    fn cvt_fp8(&mut self, relu: bool, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let first = m.next().unwrap_or("");
        let second = m.next().unwrap_or("");
        m.finish()?;
        let (f, from, operands) = match (fp8(first), fp8(second), first, second) {
            (Some(format), None, _, "f32") => (Alu::Fp8Pack(format, relu), Ty::F32, 3),
            (Some(format), None, _, "f16x2") => (Alu::Fp8PackHalf(format, relu), Ty::F16x2, 2),
            (None, Some(format), "f16x2", _) => (Alu::Fp8Unpack(format, relu), Ty::Bits(16), 2),
            _ => return Err(m.unsupported()),
        };
        count(o, operands)?;
        let mut src = Vec::new();
        for operand in &o[1..] {
            src.push(self.src(operand, from)?);
        }
        let d = self.dst(&o[0], Ty::Bits(32))?;
        self.alu(f, d, &src);
        Ok(())
    }

    fn cvt_pack(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if !m.take("sat") {
            return Err(m.unsupported());
        }
        let parts = [m.next().unwrap_or(""), m.next().unwrap_or("")];
        m.take("b32");
        m.finish()?;
        let bits = parts[0].get(1..).and_then(|d| d.parse().ok()).ok_or_else(|| m.unsupported())?;
        if !matches!(bits, 2 | 4 | 8 | 16) || !matches!(parts[1], "s32" | "u32") {
            return Err(m.unsupported());
        }
        let f = Alu::CvtPack { bits, to_signed: parts[0].starts_with('s'), from_signed: parts[1] == "s32" };
        let ty = Ty::Bits(32);
        let mut src = vec![];
        for operand in o.get(1..).unwrap_or_default() {
            src.push(self.src(operand, ty)?);
        }
        match src.len() {
            2 => src.push(self.word(0)),
            3 => {}
            n => return Err(DecodeError::new(format!("has {} operands", n + 1))),
        }
        let d = self.dst(&o[0], ty)?;
        self.alu(f, d, &src);
        Ok(())
    }
}
