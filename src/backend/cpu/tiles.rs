//! How work is cut: blocks of rows, by shape alone, each finished by one worker while its tile is in cache.

use std::cell::RefCell;

/// Rows of a block: small enough that a tile of a wide output stays in a 2 MiB cache, and that two workers share even
/// one window of 256 rows; large enough that packing the other operand costs little.
pub(super) fn row_block(rows: usize) -> usize {
    rows.div_ceil(4).next_multiple_of(16).clamp(16, 256)
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
