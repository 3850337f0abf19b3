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
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::bf16;
use rayon::prelude::*;

use super::bands::Band;
use super::element::{Element, Format};
#[cfg(target_arch = "x86_64")]
use super::pack;
pub(crate) use super::unit::describe;
use super::unit::{Level, Unit};
pub(crate) use super::view::View;
use super::view::{reshaped, widen};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};

/// Columns of B in one packed panel; a range of columns given to [`Rhs::multiply`] starts at a multiple of it.
pub(crate) const PANEL: usize = 32;
/// Words of k (an f32 or a pair of bf16) that a kernel sums before it goes back to memory: its panel of B, 128 bytes a word,
/// stays in L1.
const K_BLOCK: usize = 256;
/// Rows of A that pass under all panels before the next rows: with `K_BLOCK` they stay in L2.
const ROW_BLOCK: usize = 256;

/// What happens to the numbers that C held before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accumulate {
    /// They are forgotten.
    Overwrite,
    /// They are added to.
    Add,
}

/// A cache line of packed words.
#[derive(Clone, Copy, Pod, Zeroable, Default)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Lines that hold `words`.
fn lines(words: usize) -> usize {
    words.div_ceil(16)
}

/// At least `len` lines of whatever was there; grows only, so that a step allocates nothing.
fn grown(buffer: &mut Vec<Line>, len: usize) -> &mut [Line] {
    if buffer.len() < len {
        buffer.resize(len, Line::default());
    }
    &mut buffer[..len]
}

/// Memory of a thread: a block of A, a block of B, and A or B widened.
#[derive(Default)]
struct Scratch {
    a: Vec<Line>,
    b: Vec<Line>,
    wide: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Memory for a packed right-hand side, kept between steps.
#[derive(Default)]
pub(crate) struct Panels {
    lines: Vec<Line>,
}

/// Who packs the operand, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Workers {
    One,
    All,
}

/// A right-hand side that many tasks share, packed at most once.
#[derive(Clone, Copy)]
pub(crate) struct Rhs<'a, T> {
    view: View<'a, T>,
    unit: Unit,
    panels: &'a [Line],
}

impl<'a, T: Element> Rhs<'a, T> {
    /// Packs B `[k, n]` into `panels` (on all threads, if it is worth it) unless the kernel reads it where it lies.
    pub(crate) fn prepare(view: View<'a, T>, panels: &'a mut Panels) -> Self {
        const WORTH_IT: usize = 1 << 15;
        let all = view.rows * view.cols >= WORTH_IT && rayon::current_num_threads() > 1;
        Self::prepare_for(Level::of_this_processor(), if all { Workers::All } else { Workers::One }, view, panels)
    }

    /// As [`Rhs::prepare`] on this thread alone, for tasks that are one of many.
    pub(crate) fn prepare_alone(view: View<'a, T>, panels: &'a mut Panels) -> Self {
        Self::prepare_for(Level::of_this_processor(), Workers::One, view, panels)
    }

    /// As [`Rhs::prepare`] for products in `format`, which may be narrower than B is stored in.
    pub(crate) fn prepare_as(format: Format, view: View<'a, T>, panels: &'a mut Panels) -> Self {
        Self::prepare_unit(Unit::new(Level::of_this_processor(), format), Workers::All, view, panels)
    }

    fn prepare_for(level: Level, workers: Workers, view: View<'a, T>, panels: &'a mut Panels) -> Self {
        Self::prepare_unit(Unit::new(level, T::FORMAT), workers, view, panels)
    }

    fn prepare_unit(unit: Unit, workers: Workers, view: View<'a, T>, panels: &'a mut Panels) -> Self {
        match unit {
            Unit::Portable if T::FORMAT == Format::F32 => Rhs { view, unit, panels: &[] },
            Unit::Portable => {
                let panels = grown(&mut panels.lines, lines(view.rows * view.cols));
                widen(view, &mut bytemuck::cast_slice_mut(panels)[..view.rows * view.cols]);
                Rhs { view, unit, panels }
            }
            Unit::Fma | Unit::Bf16 | Unit::Amx => {
                let panels = grown(&mut panels.lines, view.cols.div_ceil(PANEL) * 2 * unit.groups(view.rows));
                pack_panels(unit, workers, view, panels);
                Rhs { view, unit, panels }
            }
        }
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
                let wide = bytemuck::cast_slice(self.panels);
                let b = match T::FORMAT {
                    Format::F32 => View { data: bytemuck::cast_slice(self.view.data), ..reshaped(&self.view) },
                    Format::Bf16 => View::row_major(wide, k, n),
                };
                multiply_portable(a, b.cols(cols), &mut out, &mut scratch.wide);
            }
            #[cfg(target_arch = "x86_64")]
            unit => {
                let stride = 2 * unit.groups(k);
                let panels = &self.panels[cols.start / PANEL * stride..];
                multiply_panels(unit, a, panels, stride, &mut out, &mut scratch.a);
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only x86-64 has other units"),
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
    matmul_for(Level::of_this_processor(), a, b, out, out_row_stride, accumulate);
}

/// [`matmul`] into a band of columns.
#[track_caller]
pub(crate) fn matmul_into<A: Element, B: Element>(a: View<A>, b: View<B>, out: &mut Band<f32>, accumulate: Accumulate) {
    assert!(a.rows == out.rows() && b.cols == out.width(), "a band of [{}, {}]", out.rows(), out.width());
    matmul_tile(Unit::new(Level::of_this_processor(), B::FORMAT), a, b, Tile::of_band(out, accumulate));
}

#[track_caller]
fn matmul_for<A: Element, B: Element>(
    level: Level,
    a: View<A>,
    b: View<B>,
    out: &mut [f32],
    out_row_stride: usize,
    accumulate: Accumulate,
) {
    matmul_tile(Unit::new(level, B::FORMAT), a, b, Tile::new(out, a.rows, b.cols, out_row_stride, accumulate));
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
            let len = b.rows * b.cols;
            let b = match B::FORMAT {
                Format::F32 => View { data: bytemuck::cast_slice(b.data), ..reshaped(&b) },
                Format::Bf16 => {
                    let wide = &mut bytemuck::cast_slice_mut(grown(&mut scratch.b, lines(len)))[..len];
                    widen(b, wide);
                    View::row_major(wide, b.rows, b.cols)
                }
            };
            multiply_portable(a, b, &mut out, &mut scratch.wide);
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
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("only x86-64 has other units"),
    });
}

/// The rectangle of C that a call writes: exclusively borrowed, `stride >= cols` or one row.
struct Tile<'a> {
    first: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    accumulate: Accumulate,
    memory: PhantomData<&'a mut [f32]>,
}

impl<'a> Tile<'a> {
    #[track_caller]
    fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize, accumulate: Accumulate) -> Self {
        assert!(cols <= stride || rows <= 1, "rows of {cols} columns, {stride} apart, overlap");
        let end = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(end <= data.len(), "[{rows}, {cols}] with rows {stride} apart ends at {end} of {}", data.len());
        Tile { first: data.as_mut_ptr(), rows, cols, stride, accumulate, memory: PhantomData }
    }

    fn of_band(band: &'a mut Band<'_, f32>, accumulate: Accumulate) -> Self {
        let (rows, cols) = (band.rows(), band.width());
        let (first, stride) = band.memory();
        Tile { first, rows, cols, stride, accumulate, memory: PhantomData }
    }

    fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// The product over no terms.
    fn settle(&mut self) {
        if self.accumulate == Accumulate::Overwrite {
            for row in 0..self.rows {
                // SAFETY: the row is the tile's own.
                unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.cols) }.fill(0.0);
            }
        }
    }
}

fn multiply_portable<A: Element>(a: View<A>, b: View<f32>, out: &mut Tile, wide: &mut Vec<f32>) {
    let a = match A::FORMAT {
        Format::F32 => View { data: bytemuck::cast_slice(a.data), ..reshaped(&a) },
        Format::Bf16 => {
            wide.resize(a.rows * a.cols, 0.0);
            widen(a, wide);
            View::row_major(wide, a.rows, a.cols)
        }
    };
    // SAFETY: views and tiles have been checked to lie in their slices, and the tile's rows do not overlap.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.first,
            1,
            out.stride as isize,
            out.accumulate == Accumulate::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Packs B into panels of [`PANEL`] columns: `[panel][word of k][column]`.
fn pack_panels<T: Element>(unit: Unit, workers: Workers, b: View<T>, panels: &mut [Line]) {
    let groups = unit.groups(b.rows);
    let count = b.cols.div_ceil(PANEL);
    assert!(count * groups * 2 <= panels.len());
    #[cfg(target_arch = "x86_64")]
    {
        let target = pack::Target {
            data: panels.as_mut_ptr().cast(),
            order: pack::Order::Panels { stride: PANEL * groups },
            outer: count * PANEL,
            groups,
        };
        // SAFETY: the view lies in its slice, a panel is groups * 32 words.
        unsafe { pack_words(unit, workers, pack::Job { source: source(b.transposed()), target }) };
    }
}

/// Rows of a view as the outer dimension of something to be packed.
#[cfg(target_arch = "x86_64")]
fn source<T>(rows: View<T>) -> pack::Source<T> {
    pack::Source {
        data: rows.data.as_ptr(),
        outer_stride: rows.row_stride,
        k_stride: rows.col_stride,
        outer: rows.rows,
        k: rows.cols,
    }
}

/// Packs a job on one thread or on all.
///
/// # Safety
/// Source and target lie in memory that is readable and exclusively writable, as `pack::pack` says.
#[cfg(target_arch = "x86_64")]
unsafe fn pack_words<T: Element>(unit: Unit, workers: Workers, job: pack::Job<T>) {
    assert!(Level::of_this_processor() >= Level::Avx512, "only units with AVX-512 pack");
    let pack_one = |job: &pack::Job<T>| {
        // SAFETY: the CPU has AVX-512; the rest is the caller's word.
        unsafe {
            match unit.format() {
                Format::F32 => pack::pack::<T, false>(job),
                Format::Bf16 => pack::pack::<T, true>(job),
            }
        }
    };
    match workers {
        Workers::One => pack_one(&job),
        Workers::All => {
            (0..job.parts()).into_par_iter().for_each(|i| pack_one(&job.part(i, unit.elements_per_word())));
        }
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
        let unit = Unit::new(Level::of_this_processor(), format);
        if unit == Unit::Portable || (a.col_stride == 1 && T::FORMAT == unit.format()) {
            return Lhs::Itself(a);
        }
        let groups = unit.groups(a.cols);
        // One line more than the words need, so that rows do not fall into the same lines of L1.
        let row_lines = lines(groups) + 1;
        let words = grown(&mut memory.lines, a.rows * row_lines);
        #[cfg(target_arch = "x86_64")]
        {
            let order = pack::Order::Rows { stride: 16 * row_lines };
            let target = pack::Target { data: words.as_mut_ptr().cast(), order, outer: a.rows, groups };
            // SAFETY: the view lies in its slice; a row of `words` holds `groups` rounded up to whole lines.
            unsafe { pack_words(unit, Workers::All, pack::Job { source: source(a), target }) };
        }
        let stride = 16 * row_lines * unit.elements_per_word();
        match unit.format() {
            Format::F32 => Lhs::F32(View::strided(bytemuck::cast_slice(words), a.rows, a.cols, stride)),
            Format::Bf16 => Lhs::Bf16(View::strided(bytemuck::cast_slice(words), a.rows, a.cols, stride)),
        }
    }
}

/// A tile of C from panels `stride` lines apart, each holding all of A's k.
#[cfg(target_arch = "x86_64")]
fn multiply_panels<A: Element>(
    unit: Unit,
    a: View<A>,
    panels: &[Line],
    stride: usize,
    out: &mut Tile,
    scratch: &mut Vec<Line>,
) {
    let groups = unit.groups(a.cols);
    assert!((out.cols.div_ceil(PANEL) - 1) * stride + 2 * groups <= panels.len());
    let tiles = (unit == Unit::Amx).then(amx::Tiles::configure);
    let blocks = groups.div_ceil(K_BLOCK);
    let k_block = groups.div_ceil(blocks).next_multiple_of(16);
    for group in (0..groups).step_by(k_block) {
        let block_groups = k_block.min(groups - group);
        let k = group * unit.elements_per_word();
        let a = a.cols(k..a.cols.min(k + block_groups * unit.elements_per_word()));
        let add = out.accumulate == Accumulate::Add || group > 0;
        let mut row = 0;
        while row < out.rows {
            let rows = rows_at_once(unit, out.rows - row);
            let (a, a_stride) = operand(unit, a.rows(row..row + rows), block_groups, scratch);
            for (panel, lines) in panels.chunks(stride).enumerate().take(out.cols.div_ceil(PANEL)) {
                let b = lines[2 * group..2 * (group + block_groups)].as_ptr().cast();
                let cols = PANEL.min(out.cols - panel * PANEL);
                // SAFETY: `a` has `rows` rows (padded to whole tiles for AMX) of `block_groups` words, `b` as many groups;
                // from `c` on, `rows` rows of `cols` are in the tile; the unit exists.
                unsafe {
                    let c = out.first.add(row * out.stride + panel * PANEL);
                    match &tiles {
                        Some(tiles) => squares(tiles, a, a_stride, b, block_groups, c, out.stride, rows, cols, add),
                        None => strips(unit, a, a_stride, b, block_groups, c, out.stride, rows, cols, add),
                    }
                }
            }
            row += rows;
        }
    }
}

/// Rows of the next block: AMX takes whole squares, and what remains alone.
#[cfg(target_arch = "x86_64")]
fn rows_at_once(unit: Unit, left: usize) -> usize {
    let rows = left.min(ROW_BLOCK);
    if unit == Unit::Amx && rows > amx::SIDE { rows - rows % amx::SIDE } else { rows }
}

/// A block of A as the kernel wants it: where it lies if its format and strides allow, otherwise packed into `scratch`.
/// Returns its first word and the distance between rows in bytes.
#[cfg(target_arch = "x86_64")]
fn operand<A: Element>(unit: Unit, a: View<A>, groups: usize, scratch: &mut Vec<Line>) -> (*const u32, usize) {
    let stride = a.row_stride * size_of::<A>();
    let whole = a.cols == groups * unit.elements_per_word() && (unit != Unit::Amx || a.rows.is_multiple_of(amx::SIDE));
    // Rows a multiple of 4096 bytes apart fall into the same few lines of L1.
    let spread = !stride.is_multiple_of(4096);
    if A::FORMAT == unit.format() && a.col_stride == 1 && whole && spread {
        return (a.data.as_ptr().cast(), stride);
    }
    // One line more than the words need, so that rows do not fall into the same lines of L1.
    let row_lines = lines(groups) + 1;
    let rows = if unit == Unit::Amx { a.rows.next_multiple_of(amx::SIDE) } else { a.rows };
    let words: *mut u32 = grown(scratch, rows * row_lines).as_mut_ptr().cast();
    let target = pack::Target { data: words, order: pack::Order::Rows { stride: 16 * row_lines }, outer: rows, groups };
    // SAFETY: the view lies in its slice; a row of scratch holds `groups` words rounded up to whole lines.
    unsafe { pack_words(unit, Workers::One, pack::Job { source: source(a), target }) };
    (words, 64 * row_lines)
}

/// A panel's columns of C by strips of at most `avx512::ROWS` rows, as even as they can be.
///
/// # Safety
/// As for the kernels, with `rows` rows of A and C.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::too_many_arguments, reason = "a rectangle has many sides")]
unsafe fn strips(
    unit: Unit,
    a: *const u32,
    a_stride: usize,
    b: *const u32,
    groups: usize,
    c: *mut f32,
    c_stride: usize,
    rows: usize,
    cols: usize,
    add: bool,
) {
    let count = rows.div_ceil(avx512::ROWS);
    let mut row = 0;
    for strip in 0..count {
        let rows = rows / count + usize::from(strip < rows % count);
        // SAFETY: rows `row..row + rows` are inside, by the caller's word.
        unsafe {
            let (a, c) = (a.byte_add(row * a_stride), c.add(row * c_stride));
            let block = avx512::Block { a, a_stride, b, groups, c, c_stride, rows, cols, add };
            match unit {
                Unit::Bf16 => avx512::multiply_bf16(&block),
                _ => avx512::multiply_f32(&block),
            }
        }
        row += rows;
    }
}

/// A panel's columns of C by squares; a square that C does not hold whole is computed aside.
///
/// # Safety
/// As for the kernel, with `rows` rows of C and that many, rounded up to whole squares, of A.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::too_many_arguments, reason = "a rectangle has many sides")]
unsafe fn squares(
    tiles: &amx::Tiles,
    a: *const u32,
    a_stride: usize,
    b: *const u32,
    groups: usize,
    c: *mut f32,
    c_stride: usize,
    rows: usize,
    cols: usize,
    add: bool,
) {
    const SIDE: usize = amx::SIDE;
    for row in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - row);
        // SAFETY: the square's rows are inside (A, and C if it is whole), by the caller's word; `aside` is a whole square.
        unsafe {
            let a = a.byte_add(row * a_stride);
            let c = c.add(row * c_stride);
            if height == SIDE && cols == SIDE {
                let block = amx::Block { a, a_stride, b, groups, c, c_stride: 4 * c_stride, add };
                amx::multiply(tiles, &block);
                continue;
            }
            let mut aside = [0f32; SIDE * SIDE];
            let c_aside = aside.as_mut_ptr();
            amx::multiply(tiles, &amx::Block { a, a_stride, b, groups, c: c_aside, c_stride: 4 * SIDE, add: false });
            for (i, aside) in aside.chunks_exact(SIDE).enumerate().take(height) {
                let c = std::slice::from_raw_parts_mut(c.add(i * c_stride), cols);
                for (c, aside) in c.iter_mut().zip(aside) {
                    *c = if add { *c + aside } else { *aside };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
