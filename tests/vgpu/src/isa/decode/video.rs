//! Video instructions.

use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder};
use crate::arith::compare::Relation;
use crate::arith::video::{Mad, Part, Primary, Scalar, Secondary, Simd};
use crate::isa::alu::Alu;
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

/// A register with its selector: `%r1.b0`.
fn selected(operand: &Operand) -> (Operand, Part) {
    if let Operand::Name(name) = operand
        && let Some((register, part)) = name.rsplit_once('.')
        && let Some(part) = part_of(part)
    {
        return (Operand::Name(register.to_string()), part);
    }
    (operand.clone(), Part::Word)
}

fn part_of(name: &str) -> Option<Part> {
    Some(match name {
        "b0" => Part::Byte(0),
        "b1" => Part::Byte(1),
        "b2" => Part::Byte(2),
        "b3" => Part::Byte(3),
        "h0" => Part::Half(0),
        "h1" => Part::Half(1),
        _ => return None,
    })
}

/// A selector of lanes, written from the top: `.b3210`, `.h10`.
fn lanes(name: &str, kind: char) -> Option<Vec<u8>> {
    let digits = name.strip_prefix(kind)?;
    let lanes: Option<Vec<u8>> = digits.chars().rev().map(|c| Some(c.to_digit(8)? as u8)).collect();
    lanes.filter(|l| !l.is_empty())
}

impl Decoder<'_> {
    pub(super) fn video(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let last = m.name.chars().last();
        match last {
            Some('2' | '4') => self.video_simd(m, o),
            _ if m.name == "vmad" => self.video_mad(m, o),
            _ => self.video_scalar(m, o),
        }
    }

    fn video_scalar(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let set = m.name == "vset";
        let relation = m.find(Relation::parse);
        let shift = m.find(|p| match p {
            "clamp" => Some(false),
            "wrap" => Some(true),
            _ => None,
        });
        let sat = m.take("sat");
        let secondary = m.find(|p| {
            Some(match p {
                "add" => Secondary::Add,
                "min" => Secondary::Min,
                "max" => Secondary::Max,
                _ => return None,
            })
        });
        let primary = match (m.name, shift) {
            ("vadd", None) => Primary::Add,
            ("vsub", None) => Primary::Sub,
            ("vabsdiff", None) => Primary::AbsDiff,
            ("vmin", None) => Primary::Min,
            ("vmax", None) => Primary::Max,
            ("vshl", Some(false)) => Primary::ShlClamp,
            ("vshl", Some(true)) => Primary::ShlWrap,
            ("vshr", Some(false)) => Primary::ShrClamp,
            ("vshr", Some(true)) => Primary::ShrWrap,
            ("vset", None) => Primary::Set(relation.ok_or_else(|| m.unsupported())?),
            _ => return Err(m.unsupported()),
        };
        // vset names the types of its operands only.
        let d_type = if set { Ty::Unsigned(32) } else { m.ty()? };
        let (a_type, b_type) = (m.ty()?, m.ty()?);
        m.finish()?;
        if o.len() < 3 {
            return Err(DecodeError::new("lacks operands"));
        }
        let (d, d_part) = selected(&o[0]);
        let (a, a_part) = selected(&o[1]);
        let (b, b_part) = selected(&o[2]);
        let secondary = match (secondary, d_part) {
            (Some(s), _) => s,
            (None, Part::Word) => Secondary::None,
            (None, part) => Secondary::Merge(part),
        };
        let f = Alu::VideoScalar(Scalar {
            primary,
            d_signed: d_type.signed(),
            a_signed: a_type.signed(),
            b_signed: b_type.signed(),
            a_part,
            b_part,
            sat,
            secondary,
        });
        let c = o.get(3).cloned().unwrap_or(Operand::Int(0));
        self.simple(f, Ty::Bits(32), &[d, a, b, c])
    }

    fn video_mad(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let sat = m.take("sat");
        let shift = m.find(|p| match p {
            "shr7" => Some(7),
            "shr15" => Some(15),
            _ => None,
        });
        let plus_one = m.take("po");
        let (d_type, a_type, b_type) = (m.ty()?, m.ty()?, m.ty()?);
        m.finish()?;
        if o.len() != 4 {
            return Err(m.unsupported());
        }
        let (a, a_part) = selected(&o[1]);
        let (b, b_part) = selected(&o[2]);
        let f = Alu::VideoMad(Mad {
            d_signed: d_type.signed(),
            a_signed: a_type.signed(),
            b_signed: b_type.signed(),
            a_part,
            b_part,
            sat,
            plus_one,
            shift: shift.unwrap_or(0),
            ..Mad::default()
        });
        self.simple(f, Ty::Bits(32), &[o[0].clone(), a, b, o[3].clone()])
    }

    fn video_simd(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let number: u8 = if m.name.ends_with('4') { 4 } else { 2 };
        let relation = m.find(Relation::parse);
        let primary = match m.name.trim_end_matches(['2', '4']) {
            "vadd" => Primary::Add,
            "vsub" => Primary::Sub,
            "vabsdiff" => Primary::AbsDiff,
            "vmin" => Primary::Min,
            "vmax" => Primary::Max,
            "vavrg" => Primary::Average,
            "vset" => Primary::Set(relation.ok_or_else(|| m.unsupported())?),
            _ => return Err(m.unsupported()),
        };
        let (sat, add) = (m.take("sat"), m.take("add"));
        let set = matches!(primary, Primary::Set(_));
        let d_type = if set { Ty::Unsigned(32) } else { m.ty()? };
        let (a_type, b_type) = (m.ty()?, m.ty()?);
        m.finish()?;
        if o.len() < 3 {
            return Err(DecodeError::new("lacks operands"));
        }
        let signed = [d_type.signed(), a_type.signed(), b_type.signed()];
        let mut simd = Simd::new(primary, number, signed);
        (simd.sat, simd.add) = (sat, add);
        let kind = if number == 4 { 'b' } else { 'h' };
        let mut names = [o[0].clone(), o[1].clone(), o[2].clone()];
        for (i, name) in names.iter_mut().enumerate() {
            let Operand::Name(text) = name else { continue };
            let Some((register, part)) = text.clone().rsplit_once('.').map(own) else { continue };
            let Some(lanes) = lanes(&part, kind) else { continue };
            match i {
                0 => simd.mask = lanes.iter().fold(0, |mask, lane| mask | 1 << (lane & 3)),
                1 => simd.a_lanes[..lanes.len().min(4)].copy_from_slice(&lanes[..lanes.len().min(4)]),
                _ => simd.b_lanes[..lanes.len().min(4)].copy_from_slice(&lanes[..lanes.len().min(4)]),
            }
            *text = register;
        }
        let [d, a, b] = names;
        let c = o.get(3).cloned().unwrap_or(Operand::Int(0));
        self.simple(Alu::VideoSimd(simd), Ty::Bits(32), &[d, a, b, c])
    }
}

fn own((a, b): (&str, &str)) -> (String, String) {
    (a.to_string(), b.to_string())
}
