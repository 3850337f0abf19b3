//! How many 32-byte sectors an access touches.

/// Distinct sectors of a warp's access of `bytes` per lane.
#[derive(Debug)]
pub struct Sectors {
    list: [u64; 64],
    n: usize,
}

impl Sectors {
    /// Collects the sectors of the lanes of `mask`; accesses are at most 32 bytes.
    #[inline]
    pub fn of(addresses: &[u64; 32], mask: u32, bytes: u32) -> Sectors {
        let mut sectors = Sectors { list: [0; 64], n: 0 };
        let mut last = u64::MAX;
        let mut rising = true;
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let first = addresses[lane] >> 5;
            let end = addresses[lane].wrapping_add(u64::from(bytes) - 1) >> 5;
            for sector in [first, end] {
                if sector != last {
                    rising &= last == u64::MAX || sector > last;
                    last = sector;
                    sectors.list[sectors.n] = sector;
                    sectors.n += 1;
                }
            }
        }
        if !rising {
            sectors.list[..sectors.n].sort_unstable();
            let mut kept = 0;
            for i in 0..sectors.n {
                if i == 0 || sectors.list[i] != sectors.list[kept - 1] {
                    sectors.list[kept] = sectors.list[i];
                    kept += 1;
                }
            }
            sectors.n = kept;
        }
        sectors
    }

    /// The sectors: addresses divided by 32.
    #[inline]
    pub fn list(&self) -> &[u64] {
        &self.list[..self.n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(mask: u32, bytes: u32, address: impl Fn(u64) -> u64) -> usize {
        let addresses = core::array::from_fn(|lane| address(lane as u64));
        Sectors::of(&addresses, mask, bytes).list().len()
    }

    #[test]
    fn neighbouring_floats_touch_four_sectors() {
        assert_eq!(count(u32::MAX, 4, |i| 4096 + 4 * i), 4);
    }

    #[test]
    fn a_shifted_row_touches_one_more() {
        assert_eq!(count(u32::MAX, 4, |i| 4100 + 4 * i), 5);
    }

    #[test]
    fn strided_floats_touch_a_sector_each() {
        assert_eq!(count(u32::MAX, 4, |i| 4096 + 32 * i), 32);
        assert_eq!(count(u32::MAX, 4, |i| 4096 + 16 * i), 16);
    }

    #[test]
    fn one_address_is_one_sector() {
        assert_eq!(count(u32::MAX, 4, |_| 64), 1);
    }

    #[test]
    fn order_does_not_matter() {
        assert_eq!(count(u32::MAX, 4, |i| 4096 + 4 * (31 - i)), 4);
        assert_eq!(count(u32::MAX, 4, |i| 4096 + 4 * (i * 7 % 32)), 4);
    }

    #[test]
    fn vectors_of_sixteen_bytes_touch_sixteen_sectors() {
        assert_eq!(count(u32::MAX, 16, |i| 4096 + 16 * i), 16);
        assert_eq!(count(1, 16, |_| 4096), 1);
    }
}
