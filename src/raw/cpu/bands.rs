//! Bands of columns of a row-major matrix, to be written in parallel: a head's columns of a sequence's rows.

use rayon::prelude::*;
use std::marker::PhantomData;

/// Some columns of some rows, which nobody else holds.
pub(crate) struct Band<'a, T> {
    first: *mut T,
    rows: usize,
    width: usize,
    row_stride: usize,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: a band is an exclusive borrow of its elements, like `&mut [T]`.
unsafe impl<T: Send> Send for Band<'_, T> {}

impl<T> Band<'_, T> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Element (0, 0) and the distance between rows, for kernels.
    pub(super) fn memory(&mut self) -> (*mut T, usize) {
        (self.first, self.row_stride)
    }

    /// One row of the band.
    #[track_caller]
    pub(crate) fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: inside the matrix by construction; the band's elements are its own and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row_stride), self.width) }
    }
}

/// Where the matrix lies. Neither Clone nor Copy, so that the iterator that captures it can not be cloned either.
struct Start<'a, T>(*mut T, PhantomData<&'a mut [T]>);

// SAFETY: only used to make bands that do not overlap, each of which is Send.
unsafe impl<T: Send> Sync for Start<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Start<'_, T> {}

/// Cuts a matrix with `P` parts of columns beside each other (q | k | v) into groups of `rows` rows and bands of `width`
/// columns, the last of each perhaps smaller: item `group * bands + band` holds that band of each part.
#[track_caller]
pub(crate) fn bands<T: Send, const P: usize>(
    data: &mut [T],
    rows: usize,
    row_len: usize,
    width: usize,
) -> impl IndexedParallelIterator<Item = [Band<'_, T>; P]> {
    assert!(rows > 0 && width > 0 && row_len > 0, "bands of {rows} rows of {width} of {row_len} columns");
    let (all_rows, part) = (data.len() / row_len, row_len / P);
    assert!(all_rows * row_len == data.len(), "{} elements are not rows of {row_len}", data.len());
    assert!(part * P == row_len, "{row_len} columns are not {P} equal parts");
    let n_bands = part.div_ceil(width);
    let start = Start(data.as_mut_ptr(), PhantomData);
    (0..all_rows.div_ceil(rows) * n_bands).into_par_iter().map(move |item| {
        let start = &start;
        let (row, col) = (item / n_bands * rows, item % n_bands * width);
        std::array::from_fn(|p| Band {
            // SAFETY: row < all_rows and col < part, so this element and the rows and columns that the band counts lie in
            // the matrix. rayon makes each item once, and no two items or parts share a column of a row.
            first: unsafe { start.0.add(row * row_len + p * part + col) },
            rows: rows.min(all_rows - row),
            width: width.min(part - col),
            row_stride: row_len,
            matrix: PhantomData,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bands_are_what_is_left() {
        let mut data = vec![0; 7 * 10];
        bands::<_, 1>(&mut data, 3, 10, 4).for_each(|[mut band]| {
            (0..band.rows()).for_each(|row| band.row(row).iter_mut().for_each(|x| *x += 1));
        });
        assert!(data.iter().all(|&x| x == 1));
    }

    #[test]
    fn bands_cover_a_matrix_once() {
        let mut data = vec![0; 2 * 3 * 12];
        let all = bands::<_, 2>(&mut data, 3, 12, 2);
        assert_eq!(all.len(), 6);
        all.enumerate().for_each(|(item, mut parts)| {
            for (p, part) in parts.iter_mut().enumerate() {
                (0..3).for_each(|row| part.row(row).iter_mut().for_each(|x| *x += 10 * item + p + 1));
            }
        });
        let row = |group: usize| [1, 1, 11, 11, 21, 21, 2, 2, 12, 12, 22, 22].map(|x| x + 30 * group);
        for (i, found) in data.chunks(12).enumerate() {
            assert_eq!(found, row(i / 3), "row {i}");
        }
    }
}
