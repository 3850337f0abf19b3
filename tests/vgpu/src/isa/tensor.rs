//! Products of matrices and what moves their fragments.

use super::address::{Addr, Space};
use super::reg::Reg;
use crate::arith::matrix::element::{Accumulator, Element};
use crate::arith::matrix::layout::Shape;
use crate::arith::matrix::product::Mma;
use crate::arith::matrix::wmma::Fragment;

/// A product of fragments: `mma.sync` and `wmma.mma`.
#[derive(Clone, Debug)]
pub struct MatrixProduct {
    /// Shape and types.
    pub product: Mma,
    /// Registers of D.
    pub d: Box<[Reg]>,
    /// Registers of A.
    pub a: Box<[Reg]>,
    /// Registers of B.
    pub b: Box<[Reg]>,
    /// Registers of C.
    pub c: Box<[Reg]>,
}

/// A `wmma.load` or `wmma.store`.
#[derive(Clone, Debug)]
pub struct WmmaMove {
    /// Operand, shape and type.
    pub fragment: Fragment,
    /// Stored by rows.
    pub row_major: bool,
    /// Where.
    pub space: Space,
    /// First element.
    pub addr: Addr,
    /// Elements between rows or columns; none for dense.
    pub stride: Reg,
    /// Fragment.
    pub regs: Box<[Reg]>,
}

/// A warpgroup product.
#[derive(Clone, Debug)]
pub struct Wgmma {
    /// m, n, k.
    pub shape: Shape,
    /// Elements of A.
    pub a_type: Element,
    /// Elements of B.
    pub b_type: Element,
    /// Elements of D.
    pub d_type: Accumulator,
    /// Registers of D.
    pub d: Box<[Reg]>,
    /// Registers of A, or one descriptor.
    pub a: Box<[Reg]>,
    /// A comes from registers.
    pub a_registers: bool,
    /// Descriptor of B.
    pub b: Reg,
    /// Whether D is added to: a predicate, or none for always.
    pub scale_d: Reg,
    /// Signs of A and B.
    pub negate: (bool, bool),
    /// A and B are stored with M and N contiguous.
    pub transposed: (bool, bool),
    /// `.satfinite`.
    pub saturate: bool,
}
