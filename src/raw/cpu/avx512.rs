//! The AVX-512 micro-kernels: up to 12 rows by 32 columns of C in 24 of the 32 vector registers.
//!
//! For each word of k (an f32, or a pair of bf16) a kernel loads two vectors of the packed panel of B, broadcasts one word
//! of each row of A, and multiplies. 14 loads for 24 multiplications keep both multipliers of a core busy. A is read where
//! it lies, row-major; the panel of B is read from L1.

use super::panels::Block;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Rows of C that one kernel call computes at most.
pub(super) const ROWS: usize = 12;

macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $rows_name:ident, $features:literal, $multiply:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The CPU has the features; the block's memory is readable (A, B) and writable (C) in its extents, at most
        /// `ROWS` by 32.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(block: &Block) {
            // SAFETY: as the caller vouches; each arm is the same kernel with the number of rows known.
            unsafe {
                match block.rows {
                    1 => $rows_name::<1>(block),
                    2 => $rows_name::<2>(block),
                    3 => $rows_name::<3>(block),
                    4 => $rows_name::<4>(block),
                    5 => $rows_name::<5>(block),
                    6 => $rows_name::<6>(block),
                    7 => $rows_name::<7>(block),
                    8 => $rows_name::<8>(block),
                    9 => $rows_name::<9>(block),
                    10 => $rows_name::<10>(block),
                    11 => $rows_name::<11>(block),
                    _ => $rows_name::<12>(block),
                }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $rows_name<const M: usize>(block: &Block) {
            let masks = [block.cols.min(16), block.cols.saturating_sub(16)].map(|n| ((1u32 << n) - 1) as u16);
            let mut c = [[_mm512_setzero_ps(); 2]; M];
            // SAFETY: rows and groups stay inside the block's extents; loads and stores of C are masked to its columns.
            unsafe {
                if block.add {
                    for (i, c) in c.iter_mut().enumerate() {
                        let row = block.c.add(i * block.c_stride);
                        *c = [_mm512_maskz_loadu_ps(masks[0], row), _mm512_maskz_loadu_ps(masks[1], row.wrapping_add(16))];
                    }
                }
                let mut a = block.a.cast::<u8>();
                let mut b = block.b;
                for _ in 0..block.groups / 4 {
                    for word in 0..4 {
                        let b = [_mm512_loadu_si512(b.add(32 * word).cast()), _mm512_loadu_si512(b.add(32 * word + 16).cast())];
                        for (i, c) in c.iter_mut().enumerate() {
                            let a = _mm512_set1_epi32(a.add(i * block.a_stride + 4 * word).cast::<i32>().read_unaligned());
                            *c = [$multiply(c[0], a, b[0]), $multiply(c[1], a, b[1])];
                        }
                    }
                    a = a.add(16);
                    b = b.add(128);
                }
                for _ in 0..block.groups % 4 {
                    let vectors = [_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(16).cast())];
                    for (i, c) in c.iter_mut().enumerate() {
                        let a = _mm512_set1_epi32(a.add(i * block.a_stride).cast::<i32>().read_unaligned());
                        *c = [$multiply(c[0], a, vectors[0]), $multiply(c[1], a, vectors[1])];
                    }
                    a = a.add(4);
                    b = b.add(32);
                }
                for (i, c) in c.iter().enumerate() {
                    let row = block.c.add(i * block.c_stride);
                    _mm512_mask_storeu_ps(row, masks[0], c[0]);
                    _mm512_mask_storeu_ps(row.wrapping_add(16), masks[1], c[1]);
                }
            }
        }
    };
}

kernel!(
    /// Words are f32.
    multiply_f32,
    multiply_f32_rows,
    "avx512f",
    |c, a, b| _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), c)
);

kernel!(
    /// Words are pairs of bf16; products and sums are f32 (denormals count as zero).
    multiply_bf16,
    multiply_bf16_rows,
    "avx512f,avx512bf16",
    |c, a, b| _mm512_dpbf16_ps(c, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b))
);
