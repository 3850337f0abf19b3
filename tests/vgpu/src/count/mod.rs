//! Counters of a launch.

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
}

/// Classes of instructions.
pub const CLASSES: [&str; 10] =
    ["integer", "float", "convert", "move", "load", "store", "atomic", "warp", "tensor", "control"];
