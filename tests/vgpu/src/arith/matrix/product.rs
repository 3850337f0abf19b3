//! `mma.sync`, `wmma.mma`: the product `D = A·B + C` of a whole warp.
//!
//! Multiplicands become `f32` (or `i32`). Products are summed as [`Sums`] says: as tensor cores do,
//! or in that type in the order of `k`, starting from `C`.
//!
//! One register of `A` in all lanes already is a row-major block of 8 rows. The matching block of
//! `B` is turned once, so that the inner loop multiplies one element of `A` with 8 neighbours.

#![allow(clippy::needless_range_loop)] // lanes, rows and columns index several arrays at once

use super::element::{Accumulator, Element, Row};
use super::layout::{Shape, registers};
use super::sums::Sums;
use super::truncated;
use crate::arith::half;

/// How `b1` operands are combined before bits are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Bitwise {
    /// `.and.popc`
    And,
    /// `.xor.popc`
    #[default]
    Xor,
}

/// A matrix product with its types; registers are 32 bits wide, 64 for `f64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Mma {
    /// Size of the product.
    pub shape: Shape,
    /// Type of `A`.
    pub a: Element,
    /// Type of `B`.
    pub b: Element,
    /// Type of `C`.
    pub c: Accumulator,
    /// Type of `D`.
    pub d: Accumulator,
    /// `.satfinite` of the integer forms: clamp instead of wrapping.
    pub saturate: bool,
    /// For `b1`.
    pub bitwise: Bitwise,
}

impl Mma {
    /// A product without saturation.
    pub const fn new(shape: Shape, a: Element, b: Element, c: Accumulator, d: Accumulator) -> Mma {
        Mma { shape, a, b, c, d, saturate: false, bitwise: Bitwise::Xor }
    }

    /// Does this combination of shape and types exist as `mma.sync` with the layouts here?
    pub fn is_valid(&self) -> bool {
        use Element::*;
        let Shape { m, n, k } = self.shape;
        let same = self.a == self.b;
        let depth = k * self.a.bits();
        let shape = (m, n);
        let float = matches!(self.c, Accumulator::F16 | Accumulator::F32)
            && matches!(self.d, Accumulator::F16 | Accumulator::F32);
        let wide = self.c == Accumulator::F32 && self.d == Accumulator::F32;
        let integer = self.c == Accumulator::S32 && self.d == Accumulator::S32;
        let integers = matches!(depth, 128) && shape == (8, 8) || matches!(depth, 128 | 256) && shape == (16, 8);
        match (self.a, self.b) {
            (F16, F16) => float && shape == (16, 8) && matches!(depth, 128 | 256),
            (Bf16, Bf16) => wide && shape == (16, 8) && matches!(depth, 128 | 256),
            (Tf32, Tf32) => wide && shape == (16, 8) && matches!(depth, 128 | 256),
            (E4m3 | E5m2, E4m3 | E5m2) => float && shape == (16, 8) && matches!(depth, 128 | 256),
            (F64, F64) => {
                let doubles = self.c == Accumulator::F64 && self.d == Accumulator::F64;
                doubles && (shape == (8, 8) && k == 4 || shape == (16, 8) && matches!(k, 4 | 8 | 16))
            }
            (S8 | U8, S8 | U8) | (S4 | U4, S4 | U4) => integer && integers,
            (B1, B1) => integer && same && integers,
            _ => false,
        }
    }

    /// Registers of `A` in a lane.
    pub const fn a_registers(&self) -> usize {
        registers(self.shape.m * self.shape.k, self.a.bits())
    }

    /// Registers of `B` in a lane.
    pub const fn b_registers(&self) -> usize {
        registers(self.shape.k * self.shape.n, self.b.bits())
    }

    /// Registers of `C` in a lane.
    pub const fn c_registers(&self) -> usize {
        registers(self.shape.m * self.shape.n, self.c.bits())
    }

    /// Registers of `D` in a lane.
    pub const fn d_registers(&self) -> usize {
        registers(self.shape.m * self.shape.n, self.d.bits())
    }

    /// `D = A·B + C` for all types but `f64`; as many registers as the counts above say.
    #[inline(always)]
    pub fn run(&self, sums: Sums, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row]) {
        match (self.a, self.b) {
            (Element::F16, _) => {
                let value = |w: u32, i: usize| half::f16_to_f32((w >> (16 * i)) as u16);
                self.floats::<2, 8>(sums, a, b, c, d, value, value);
            }
            (Element::Bf16, _) => {
                let value = |w: u32, i: usize| f32::from_bits(if i == 0 { w << 16 } else { w & 0xffff_0000 });
                self.floats::<2, 8>(sums, a, b, c, d, value, value);
            }
            (Element::Tf32 | Element::F64, _) => {
                let value = |w: u32, _: usize| Element::Tf32.value(w);
                self.floats::<1, 4>(sums, a, b, c, d, value, value);
            }
            (Element::E4m3 | Element::E5m2, _) => {
                let (x, y) = (self.a, self.b);
                let value_a = |w: u32, i: usize| x.value(w >> (8 * i));
                let value_b = |w: u32, i: usize| y.value(w >> (8 * i));
                self.floats::<4, 16>(sums, a, b, c, d, value_a, value_b);
            }
            (Element::S8 | Element::U8, _) => {
                let (x, y) = (self.a, self.b);
                let value_a = |w: u32, i: usize| x.integer(w >> (8 * i));
                let value_b = |w: u32, i: usize| y.integer(w >> (8 * i));
                self.integers::<4>(a, b, c, d, value_a, value_b, |x, y| x * y);
            }
            (Element::S4 | Element::U4, _) => {
                let (x, y) = (self.a, self.b);
                let value_a = |w: u32, i: usize| x.integer(w >> (4 * i));
                let value_b = |w: u32, i: usize| y.integer(w >> (4 * i));
                self.integers::<8>(a, b, c, d, value_a, value_b, |x, y| x * y);
            }
            (Element::B1, _) => {
                // A register is one number of 32 bits here.
                let whole = |w: u32, _: usize| w as i32;
                let count = |x: i32, y: i32| {
                    let both = if self.bitwise == Bitwise::And { x & y } else { x ^ y };
                    both.count_ones() as i32
                };
                self.integers::<1>(a, b, c, d, whole, whole, count);
            }
        }
    }

    /// Floating-point products; a register has `PER` elements, and `WIDE` of a row.
    #[allow(clippy::too_many_arguments)] // the four operands and what differs between types
    #[inline(always)]
    fn floats<const PER: usize, const WIDE: usize>(
        &self,
        sums: Sums,
        a: &[Row],
        b: &[Row],
        c: &[Row],
        d: &mut [Row],
        value_a: impl Fn(u32, usize) -> f32,
        value_b: impl Fn(u32, usize) -> f32,
    ) {
        for (column, b) in self.columns(b) {
            let mut acc = self.unpack(column, c);
            let acc = &mut acc[..self.shape.m];
            match sums {
                Sums::Rounded => multiply::<f32, PER>(acc, a, b, &value_a, &value_b, |x, y| x * y),
                Sums::Truncated(core) => {
                    let rules = core.rules(self.a, self.b, self.d == Accumulator::F16);
                    let (a, b) = ((a, &value_a), (b, &value_b));
                    match core.depth_bits.min(self.shape.k * self.a.bits()) {
                        128 => truncated::multiply::<WIDE, 1>(rules, acc, a, b),
                        _ => truncated::multiply::<WIDE, 2>(rules, acc, a, b),
                    }
                }
            }
            self.pack(column, acc, d);
        }
    }

    /// Every 8 columns of `B`: their number, their registers.
    #[inline(always)]
    fn columns<'a>(&self, b: &'a [Row]) -> impl Iterator<Item = (usize, &'a [Row])> {
        b.chunks_exact(b.len() * 8 / self.shape.n).enumerate()
    }

    /// The rows of 8 columns of `C`.
    #[inline(always)]
    fn unpack(&self, column: usize, c: &[Row]) -> [[f32; 8]; 32] {
        let mut acc = [[0f32; 8]; 32];
        let down = self.shape.m / 8;
        for (block, rows) in acc.chunks_exact_mut(8).take(down).enumerate() {
            let at = column * down + block;
            match self.c {
                Accumulator::F16 => unpack_f16(&c[at], rows),
                _ => unpack_32(&c[2 * at], &c[2 * at + 1], rows, f32::from_bits),
            }
        }
        acc
    }

    /// Stores the rows of 8 columns of `D`.
    #[inline(always)]
    fn pack(&self, column: usize, acc: &[[f32; 8]], d: &mut [Row]) {
        let down = self.shape.m / 8;
        for (block, rows) in acc.chunks_exact(8).enumerate() {
            let at = column * down + block;
            match self.d {
                Accumulator::F16 => d[at] = pack_f16(rows),
                _ => [d[2 * at], d[2 * at + 1]] = pack_32(rows, canonical),
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // the four operands and what differs between types
    #[inline(always)]
    fn integers<const PER: usize>(
        &self,
        a: &[Row],
        b: &[Row],
        c: &[Row],
        d: &mut [Row],
        value_a: impl Fn(u32, usize) -> i32,
        value_b: impl Fn(u32, usize) -> i32,
        times: impl Fn(i32, i32) -> i32,
    ) {
        let down = self.shape.m / 8;
        for (column, b) in self.columns(b) {
            // The products alone stay far inside i32: only adding C can overflow.
            let mut sum = [[0i32; 8]; 32];
            multiply::<i32, PER>(&mut sum[..8 * down], a, b, &value_a, &value_b, &times);
            for (block, rows) in sum.chunks_exact_mut(8).take(down).enumerate() {
                let at = 2 * (column * down + block);
                let mut start = [[0i32; 8]; 8];
                unpack_32(&c[at], &c[at + 1], &mut start, |w| w as i32);
                for (x, c) in rows.as_flattened_mut().iter_mut().zip(start.as_flattened()) {
                    *x = if self.saturate { x.saturating_add(*c) } else { x.wrapping_add(*c) };
                }
                [d[at], d[at + 1]] = pack_32(rows, |x| x as u32);
            }
        }
    }

    /// `D = A·B + C` for `f64`, one fused multiply-add after the other along `k`.
    pub fn run_f64(&self, a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]], d: &mut [[u64; 32]]) {
        let down = self.shape.m / 8;
        for lane in 0..32 {
            for i in 0..self.d_registers() {
                let (row, col) = super::layout::c_at(self.shape, lane, i);
                let mut sum = f64::from_bits(c[i][lane]);
                for k in 0..self.shape.k {
                    let x = a[k / 4 * down + row / 8][row % 8 * 4 + k % 4];
                    let y = b[col / 8 * (self.shape.k / 4) + k / 4][col % 8 * 4 + k % 4];
                    sum = f64::from_bits(x).mul_add(f64::from_bits(y), sum);
                }
                d[i][lane] = if sum.is_nan() { crate::arith::float::NAN_F64 } else { sum.to_bits() };
            }
        }
    }
}

#[inline(always)]
fn canonical(x: f32) -> u32 {
    if x.is_nan() { crate::arith::float::NAN_F32 } else { x.to_bits() }
}

/// The numbers a product is computed in.
trait Number: Copy + Default + core::ops::AddAssign {}
impl Number for f32 {}
impl Number for i32 {}

/// Adds the product of `A` (blocks of 8 rows, down first) and 8 columns of `B` to `acc`, 8 columns
/// wide and as many rows as `A` has.
#[inline(always)]
fn multiply<T: Number, const PER: usize>(
    acc: &mut [[T; 8]],
    a: &[Row],
    b: &[Row],
    value_a: impl Fn(u32, usize) -> T,
    value_b: impl Fn(u32, usize) -> T,
    times: impl Fn(T, T) -> T,
) {
    let down = acc.len() / 8;
    for (b, a) in b.iter().zip(a.chunks_exact(down)) {
        // [4·PER of k][8 of n]
        let columns = unpack::<T, PER>(b, &value_b);
        let mut turned = [[[T::default(); 8]; PER]; 4];
        for n in 0..8 {
            for t in 0..4 {
                for i in 0..PER {
                    turned[t][i][n] = columns[n * 4 + t][i];
                }
            }
        }
        for (a, acc) in a.iter().zip(acc.chunks_exact_mut(8)) {
            let block = unpack::<T, PER>(a, &value_a);
            // Two rows at a time fill the host's registers.
            for (rows, sums) in block.as_chunks::<8>().0.iter().zip(acc.as_chunks_mut::<2>().0) {
                let (upper, lower) = rows.split_at(4);
                let [mut s0, mut s1] = *sums;
                for ((x0, x1), y) in upper.as_flattened().iter().zip(lower.as_flattened()).zip(turned.as_flattened()) {
                    for j in 0..8 {
                        s0[j] += times(*x0, y[j]);
                        s1[j] += times(*x1, y[j]);
                    }
                }
                *sums = [s0, s1];
            }
        }
    }
}

#[inline(always)]
fn unpack<T: Number, const PER: usize>(register: &Row, value: impl Fn(u32, usize) -> T) -> [[T; PER]; 32] {
    let mut out = [[T::default(); PER]; 32];
    for lane in 0..32 {
        for i in 0..PER {
            out[lane][i] = value(register[lane], i);
        }
    }
    out
}

#[inline(always)]
fn unpack_f16(register: &Row, rows: &mut [[f32; 8]]) {
    for lane in 0..32 {
        let (row, col) = (lane / 4, lane % 4 * 2);
        rows[row][col] = half::f16_to_f32(register[lane] as u16);
        rows[row][col + 1] = half::f16_to_f32((register[lane] >> 16) as u16);
    }
}

#[inline(always)]
fn pack_f16(rows: &[[f32; 8]]) -> Row {
    core::array::from_fn(|lane| {
        let pair = &rows[lane / 4][lane % 4 * 2..][..2];
        u32::from(half::f32_to_f16(pair[0])) | u32::from(half::f32_to_f16(pair[1])) << 16
    })
}

#[inline(always)]
fn unpack_32<T: Number>(even: &Row, odd: &Row, rows: &mut [[T; 8]], value: impl Fn(u32) -> T) {
    for lane in 0..32 {
        let (row, col) = (lane / 4, lane % 4 * 2);
        rows[row][col] = value(even[lane]);
        rows[row][col + 1] = value(odd[lane]);
    }
}

#[inline(always)]
fn pack_32<T: Number>(rows: &[[T; 8]], bits: impl Fn(T) -> u32) -> [Row; 2] {
    let part = |odd: usize| core::array::from_fn(|lane| bits(rows[lane / 4][lane % 4 * 2 + odd]));
    [part(0), part(1)]
}
