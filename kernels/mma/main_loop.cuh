// The matrix products on tensor cores: one main loop and one epilogue engine for every `linear_*` and `weight_grads`
// kernel.
//
// A block of 4 warps makes a tile [ROWS, 128] of left·right, summed in f32 over `inner`, 32 at a time: cp.async fills
// a ring of stages, ldmatrix reads fragments, mma.m16n8k16 multiplies. ROWS = 128 has warps of 64×64, the shape that
// reads the fewest shared bytes a flop of those whose sums fit the registers, and leaves two blocks an SM (3 stages
// are 48 KB, so that an RTX 4090's 100 KB hold two). ROWS = 32 has warps of 32×32, for when rows are too few to fill
// the GPU with large tiles; the columns stay 128, because sums of squares and heads of up to 128 columns then end
// within a tile.
//
// Either operand is stored along `inner` (its rows are contiguous in it: x, W of a forward) or across it (W of a
// backward, both operands of a weight gradient): ldmatrix.trans reads the latter, no transposed copies exist.
//
// Edges: rows and columns beyond the matrix are clamped to its last ones and dropped by the epilogue, so that the loop
// has no predicates. `inner` beyond a multiple of 32 is one more tile after the loop, filled up with zeros.
//
// The loop, three tiles of `inner`, as ptxas 13.0 makes it for sm_80 (86 and 89 alike, sm_90 within 5 instructions):
//
// | step                                              | along·along | along·across | across·across |
// | ------------------------------------------------- | ----------- | ------------ | ------------- |
// | every pointer moved every tile                    | 412 (47 %)  | 445 (43 %)   | 433 (44 %)    |
// | along: moved once a round; across: strides there  | 346 (55 %)  | 388 (49 %)   | 403 (48 %)    |
// | across: one pointer walks down the rows           |             | 361 (53 %)   | 364 (53 %)    |
// | epilogue in as many steps for every thread        | 346 (55 %)  | 352 (55 %)   | 364 (53 %)    |
// | addresses in shared memory kept, not made anew    | 316 (61 %)  | 316 (61 %)   | 320 (60 %)    |
//
// in instructions, of which 192 are HMMA, and their share. sm_120 adds some 170 NOPs, each behind an HMMA.
// ROWS = 32 reads more for each HMMA: 168 instructions for 64 (38 %). These are counts of instructions:
// docs/stalls.md says what they wait for on a card.
#pragma once
#include "mma/instructions.cuh"
#include "shared/reductions.cuh"

constexpr u32 GEMM_THREADS = 128;
constexpr u32 TILE_COLS = 128;
constexpr u32 DEPTH = 32;

static_assert(TILE_COLS == SUMSQ_COLS, "one tile makes whole partial sums of squares");

// A value that stays in its register. ptxas makes what is cheap anew wherever it is used, in the loop too; what a shuffle
// gave it cannot make. The whole warp calls this.
DEVICE u32 kept(u32 value) {
    return __shfl_sync(FULL_MASK, value, threadIdx.x % WARP);
}

// Which operand of the product: fragments of the two are laid out differently.
enum Side { LEFT, RIGHT };

// How a tile is divided among the warps.
template <u32 TileRows> struct Tile {
    static constexpr u32 ROWS = TileRows;
    static constexpr u32 STAGES = ROWS == 128 ? 3 : 4;
    static constexpr u32 WARPS_DOWN = ROWS == 128 ? 2 : 1;
    static constexpr u32 WARPS_ACROSS = 4 / WARPS_DOWN;
    static constexpr u32 WARP_ROWS = ROWS / WARPS_DOWN;
    static constexpr u32 WARP_COLS = TILE_COLS / WARPS_ACROSS;
    static constexpr u32 ROW_FRAGMENTS = WARP_ROWS / 16;
    static constexpr u32 COL_PAIRS = WARP_COLS / 16;
    static constexpr u32 LEFT_BYTES = ROWS * DEPTH * 2;
    static constexpr u32 STAGE_BYTES = LEFT_BYTES + TILE_COLS * DEPTH * 2;
    static constexpr u32 SHARED = STAGES * STAGE_BYTES;

    // The epilogue takes 32 rows of each warp at a time.
    static constexpr u32 STAGED_ROWS = 32 * WARPS_DOWN;
    static constexpr u32 PASSES = WARP_ROWS / 32;
    static constexpr u32 STAGED_BYTES = STAGED_ROWS * TILE_COLS * 4;
    static_assert(ROWS == 128 || ROWS == 32, "the loads below deal out whole rows of 32 to the threads");
    static_assert(SHARED <= 48 * 1024, "more would need an opt-in and leave one block an SM on sm_86, 89 and 120");
    static_assert(STAGED_BYTES + ROWS * 4 <= SHARED, "the epilogue stages its sums where the pipeline was");

    // This warp's first row and column.
    static DEVICE u32 warp_row() {
        return threadIdx.x / WARP % WARPS_DOWN * WARP_ROWS;
    }
    static DEVICE u32 warp_col() {
        return threadIdx.x / WARP / WARPS_DOWN * WARP_COLS;
    }
};

using Large = Tile<128>;
using Small = Tile<32>;

// Sums of a warp: [row fragment][8 columns][as multiply_add has them].
template <class T> using Sums = float[T::ROW_FRAGMENTS][2 * T::COL_PAIRS][4];

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

// Stored across `inner`: a row of shared memory is 128 columns, chunk c at c ^ (row % 8). One address for each
// fragment; the second 16 of `inner` is 4 KB further.
constexpr u32 ACROSS_BYTES = 128 * 2;
template <Side SIDE> DEVICE void across_fragments(u32 (&fragments)[4], u32 shared, u32 warp_first) {
    const u32 lane = threadIdx.x % WARP;
    const u32 line = SIDE == LEFT ? lane % 8 + lane / 16 * 8 : lane % 16;
    const u32 half = SIDE == LEFT ? lane / 8 % 2 : lane / 16;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        fragments[i] = kept(shared + line * ACROSS_BYTES + ((warp_first / 8 + 2 * i + half) ^ (line % 8)) * 16);
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
template <Side SIDE> struct Across {
    static constexpr u32 CHUNKS = 128 / 8;
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
        to = kept(shared + row * ACROSS_BYTES + (chunk ^ (row % 8)) * 16);
        from = at_row(row);
        across_fragments<SIDE>(fragments, shared, warp_first);
    }

    DEVICE const store_t *at_row(u32 row) const {
        return matrix + size_t(row) * count + min(first + threadIdx.x % CHUNKS * 8, count - 8);
    }

    // Tiles are always copied in order: one pointer walks down the rows.
    DEVICE void copy(u32 stage, u32) {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            copy16(to + stage + i * ROWS_AT_ONCE * ACROSS_BYTES, from);
            from += ROWS_AT_ONCE * count;
        }
    }

    DEVICE void advance(u32) {}

    DEVICE void copy_rest(u32 done, u32 rest) const {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            const u32 row = threadIdx.x / CHUNKS + i * ROWS_AT_ONCE;
            const bool inside = row < rest;
            copy16_zero_fill(to + i * ROWS_AT_ONCE * ACROSS_BYTES, at_row(done + (inside ? row : 0)), inside ? 16 : 0);
        }
    }

    DEVICE void load(u32 (&fragment)[4], u32 stage, u32 k, u32 i) const {
        load_matrices_transposed(fragment, fragments[i] + stage + k * 16 * ACROSS_BYTES);
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
        to = kept(shared + row * ACROSS_BYTES + ((word / 4) ^ row) * 16 + word % 4 * 4);
        from = this->matrix + size_t(row) * count;
        across_fragments<LEFT>(fragments, shared, warp_first);
    }

    DEVICE u32 word_of(u32 i) const {
        return (to ^ (ROWS_AT_ONCE * i % 8 * 16)) + i * ROWS_AT_ONCE * ACROSS_BYTES;
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
        load_matrices_transposed(fragment, fragments[i] + stage + k * 16 * ACROSS_BYTES);
    }
};

template <class T> DEVICE void clear(Sums<T> &sum) {
#pragma unroll
    for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
#pragma unroll
        for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
            sum[i][j][0] = sum[i][j][1] = sum[i][j][2] = sum[i][j][3] = 0.0f;
        }
    }
}

// Multiplies what lies in a stage. The second half's fragments are loaded before the first half is multiplied.
template <class T, class Left, class Right>
DEVICE void multiply_stage(Sums<T> &sum, const Left &left, const Right &right, u32 stage) {
    u32 a[2][T::ROW_FRAGMENTS][4], b[2][T::COL_PAIRS][4];
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
        for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
            left.load(a[k][i], stage, k, i);
        }
#pragma unroll
        for (u32 j = 0; j < T::COL_PAIRS; ++j) {
            right.load(b[k][j], stage, k, j);
        }
    }
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
        for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
#pragma unroll
            for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
                multiply_add(sum[i][j], a[k][i], b[k][j / 2][j % 2 * 2], b[k][j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

// sum = left·right. One barrier a tile of `inner`: behind it, all have read the stage that is filled next, and what was
// waited for is visible to all. The ring is unrolled, so that stages are offsets in the instructions. `meanwhile()` runs
// while the first tiles are on their way.
template <class T, class Left, class Right, class Meanwhile>
DEVICE void multiply(Sums<T> &sum, Left &left, Right &right, u32 inner, Meanwhile meanwhile) {
    constexpr u32 AHEAD = T::STAGES - 1;
    const u32 tiles = inner / DEPTH, rest = inner % DEPTH;
    clear<T>(sum);
#pragma unroll
    for (u32 stage = 0; stage < AHEAD; ++stage) {
        if (stage < tiles) {
            left.copy(stage * T::STAGE_BYTES, stage);
            right.copy(stage * T::STAGE_BYTES, stage);
        }
        copy_commit();
    }
    meanwhile();
    for (u32 tile = 0; tile < tiles; tile += T::STAGES) {
#pragma unroll
        for (u32 stage = 0; stage < T::STAGES; ++stage) {
            if (stage > 0 && tile + stage >= tiles) {
                break;
            }
            copy_wait<AHEAD - 1>();
            __syncthreads();
            if (tile + stage + AHEAD < tiles) {
                left.copy((stage + AHEAD) % T::STAGES * T::STAGE_BYTES, stage + AHEAD);
                right.copy((stage + AHEAD) % T::STAGES * T::STAGE_BYTES, stage + AHEAD);
            }
            copy_commit();
            multiply_stage<T>(sum, left, right, stage * T::STAGE_BYTES);
        }
        left.advance(T::STAGES);
        right.advance(T::STAGES);
    }
    if (rest > 0) {
        __syncthreads();
        left.copy_rest(tiles * DEPTH, rest);
        right.copy_rest(tiles * DEPTH, rest);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
        multiply_stage<T>(sum, left, right, 0);
    }
}

// The epilogue: 32 rows of each warp at a time go through shared memory, so that a thread then owns 8 neighbouring
// columns of a row, the 16 bytes of one access, and 16 neighbouring lanes a whole row of the tile.
//
// In a staged row of 32 chunks of 4 floats, chunk c lies at c ^ (c / 8 % 2) ^ (row % 4 · 2): fragments of 4 rows × 8
// columns, reads of a thread's 8 columns and reads of whole rows all meet every bank once.
DEVICE u32 staged_chunk(u32 row, u32 chunk) {
    return row * (TILE_COLS * 4) + (chunk ^ (chunk / 8 % 2) ^ (row % 4 * 2)) * 16;
}

template <class T> DEVICE void stage_sums(const Sums<T> &sum, u8 *shared, u32 pass) {
    const u32 lane = threadIdx.x % WARP;
    const u32 row = threadIdx.x / WARP % T::WARPS_DOWN * 32 + lane / 4;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
#pragma unroll
        for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
            const float(&four)[4] = sum[2 * pass + i][j];
            u8 *to = shared + staged_chunk(row, T::warp_col() / 4 + 2 * j + lane % 4 / 2) + lane % 2 * 8 +
                     i * 16 * TILE_COLS * 4;
            *reinterpret_cast<float2 *>(to) = make_float2(four[0], four[1]);
            *reinterpret_cast<float2 *>(to + 8 * TILE_COLS * 4) = make_float2(four[2], four[3]);
        }
    }
}

// The row of the tile that a staged row is.
template <class T> DEVICE u32 tile_row(u32 staged, u32 pass) {
    return staged / 32 * T::WARP_ROWS + pass * 32 + staged % 32;
}

// Eight columns of a row of the product. Row and column are clamped to the matrix; `inside` says whether they were not.
struct Spot {
    const u8 *shared;
    u32 staged;
    u32 eight;
    u32 row;
    u32 column;
    u32 in_tile;
    bool inside;

    // The sums there, or those of the eight columns `which` of the tile's 16.
    DEVICE Eight sums() const {
        return sums(eight);
    }
    DEVICE Eight sums(u32 which) const {
        const float4 a = *reinterpret_cast<const float4 *>(shared + staged_chunk(staged, 2 * which));
        const float4 b = *reinterpret_cast<const float4 *>(shared + staged_chunk(staged, 2 * which + 1));
        return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
    }
};

// Rows and columns of a product, and where in it the block's tile begins.
struct Bounds {
    u32 rows;
    u32 cols;
    u32 first_row;
    u32 first_col;
};

template <class T> DEVICE Bounds tile_bounds(u32 rows, u32 cols) {
    return Bounds{rows, cols, blockIdx.y * T::ROWS, blockIdx.x * TILE_COLS};
}

// The row that this thread says something of: that of its number in the tile, clamped to the matrix.
template <class T> DEVICE u32 own_row(const Bounds &bounds) {
    return min(bounds.first_row + threadIdx.x % T::ROWS, bounds.rows - 1);
}

// The factor r of the row of x [rows, cols] that is this thread's of the tile, from its partial sums of squares.
template <class T> DEVICE float own_rstd(const Bounds &bounds, const float *sumsq, u32 cols) {
    const u32 slots = (cols + SUMSQ_COLS - 1) / SUMSQ_COLS;
    return rstd_of(sumsq + size_t(own_row<T>(bounds)) * slots, slots, cols);
}

// Sum of groups of `lanes` neighbouring lanes, a power of two that the whole warp agrees on.
DEVICE float lanes_sum(float value, u32 lanes) {
    for (u32 offset = lanes / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(FULL_MASK, value, offset);
    }
    return value;
}

// What a row of a result needs, where that is nothing.
struct Nothing {};

// For results that take nothing else from memory.
DEVICE Nothing nothing(u32, u32) {
    return {};
}

// Gives `finish(spot, row, ahead)` all spots of the tile, with all lanes of a warp together: `row` is the spot's row's
// `mine`, `ahead` what `load(row, column)` gave. A load takes as long as some hundred instructions, and there are no
// other warps to hide it: LOAD_BYTES of every thread are under way, the first of them before the sums are staged.
template <class T, class Row, class Load, class Finish>
DEVICE void finish_tile(const Sums<T> &sum, u8 *shared, Bounds bounds, const Row &mine, Load load, Finish finish) {
    constexpr u32 LOAD_BYTES = 128, AT_ONCE = GEMM_THREADS / 16, STEPS = T::STAGED_ROWS / AT_ONCE;
    using Ahead = decltype(load(0u, 0u));
    constexpr u32 FITTING = LOAD_BYTES / sizeof(Ahead), WINDOW = FITTING < STEPS ? FITTING : STEPS;
    static_assert(T::STAGED_BYTES + T::ROWS * sizeof(Row) <= T::SHARED, "rows lie behind the staged sums");
    Row *const rows = reinterpret_cast<Row *>(shared + T::STAGED_BYTES);
    copy_wait<0>();
    __syncthreads();
    if (threadIdx.x < T::ROWS) {
        rows[threadIdx.x] = mine;
    }
    // The compiler is not to know it before: it would move loads into the main loop, where registers are short.
    asm volatile("" : "+r"(bounds.first_row));
    const u32 eight = threadIdx.x % 16, column = bounds.first_col + eight * 8;
    const u32 inside_column = min(column, bounds.cols - 8);
#pragma unroll
    for (u32 pass = 0; pass < T::PASSES; ++pass) {
        const auto spot_of = [&](u32 step) {
            const u32 staged = step * AT_ONCE + threadIdx.x / 16, in_tile = tile_row<T>(staged, pass);
            const u32 row = bounds.first_row + in_tile;
            return Spot{shared, staged, eight, min(row, bounds.rows - 1), inside_column,
                        in_tile, row < bounds.rows && column < bounds.cols};
        };
        const auto loaded = [&](u32 step) {
            const Spot spot = spot_of(step);
            return load(spot.row, spot.column);
        };
        Ahead ahead[STEPS];
#pragma unroll
        for (u32 step = 0; step < WINDOW; ++step) {
            ahead[step] = loaded(step);
        }
        if (pass > 0) {
            __syncthreads();
        }
        stage_sums<T>(sum, shared, pass);
        __syncthreads();
#pragma unroll
        for (u32 step = 0; step < STEPS; ++step) {
            if (step > 0 && step + WINDOW - 1 < STEPS) {
                ahead[step + WINDOW - 1] = loaded(step + WINDOW - 1);
            }
            const Spot spot = spot_of(step);
            finish(spot, rows[spot.in_tile], ahead[step]);
        }
    }
}
