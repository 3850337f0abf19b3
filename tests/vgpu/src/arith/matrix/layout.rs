//! Fragment layouts of `mma.sync` ("Matrix Fragments for mma.m…n…k…" in the PTX ISA).
//!
//! All shapes but the oldest follow one rule. A warp is 8 groups of 4 lanes. A register of all
//! lanes is a block of 8 rows (one per group) and 4 registers' worth of columns, filled row by
//! row. `A` is blocks going down, then right; `B`, read by columns, is blocks going along `k`;
//! the accumulators are pairs of neighbours in a row, 8 rows a pair.

use super::element::Element;

/// Rows, columns and depth of a product: `A` is m×k, `B` k×n, `C` and `D` m×n.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Shape {
    /// Rows of `A`, `C`, `D`.
    pub m: usize,
    /// Columns of `B`, `C`, `D`.
    pub n: usize,
    /// Columns of `A`, rows of `B`.
    pub k: usize,
}

impl Shape {
    /// A shape of the form `m16n8k16`.
    pub const fn new(m: usize, n: usize, k: usize) -> Shape {
        Shape { m, n, k }
    }

    /// The shape of this PTX name, such as `m16n8k16`.
    pub fn parse(name: &str) -> Option<Shape> {
        let (m, rest) = name.strip_prefix('m')?.split_once('n')?;
        let (n, k) = rest.split_once('k')?;
        Some(Shape { m: m.parse().ok()?, n: n.parse().ok()?, k: k.parse().ok()? })
    }

    /// Multiplications and additions of one product.
    pub const fn flops(self) -> u64 {
        2 * (self.m * self.n * self.k) as u64
    }
}

/// Where element `index` (0 for the low bits) of register `reg` of `lane` stands in `A`:
/// (row, column).
#[inline(always)]
pub const fn a_at(shape: Shape, element: Element, lane: usize, reg: usize, index: usize) -> (usize, usize) {
    let per = element.per_register();
    let down = shape.m / 8;
    (lane / 4 + 8 * (reg % down), (reg / down) * 4 * per + lane % 4 * per + index)
}

/// Where element `index` of register `reg` of `lane` stands in `B`: (row, column). Registers go
/// along `k` first, then along `n`.
#[inline(always)]
pub const fn b_at(shape: Shape, element: Element, lane: usize, reg: usize, index: usize) -> (usize, usize) {
    let per = element.per_register();
    let deep = shape.k / (4 * per);
    ((reg % deep) * 4 * per + lane % 4 * per + index, lane / 4 + 8 * (reg / deep))
}

/// Where accumulator element `i` of `lane` stands in `C` and `D`: (row, column). A 32-bit
/// register of `f16` accumulators holds elements `2r` (low) and `2r + 1`.
#[inline(always)]
pub const fn c_at(shape: Shape, lane: usize, i: usize) -> (usize, usize) {
    let down = shape.m / 8;
    let block = i / 2;
    (lane / 4 + 8 * (block % down), 8 * (block / down) + lane % 4 * 2 + i % 2)
}

/// Registers of a fragment of `elements` elements, `bits` each, spread over a warp.
pub const fn registers(elements: usize, bits: usize) -> usize {
    let register = if bits > 32 { bits } else { 32 };
    elements * bits / (32 * register)
}
