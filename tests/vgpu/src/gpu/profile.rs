//! The device that the virtual GPU plays.

/// Limits and attributes of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Marketing name, as `cuDeviceGetName` gives it.
    pub name: &'static str,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Core clock.
    pub clock_khz: u32,
    /// Memory clock.
    pub memory_clock_khz: u32,
    /// Width of the memory bus.
    pub memory_bus_bits: u32,
    /// Device memory.
    pub memory_bytes: u64,
    /// L2 cache.
    pub l2_bytes: u32,
    /// Shared memory a block may have without the opt-in attribute.
    pub shared_per_block: u32,
    /// Shared memory a block may have with it.
    pub shared_per_block_optin: u32,
    /// Shared memory of an SM.
    pub shared_per_sm: u32,
    /// Shared memory that the system keeps of each block.
    pub shared_reserved: u32,
    /// Registers a block may use.
    pub registers_per_block: u32,
    /// Registers of an SM.
    pub registers_per_sm: u32,
    /// Threads a block may have.
    pub threads_per_block: u32,
    /// Threads resident on an SM.
    pub threads_per_sm: u32,
    /// Blocks resident on an SM.
    pub blocks_per_sm: u32,
}

impl Profile {
    /// NVIDIA A100-SXM4-80GB, compute capability 8.0.
    pub fn a100() -> Profile {
        Profile {
            name: "NVIDIA A100-SXM4-80GB",
            capability: (8, 0),
            sm_count: 108,
            clock_khz: 1_410_000,
            memory_clock_khz: 1_593_000,
            memory_bus_bits: 5120,
            memory_bytes: 80 << 30,
            l2_bytes: 40 << 20,
            shared_per_block: 48 << 10,
            shared_per_block_optin: 163 << 10,
            shared_per_sm: 164 << 10,
            shared_reserved: 1 << 10,
            registers_per_block: 65_536,
            registers_per_sm: 65_536,
            threads_per_block: 1024,
            threads_per_sm: 2048,
            blocks_per_sm: 32,
        }
    }
}
