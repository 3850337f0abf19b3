//! Names of matrices in slices.

use super::element::Element;
use std::ops::Range;

/// A matrix that lies in a slice: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Debug)]
pub(crate) struct View<'a, T> {
    pub(super) data: &'a [T],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// `[rows, cols]`, one row after the other.
    #[track_caller]
    pub(crate) fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `[rows, cols]`, rows `row_stride` elements apart.
    #[track_caller]
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        let end = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
        assert!(end <= data.len(), "[{rows}, {cols}] with rows {row_stride} apart ends at {end} of {}", data.len());
        View { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same elements with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        View {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Some of the rows.
    #[track_caller]
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let start = (range.start * self.row_stride).min(self.data.len());
        View { data: &self.data[start..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    #[track_caller]
    pub(crate) fn cols(self, range: Range<usize>) -> Self {
        self.transposed().rows(range).transposed()
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }
}

/// The shape and strides of a view without its type.
pub(super) fn reshaped<'a, T, U>(view: &View<'_, T>) -> View<'a, U> {
    let &View { rows, cols, row_stride, col_stride, .. } = view;
    View { data: &[], rows, cols, row_stride, col_stride }
}

/// A row-major f32 copy.
pub(super) fn widen<T: Element>(view: View<T>, to: &mut [f32]) {
    for (i, row) in to.chunks_exact_mut(view.cols.max(1)).enumerate() {
        if view.col_stride == 1 {
            T::widen(&view.data[i * view.row_stride..][..view.cols], row);
        } else {
            for (j, to) in row.iter_mut().enumerate() {
                *to = view.data[i * view.row_stride + j * view.col_stride].wide();
            }
        }
    }
}
