//! Names of memory.

/// A region of a [`Plan`](super::Plan): one contiguous allocation of one dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(pub(super) u16);

impl RegionId {
    /// Position in [`Plan::regions`](super::Plan::regions).
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A dense row-major matrix in a region: a name, not the memory itself. No strides, no broadcasting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mat {
    /// Where it lives.
    pub region: RegionId,
    /// Where it begins in its region, in elements.
    pub offset: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of elements of a row.
    pub cols: usize,
}

impl Mat {
    /// Number of elements, `rows * cols`.
    pub fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether it holds nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// `[rows, cols]`.
    pub fn shape(self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The elements' range within the region.
    pub fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Whether the two name a common element.
    pub fn overlaps(self, other: Mat) -> bool {
        self.region == other.region && self.offset < other.range().end && other.offset < self.range().end
    }

    /// `n` consecutive rows from `first`.
    #[track_caller]
    pub fn row_block(self, first: usize, n: usize) -> Mat {
        assert!(first + n <= self.rows, "rows {first}..{} of a {:?} matrix", first + n, self.shape());
        Mat { offset: self.offset + first * self.cols, rows: n, ..self }
    }
}
