// Operands of the matrix products: from global memory through stages in shared memory to fragments.
//
// Either operand is stored along `inner` (its rows are contiguous in it: x, W of a forward) or across it (W of a
// backward, both operands of a weight gradient): ldmatrix.trans reads the latter, no transposed copies exist. EXTENT is the
// tile's rows or columns, whichever the operand makes.
//
// Edges: rows and columns beyond the matrix are clamped to its last ones and dropped by the epilogue, so that the loop
// has no predicates. `inner` beyond a multiple of 32 is one more tile after the loop, filled up with zeros.
#pragma once
#include "mma/instructions.cuh"
#include "mma/tiles.cuh"

// Which operand of the product: fragments of the two are laid out differently.
enum Side { LEFT, RIGHT };

// Stored along `inner`: in shared memory a row of 32 is 4 chunks of 16 bytes, chunk c at c ^ (row / 2 % 4), so that
// ldmatrix and cp.async meet every bank once. One address for each 16 of the 32; the fragments below one another are 1
// KB apart.
constexpr u32 ALONG_BYTES = DEPTH * 2;
template <Side SIDE> DEVICE void along_fragments(u32 (&fragments)[2], u32 shared, u32 warp_first) {
    const u32 lane = threadIdx.x % WARP;
    const u32 line = warp_first + (SIDE == LEFT ? lane % 16 : lane % 8 + lane / 16 * 8);
    const u32 half = SIDE == LEFT ? lane / 16 : lane / 8 % 2;
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
        fragments[k] = kept(shared + line * ALONG_BYTES + ((2 * k + half) ^ (line / 2 % 4)) * 16);
    }
}

// Stored across `inner`: a row of shared memory is EXTENT columns, chunk c at c ^ (row % 8). One address for each
// fragment; the second 16 of `inner` is 16 rows further.
template <Side SIDE, u32 EXTENT> DEVICE void across_fragments(u32 (&fragments)[4], u32 shared, u32 warp_first) {
    const u32 lane = threadIdx.x % WARP;
    const u32 line = SIDE == LEFT ? lane % 8 + lane / 16 * 8 : lane % 16;
    const u32 half = SIDE == LEFT ? lane / 8 % 2 : lane / 16;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        fragments[i] = kept(shared + line * (2 * EXTENT) + ((warp_first / 8 + 2 * i + half) ^ (line % 8)) * 16);
    }
}

// An operand [count, inner] stored along `inner`, rows 16-byte aligned, inner a multiple of 8.
template <Side SIDE, u32 EXTENT> struct Along {
    static constexpr u32 COPIES = EXTENT * 4 / GEMM_THREADS;
    const store_t *matrix;
    u32 inner, first, count;
    const store_t *from[COPIES];
    u32 to;
    u32 fragments[2];

    DEVICE Along(const store_t *matrix, u32 inner, u32 first, u32 count, u32 shared, u32 warp_first)
        : matrix(matrix), inner(inner), first(first), count(count) {
        const u32 row = threadIdx.x / 4, chunk = threadIdx.x % 4;
        to = kept(shared + row * ALONG_BYTES + (chunk ^ (row / 2 % 4)) * 16);
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            from[i] = row_start(i) + chunk * 8;
        }
        along_fragments<SIDE>(fragments, shared, warp_first);
    }

    DEVICE const store_t *row_start(u32 i) const {
        return matrix + size_t(min(first + threadIdx.x / 4 + 32 * i, count - 1)) * inner;
    }

    // Starts copying the 32 of `inner` that are `ahead` tiles from here.
    DEVICE void copy(u32 stage, u32 ahead) const {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            copy16(to + stage + i * 32 * ALONG_BYTES, from[i] + ahead * DEPTH);
        }
    }

    DEVICE void advance(u32 tiles) {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            from[i] += tiles * DEPTH;
        }
    }

    // The last `rest` of `inner`, from `done` on, into the first stage, then zeros.
    DEVICE void copy_rest(u32 done, u32 rest) const {
        const u32 at = threadIdx.x % 4 * 8;
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            copy16_zero_fill(to + i * 32 * ALONG_BYTES, row_start(i) + done + (at < rest ? at : 0), at < rest ? 16 : 0);
        }
    }

    // Fragment i of the k-th 16 of a stage.
    DEVICE void load(u32 (&fragment)[4], u32 stage, u32 k, u32 i) const {
        load_matrices(fragment, fragments[k] + stage + i * 16 * ALONG_BYTES);
    }
};

// An operand [inner, count] stored across `inner`, rows 16-byte aligned, count a multiple of 8.
template <Side SIDE, u32 EXTENT> struct Across {
    static constexpr u32 ROW_BYTES = 2 * EXTENT;
    static constexpr u32 CHUNKS = EXTENT / 8;
    static_assert(CHUNKS >= 8, "the swizzle stays within a row");
    static constexpr u32 ROWS_AT_ONCE = GEMM_THREADS / CHUNKS;
    static constexpr u32 COPIES = DEPTH / ROWS_AT_ONCE;
    static_assert(ROWS_AT_ONCE % 8 == 0, "a thread's rows share one swizzle");
    const store_t *matrix;
    u32 count, first;
    const store_t *from;
    u32 to;
    u32 fragments[4];

    DEVICE Across(const store_t *matrix, u32 count, u32 first, u32 shared, u32 warp_first)
        : matrix(matrix), count(count), first(first) {
        const u32 row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        to = kept(shared + row * ROW_BYTES + (chunk ^ (row % 8)) * 16);
        from = at_row(row);
        across_fragments<SIDE, EXTENT>(fragments, shared, warp_first);
    }

    DEVICE const store_t *at_row(u32 row) const {
        return matrix + size_t(row) * count + min(first + threadIdx.x % CHUNKS * 8, count - 8);
    }

    // Tiles are always copied in order: one pointer walks down the rows.
    DEVICE void copy(u32 stage, u32) {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            copy16(to + stage + i * ROWS_AT_ONCE * ROW_BYTES, from);
            from += ROWS_AT_ONCE * count;
        }
    }

    DEVICE void advance(u32) {}

    DEVICE void copy_rest(u32 done, u32 rest) const {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            const u32 row = threadIdx.x / CHUNKS + i * ROWS_AT_ONCE;
            const bool inside = row < rest;
            copy16_zero_fill(to + i * ROWS_AT_ONCE * ROW_BYTES, at_row(done + (inside ? row : 0)), inside ? 16 : 0);
        }
    }

    DEVICE void load(u32 (&fragment)[4], u32 stage, u32 k, u32 i) const {
        load_matrices_transposed(fragment, fragments[i] + stage + k * 16 * ROW_BYTES);
    }
};

// As Along, for rows and `inner` that are only multiples of two numbers: 4 bytes a copy, all of them predicated.
struct AlongNarrow {
    static constexpr u32 WORDS = DEPTH / 2;
    static constexpr u32 ROWS_AT_ONCE = GEMM_THREADS / WORDS;
    static_assert(ROWS_AT_ONCE % 8 == 0, "a thread's rows share one swizzle");
    const store_t *matrix;
    u32 inner, row, last, done, to;
    u32 fragments[2];

    DEVICE AlongNarrow(const store_t *matrix, u32 inner, u32 first, u32 count, u32 shared, u32 warp_first)
        : matrix(matrix), inner(inner), row(first + threadIdx.x / WORDS), last(count - 1), done(0) {
        const u32 line = threadIdx.x / WORDS, word = threadIdx.x % WORDS;
        to = kept(shared + line * ALONG_BYTES + ((word / 4) ^ (line / 2 % 4)) * 16 + word % 4 * 4);
        along_fragments<LEFT>(fragments, shared, warp_first);
    }

    DEVICE void copy_words(u32 stage, u32 from, u32 rest) const {
        const u32 at = threadIdx.x % WORDS * 2;
#pragma unroll
        for (u32 i = 0; i < 128 / ROWS_AT_ONCE; ++i) {
            const store_t *line = matrix + size_t(min(row + i * ROWS_AT_ONCE, last)) * inner + from;
            const bool inside = at < rest;
            copy4_zero_fill(to + stage + i * ROWS_AT_ONCE * ALONG_BYTES, line + (inside ? at : 0), inside ? 4 : 0);
        }
    }

    DEVICE void copy(u32 stage, u32 ahead) const {
        copy_words(stage, done + ahead * DEPTH, DEPTH);
    }

    DEVICE void advance(u32 tiles) {
        done += tiles * DEPTH;
    }

    DEVICE void copy_rest(u32 done, u32 rest) const {
        copy_words(0, done, rest);
    }

    DEVICE void load(u32 (&fragment)[4], u32 stage, u32 k, u32 i) const {
        load_matrices(fragment, fragments[k] + stage + i * 16 * ALONG_BYTES);
    }
};

// As Across, for rows and counts that are only multiples of two numbers.
struct AcrossNarrow {
    static constexpr u32 ROW_BYTES = 2 * 128;
    static constexpr u32 WORDS = 128 / 2;
    static constexpr u32 ROWS_AT_ONCE = GEMM_THREADS / WORDS;
    static_assert(ROWS_AT_ONCE == 2, "the swizzle of a thread's rows differs by constants");
    const store_t *matrix;
    u32 count;
    const store_t *from;
    u32 to;
    u32 fragments[4];

    DEVICE AcrossNarrow(const store_t *matrix, u32 count, u32 first, u32 shared, u32 warp_first)
        : matrix(matrix + min(first + threadIdx.x % WORDS * 2, count - 2)), count(count) {
        const u32 row = threadIdx.x / WORDS, word = threadIdx.x % WORDS;
        to = kept(shared + row * ROW_BYTES + ((word / 4) ^ row) * 16 + word % 4 * 4);
        from = this->matrix + size_t(row) * count;
        across_fragments<LEFT, 128>(fragments, shared, warp_first);
    }

    DEVICE u32 word_of(u32 i) const {
        return (to ^ (ROWS_AT_ONCE * i % 8 * 16)) + i * ROWS_AT_ONCE * ROW_BYTES;
    }

    DEVICE void copy(u32 stage, u32) {
#pragma unroll
        for (u32 i = 0; i < DEPTH / ROWS_AT_ONCE; ++i) {
            copy4_zero_fill(word_of(i) + stage, from, 4);
            from += ROWS_AT_ONCE * count;
        }
    }

    DEVICE void advance(u32) {}

    DEVICE void copy_rest(u32 done, u32 rest) const {
#pragma unroll
        for (u32 i = 0; i < DEPTH / ROWS_AT_ONCE; ++i) {
            const u32 row = threadIdx.x / WORDS + i * ROWS_AT_ONCE;
            const bool inside = row < rest;
            copy4_zero_fill(word_of(i), matrix + size_t(done + (inside ? row : 0)) * count, inside ? 4 : 0);
        }
    }

    DEVICE void load(u32 (&fragment)[4], u32 stage, u32 k, u32 i) const {
        load_matrices_transposed(fragment, fragments[i] + stage + k * 16 * ROW_BYTES);
    }
};
