//! Rearranges operands for the micro-kernels, 16 by 16 words at a time.
//!
//! A *word* is 32 bits: one f32, or a pair of bf16 that stand next to each other along the summed dimension k (what
//! `dpbf16` and the AMX tiles consume). Source and destination may each have k or the outer dimension (rows of A, columns
//! of B) contiguous; where they differ, a block is transposed in registers.

use std::arch::x86_64::*;

use super::element::{Element, Format};

/// Where the source lies, in elements.
#[derive(Clone, Copy)]
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
#[derive(Clone, Copy)]
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

/// A source and its target. One that is split gives tasks that write different words.
#[derive(Clone, Copy)]
pub(super) struct Job<T> {
    pub(super) source: Source<T>,
    pub(super) target: Target,
}

// SAFETY: a job is pointers and extents; who runs it vouches for the memory.
unsafe impl<T: Sync> Send for Job<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Job<T> {}

impl<T: Element> Job<T> {
    /// Words that a part of a split job has along the split.
    const PART: usize = 32;

    /// How many parts the job splits into: along k where the source's rows run along the outer dimension, otherwise along
    /// the outer dimension, so that a part reads whole rows.
    pub(super) fn parts(&self) -> usize {
        if self.along_k() { self.target.groups.div_ceil(Self::PART) } else { self.target.outer.div_ceil(Self::PART) }
    }

    fn along_k(&self) -> bool {
        self.source.outer_stride == 1 && self.source.k_stride != 1
    }

    /// One of the parts; a word of k is `per_word` elements.
    pub(super) fn part(&self, i: usize, per_word: usize) -> Self {
        let Job { mut source, mut target } = *self;
        let first = i * Self::PART;
        if self.along_k() {
            let k = first * per_word;
            source.data = source.data.wrapping_add(k * source.k_stride);
            source.k = source.k.saturating_sub(k).min(Self::PART * per_word);
            target.groups = (target.groups - first).min(Self::PART);
            target.data = target.data.wrapping_add(match target.order {
                Order::Rows { .. } => first,
                Order::Panels { .. } => first * 32,
            });
        } else {
            source.data = source.data.wrapping_add(first * source.outer_stride);
            source.outer = source.outer.saturating_sub(first).min(Self::PART);
            target.outer = (target.outer - first).min(Self::PART);
            target.data = target.data.wrapping_add(match target.order {
                Order::Rows { stride } => first * stride,
                Order::Panels { stride } => first / 32 * stride,
            });
        }
        Job { source, target }
    }
}

/// Packs a job, as pairs of bf16 (`PAIR`) or as f32.
///
/// # Safety
/// The CPU has AVX-512 F, BW and VL. Every element of `source` inside its extents is readable; every word of
/// `target` inside its extents is writable, with the extent that is contiguous rounded up to 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn pack<T: Element, const PAIR: bool>(Job { source, target }: &Job<T>) {
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

/// The bf16 nearest to each f32, as `Element::nearest`, in the low half of its lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn nearest(bits: __m512i) -> __m512i {
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd))
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
