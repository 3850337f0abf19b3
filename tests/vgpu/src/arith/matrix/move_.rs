//! `ldmatrix`, `stmatrix`, `movmatrix`: 8×8 matrices of 16-bit elements, four bytes a lane.

use super::element::Row;

/// Byte offset, within an 8-element row of 16 bytes, of the word that `lane` loads.
#[inline(always)]
pub const fn word_offset(lane: usize) -> usize {
    lane % 4 * 4
}

/// The row of the matrix that `lane` loads its word from.
#[inline(always)]
pub const fn word_row(lane: usize) -> usize {
    lane / 4
}

/// `movmatrix.trans`, and the `.trans` of `ldmatrix` and `stmatrix`: lane `4g + t` holds elements
/// `(g, 2t)` and `(g, 2t + 1)`; the result holds `(2t, g)` and `(2t + 1, g)`.
#[inline]
pub fn transpose(fragment: &Row) -> Row {
    core::array::from_fn(|lane| {
        let (g, t) = (lane / 4, lane % 4);
        let element = |row: usize, col: usize| (fragment[row * 4 + col / 2] >> (16 * (col % 2))) & 0xffff;
        element(2 * t, g) | element(2 * t + 1, g) << 16
    })
}

/// The fragment of a matrix whose row `i` is the 16 bytes `rows[i]`.
#[inline]
pub fn load(rows: &[[u32; 4]; 8], transposed: bool) -> Row {
    let plain: Row = core::array::from_fn(|lane| rows[lane / 4][lane % 4]);
    if transposed { transpose(&plain) } else { plain }
}

/// The rows of a matrix held as a fragment.
#[inline]
pub fn store(fragment: &Row, transposed: bool) -> [[u32; 4]; 8] {
    let plain = if transposed { transpose(fragment) } else { *fragment };
    core::array::from_fn(|row| core::array::from_fn(|word| plain[row * 4 + word]))
}
