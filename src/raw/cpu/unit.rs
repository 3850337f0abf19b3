//! What multiplies: chosen by the CPU, and by the format of the numbers.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::element::Format;
use std::sync::OnceLock;

/// What this CPU can do, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// Whatever the gemm crate finds.
    Portable,
    /// AVX-512 F, BW, VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// And products of bf16 pairs.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// And tiles of them.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Level {
    pub(super) fn of_this_processor() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl");
                if avx512 {
                    return match is_x86_feature_detected!("avx512bf16") {
                        true if amx::available() => Level::Amx,
                        true => Level::Avx512Bf16,
                        false => Level::Avx512,
                    };
                }
            }
            Level::Portable
        })
    }
}

/// Whether this machine has instructions for products of bf16.
pub(crate) fn multiplies_bf16() -> bool {
    Unit::of(Format::Bf16).format() == Format::Bf16
}

/// What multiplies f32 and bf16 on this machine, for people.
pub(crate) fn describe() -> &'static str {
    match Level::of_this_processor() {
        Level::Portable => "f32 and widened bf16 by the gemm crate",
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => "f32 and widened bf16 by AVX-512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => "f32 by AVX-512, bf16 by AVX512-BF16",
        #[cfg(target_arch = "x86_64")]
        Level::Amx => "f32 by AVX-512, bf16 by AMX",
    }
}

/// Which kernel multiplies, and so how B is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Fma,
    #[cfg(target_arch = "x86_64")]
    Bf16,
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Unit {
    /// This machine's for numbers of a format.
    pub(super) fn of(format: Format) -> Self {
        Self::new(Level::of_this_processor(), format)
    }

    pub(super) fn new(level: Level, format: Format) -> Self {
        match (level, format) {
            (Level::Portable, _) => Unit::Portable,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) | (_, Format::F32) => Unit::Fma,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512Bf16, Format::Bf16) => Unit::Bf16,
            #[cfg(target_arch = "x86_64")]
            (Level::Amx, Format::Bf16) => Unit::Amx,
        }
    }

    /// The format in which the kernel reads A and B.
    pub(super) fn format(self) -> Format {
        match self {
            #[cfg(target_arch = "x86_64")]
            Unit::Bf16 | Unit::Amx => Format::Bf16,
            _ => Format::F32,
        }
    }

    pub(super) fn elements_per_word(self) -> usize {
        match self.format() {
            Format::F32 => 1,
            Format::Bf16 => 2,
        }
    }

    /// Words along k that a panel holds for `k` elements.
    pub(super) fn groups(self, k: usize) -> usize {
        match self.format() {
            Format::F32 => k,
            Format::Bf16 => k.div_ceil(32) * 16,
        }
    }
}
