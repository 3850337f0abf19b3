// What attention and its backward share: one head's rows as tiles of shared memory, and the way from a warp's sums to
// rows of the output.
//
// qkv [N, 3C] holds q, k and v of all heads beside each other; a head has D columns of each, C = heads·D. N =
// sequences·T. A tile holds D columns of consecutive rows; its 16-byte chunks are permuted within each row by XOR, so
// that the eight addresses of every ldmatrix phase, and of every 16-byte access, fall on different banks.
#pragma once
#include "mma/instructions.cuh"
#include "shared/reductions.cuh"


// 1/√D.
template <u32 D> constexpr float SCORE_SCALE = D == 32 ? 0.17677669529663687f : D == 64 ? 0.125f : 0.08838834764831845f;

// Where one head of one sequence lies: blocks count tiles of rows fastest, then heads, then sequences, so that blocks
// that read the same keys run side by side. The last tile comes first: under a causal mask it is the longest.
struct HeadPlace {
    u32 tile;
    u32 head;
    size_t row;
};

DEVICE HeadPlace head_place(u32 tiles, u32 positions, u32 heads) {
    const u32 head = blockIdx.x / tiles;
    return HeadPlace{tiles - 1 - blockIdx.x % tiles, head % heads, size_t(head / heads) * positions};
}

// Rows of one head in shared memory.
template <u32 D> struct HeadTile {
    static_assert(D == 32 || D == 64 || D == 128, "a row must be 4, 8 or 16 chunks for the permutation");
    static constexpr u32 CHUNKS = D / 8;
    static constexpr u32 ROW_BYTES = 2 * D;

    static DEVICE u32 at(u32 row, u32 chunk) {
        return (row * CHUNKS + (chunk ^ (CHUNKS >= 8 ? row & 7 : row >> 1 & 3))) * 16;
    }

    // Where a thread's two sums of column group `group` (eight columns) lie, of rows [row, row + 8) as in
    // `multiply_add`. Here and below `row` is a multiple of eight: the permutation depends on the lane only.
    static DEVICE u32 pair_at(u32 row, u32 group) {
        return row * ROW_BYTES + at(threadIdx.x % WARP / 4, group) + threadIdx.x % 4 * 4;
    }

    // Addresses for ldmatrix of the fragment `a` of rows [row, row + 16) and inner columns 16·step on.
    static DEVICE u32 a_at(u32 row, u32 step) {
        return row * ROW_BYTES + at(threadIdx.x % 16, 2 * step + threadIdx.x % WARP / 16);
    }

    // `b` for columns [row, row + 16) of the result and inner columns 16·step on: two fragments of eight rows each.
    static DEVICE u32 b_at(u32 row, u32 step) {
        const u32 lane = threadIdx.x % WARP;
        return row * ROW_BYTES + at(lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2);
    }

    // `b` for an inner dimension along rows [row, row + 16) and columns [16·pair, 16·pair + 16) of the result: to be
    // loaded transposed.
    static DEVICE u32 b_transposed_at(u32 row, u32 pair) {
        return a_at(row, pair);
    }

    // From such an address for step or pair 0 to that for another one; tiles are aligned to what the bits reach.
    static DEVICE u32 advance(u32 address, u32 step) {
        return address ^ step * 32;
    }
};

// The part of a tile's copy that is one thread's. Few threads share a row, each with two chunks half a row apart: half
// the global addresses to compute. For D = 64 the eight threads of a phase take rows r and r + 4, whose permutations
// differ in the bit that the half row is.
template <u32 D, u32 THREADS> struct RowCopy {
    static constexpr u32 CHUNKS = D / 8;
    static constexpr u32 LANES = CHUNKS <= 4 ? CHUNKS : CHUNKS / 2;
    static constexpr u32 ROWS = THREADS / LANES;
    static_assert(ROWS % 8 == 0, "a thread's rows must have the same permutation");
    u32 row;
    u32 chunk;

    DEVICE RowCopy() {
        const u32 thread = threadIdx.x;
        chunk = thread % LANES;
        row = D == 64 ? thread / 32 * 8 + thread / 8 % 4 + thread / 4 % 2 * 4 : thread / LANES;
    }

    // Rows [first, first + COUNT) to a tile. `from` is this thread's first chunk of row 0. Rows beyond row `last`
    // become copies of it.
    template <u32 COUNT> DEVICE void repeat_last(u32 to, const store_t *from, u32 row_len, u32 first, u32 last) const {
        static_assert(COUNT % ROWS == 0, "every thread copies the same number of rows");
#pragma unroll
        for (u32 i = 0; i < COUNT; i += ROWS) {
            const u8 *source = bytes_at(from, smaller(first + row + i, last), row_len);
#pragma unroll
            for (u32 c = 0; c < CHUNKS; c += LANES) {
                copy16(to + HeadTile<D>::at(row, chunk + c) + i * HeadTile<D>::ROW_BYTES, source + c * 16);
            }
        }
    }

    // The same; rows beyond row `last` become zero.
    template <u32 COUNT> DEVICE void zero_fill(u32 to, const store_t *from, u32 row_len, u32 first, u32 last) const {
        static_assert(COUNT % ROWS == 0 || COUNT < ROWS, "the rows are whole passes of all threads, or part of one");
#pragma unroll
        for (u32 i = 0; i < COUNT; i += ROWS) {
            if (COUNT >= ROWS || row < COUNT) {
                const u32 from_row = first + row + i;
                const u8 *source = bytes_at(from, smaller(from_row, last), row_len);
#pragma unroll
                for (u32 c = 0; c < CHUNKS; c += LANES) {
                    copy16_zero_fill(to + HeadTile<D>::at(row, chunk + c) + i * HeadTile<D>::ROW_BYTES, source + c * 16,
                                     from_row <= last ? 16 : 0);
                }
            }
        }
    }

  private:
    // In bytes, so that the address is a single multiply-add.
    static DEVICE const u8 *bytes_at(const store_t *from, u32 from_row, u32 row_len) {
        return reinterpret_cast<const u8 *>(from) + u64(from_row) * (2 * row_len);
    }
};

// A warp stores its own ROWS rows of a tile, from row `tile_row` on, as rows from `first` on of what `to` is the first
// element of, as far as there are any. The warp has written them itself.
template <u32 D, u32 ROWS>
DEVICE void store_rows(const u8 *tile, u32 tile_row, store_t *to, u32 row_len, u32 first, u32 end) {
    constexpr u32 CHUNKS = D / 8;
    const u32 chunk = threadIdx.x % CHUNKS, row = threadIdx.x % WARP / CHUNKS;
    __syncwarp();
#pragma unroll
    for (u32 i = row; i < ROWS; i += WARP / CHUNKS) {
        if (first + i < end) {
            const uint4 words = *reinterpret_cast<const uint4 *>(tile + HeadTile<D>::at(tile_row + i, chunk));
            *reinterpret_cast<uint4 *>(to + size_t(first + i) * row_len + chunk * 8) = words;
        }
    }
}
