//! Matrix instructions of a warp.

use super::memory::space;
use super::mods::{Mods, Ty};
use super::{DecodeError, Decoder, count};
use crate::arith::matrix::element::{Accumulator, Element};
use crate::arith::matrix::layout::Shape;
use crate::arith::matrix::product::{Bitwise, Mma};
use crate::arith::matrix::wmma::{self, Fragment};
use crate::isa::reg::Reg;
use crate::isa::{MatrixProduct, Op, Space, WmmaMove};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

const WORD: Ty = Ty::Bits(32);

pub(super) fn accumulator(name: &str) -> Option<Accumulator> {
    Some(match name {
        "f16" => Accumulator::F16,
        "f32" => Accumulator::F32,
        "f64" => Accumulator::F64,
        "s32" => Accumulator::S32,
        _ => return None,
    })
}

fn register_type(double: bool) -> Ty {
    if double { Ty::Bits(64) } else { WORD }
}

impl Decoder<'_> {
    pub(super) fn matrix(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if m.has("sp") || m.has("sp::ordered_metadata") {
            return Err(m.unsupported());
        }
        let sync = m.take("sync");
        let aligned = m.take("aligned");
        if !sync || !aligned {
            return Err(m.unsupported());
        }
        let name = m.name;
        match name {
            "ldmatrix" | "stmatrix" => self.move_matrix(m, o),
            "movmatrix" => {
                if !m.take("m8n8") || !m.take("trans") || !m.take("b16") {
                    return Err(m.unsupported());
                }
                m.finish()?;
                count(o, 2)?;
                let a = self.src(&o[1], WORD)?;
                let d = self.dst(&o[0], WORD)?;
                self.emit(Op::Movmatrix { d, a });
                Ok(())
            }
            "mma" => self.mma(m, o),
            _ if m.take("load") => self.wmma_move(true, m, o),
            _ if m.take("store") => self.wmma_move(false, m, o),
            _ if m.take("mma") => self.wmma_mma(m, o),
            _ => Err(m.unsupported()),
        }
    }

    fn move_matrix(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        if !m.take("m8n8") || !m.take("b16") {
            return Err(m.unsupported());
        }
        let number = m.find(|p| match p {
            "x1" => Some(1),
            "x2" => Some(2),
            "x4" => Some(4),
            _ => None,
        });
        let number = number.ok_or_else(|| m.unsupported())?;
        let trans = m.take("trans");
        let named = m.find(space);
        m.finish()?;
        count(o, 2)?;
        let load = m.name == "ldmatrix";
        let (registers, address) = if load { (&o[0], &o[1]) } else { (&o[1], &o[0]) };
        let (addr, space) = self.place(named, address)?;
        let regs = self.fragment(registers, !load, WORD)?;
        if regs.len() != number {
            return Err(DecodeError::new(format!("vector has {} elements", regs.len())));
        }
        self.emit(if load {
            Op::Ldmatrix { trans, d: regs, addr, space }
        } else {
            Op::Stmatrix { trans, src: regs, addr, space }
        });
        Ok(())
    }

    /// The registers of a fragment.
    pub(super) fn fragment(&mut self, o: &Operand, source: bool, ty: Ty) -> Result<Box<[Reg]>> {
        let mut regs = Vec::new();
        for operand in self.elements(o) {
            regs.push(if source { self.src(&operand, ty)? } else { self.dst(&operand, ty)? });
        }
        Ok(regs.into())
    }

    fn product(&mut self, product: Mma, o: &[Operand]) -> Result<MatrixProduct> {
        let multiplicand = register_type(product.a == Element::F64);
        Ok(MatrixProduct {
            product,
            a: self.fragment(&o[1], true, multiplicand)?,
            b: self.fragment(&o[2], true, multiplicand)?,
            c: self.fragment(&o[3], true, register_type(product.c == Accumulator::F64))?,
            d: self.fragment(&o[0], false, register_type(product.d == Accumulator::F64))?,
        })
    }

    fn mma(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let shape = m.find(Shape::parse).ok_or_else(|| m.unsupported())?;
        m.drop_if(|p| p.starts_with("kind::"));
        let saturate = m.take("satfinite");
        let (and, xor, popc) = (m.take("and"), m.take("xor"), m.take("popc"));
        m.round();
        if !m.take("row") || !m.take("col") {
            return Err(m.unsupported());
        }
        let d = m.next().and_then(accumulator).ok_or_else(|| m.unsupported())?;
        let a = m.next().and_then(Element::parse).ok_or_else(|| m.unsupported())?;
        let b = m.next().and_then(Element::parse).ok_or_else(|| m.unsupported())?;
        let c = m.next().and_then(accumulator).ok_or_else(|| m.unsupported())?;
        m.finish()?;
        count(o, 4)?;
        let mut product = Mma::new(shape, a, b, c, d);
        product.saturate = saturate;
        product.bitwise = if and { Bitwise::And } else { Bitwise::Xor };
        if !product.is_valid() || (a == Element::B1) != (popc && (and || xor)) {
            return Err(m.unsupported());
        }
        let op = self.product(product, o)?;
        let expected = [product.d_registers(), product.a_registers(), product.b_registers(), product.c_registers()];
        if [op.d.len(), op.a.len(), op.b.len(), op.c.len()] != expected {
            return Err(DecodeError::new("fragments have other sizes"));
        }
        self.emit(Op::Matrix(Box::new(op)));
        Ok(())
    }

    fn wmma_move(&mut self, load: bool, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let operand = m.find(|p| {
            Some(match p {
                "a" => wmma::Operand::A,
                "b" => wmma::Operand::B,
                "c" | "d" => wmma::Operand::C,
                _ => return None,
            })
        });
        let operand = operand.ok_or_else(|| m.unsupported())?;
        let shape = m.find(Shape::parse).ok_or_else(|| m.unsupported())?;
        let (row, col) = (m.take("row"), m.take("col"));
        let named = m.find(space);
        let ty = m.next().ok_or_else(|| m.unsupported())?;
        m.finish()?;
        let fragment = if operand == wmma::Operand::C {
            let accumulator = accumulator(ty).ok_or_else(|| m.unsupported())?;
            // Shapes tell which multiplicands an accumulator belongs to.
            let element = match (accumulator, shape.k) {
                (Accumulator::F64, _) => Element::F64,
                (Accumulator::S32, 32) => Element::S4,
                (Accumulator::S32, 128) => Element::B1,
                (Accumulator::S32, _) => Element::S8,
                (_, 8) => Element::Tf32,
                _ => Element::F16,
            };
            Fragment { operand, shape, element, accumulator }
        } else {
            let element = Element::parse(ty).ok_or_else(|| m.unsupported())?;
            Fragment { operand, shape, element, accumulator: Accumulator::F32 }
        };
        if row == col || !fragment.is_valid() || o.len() < 2 || o.len() > 3 {
            return Err(m.unsupported());
        }
        let (registers, address) = if load { (&o[0], &o[1]) } else { (&o[1], &o[0]) };
        let (addr, implied) = self.address(address)?;
        let space = self.resolve_space(named, implied);
        if space == Space::Local {
            return Err(m.unsupported());
        }
        let stride = match o.get(2) {
            Some(stride) => self.src(stride, WORD)?,
            None => Reg::NONE,
        };
        let regs = self.fragment(registers, !load, register_type(fragment.bits() == 64))?;
        if regs.len() != fragment.registers() {
            return Err(DecodeError::new(format!("fragment has {} registers", regs.len())));
        }
        let op = Box::new(WmmaMove { fragment, row_major: row, space, addr, stride, regs });
        self.emit(if load { Op::WmmaLoad(op) } else { Op::WmmaStore(op) });
        Ok(())
    }

    fn wmma_mma(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        let shape = m.find(Shape::parse).ok_or_else(|| m.unsupported())?;
        let saturate = m.take("satfinite");
        let (and, _, _) = (m.take("and"), m.take("xor"), m.take("popc"));
        m.round();
        while m.take("row") || m.take("col") {}
        let mut types = Vec::new();
        while let Some(part) = m.next() {
            types.push(part);
        }
        let (d, a, b, c) = match types[..] {
            [d, c] => (d, "f16", "f16", c),
            [d, a, b, c] => (d, a, b, c),
            _ => return Err(m.unsupported()),
        };
        let types = (accumulator(d), Element::parse(a), Element::parse(b), accumulator(c));
        let (Some(d), Some(a), Some(b), Some(c)) = types else { return Err(m.unsupported()) };
        let fragment = Fragment { operand: wmma::Operand::A, shape, element: a, accumulator: d };
        if !fragment.is_valid() {
            return Err(m.unsupported());
        }
        count(o, 4)?;
        let mut product = wmma::product(shape, a, b, c, d);
        product.saturate = saturate;
        product.bitwise = if and { Bitwise::And } else { Bitwise::Xor };
        let mut op = self.product(product, o)?;
        // Fragments that hold the matrix twice give their first copy.
        let first = |regs: &[Reg], n: usize| -> Result<Box<[Reg]>> {
            let enough = regs.get(..n).map(Box::from);
            enough.ok_or_else(|| DecodeError::new("fragments have other sizes"))
        };
        op.a = first(&op.a, product.a_registers())?;
        op.b = first(&op.b, product.b_registers())?;
        op.c = first(&op.c, product.c_registers())?;
        op.d = first(&op.d, product.d_registers())?;
        self.emit(Op::Matrix(Box::new(op)));
        Ok(())
    }
}
