//! Memory of products: lines of packed words, and the rectangle of C that a call writes.

use super::bands::Band;
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;

/// Columns of B in one packed panel; a range of columns of a product starts at a multiple of it.
pub(crate) const PANEL: usize = 32;

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
pub(super) struct Line([u32; 16]);

/// Lines that hold `words`.
pub(super) fn lines(words: usize) -> usize {
    words.div_ceil(16)
}

/// At least `len` lines of whatever was there; grows only, so that a step allocates nothing.
pub(super) fn grown(buffer: &mut Vec<Line>, len: usize) -> &mut [Line] {
    if buffer.len() < len {
        buffer.resize(len, Line::default());
    }
    &mut buffer[..len]
}

/// The rectangle of C that a call writes: exclusively borrowed, `stride >= cols` or one row.
pub(super) struct Tile<'a> {
    pub(super) first: *mut f32,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
    pub(super) accumulate: Accumulate,
    memory: PhantomData<&'a mut [f32]>,
}

impl<'a> Tile<'a> {
    #[track_caller]
    pub(super) fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize, accumulate: Accumulate) -> Self {
        assert!(cols <= stride || rows <= 1, "rows of {cols} columns, {stride} apart, overlap");
        let end = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(end <= data.len(), "[{rows}, {cols}] with rows {stride} apart ends at {end} of {}", data.len());
        Tile { first: data.as_mut_ptr(), rows, cols, stride, accumulate, memory: PhantomData }
    }

    pub(super) fn of_band(band: &'a mut Band<'_, f32>, accumulate: Accumulate) -> Self {
        let (rows, cols) = (band.rows(), band.width());
        let (first, stride) = band.memory();
        Tile { first, rows, cols, stride, accumulate, memory: PhantomData }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// The product over no terms.
    pub(super) fn settle(&mut self) {
        if self.accumulate == Accumulate::Overwrite {
            for row in 0..self.rows {
                // SAFETY: the row is the tile's own.
                unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.cols) }.fill(0.0);
            }
        }
    }
}

/// Who packs an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Workers {
    One,
    All,
}
