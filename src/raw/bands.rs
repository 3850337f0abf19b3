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
/// columns: item `group * bands + band` holds that band of each part.
#[track_caller]
pub(crate) fn bands<T: Send, const P: usize>(
    data: &mut [T],
    rows: usize,
    row_len: usize,
    width: usize,
) -> impl IndexedParallelIterator<Item = [Band<'_, T>; P]> {
    assert!(rows > 0 && width > 0 && row_len > 0, "bands of {rows} rows of {width} of {row_len} columns");
    let part = row_len / P;
    let n_bands = part / width;
    assert!(n_bands * width * P == row_len, "{row_len} columns are not {P} parts of bands of {width}");
    let groups = data.len() / (rows * row_len);
    assert!(
        groups * rows * row_len == data.len(),
        "{} elements are not groups of {rows} rows of {row_len}",
        data.len()
    );
    let start = Start(data.as_mut_ptr(), PhantomData);
    (0..groups * n_bands).into_par_iter().map(move |item| {
        let start = &start;
        let (group, band) = (item / n_bands, item % n_bands);
        std::array::from_fn(|p| Band {
            // SAFETY: group, part and band are in range, so this and the rows after it lie in the matrix. rayon makes
            // each item once, and no two items or parts share a column of a row.
            first: unsafe { start.0.add(group * rows * row_len + p * part + band * width) },
            rows,
            width,
            row_stride: row_len,
            matrix: PhantomData,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
