//! Memory, planned before it is allocated: out of memory is a table printed at the start, not a crash in step 900.

use super::{DType, Mat, RegionId};

/// How a device stores the numbers of a model: those of the residual stream and its gradient, and those of everything
/// between (activations, their gradients, the matmuls' copy of the weights).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The residual stream.
    pub stream: DType,
    /// Activations and the matmuls' weights.
    pub acts: DType,
}

impl Storage {
    /// The stream in f32 whatever the activations are: what the CPU does.
    pub fn wide_stream(acts: DType) -> Self {
        Storage { stream: DType::F32, acts }
    }

    /// One dtype for all: what tensor-core kernels read and write.
    pub fn uniform(dtype: DType) -> Self {
        Storage { stream: dtype, acts: dtype }
    }

    /// Whether gradients need a loss scale to stay within the range of the dtype.
    pub fn needs_loss_scale(self) -> bool {
        self.acts == DType::F16
    }
}

/// Whether a region keeps its content between programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Weights, gradients, moments, token state: kept, one after another.
    Kept,
    /// Activations: every program starts over at element 0, the region is as long as its longest user needs.
    Scratch,
}

/// One allocation of a plan.
#[derive(Clone, Debug)]
pub struct Region {
    /// For the table: `weights`.
    pub name: &'static str,
    /// Stored dtype of every element.
    pub dtype: DType,
    /// Whether it outlives a program.
    pub persistence: Persistence,
    /// Number of elements.
    pub len: usize,
}

/// Every region that a run's programs name. Backends allocate it once.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    regions: Vec<Region>,
    /// Next free element of each region.
    cursors: Vec<usize>,
    constants: Vec<(Mat, Vec<u32>)>,
}

/// Mats start on multiples of 256 bytes, whatever the dtype: full sectors for a GPU, full cache lines for a CPU.
const ALIGN_BYTES: usize = 256;

impl Plan {
    /// A plan without regions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a region, empty as yet.
    pub fn region(&mut self, name: &'static str, dtype: DType, persistence: Persistence) -> RegionId {
        let id = u16::try_from(self.regions.len()).expect("a plan has a handful of regions");
        self.regions.push(Region { name, dtype, persistence, len: 0 });
        self.cursors.push(0);
        RegionId(id)
    }

    /// The regions, indexed by [`RegionId::index`].
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Stored dtype of a matrix.
    pub fn dtype(&self, mat: Mat) -> DType {
        self.regions[mat.region.index()].dtype
    }

    /// Takes `rows × cols` elements at the end of a region.
    pub fn alloc(&mut self, region: RegionId, rows: usize, cols: usize) -> Mat {
        let mat = self.alloc_packed(region, rows, cols);
        let align = ALIGN_BYTES / self.regions[region.index()].dtype.bytes();
        let cursor = &mut self.cursors[region.index()];
        *cursor = cursor.next_multiple_of(align);
        let slot = &mut self.regions[region.index()];
        slot.len = slot.len.max(*cursor);
        mat
    }

    /// As [`Plan::alloc`], without padding behind it: weights that stand as one matrix (q, k, v) follow each other.
    pub fn alloc_packed(&mut self, region: RegionId, rows: usize, cols: usize) -> Mat {
        let cursor = &mut self.cursors[region.index()];
        let mat = Mat { region, offset: *cursor, rows, cols };
        *cursor += mat.len();
        let slot = &mut self.regions[region.index()];
        slot.len = slot.len.max(*cursor);
        mat
    }

    /// A row of numbers that no program writes, in a region of ids that is kept; the same one for the same numbers, or those that one
    /// begins with.
    pub(super) fn constant(&mut self, region: RegionId, values: Vec<u32>) -> Mat {
        let slot = &self.regions[region.index()];
        assert!(
            slot.dtype == DType::U32 && slot.persistence == Persistence::Kept,
            "{} cannot hold constants",
            slot.name
        );
        let known = self.constants.iter().find(|(mat, known)| mat.region == region && known.starts_with(&values));
        known.map(|(mat, _)| Mat { cols: values.len(), ..*mat }).unwrap_or_else(|| {
            let mat = self.alloc(region, 1, values.len());
            self.constants.push((mat, values));
            mat
        })
    }

    /// What backends write before anything runs.
    pub fn constants(&self) -> &[(Mat, Vec<u32>)] {
        &self.constants
    }

    /// The same regions and matrices with every 16-bit region stored in f32: programs written for this plan run on the
    /// reference with it, unrounded.
    pub fn widened(&self) -> Self {
        let mut wide = self.clone();
        for region in wide.regions.iter_mut().filter(|r| r.dtype.bytes() == 2) {
            region.dtype = DType::F32;
        }
        wide
    }

    /// Starts the next program: scratch regions are free again.
    pub(super) fn release_scratch(&mut self) {
        for (region, cursor) in self.regions.iter().zip(&mut self.cursors) {
            if region.persistence == Persistence::Scratch {
                *cursor = 0;
            }
        }
    }

    /// Everything allocated in a region as one row.
    pub fn whole(&self, region: RegionId) -> Mat {
        Mat { region, offset: 0, rows: 1, cols: self.regions[region.index()].len }
    }

    /// Total bytes; the largest number there is where they are more.
    pub fn bytes(&self) -> usize {
        self.regions.iter().fold(0, |sum, r| sum.saturating_add(r.len.saturating_mul(r.dtype.bytes())))
    }

    /// One line a region and the total, in MB (10⁶ bytes).
    pub fn table(&self) -> String {
        let mut out = String::new();
        for r in self.regions.iter().filter(|r| r.len > 0) {
            let mb = r.len as f64 * r.dtype.bytes() as f64 / 1e6;
            out += &format!("{:<18} {:>5} {:>12} elements {mb:>9.1} MB\n", r.name, format!("{:?}", r.dtype), r.len);
        }
        out += &format!("{:<18} {:>5} {:>12}          {:>9.1} MB\n", "total", "", "", self.bytes() as f64 / 1e6);
        out
    }
}
