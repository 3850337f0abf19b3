//! The AVX-512 micro-kernels: up to 12 rows by 32 columns of C in 24 of the 32 vector registers.
//!
//! For each word of k (an f32, or a pair of bf16) a kernel loads two vectors of the packed panel of B, broadcasts one word
//! of each row of A, and multiplies. 14 loads for 24 multiplications keep both multipliers of a core busy. A is read where
//! it lies, row-major, or column-major if its words are f32; the panel of B is read from L1.

use super::panels::Block;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Rows of C that one kernel call computes at most.
pub(super) const ROWS: usize = 12;

/// Asks for the rows that the next strip will multiply at these words: a quarter of them with each of the four calls that a
/// line of A lasts.
#[inline(always)]
fn next_rows<const M: usize>(a: *const u8, row: usize, _: usize, four: usize) {
    let quarter = M.div_ceil(4);
    for i in 0..quarter {
        // SAFETY: a prefetch reads nothing, wherever it points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add((M + four % 4 * quarter + i) * row).cast()) };
    }
}

/// Asks for words of A's columns that are multiplied soon: neighbouring words lie in lines of their own.
#[inline(always)]
fn next_words<const M: usize>(a: *const u8, _: usize, step: usize, _: usize) {
    /// Words ahead: at 24 cycles each the time that a line takes from memory.
    const AHEAD: usize = 16;
    for word in AHEAD..AHEAD + 4 {
        // SAFETY: as above.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(word * step).cast());
            _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(word * step + 4 * (M - 1)).cast());
        }
    }
}

macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $rows_name:ident, $features:literal, $strides:expr, $ahead:ident, $multiply:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The CPU has the features; the block's memory is readable (A, B) and writable (C) in its extents, at most
        /// `ROWS` by 32; A's strides are the kernel's.
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
                } else {
                    // C is written last: until then its lines can come from wherever they are.
                    for i in 0..M {
                        let row = block.c.add(i * block.c_stride);
                        _mm_prefetch::<_MM_HINT_ET0>(row.cast());
                        _mm_prefetch::<_MM_HINT_ET0>(row.wrapping_add(16).cast());
                    }
                }
                // One of the two is known here: rows of a column-major A, and words of a row-major one, are 4 bytes apart.
                let (row, step): (usize, usize) = $strides(block);
                let mut a = block.a.cast::<u8>();
                let mut b = block.b;
                for four in 0..block.groups / 4 {
                    $ahead::<M>(a, row, step, four);
                    for word in 0..4 {
                        let b = [_mm512_loadu_si512(b.add(32 * word).cast()), _mm512_loadu_si512(b.add(32 * word + 16).cast())];
                        for (i, c) in c.iter_mut().enumerate() {
                            let a = _mm512_set1_epi32(a.add(i * row + word * step).cast::<i32>().read_unaligned());
                            *c = [$multiply(c[0], a, b[0]), $multiply(c[1], a, b[1])];
                        }
                    }
                    a = a.add(4 * step);
                    b = b.add(128);
                }
                for _ in 0..block.groups % 4 {
                    let vectors = [_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(16).cast())];
                    for (i, c) in c.iter_mut().enumerate() {
                        let a = _mm512_set1_epi32(a.add(i * row).cast::<i32>().read_unaligned());
                        *c = [$multiply(c[0], a, vectors[0]), $multiply(c[1], a, vectors[1])];
                    }
                    a = a.add(step);
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
    /// Words are f32, those of a row of A next to each other.
    multiply_f32,
    multiply_f32_rows,
    "avx512f",
    |block: &Block| (block.a_stride, 4),
    next_rows,
    |c, a, b| _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), c)
);

kernel!(
    /// Words are f32, those of a column of A next to each other.
    multiply_f32_by_columns,
    multiply_f32_by_columns_rows,
    "avx512f",
    |block: &Block| (4, block.a_step),
    next_words,
    |c, a, b| _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), c)
);

kernel!(
    /// Words are pairs of bf16; products and sums are f32 (denormals count as zero).
    multiply_bf16,
    multiply_bf16_rows,
    "avx512f,avx512bf16",
    |block: &Block| (block.a_stride, 4),
    next_rows,
    |c, a, b| _mm512_dpbf16_ps(c, transmute::<__m512i, __m512bh>(a), transmute::<__m512i, __m512bh>(b))
);
