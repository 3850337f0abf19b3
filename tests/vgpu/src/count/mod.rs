//! Counters of a launch.

mod banks;
mod sectors;

pub use banks::{fewest, row_wavefronts, wavefronts};
pub use sectors::Sectors;

/// Sums over all warps of a launch. A request is one warp instruction, a sector 32 aligned bytes,
/// a wavefront one pass over the 32 banks of shared memory.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions of each class; see [`CLASSES`].
    pub instructions: [u64; CLASSES.len()],
    /// Lanes that took part, summed over all instructions.
    pub lane_instructions: u64,
    /// Branch instructions.
    pub branches: u64,
    /// Branches that split their warp.
    pub divergent_branches: u64,
    /// Loads of global memory.
    pub global_load_requests: u64,
    /// Sectors that they touched.
    pub global_load_sectors: u64,
    /// Sectors that they would touch if the same bytes lay side by side.
    pub global_load_sectors_ideal: u64,
    /// Stores to global memory.
    pub global_store_requests: u64,
    /// Sectors that they touched.
    pub global_store_sectors: u64,
    /// Sectors that they would touch if the same bytes lay side by side.
    pub global_store_sectors_ideal: u64,
    /// Loads of shared memory.
    pub shared_load_requests: u64,
    /// Their wavefronts.
    pub shared_load_wavefronts: u64,
    /// Stores to shared memory.
    pub shared_store_requests: u64,
    /// Their wavefronts.
    pub shared_store_wavefronts: u64,
    /// Wavefronts beyond those that the widths of the accesses need.
    pub shared_bank_conflicts: u64,
    /// Unique sectors read, in bytes: a model of DRAM traffic with a perfect cache.
    pub dram_bytes_read: u64,
    /// Unique sectors written, in bytes.
    pub dram_bytes_written: u64,
    /// 2·M·N·K for each matrix instruction.
    pub mma_flops: u64,
    /// Barrier instructions.
    pub barriers: u64,
    /// Atomic instructions.
    pub atomics: u64,
    /// Warps.
    pub warps: u64,
}

/// Classes of instructions.
pub const CLASSES: [&str; 10] =
    ["integer", "float", "convert", "move", "load", "store", "atomic", "warp", "tensor", "control"];

impl Counters {
    /// Every counter but the instruction classes, with its name in reports.
    pub fn named(&self) -> [(&'static str, u64); 21] {
        [
            ("lane_instructions", self.lane_instructions),
            ("branches", self.branches),
            ("divergent_branches", self.divergent_branches),
            ("global_load_requests", self.global_load_requests),
            ("global_load_sectors", self.global_load_sectors),
            ("global_load_sectors_ideal", self.global_load_sectors_ideal),
            ("global_store_requests", self.global_store_requests),
            ("global_store_sectors", self.global_store_sectors),
            ("global_store_sectors_ideal", self.global_store_sectors_ideal),
            ("shared_load_requests", self.shared_load_requests),
            ("shared_load_wavefronts", self.shared_load_wavefronts),
            ("shared_store_requests", self.shared_store_requests),
            ("shared_store_wavefronts", self.shared_store_wavefronts),
            ("shared_bank_conflicts", self.shared_bank_conflicts),
            ("dram_bytes_read", self.dram_bytes_read),
            ("dram_bytes_written", self.dram_bytes_written),
            ("mma_flops", self.mma_flops),
            ("barriers", self.barriers),
            ("atomics", self.atomics),
            ("warp_instructions", self.instructions.iter().sum()),
            ("warps", self.warps),
        ]
    }

    /// Adds what another host thread counted.
    pub fn add(&mut self, other: &Counters) {
        for (mine, more) in self.instructions.iter_mut().zip(&other.instructions) {
            *mine += more;
        }
        self.lane_instructions += other.lane_instructions;
        self.branches += other.branches;
        self.divergent_branches += other.divergent_branches;
        self.global_load_requests += other.global_load_requests;
        self.global_load_sectors += other.global_load_sectors;
        self.global_load_sectors_ideal += other.global_load_sectors_ideal;
        self.global_store_requests += other.global_store_requests;
        self.global_store_sectors += other.global_store_sectors;
        self.global_store_sectors_ideal += other.global_store_sectors_ideal;
        self.shared_load_requests += other.shared_load_requests;
        self.shared_load_wavefronts += other.shared_load_wavefronts;
        self.shared_store_requests += other.shared_store_requests;
        self.shared_store_wavefronts += other.shared_store_wavefronts;
        self.shared_bank_conflicts += other.shared_bank_conflicts;
        self.dram_bytes_read += other.dram_bytes_read;
        self.dram_bytes_written += other.dram_bytes_written;
        self.mma_flops += other.mma_flops;
        self.barriers += other.barriers;
        self.atomics += other.atomics;
        self.warps += other.warps;
    }
}
