//! The AMX micro-kernel: 32 rows by 32 columns of C in four tiles, pairs of bf16 in, f32 out.
//!
//! Intel, Software Developer's Manual volume 1, chapter 18. The language has no stable intrinsics for tiles, so this is
//! assembly. Linux gives a process the tiles only on request (arch_prctl, once).

use super::panels::Block;
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Rows and columns of C that one kernel call computes.
pub(super) const SIDE: usize = 32;
/// Words of k (pairs of bf16) that one tile holds.
pub(super) const TILE_GROUPS: usize = 16;

/// Whether this CPU has bf16 tiles and the system lets this process use them.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has_tiles() && system_allows_tiles())
}

/// CPUID leaf 7: AMX-BF16 is bit 22 of EDX, AMX-TILE bit 24. XCR0 bits 17 and 18: the system saves tile state.
fn processor_has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX: u32 = 1 << 22 | 1 << 24;
    const TILE_STATE: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 || __cpuid_count(7, 0).edx & AMX != AMX {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE says that XGETBV exists; it reads XCR0 and touches nothing else.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack, preserves_flags)) };
    enabled & TILE_STATE == TILE_STATE
}

/// arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): holds for all threads of the process.
#[cfg(target_os = "linux")]
fn system_allows_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call takes two integers and changes only which registers the process may use; the kernel clobbers rcx
    // and r11.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
             out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn system_allows_tiles() -> bool {
    false
}

/// The shapes of the eight tiles, loaded into this thread's registers while the value lives.
pub(super) struct Tiles(());

impl Tiles {
    /// All tiles 16 rows of 64 bytes: 16 by 16 f32 (C), 16 rows by 32 k (A), 16 pairs of k by 16 columns (B).
    pub(super) fn configure() -> Self {
        assert!(available());
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = 16;
        }
        // SAFETY: the CPU and system allow tiles; palette 1 allows eight tiles of 16 rows of 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly, preserves_flags)) };
        Tiles(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: puts the tiles back into their initial state, in which a context switch need not save them.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// C = A·B, or C += A·B. Denormals count as zero.
///
/// # Safety
/// A, B and C are readable, C writable, in the extents of the block, which is a whole square; its groups are a positive
/// multiple of `TILE_GROUPS`.
pub(super) unsafe fn multiply(_tiles: &Tiles, block: &Block) {
    // SAFETY: `_tiles` shows that the shapes are loaded in this thread. The memory is the caller's promise.
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {cs}]",
            "tileloadd tmm1, [{c} + {cs} + 64]",
            "tileloadd tmm2, [{c1} + {cs}]",
            "tileloadd tmm3, [{c1} + {cs} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "tileloadd tmm6, [{b} + {bs}]",
            "tileloadd tmm4, [{a} + {s}]",
            "tileloadd tmm7, [{b} + {bs} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a1} + {s}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {a1}, 64",
            "add {b}, 2048",
            "dec {n}",
            "jnz 3b",
            "tilestored [{c} + {cs}], tmm0",
            "tilestored [{c} + {cs} + 64], tmm1",
            "tilestored [{c1} + {cs}], tmm2",
            "tilestored [{c1} + {cs} + 64], tmm3",
            a = inout(reg) block.a => _,
            a1 = inout(reg) block.a.byte_add(16 * block.a_stride) => _,
            s = in(reg) block.a_stride,
            b = inout(reg) block.b => _,
            bs = in(reg) 128usize,
            n = inout(reg) block.groups / TILE_GROUPS => _,
            c = in(reg) block.c,
            c1 = in(reg) block.c.add(16 * block.c_stride),
            cs = in(reg) 4 * block.c_stride,
            add = in(reg) u32::from(block.add),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
