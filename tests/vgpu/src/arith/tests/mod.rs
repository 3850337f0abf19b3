//! Expectations here are computed some other way than in the code under test: by the definition
//! of rounding on exact numbers of any length, by the ISA's bit-by-bit pseudocode, by plain
//! matrix products.

mod bits;
mod convert;
mod exact;
mod float;
mod half;
mod matrix;
mod video;

/// A sequence of pseudo-random words (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }
}
