//! How work is cut: tiles of rows and columns, by shape alone, each finished by one worker while it is in cache.

use crate::raw::cpu::element::{Element, Format};
use std::cell::RefCell;
use std::ops::Range;

/// Rows of a block: small enough that several workers share even one window of 256 rows, and that none waits long for the
/// last one; large enough that what a block reads beside its rows costs little.
pub(super) fn row_block(rows: usize) -> usize {
    rows.div_ceil(8).next_multiple_of(32).min(256)
}

/// Columns of a tile: with 256 rows of f32 it leaves a 1 MiB cache room for both operands.
const TILE_COLS: usize = 384;

/// Cuts `cols` columns into tiles of whole `unit`s (a head, a partial sum) that start where a packed panel does.
pub(super) fn col_tiles(cols: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    use crate::raw::cpu::gemm::PANEL;
    // The least number of columns that is whole units and whole panels: PANEL is a power of two.
    let shared = 1 << unit.trailing_zeros().min(PANEL.trailing_zeros());
    let step = unit * (PANEL / shared);
    let width = (TILE_COLS / step).max(1) * step;
    (0..cols).step_by(width).map(move |start| start..cols.min(start + width))
}

/// `x` as the matmuls read it: itself, or narrowed into `scratch` once for all tiles of columns.
pub(super) fn narrowed<'a, A: Element>(x: &'a [f32], scratch: &'a mut [f32]) -> &'a [A] {
    match A::FORMAT {
        Format::F32 => bytemuck::cast_slice(x),
        Format::Bf16 => {
            let narrow = stored_as::<A>(scratch, x.len());
            A::narrow(x, narrow);
            narrow
        }
    }
}

/// The first `len` elements that fit into memory lent as f32.
pub(super) fn stored_as<A: Element>(scratch: &mut [f32], len: usize) -> &mut [A] {
    &mut bytemuck::cast_slice_mut(scratch)[..len]
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` floats of the worker's own memory, kept from call to call; what they hold is left from before. Calls may
/// nest.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    let result = f(&mut scratch[..len]);
    SCRATCH.with_borrow_mut(|kept| kept.push(scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_tiles_are_whole_units_on_panel_boundaries() {
        for (cols, unit) in [(1152, 64), (1536, 128), (384, 48), (30, 10), (2000, 250), (129, 1)] {
            let tiles: Vec<_> = col_tiles(cols, unit).collect();
            assert_eq!(tiles.iter().map(Range::len).sum::<usize>(), cols);
            assert!(tiles.iter().all(|t| t.start.is_multiple_of(unit) && t.start.is_multiple_of(32)));
        }
    }
}
