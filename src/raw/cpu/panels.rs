//! Packed operands, and the micro-kernels that run over them.

use super::element::{Element, Format};
use super::memory::{Accumulate, Line, PANEL, Tile, Workers, grown, lines};
use super::unit::{Level, Unit};
use super::view::View;
use super::{amx, avx512, pack};
use rayon::prelude::*;

/// Words of k (an f32 or a pair of bf16) that a kernel sums before it goes back to memory: its panel of B, 128 bytes a word,
/// stays in L1.
pub(super) const K_BLOCK: usize = 256;
/// Rows of A that pass under all panels before the next rows: with `K_BLOCK` they stay in L2.
const ROW_BLOCK: usize = 256;

/// Bytes of a word.
const WORD: usize = size_of::<u32>();

/// One rectangle of C, and what is multiplied into it.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Word (row 0, group 0) of A.
    pub(super) a: *const u32,
    /// Distance between rows of A, in bytes.
    pub(super) a_stride: usize,
    /// Distance between words of k in a row of A, in bytes; either this or the other is that of neighbours.
    pub(super) a_step: usize,
    /// A panel of B: 32 words a group, groups one after the other.
    pub(super) b: *const u32,
    /// Words to sum over.
    pub(super) groups: usize,
    /// Element (row 0, column 0) of C.
    pub(super) c: *mut f32,
    /// Distance between rows of C, in elements.
    pub(super) c_stride: usize,
    /// Rows of C.
    pub(super) rows: usize,
    /// Columns of C, 1 to 32.
    pub(super) cols: usize,
    /// Whether to add to C rather than overwrite it.
    pub(super) add: bool,
}

impl Block {
    /// `rows` of its rows, from `row` on.
    ///
    /// # Safety
    /// The block has these rows.
    unsafe fn rows(&self, row: usize, rows: usize) -> Self {
        // SAFETY: inside the block's extents, by the caller's word.
        unsafe { Block { a: self.a.byte_add(row * self.a_stride), c: self.c.add(row * self.c_stride), rows, ..*self } }
    }
}

/// Packs B into panels of [`PANEL`] columns: `[panel][word of k][column]`.
pub(super) fn pack_panels<T: Element>(unit: Unit, workers: Workers, b: View<T>, panels: &mut [Line]) {
    let groups = unit.groups(b.rows);
    let count = b.cols.div_ceil(PANEL);
    assert!(count * groups * 2 <= panels.len());
    let order = pack::Order::Panels { stride: PANEL * groups };
    let target = pack::Target { data: panels.as_mut_ptr().cast(), order, outer: count * PANEL, groups };
    // SAFETY: the view lies in its slice, a panel is groups * 32 words.
    unsafe { pack_words(unit, workers, pack::Job { source: source(b.transposed()), target }) };
}

/// Packs A, `rows` rows of it with zeros beyond its own, row after row; returns the words and the lines from one row to the
/// next.
pub(super) fn pack_rows<'a, T: Element>(
    unit: Unit,
    workers: Workers,
    a: View<T>,
    rows: usize,
    memory: &'a mut Vec<Line>,
) -> (&'a [Line], usize) {
    let groups = unit.groups(a.cols);
    // One line more than the words need, so that rows do not fall into the same lines of L1.
    let row_lines = lines(groups) + 1;
    let words = grown(memory, rows * row_lines);
    let order = pack::Order::Rows { stride: 16 * row_lines };
    let target = pack::Target { data: words.as_mut_ptr().cast(), order, outer: rows, groups };
    // SAFETY: the view lies in its slice; a row of `words` holds `groups` rounded up to whole lines.
    unsafe { pack_words(unit, workers, pack::Job { source: source(a), target }) };
    (words, row_lines)
}

/// Rows of a view as the outer dimension of something to be packed.
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

/// A tile of C from panels `stride` lines apart, each holding all of A's k.
pub(super) fn multiply_panels<A: Element>(
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
            let (a, [a_stride, a_step]) = operand(unit, a.rows(row..row + rows), block_groups, scratch);
            for (panel, lines) in panels.chunks(stride).enumerate().take(out.cols.div_ceil(PANEL)) {
                let b = lines[2 * group..2 * (group + block_groups)].as_ptr().cast();
                let (cols, c_stride) = (PANEL.min(out.cols - panel * PANEL), out.stride);
                // SAFETY: `a` has `rows` rows (padded to whole tiles for AMX) of `block_groups` words, `b` as many groups;
                // from `c` on, `rows` rows of `cols` are in the tile; the unit exists.
                unsafe {
                    let c = out.first.add(row * out.stride + panel * PANEL);
                    let block = Block { a, a_stride, a_step, b, groups: block_groups, c, c_stride, rows, cols, add };
                    match &tiles {
                        Some(tiles) => squares(tiles, &block),
                        None => strips(unit, &block),
                    }
                }
            }
            row += rows;
        }
    }
}

/// Rows of the next block: AMX takes whole squares, and what remains alone.
fn rows_at_once(unit: Unit, left: usize) -> usize {
    let rows = left.min(ROW_BLOCK);
    if unit == Unit::Amx && rows > amx::SIDE { rows - rows % amx::SIDE } else { rows }
}

/// A block of A as the kernel wants it: where it lies if its format and strides allow, otherwise packed into `scratch`.
/// Returns its first word and the distances between rows and between words of k in bytes.
fn operand<A: Element>(unit: Unit, a: View<A>, groups: usize, scratch: &mut Vec<Line>) -> (*const u32, [usize; 2]) {
    let [stride, step] = [a.row_stride, a.col_stride].map(|elements| elements * size_of::<A>());
    let whole = a.cols == groups * unit.elements_per_word() && (unit != Unit::Amx || a.rows.is_multiple_of(amx::SIDE));
    // Rows a multiple of 4096 bytes apart fall into the same few lines of L1.
    let spread = |distance: usize| !distance.is_multiple_of(4096);
    if A::FORMAT == unit.format() && whole {
        if a.col_stride == 1 && spread(stride) {
            return (a.data.as_ptr().cast(), [stride, WORD]);
        }
        // By columns, as a product of transposed rows finds them; a pair of bf16 would not be one word.
        if unit == Unit::Fma && a.row_stride == 1 && spread(step) {
            return (a.data.as_ptr().cast(), [WORD, step]);
        }
    }
    let rows = if unit == Unit::Amx { a.rows.next_multiple_of(amx::SIDE) } else { a.rows };
    let (words, row_lines) = pack_rows(unit, Workers::One, a, rows, scratch);
    (words.as_ptr().cast(), [size_of::<Line>() * row_lines, WORD])
}

/// A panel's columns of C by strips of at most `avx512::ROWS` rows, as even as they can be.
///
/// # Safety
/// As for the kernels, but for the number of rows.
unsafe fn strips(unit: Unit, block: &Block) {
    let count = block.rows.div_ceil(avx512::ROWS);
    let mut row = 0;
    for strip in 0..count {
        let rows = block.rows / count + usize::from(strip < block.rows % count);
        // SAFETY: rows `row..row + rows` are inside; the rest is the caller's word.
        unsafe {
            let strip = block.rows(row, rows);
            match unit {
                Unit::Bf16 => avx512::multiply_bf16(&strip),
                _ if strip.a_step != WORD => avx512::multiply_f32_by_columns(&strip),
                _ => avx512::multiply_f32(&strip),
            }
        }
        row += rows;
    }
}

/// A panel's columns of C by squares; a square that C does not hold whole is computed aside.
///
/// # Safety
/// As for the kernel, but for the number of rows; A has them rounded up to whole squares.
unsafe fn squares(tiles: &amx::Tiles, block: &Block) {
    const SIDE: usize = amx::SIDE;
    for row in (0..block.rows).step_by(SIDE) {
        // SAFETY: the square's rows are inside (A, and C if it is whole), by the caller's word; `aside` is a whole square.
        unsafe {
            let square = block.rows(row, SIDE.min(block.rows - row));
            if square.rows == SIDE && square.cols == SIDE {
                amx::multiply(tiles, &square);
                continue;
            }
            let mut aside = [0f32; SIDE * SIDE];
            amx::multiply(tiles, &Block { c: aside.as_mut_ptr(), c_stride: SIDE, add: false, ..square });
            for (i, aside) in aside.chunks_exact(SIDE).enumerate().take(square.rows) {
                let c = std::slice::from_raw_parts_mut(square.c.add(i * square.c_stride), square.cols);
                for (c, aside) in c.iter_mut().zip(aside) {
                    *c = if square.add { *c + aside } else { *aside };
                }
            }
        }
    }
}
