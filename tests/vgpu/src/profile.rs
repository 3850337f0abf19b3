//! The devices the virtual GPU can play: their limits, sizes and clocks.
//!
//! Figures are those that `cuDeviceGetAttribute` reports on the real cards. They bound
//! what a launch may ask for and feed the occupancy calculation; only how tensor cores sum
//! changes what a kernel computes.

use crate::arith::matrix::sums::TensorCore;

const KIB: u32 = 1024;
const MIB: u64 = 1024 * 1024;

/// One kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The short name by which `VGPU_PROFILE` and [`Profile::by_name`] know it.
    pub key: &'static str,
    /// The name `cuDeviceGetName` reports.
    pub name: &'static str,
    /// Compute capability, major and minor: (8, 0) for sm_80.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Peak core clock in kHz.
    pub clock_khz: u32,
    /// Peak memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// L2 cache in bytes.
    pub l2_bytes: u32,
    /// The part of L2 that may be set aside for persisting accesses, in bytes.
    pub persisting_l2_bytes: u32,
    /// Shared memory a block gets without opting in, in bytes.
    pub shared_per_block: u32,
    /// Shared memory a block gets at most after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// Shared memory of one SM in bytes.
    pub shared_per_sm: u32,
    /// Shared memory the system keeps of each resident block, in bytes.
    pub shared_reserved_per_block: u32,
    /// Granularity of a block's shared memory, in bytes.
    pub shared_unit: u32,
    /// 32-bit registers of one SM.
    pub registers_per_sm: u32,
    /// 32-bit registers a block may use.
    pub registers_per_block: u32,
    /// 32-bit registers a thread may use.
    pub registers_per_thread: u32,
    /// Granularity of a warp's registers.
    pub register_unit: u32,
    /// Threads in a block.
    pub threads_per_block: u32,
    /// Threads resident on one SM.
    pub threads_per_sm: u32,
    /// Blocks resident on one SM.
    pub blocks_per_sm: u32,
    /// Extents of a block.
    pub block_limit: [u32; 3],
    /// Extents of a grid.
    pub grid_limit: [u32; 3],
    /// Blocks in a cluster without opting in to more; 0 where there are no clusters.
    pub cluster_blocks: u32,
    /// How many times faster single precision is than double.
    pub single_to_double_ratio: u32,
    /// How tensor cores sum products.
    pub tensor_core: TensorCore,
    /// Copy engines.
    pub copy_engines: u32,
    /// Whether memory is error-corrected.
    pub ecc: bool,
}

impl Profile {
    /// NVIDIA A100-SXM4 with 80 GB, sm_80.
    pub fn a100() -> Profile {
        Profile {
            key: "a100",
            name: "NVIDIA A100-SXM4-80GB",
            capability: (8, 0),
            sm_count: 108,
            clock_khz: 1_410_000,
            memory_clock_khz: 1_593_000,
            memory_bus_bits: 5120,
            memory_bytes: 81_154 * MIB,
            l2_bytes: 40 * 1024 * KIB,
            persisting_l2_bytes: 30 * 1024 * KIB,
            shared_per_block: 48 * KIB,
            shared_per_block_optin: 163 * KIB,
            shared_per_sm: 164 * KIB,
            shared_reserved_per_block: KIB,
            shared_unit: 128,
            registers_per_sm: 65_536,
            registers_per_block: 65_536,
            registers_per_thread: 255,
            register_unit: 256,
            threads_per_block: 1024,
            threads_per_sm: 2048,
            blocks_per_sm: 32,
            block_limit: [1024, 1024, 64],
            grid_limit: [i32::MAX as u32, 65_535, 65_535],
            cluster_blocks: 0,
            single_to_double_ratio: 2,
            tensor_core: TensorCore::AMPERE,
            copy_engines: 3,
            ecc: true,
        }
    }

    /// NVIDIA GeForce RTX 4090, sm_89.
    pub fn rtx4090() -> Profile {
        Profile {
            key: "rtx4090",
            name: "NVIDIA GeForce RTX 4090",
            capability: (8, 9),
            sm_count: 128,
            clock_khz: 2_520_000,
            memory_clock_khz: 10_501_000,
            memory_bus_bits: 384,
            memory_bytes: 24_210 * MIB,
            l2_bytes: 72 * 1024 * KIB,
            persisting_l2_bytes: 49 * 1024 * KIB + 512 * KIB,
            shared_per_block_optin: 99 * KIB,
            shared_per_sm: 100 * KIB,
            threads_per_sm: 1536,
            blocks_per_sm: 24,
            single_to_double_ratio: 64,
            tensor_core: TensorCore::ADA,
            copy_engines: 2,
            ecc: false,
            ..Profile::a100()
        }
    }

    /// NVIDIA H100-SXM5 with 80 GB, sm_90.
    pub fn h100() -> Profile {
        Profile {
            key: "h100",
            name: "NVIDIA H100 80GB HBM3",
            capability: (9, 0),
            sm_count: 132,
            clock_khz: 1_980_000,
            memory_clock_khz: 2_619_000,
            memory_bus_bits: 5120,
            memory_bytes: 81_106 * MIB,
            l2_bytes: 50 * 1024 * KIB,
            persisting_l2_bytes: 32_000 * KIB,
            shared_per_block_optin: 227 * KIB,
            shared_per_sm: 228 * KIB,
            cluster_blocks: 8,
            tensor_core: TensorCore::HOPPER,
            ..Profile::a100()
        }
    }

    /// Every device that can be played.
    pub fn all() -> Vec<Profile> {
        vec![Profile::a100(), Profile::rtx4090(), Profile::h100()]
    }

    /// The device of that short name, in any case: `a100`, `rtx4090` (or `4090`), `h100`.
    pub fn by_name(name: &str) -> Option<Profile> {
        let wanted = name.trim().to_ascii_lowercase();
        let wanted = if wanted == "4090" { "rtx4090" } else { &wanted };
        Profile::all().into_iter().find(|profile| profile.key == wanted)
    }

    /// The `sm_` number: 80, 89, 90.
    pub fn sm(&self) -> u32 {
        self.capability.0 * 10 + self.capability.1
    }

    /// Warps resident on one SM.
    pub fn warps_per_sm(&self) -> u32 {
        self.threads_per_sm / 32
    }

    /// How many blocks of this shape one SM holds at once, and 0 when not even one fits.
    /// `shared` is the static plus dynamic shared memory of a block, in bytes.
    pub fn resident_blocks(&self, threads: u32, registers_per_thread: u32, shared: u32) -> u32 {
        if threads == 0 || threads > self.threads_per_block || shared > self.shared_per_block_optin {
            return 0;
        }
        let warps = threads.div_ceil(32);
        let by_warps = self.warps_per_sm() / warps;

        // Registers are given out per warp; warps are spread evenly over the SM's four parts.
        let per_warp = (registers_per_thread * 32).next_multiple_of(self.register_unit);
        let by_registers = if registers_per_thread == 0 {
            u32::MAX
        } else if registers_per_thread > self.registers_per_thread
            || per_warp * warps.next_multiple_of(4) > self.registers_per_block
        {
            0
        } else {
            (self.registers_per_sm / 4 / per_warp * 4) / warps
        };

        let per_block = (shared + self.shared_reserved_per_block).next_multiple_of(self.shared_unit);
        let by_shared = self.shared_per_sm / per_block;

        by_warps.min(by_registers).min(by_shared).min(self.blocks_per_sm)
    }
}

impl Default for Profile {
    /// The A100: what `sm_80` code is written for.
    fn default() -> Profile {
        Profile::a100()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Profile::by_name(" RTX4090 "), Some(Profile::rtx4090()));
        assert_eq!(Profile::by_name("4090"), Some(Profile::rtx4090()));
        assert_eq!(Profile::by_name("H100").map(|p| p.sm()), Some(90));
        assert_eq!(Profile::by_name("v100"), None);
    }

    /// Rows computed with NVIDIA's occupancy rules by hand.
    #[test]
    fn resident_blocks_follow_each_limit() {
        let a100 = Profile::a100();
        assert_eq!(a100.resident_blocks(32, 16, 0), 32, "blocks");
        assert_eq!(a100.resident_blocks(1024, 32, 0), 2, "threads");
        assert_eq!(a100.resident_blocks(128, 200, 0), 2, "registers: 200·32 = 6400 → 2 warps a part");
        assert_eq!(a100.resident_blocks(256, 255, 0), 1, "registers: 2 warps a part");
        assert_eq!(a100.resident_blocks(128, 32, 80 * KIB), 2, "shared: 2 · 81 KiB of 164");
        assert_eq!(a100.resident_blocks(128, 32, 82 * KIB), 1, "shared: 2 · 83 KiB do not fit");
        assert_eq!(a100.resident_blocks(1024, 65, 0), 0, "65·32 → 2304 a warp · 32 > 65536");
        assert_eq!(a100.resident_blocks(128, 32, 164 * KIB), 0);
        let ada = Profile::rtx4090();
        assert_eq!(ada.resident_blocks(1024, 32, 0), 1, "1536 threads");
        assert_eq!(ada.resident_blocks(64, 32, 0), 24);
        assert_eq!(ada.resident_blocks(128, 32, 80 * KIB), 1);
    }
}
