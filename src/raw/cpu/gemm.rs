//! Matrix products of one tile of C on one thread; callers spread the tiles over threads.
//!
//! C = A·B or C += A·B, A and B f32 or bf16 at any strides, C f32. B decides the arithmetic: f32, or bf16 factors with f32
//! sums where the CPU multiplies bf16 (otherwise bf16 is widened first, exactly). What runs is chosen once:
//!
//! | B    | CPU                      | kernel                                    |
//! |------|--------------------------|-------------------------------------------|
//! | f32  | AVX-512                  | `avx512::multiply_f32` on packed panels   |
//! | f32  | other                    | the gemm crate                            |
//! | bf16 | AMX                      | `amx::multiply`                           |
//! | bf16 | AVX512-BF16              | `avx512::multiply_bf16`                   |
//! | bf16 | AVX-512                  | widened while packed, then as f32         |
//! | bf16 | other                    | widened, then the gemm crate              |
//!
//! The order of every sum depends on the shapes alone: a result does not depend on how many threads share the work.

use std::cell::RefCell;
use std::ops::Range;

use half::bf16;

use super::bands::Band;
use super::element::{Element, Format};
pub(crate) use super::memory::{Accumulate, PANEL};
use super::memory::{Line, Tile, Workers, grown, lines};
#[cfg(target_arch = "x86_64")]
use super::panels::{K_BLOCK, multiply_panels, pack_panels, pack_rows};
use super::unit::Unit;
pub(crate) use super::unit::{describe, multiplies_bf16};
pub(crate) use super::view::View;
use super::view::{reshaped, widen};

/// Memory of a thread: a block of A, a block of B, and A or B widened.
#[derive(Default)]
struct Scratch {
    a: Vec<Line>,
    b: Vec<Line>,
    wide: [Vec<f32>; 2],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Memory for a packed right-hand side, kept between steps.
#[derive(Default)]
pub(crate) struct Panels {
    lines: Vec<Line>,
}

/// A right-hand side that many tasks share, packed at most once.
#[derive(Clone, Copy)]
pub(crate) struct Rhs<'a, T> {
    view: View<'a, T>,
    unit: Unit,
    panels: &'a [Line],
    /// Lines from one panel to the next.
    stride: usize,
}

impl<'a, T: Element> Rhs<'a, T> {
    /// Packs B `[k, n]` into `panels` (on all threads, if it is worth it) unless the kernel reads it where it lies.
    pub(crate) fn prepare(view: View<'a, T>, panels: &'a mut Panels) -> Self {
        const WORTH_IT: usize = 1 << 15;
        let all = view.rows * view.cols >= WORTH_IT && rayon::current_num_threads() > 1;
        Self::prepare_for(Unit::of(T::FORMAT), if all { Workers::All } else { Workers::One }, view, panels)
    }

    /// B as it was last prepared in `panels`, and has been since.
    pub(crate) fn prepared(view: View<'a, T>, panels: &'a Panels) -> Self {
        Self::packed(view, Unit::of(T::FORMAT), &panels.lines)
    }

    /// As [`Rhs::prepare`] on this thread alone, for tasks that are one of many.
    pub(crate) fn prepare_alone(view: View<'a, T>, panels: &'a mut Panels) -> Self {
        Self::prepare_for(Unit::of(T::FORMAT), Workers::One, view, panels)
    }

    /// As [`Rhs::prepare`] for products in `format`, which may be narrower than B is stored in.
    pub(crate) fn prepare_as(format: Format, view: View<'a, T>, panels: &'a mut Panels) -> Self {
        Self::prepare_for(Unit::of(format), Workers::All, view, panels)
    }

    fn prepare_for(unit: Unit, workers: Workers, view: View<'a, T>, panels: &'a mut Panels) -> Self {
        match unit {
            Unit::Portable if T::FORMAT == Format::F32 => Self::packed(view, unit, &[]),
            Unit::Portable => {
                let panels = grown(&mut panels.lines, lines(view.rows * view.cols));
                widen(view, &mut bytemuck::cast_slice_mut(panels)[..view.rows * view.cols]);
                Self::packed(view, unit, panels)
            }
            #[cfg(target_arch = "x86_64")]
            unit => {
                let panels = grown(&mut panels.lines, view.cols.div_ceil(PANEL) * 2 * unit.groups(view.rows));
                pack_panels(unit, workers, view, panels);
                Self::packed(view, unit, panels)
            }
        }
    }

    fn packed(view: View<'a, T>, unit: Unit, panels: &'a [Line]) -> Self {
        Rhs { view, unit, panels, stride: 2 * unit.groups(view.rows) }
    }

    /// Some rows (k) of B, from a multiple of [`PANEL`] on and to one or to the end: a product with fewer of A's columns.
    #[track_caller]
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        let whole = |row: usize| row.is_multiple_of(PANEL);
        assert!(whole(range.start) && (whole(range.end) || range.end == self.view.rows), "rows {range:?}");
        let panels = match self.unit {
            // Row after row where they were widened; else there are none.
            Unit::Portable => &self.panels[lines(range.start * self.view.cols).min(self.panels.len())..],
            #[cfg(target_arch = "x86_64")]
            unit => &self.panels[2 * unit.groups(range.start)..],
        };
        Rhs { view: self.view.rows(range), panels, ..self }
    }

    /// Rows (k) and columns (n) of B.
    pub(crate) fn shape(&self) -> (usize, usize) {
        self.view.shape()
    }

    /// `out[i, j] = Σ_k a[i, k] · b[k, cols.start + j]`, added to what `out` holds or not; rows of `out` are
    /// `out_row_stride` apart. `cols` starts at a multiple of [`PANEL`].
    #[track_caller]
    pub(crate) fn multiply<A: Element>(
        &self,
        a: View<A>,
        cols: Range<usize>,
        out: &mut [f32],
        out_row_stride: usize,
        accumulate: Accumulate,
    ) {
        let cols_len = cols.len();
        self.multiply_tile(a, cols, Tile::new(out, a.rows, cols_len, out_row_stride, accumulate));
    }

    /// As [`Rhs::multiply`] for rows of a left-hand side into a band of columns that starts at `col`.
    #[track_caller]
    pub(crate) fn multiply_into<L: Element>(
        &self,
        a: &Lhs<L>,
        rows: Range<usize>,
        col: usize,
        out: &mut Band<f32>,
        accumulate: Accumulate,
    ) {
        assert_eq!(rows.len(), out.rows());
        let cols = col..col + out.width();
        let out = Tile::of_band(out, accumulate);
        match a {
            Lhs::Itself(a) => self.multiply_tile(a.rows(rows), cols, out),
            Lhs::F32(a) => self.multiply_tile(a.rows(rows), cols, out),
            Lhs::Bf16(a) => self.multiply_tile(a.rows(rows), cols, out),
        }
    }

    #[track_caller]
    fn multiply_tile<A: Element>(&self, a: View<A>, cols: Range<usize>, mut out: Tile) {
        let (k, n) = self.view.shape();
        assert_eq!(a.cols, k, "A is [{}, {}], B is [{k}, {n}]", a.rows, a.cols);
        assert!(cols.start.is_multiple_of(PANEL) && cols.end <= n, "columns {cols:?} of {n}");
        if out.is_empty() {
            return;
        }
        if k == 0 {
            return out.settle();
        }
        SCRATCH.with_borrow_mut(|scratch| match self.unit {
            Unit::Portable => {
                let [wide, none] = &mut scratch.wide;
                let b = match T::FORMAT {
                    Format::F32 => as_f32(self.view, none),
                    Format::Bf16 => View::row_major(bytemuck::cast_slice(self.panels), k, n),
                };
                multiply_portable(as_f32(a, wide), b.cols(cols), &mut out);
            }
            #[cfg(target_arch = "x86_64")]
            unit => {
                let panels = &self.panels[cols.start / PANEL * self.stride..];
                multiply_panels(unit, a, panels, self.stride, &mut out, &mut scratch.a);
            }
        });
    }
}

/// `out = a·b` (or `+=`) with both operands packed block by block on this thread: for operands that nobody else needs, or
/// that are too long to pack whole (a weight's gradient sums over all rows of the batch).
#[track_caller]
pub(crate) fn matmul<A: Element, B: Element>(
    a: View<A>,
    b: View<B>,
    out: &mut [f32],
    out_row_stride: usize,
    accumulate: Accumulate,
) {
    matmul_tile(Unit::of(B::FORMAT), a, b, Tile::new(out, a.rows, b.cols, out_row_stride, accumulate));
}

/// [`matmul`] into a band of columns.
#[track_caller]
pub(crate) fn matmul_into<A: Element, B: Element>(a: View<A>, b: View<B>, out: &mut Band<f32>, accumulate: Accumulate) {
    assert!(a.rows == out.rows() && b.cols == out.width(), "a band of [{}, {}]", out.rows(), out.width());
    matmul_tile(Unit::of(B::FORMAT), a, b, Tile::of_band(out, accumulate));
}

#[track_caller]
fn matmul_tile<A: Element, B: Element>(unit: Unit, a: View<A>, b: View<B>, mut out: Tile) {
    assert_eq!(a.cols, b.rows, "A is [{}, {}], B is [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    if out.is_empty() {
        return;
    }
    if b.rows == 0 {
        return out.settle();
    }
    SCRATCH.with_borrow_mut(|scratch| match unit {
        Unit::Portable => {
            let [wide_a, wide_b] = &mut scratch.wide;
            multiply_portable(as_f32(a, wide_a), as_f32(b, wide_b), &mut out);
        }
        #[cfg(target_arch = "x86_64")]
        unit => {
            let block = K_BLOCK * unit.elements_per_word();
            for start in (0..b.rows).step_by(block) {
                let k = start..b.rows.min(start + block);
                let stride = 2 * unit.groups(k.len());
                let panels = grown(&mut scratch.b, b.cols.div_ceil(PANEL) * stride);
                pack_panels(unit, Workers::One, b.rows(k.clone()), panels);
                multiply_panels(unit, a.cols(k), panels, stride, &mut out, &mut scratch.a);
                out.accumulate = Accumulate::Add;
            }
        }
    });
}

/// A view of f32 as it is, another widened into `wide`.
fn as_f32<'a, T: Element>(view: View<'a, T>, wide: &'a mut Vec<f32>) -> View<'a, f32> {
    match T::FORMAT {
        Format::F32 => View { data: bytemuck::cast_slice(view.data), ..reshaped(&view) },
        Format::Bf16 => {
            wide.resize(view.rows * view.cols, 0.0);
            widen(view, wide);
            View::row_major(wide, view.rows, view.cols)
        }
    }
}

/// By the kernels of the gemm crate, which are made for a C whose columns are contiguous: ours transposed, `C^T = B^T A^T`.
fn multiply_portable(a: View<f32>, b: View<f32>, out: &mut Tile) {
    let multiply = gemm_f32::gemm::f32::get_gemm_fn();
    // SAFETY: views and tiles have been checked to lie in their slices, and the tile's rows do not overlap.
    unsafe {
        multiply(
            out.cols,
            out.rows,
            a.cols,
            out.first,
            out.stride as isize,
            1,
            out.accumulate == Accumulate::Add,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.col_stride as isize,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.col_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// A left-hand side that many tiles share, rearranged once if the kernel can not read it as it lies.
#[derive(Clone, Copy)]
pub(crate) enum Lhs<'a, T> {
    /// Where it lies.
    Itself(View<'a, T>),
    /// Rows of f32.
    F32(View<'a, f32>),
    /// Rows of bf16.
    Bf16(View<'a, bf16>),
}

impl<'a, T: Element> Lhs<'a, T> {
    /// Prepares A `[m, k]` for products in `format` on all threads.
    pub(crate) fn prepare_as(format: Format, a: View<'a, T>, memory: &'a mut Panels) -> Self {
        match Unit::of(format) {
            Unit::Portable => Lhs::Itself(a),
            #[cfg(target_arch = "x86_64")]
            unit if a.col_stride == 1 && T::FORMAT == unit.format() => Lhs::Itself(a),
            #[cfg(target_arch = "x86_64")]
            unit => {
                let (words, row_lines) = pack_rows(unit, Workers::All, a, a.rows, &mut memory.lines);
                let stride = 16 * row_lines * unit.elements_per_word();
                match unit.format() {
                    Format::F32 => Lhs::F32(View::strided(bytemuck::cast_slice(words), a.rows, a.cols, stride)),
                    Format::Bf16 => Lhs::Bf16(View::strided(bytemuck::cast_slice(words), a.rows, a.cols, stride)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
