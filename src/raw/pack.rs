//! Rearranges operands for the micro-kernels, 16 by 16 words at a time.
//!
//! A *word* is 32 bits: one f32, or a pair of bf16 that stand next to each other along the summed dimension k (what
//! `dpbf16` and the AMX tiles consume). Source and destination may each have k or the outer dimension (rows of A, columns
//! of B) contiguous; where they differ, a block is transposed in registers.

use std::arch::x86_64::*;

use super::element::{Element, Format};

/// Where the source lies, in elements.
pub(super) struct Source<T> {
    /// Element (outer 0, k 0).
    pub(super) data: *const T,
    /// Distance between neighbours along the outer dimension.
    pub(super) outer_stride: usize,
    /// Distance between neighbours along k.
    pub(super) k_stride: usize,
    /// Valid extent along the outer dimension; beyond it zeros are packed.
    pub(super) outer: usize,
    /// Valid extent along k; beyond it zeros are packed.
    pub(super) k: usize,
}

/// Where the packed words go, in whole vectors of 16.
pub(super) struct Target {
    /// Word (outer 0, group 0).
    pub(super) data: *mut u32,
    /// How the words follow each other.
    pub(super) order: Order,
    /// Extent along the outer dimension.
    pub(super) outer: usize,
    /// Extent along k, in words.
    pub(super) groups: usize,
}

/// The order of packed words.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// Row after row: word (outer, group) is at `outer * stride + group`.
    Rows {
        /// Distance between rows, in words.
        stride: usize,
    },
    /// Panels of 32 outer indices: word (outer, group) is at `outer / 32 * stride + group * 32 + outer % 32`.
    Panels {
        /// Distance between panels, in words.
        stride: usize,
    },
}

/// Packs `source` into `target`, as pairs of bf16 (`PAIR`) or as f32.
///
/// # Safety
/// The processor has AVX-512 F, BW and VL. Every element of `source` inside its extents is readable; every word of
/// `target` inside its extents is writable, with the extent that is contiguous rounded up to 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack<T: Element, const PAIR: bool>(source: &Source<T>, target: &Target) {
    // Along the source's rows, whole pages at a time.
    if source.outer_stride == 1 && source.k_stride != 1 {
        for group in (0..target.groups).step_by(16) {
            for outer in (0..target.outer).step_by(16) {
                // SAFETY: the caller's.
                unsafe { pack_block::<T, PAIR>(source, target, outer, group) };
            }
        }
    } else {
        for outer in (0..target.outer).step_by(16) {
            for group in (0..target.groups).step_by(16) {
                // SAFETY: the caller's.
                unsafe { pack_block::<T, PAIR>(source, target, outer, group) };
            }
        }
    }
}

/// The 16 by 16 words from (outer, group) on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_block<T: Element, const PAIR: bool>(source: &Source<T>, target: &Target, outer: usize, group: usize) {
    let per_word = if PAIR { 2 } else { 1 };
    let k = group * per_word;
    let rows_are_outer = source.k_stride == 1;
    let mut block = [_mm512_setzero_si512(); 16];
    // SAFETY: the loads are masked to `source`'s extents, the stores stay inside `target`'s.
    unsafe {
        if rows_are_outer {
            let valid = source.k.saturating_sub(k).min(16 * per_word);
            for (i, row) in block.iter_mut().enumerate().take(source.outer.saturating_sub(outer)) {
                *row = load_groups::<T, PAIR>(source.data.add((outer + i) * source.outer_stride + k), valid);
            }
        } else if source.outer_stride == 1 {
            let valid = source.outer.saturating_sub(outer).min(16);
            for (i, row) in block.iter_mut().enumerate().take(source.k.saturating_sub(k).div_ceil(per_word)) {
                let k = k + i * per_word;
                let at = source.data.add(k * source.k_stride + outer);
                let second = (PAIR && k + 1 < source.k).then(|| at.add(source.k_stride));
                // The block 16 words further along k, which is the next to be read at this place.
                let ahead = at.wrapping_add(16 * per_word * source.k_stride);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                if PAIR {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(source.k_stride).cast());
                }
                *row = load_outer::<T, PAIR>(at, second, valid);
            }
        } else {
            block = gather::<T, PAIR>(source, outer, k);
        }
        match target.order {
            Order::Rows { stride } => {
                if !rows_are_outer {
                    block = transpose(block);
                }
                let to = target.data.add(outer * stride + group);
                for (i, row) in block.iter().enumerate().take(target.outer - outer) {
                    _mm512_storeu_si512(to.add(i * stride).cast(), *row);
                }
            }
            Order::Panels { stride } => {
                if rows_are_outer {
                    block = transpose(block);
                }
                let to = target.data.add(outer / 32 * stride + group * 32 + outer % 32);
                for (i, row) in block.iter().enumerate().take(target.groups - group) {
                    _mm512_storeu_si512(to.add(i * 32).cast(), *row);
                }
            }
        }
    }
}

/// 16 words along k of one row: `valid` elements (at most 16, or 32 as pairs), then zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_groups<T: Element, const PAIR: bool>(at: *const T, valid: usize) -> __m512i {
    // SAFETY: masked to `valid` elements, which the caller vouches for.
    unsafe {
        match (T::FORMAT, PAIR) {
            (Format::F32, false) => _mm512_maskz_loadu_epi32(first16(valid), at.cast()),
            (Format::Bf16, true) => _mm512_maskz_loadu_epi16(((1u64 << valid) - 1) as u32, at.cast()),
            (Format::Bf16, false) => widened(_mm256_maskz_loadu_epi16(first16(valid), at.cast())),
            (Format::F32, true) => {
                let low = _mm512_maskz_loadu_epi32(first16(valid.min(16)), at.cast());
                let high = match valid.saturating_sub(16) {
                    0 => _mm512_setzero_si512(),
                    more => _mm512_maskz_loadu_epi32(first16(more), at.cast::<i32>().add(16)),
                };
                let (low, high) = (_mm512_cvtepi32_epi16(nearest(low)), _mm512_cvtepi32_epi16(nearest(high)));
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
            }
        }
    }
}

/// 16 words along the outer dimension at one group of k: `valid` of them, then zeros; `second` is the next k of a pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn load_outer<T: Element, const PAIR: bool>(at: *const T, second: Option<*const T>, valid: usize) -> __m512i {
    let mask = first16(valid);
    // SAFETY: masked to `valid` elements, which the caller vouches for.
    let half = |at: *const T| unsafe {
        match T::FORMAT {
            Format::F32 => nearest(_mm512_maskz_loadu_epi32(mask, at.cast())),
            Format::Bf16 => _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at.cast())),
        }
    };
    if PAIR {
        let high = second.map_or(_mm512_setzero_si512(), |at| _mm512_slli_epi32::<16>(half(at)));
        _mm512_or_si512(half(at), high)
    } else {
        // SAFETY: as above.
        unsafe {
            match T::FORMAT {
                Format::F32 => _mm512_maskz_loadu_epi32(mask, at.cast()),
                Format::Bf16 => widened(_mm256_maskz_loadu_epi16(mask, at.cast())),
            }
        }
    }
}

/// Any strides, element by element, in the order of `load_outer`: rows are groups.
unsafe fn gather<T: Element, const PAIR: bool>(source: &Source<T>, outer: usize, k: usize) -> [__m512i; 16] {
    let element = |outer: usize, k: usize| {
        if outer < source.outer && k < source.k {
            // SAFETY: inside the extents.
            unsafe { *source.data.add(outer * source.outer_stride + k * source.k_stride) }.wide()
        } else {
            0.0
        }
    };
    let mut words = [[0u32; 16]; 16];
    for (group, row) in words.iter_mut().enumerate() {
        for (lane, word) in row.iter_mut().enumerate() {
            let outer = outer + lane;
            *word = if PAIR {
                let pair =
                    [0, 1].map(|i| <half::bf16 as Element>::nearest(element(outer, k + 2 * group + i)).to_bits());
                u32::from(pair[0]) | u32::from(pair[1]) << 16
            } else {
                element(outer, k + group).to_bits()
            };
        }
    }
    // SAFETY: both are 1024 bytes of plain bits.
    unsafe { std::mem::transmute(words) }
}

/// The lowest `n` of 16 lanes.
#[inline(always)]
fn first16(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widened(bits: __m256i) -> __m512i {
    _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits))
}

/// The bf16 nearest to each f32 (ties to even, NaN stays NaN), in the low half of its lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(bits: __m512i) -> __m512i {
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let value = _mm512_castsi512_ps(bits);
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
    let kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
    _mm512_srli_epi32::<16>(kept)
}

/// Transposes 16 rows of 16 words: three rounds of pairwise shuffles of growing width, then two of 128-bit lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..4 {
        fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut out = fours;
    for i in 0..4 {
        let even_low = _mm512_shuffle_i32x4::<0x88>(fours[i], fours[i + 4]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(fours[i], fours[i + 4]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(fours[i + 8], fours[i + 12]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(fours[i + 8], fours[i + 12]);
        out[i] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        out[i + 8] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        out[i + 4] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        out[i + 12] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
    out
}
