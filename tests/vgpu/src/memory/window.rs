//! The ranges of generic addresses. Device memory has the rest.

use crate::isa::Space;

/// First address of device memory.
pub const GLOBAL: u64 = 0x0000_7000_0000_0000;
/// Parameters of the kernel.
pub const PARAM: u64 = 0x0000_7c00_0000_0000;
/// Local memory of the thread.
pub const LOCAL: u64 = 0x0000_7d00_0000_0000;
/// Shared memory: that of the block itself, then those of its cluster by rank.
pub const SHARED: u64 = 0x0000_7e00_0000_0000;
/// Bytes of each window.
pub const SIZE: u64 = 1 << 32;
/// Bytes from one block of a cluster to the next.
pub const RANK_STEP: u64 = 1 << 24;

/// Where the window of a space starts; zero for device memory.
#[inline(always)]
pub fn base(space: Space) -> u64 {
    match space {
        Space::Shared | Space::SharedCluster => SHARED,
        Space::Local => LOCAL,
        Space::Param => PARAM,
        _ => 0,
    }
}

/// The space that a generic address lies in, and the address within it.
#[inline(always)]
pub fn locate(address: u64) -> (Space, u64) {
    if address.wrapping_sub(SHARED) < SIZE {
        (Space::Shared, address - SHARED)
    } else if address.wrapping_sub(LOCAL) < SIZE {
        (Space::Local, address - LOCAL)
    } else if address.wrapping_sub(PARAM) < SIZE {
        (Space::Param, address - PARAM)
    } else {
        (Space::Global, address)
    }
}
