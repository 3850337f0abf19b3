//! How many passes over the banks of shared memory an access needs.

/// Wavefronts of one pass: the largest number of distinct words in a bank. `words` are indices of
/// 4-byte words, in any order; none gives 0.
#[inline]
fn pass(words: &[u32]) -> u64 {
    let mut first = [u32::MAX; 32];
    let mut conflict = false;
    for word in words {
        let seen = &mut first[(word & 31) as usize];
        conflict |= *seen != u32::MAX && *seen != *word;
        *seen = *word;
    }
    if !conflict {
        return u64::from(!words.is_empty());
    }
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut counts = [0u64; 32];
    for word in sorted {
        counts[(word & 31) as usize] += 1;
    }
    counts.into_iter().max().unwrap_or(0)
}

/// Wavefronts of a warp's access of `bytes` per lane at these byte offsets. Accesses of 8 bytes
/// go by half warps, those of 16 by quarter warps.
pub fn wavefronts(offsets: &[u32; 32], mask: u32, bytes: u32) -> u64 {
    let words_per_lane = bytes.div_ceil(4).max(1);
    let group = (32 / words_per_lane).clamp(1, 32) as usize;
    let mut total = 0;
    let mut words = [0; 32];
    for first in (0..32).step_by(group) {
        let mut n = 0;
        for lane in (first..first + group).filter(|lane| mask >> lane & 1 == 1) {
            for i in 0..words_per_lane {
                if n < 32 {
                    words[n] = (offsets[lane] >> 2).wrapping_add(i);
                    n += 1;
                }
            }
        }
        total += pass(&words[..n]);
    }
    total
}

/// Wavefronts of the 8 rows of 16 bytes that `ldmatrix` reads in one phase.
pub fn row_wavefronts(rows: &[u32]) -> u64 {
    let words: Vec<u32> = rows.iter().flat_map(|row| (0..4).map(move |i| (row >> 2) + i)).collect();
    pass(&words)
}

/// Wavefronts that the widths alone need.
pub fn fewest(mask: u32, bytes: u32) -> u64 {
    let words_per_lane = bytes.div_ceil(4).max(1);
    let group = (32 / words_per_lane).clamp(1, 32);
    let ones = ((1u64 << group) - 1) as u32;
    (0..32).step_by(group as usize).filter(|first| mask >> first & ones != 0).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(stride: u32) -> [u32; 32] {
        core::array::from_fn(|lane| lane as u32 * stride)
    }

    #[test]
    fn neighbours_need_one_wavefront() {
        assert_eq!(wavefronts(&strided(4), u32::MAX, 4), 1);
    }

    #[test]
    fn one_word_for_all_lanes_is_a_broadcast() {
        assert_eq!(wavefronts(&[64; 32], u32::MAX, 4), 1);
    }

    #[test]
    fn bytes_of_a_word_are_one_word() {
        assert_eq!(wavefronts(&strided(1), u32::MAX, 1), 1);
    }

    #[test]
    fn a_column_of_a_square_tile_takes_a_wavefront_a_lane() {
        assert_eq!(wavefronts(&strided(128), u32::MAX, 4), 32);
        assert_eq!(wavefronts(&strided(132), u32::MAX, 4), 1);
        assert_eq!(wavefronts(&strided(8), u32::MAX, 4), 2);
    }

    #[test]
    fn wide_accesses_go_by_parts_of_the_warp() {
        assert_eq!(wavefronts(&strided(8), u32::MAX, 8), 2);
        assert_eq!(wavefronts(&strided(16), u32::MAX, 16), 4);
        assert_eq!(wavefronts(&strided(16), 0xff, 16), 1);
        assert_eq!(fewest(u32::MAX, 16), 4);
        assert_eq!(fewest(1, 4), 1);
    }

    #[test]
    fn rows_of_a_matrix_conflict_by_their_stride() {
        let rows = |stride: u32| (0..8).map(|i| i * stride).collect::<Vec<_>>();
        assert_eq!(row_wavefronts(&rows(16)), 1);
        assert_eq!(row_wavefronts(&rows(128)), 8);
        assert_eq!(row_wavefronts(&rows(144)), 1);
        assert_eq!(row_wavefronts(&rows(64)), 4);
    }
}
