//! `wmma`: fragments whose layout PTX leaves open.
//!
//! Ours is that of `mma.sync`, extended to the wider shapes, which is also what the hardware does
//! from sm_75 on for `m16n16k16`. Fragments that PTX declares larger than the matrix hold it more
//! than once: register `r` repeats register `r mod unique`.

use super::element::{Accumulator, Element};
use super::layout::{self, Shape, registers};
use super::product::Mma;

/// Which operand a fragment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Operand {
    /// m×k.
    A,
    /// k×n.
    B,
    /// m×n, both `C` and `D`.
    C,
}

/// One fragment: operand, shape, and bits of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Fragment {
    /// Which operand.
    pub operand: Operand,
    /// Shape of the product.
    pub shape: Shape,
    /// Element type of a multiplicand.
    pub element: Element,
    /// Element type of an accumulator.
    pub accumulator: Accumulator,
}

impl Fragment {
    /// Does the shape exist for this element type?
    pub fn is_valid(&self) -> bool {
        let Shape { m, n, k } = self.shape;
        let sixteen = matches!((m, n, k), (16, 16, 16) | (32, 8, 16) | (8, 32, 16));
        match self.element {
            Element::F16 | Element::Bf16 | Element::S8 | Element::U8 => sixteen,
            Element::Tf32 => (m, n, k) == (16, 16, 8),
            Element::F64 => (m, n, k) == (8, 8, 4),
            Element::S4 | Element::U4 => (m, n, k) == (8, 8, 32),
            Element::B1 => (m, n, k) == (8, 8, 128),
            Element::E4m3 | Element::E5m2 => false,
        }
    }

    /// Bits of an element.
    pub const fn bits(&self) -> usize {
        match self.operand {
            Operand::A | Operand::B => self.element.bits(),
            Operand::C => self.accumulator.bits(),
        }
    }

    /// Rows and columns of the matrix.
    pub const fn size(&self) -> (usize, usize) {
        match self.operand {
            Operand::A => (self.shape.m, self.shape.k),
            Operand::B => (self.shape.k, self.shape.n),
            Operand::C => (self.shape.m, self.shape.n),
        }
    }

    /// Registers a lane needs to hold the matrix once.
    pub const fn unique_registers(&self) -> usize {
        let (rows, columns) = self.size();
        registers(rows * columns, self.bits())
    }

    /// Registers of a lane as PTX declares the fragment: `f16` multiplicands always have 8.
    pub const fn registers(&self) -> usize {
        match (self.operand, self.element) {
            (Operand::A | Operand::B, Element::F16) => 8,
            _ => self.unique_registers(),
        }
    }

    /// Elements in one register.
    pub const fn per_register(&self) -> usize {
        if self.bits() >= 32 { 1 } else { 32 / self.bits() }
    }

    /// (row, column) of element `index` of register `reg` in `lane`.
    pub const fn at(&self, lane: usize, reg: usize, index: usize) -> (usize, usize) {
        let reg = reg % self.unique_registers();
        match self.operand {
            Operand::A => layout::a_at(self.shape, self.element, lane, reg, index),
            Operand::B => layout::b_at(self.shape, self.element, lane, reg, index),
            Operand::C => layout::c_at(self.shape, lane, reg * self.per_register() + index),
        }
    }

    /// Offset in elements of (row, column) in a matrix with this stride.
    pub const fn offset(&self, at: (usize, usize), stride: usize, row_major: bool) -> usize {
        if row_major { at.0 * stride + at.1 } else { at.1 * stride + at.0 }
    }
}

/// The product of a `wmma.mma`; give it the first [`Fragment::unique_registers`] of each operand.
pub const fn product(shape: Shape, a: Element, b: Element, c: Accumulator, d: Accumulator) -> Mma {
    Mma::new(shape, a, b, c, d)
}
