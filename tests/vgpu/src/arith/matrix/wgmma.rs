//! `wgmma.mma_async`: products of four warps with operands in shared memory.
//!
//! `D` is 64×N; warp `w` of the group holds rows `16w` to `16w + 15`, as one `m16n8` accumulator
//! after the other. `A` is registers (one `m16` fragment per warp) or shared memory, `B` always
//! shared memory, both by descriptor: 8×16-byte core matrices, in rows of 16 to 128 bytes whose
//! 16-byte chunks are exchanged by the swizzle.

/// A matrix descriptor, unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// First byte in shared memory.
    pub start: u32,
    /// Leading dimension byte offset.
    pub leading: u32,
    /// Stride dimension byte offset.
    pub stride: u32,
    /// Bytes in a swizzled row: 16 (no swizzle), 32, 64 or 128.
    pub row_bytes: u32,
    /// Base offset, for patterns that do not start at a multiple of their size.
    pub base_offset: u32,
}

/// Which dimension is contiguous in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Major {
    /// Along `k`, the only one for types other than 16 bits.
    K,
    /// Along `m` (of `A`) or `n` (of `B`): the `.trans` of the instruction.
    Mn,
}

impl Descriptor {
    /// Unpacks the 64-bit descriptor of sm_90.
    pub fn decode(bits: u64) -> Descriptor {
        let field = |at: u32, width: u32| (bits >> at & ((1 << width) - 1)) as u32;
        Descriptor {
            start: field(0, 14) << 4,
            leading: field(16, 14) << 4,
            stride: field(32, 14) << 4,
            base_offset: field(49, 3),
            row_bytes: match field(62, 2) {
                0 => 16,
                1 => 128,
                2 => 64,
                _ => 32,
            },
        }
    }

    /// Shared-memory address of element (`mn`, `k`), `bytes` wide.
    pub const fn address(&self, mn: usize, k: usize, bytes: usize, major: Major) -> u32 {
        let (mn, k, bytes) = (mn as u32, k as u32, bytes as u32);
        // Elements in a 16-byte chunk, and in a swizzled row.
        let chunk = 16 / bytes;
        let row = self.row_bytes / bytes;
        let linear = match major {
            Major::K => {
                let within =
                    if self.row_bytes == 16 { k / chunk * self.leading + k % chunk * bytes } else { k * bytes };
                mn / 8 * self.stride + mn % 8 * self.row_bytes + within
            }
            Major::Mn if self.row_bytes == 16 => {
                mn / chunk * self.stride + mn % chunk * bytes + k / 8 * self.leading + k % 8 * 16
            }
            Major::Mn => mn / row * self.leading + mn % row * bytes + k / 8 * self.stride + k % 8 * self.row_bytes,
        };
        swizzle(self.start + linear, self.row_bytes, self.base_offset)
    }
}

/// Exchanges 16-byte chunks: address bits 4 and up, as many as the row has, are xored with the
/// bits from 7 up.
#[inline(always)]
const fn swizzle(address: u32, row_bytes: u32, base_offset: u32) -> u32 {
    let chunks = row_bytes / 16 - 1;
    let pattern = (address >> 7).wrapping_sub(base_offset);
    address ^ (pattern & chunks) << 4
}

/// Where accumulator element `i` of a lane of warp `warp` (0 to 3) stands in `D`: (row, column).
#[inline(always)]
pub const fn d_at(warp: usize, lane: usize, i: usize) -> (usize, usize) {
    (16 * warp + lane / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + lane % 4 * 2 + i % 2)
}
