// From the main loop's sums to an epilogue: 32 rows of each warp at a time go through shared memory, so that a thread then
// owns 8 neighbouring columns of a row, the 16 bytes of one access, and neighbouring lanes a whole row of the tile.
//
// In a staged row of chunks of 4 floats, chunk c lies at c ^ (c / 8 % 2) ^ (row % 4 · 2): fragments of 4 rows × 8
// columns, reads of a thread's 8 columns and reads of whole rows all meet every bank once.
#pragma once
#include "mma/main_loop.cuh"

// The staged sums of a tile.
template <class T> struct Staged {
    static constexpr u32 ROWS = 32 * T::WARPS_DOWN;
    static constexpr u32 PASSES = T::WARP_ROWS / 32;
    static constexpr u32 ROW_BYTES = T::COLS * 4;
    static constexpr u32 BYTES = ROWS * ROW_BYTES;
    static_assert(BYTES + T::ROWS * 4 <= T::SHARED, "the sums, and a number a row, are staged where the pipeline was");

    // Where a chunk of a row is.
    static DEVICE u32 at(u32 row, u32 chunk) {
        return row * ROW_BYTES + (chunk ^ (chunk / 8 % 2) ^ (row % 4 * 2)) * 16;
    }

    // The row of the tile that a staged row is.
    static DEVICE u32 tile_row(u32 staged, u32 pass) {
        return staged / 32 * T::WARP_ROWS + pass * 32 + staged % 32;
    }
};

template <class T> DEVICE void stage_sums(const Sums<T> &sum, u8 *shared, u32 pass) {
    constexpr u32 ROW_BYTES = Staged<T>::ROW_BYTES;
    const u32 lane = threadIdx.x % WARP;
    const u32 row = threadIdx.x / WARP % T::WARPS_DOWN * 32 + lane / 4;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
#pragma unroll
        for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
            const float(&four)[4] = sum[2 * pass + i][j];
            u8 *to = shared + Staged<T>::at(row, T::warp_col() / 4 + 2 * j + lane % 4 / 2) + lane % 2 * 8 +
                     i * 16 * ROW_BYTES;
            *reinterpret_cast<float2 *>(to) = make_float2(four[0], four[1]);
            *reinterpret_cast<float2 *>(to + 8 * ROW_BYTES) = make_float2(four[2], four[3]);
        }
    }
}

// A spot (shared/epilogues.cuh) whose sums are staged.
template <class T> struct StagedSpot {
    static constexpr u32 EIGHTS = T::COLS / 8;
    const u8 *shared;
    u32 staged;
    u32 eight;
    u32 row;
    u32 column;
    bool inside;

    DEVICE Eight sums() const {
        return sums(eight);
    }
    DEVICE Eight sums(u32 which) const {
        const float4 a = *reinterpret_cast<const float4 *>(shared + Staged<T>::at(staged, 2 * which));
        const float4 b = *reinterpret_cast<const float4 *>(shared + Staged<T>::at(staged, 2 * which + 1));
        return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
    }
};

// The row that this thread says something of: that of its number in the tile, clamped to the matrix.
template <class T> DEVICE u32 own_row(const Bounds &bounds) {
    return min(bounds.first_row + threadIdx.x % T::ROWS, bounds.rows - 1);
}

// Hands all spots of the tile to an epilogue; `mine` is what it says of this thread's own row. A load takes as long as some
// hundred instructions, and there are no other warps to hide it: LOAD_BYTES of every thread are under way, the first of
// them before the sums are staged.
template <class T, class Epilogue>
DEVICE void finish_tile(const Sums<T> &sum, u8 *shared, Bounds bounds, const typename Epilogue::Row &mine,
                        const Epilogue &epilogue) {
    using Stage = Staged<T>;
    using Row = typename Epilogue::Row;
    using Ahead = typename Epilogue::Ahead;
    constexpr u32 EIGHTS = StagedSpot<T>::EIGHTS, AT_ONCE = GEMM_THREADS / EIGHTS, STEPS = Stage::ROWS / AT_ONCE;
    constexpr u32 LOAD_BYTES = 128, FITTING = LOAD_BYTES / sizeof(Ahead), WINDOW = FITTING < STEPS ? FITTING : STEPS;
    static_assert(Stage::BYTES + T::ROWS * sizeof(Row) <= T::SHARED, "rows lie behind the staged sums");
    Row *const rows = reinterpret_cast<Row *>(shared + Stage::BYTES);
    copy_wait<0>();
    __syncthreads();
    if (threadIdx.x < T::ROWS) {
        rows[threadIdx.x] = mine;
    }
    // The compiler is not to know it before: it would move loads into the main loop, where registers are short.
    asm volatile("" : "+r"(bounds.first_row));
    const u32 eight = threadIdx.x % EIGHTS, column = bounds.first_col + eight * 8;
    const u32 inside_column = min(column, bounds.cols - 8);
#pragma unroll
    for (u32 pass = 0; pass < Stage::PASSES; ++pass) {
        const auto row_of = [&](u32 step) {
            return Stage::tile_row(step * AT_ONCE + threadIdx.x / EIGHTS, pass);
        };
        const auto spot_of = [&](u32 step) {
            const u32 row = bounds.first_row + row_of(step);
            return StagedSpot<T>{shared, step * AT_ONCE + threadIdx.x / EIGHTS, eight, min(row, bounds.rows - 1),
                                 inside_column, row < bounds.rows && column < bounds.cols};
        };
        const auto loaded = [&](u32 step) {
            return epilogue.load(spot_of(step));
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
            epilogue.finish(spot_of(step), rows[row_of(step)], ahead[step]);
        }
    }
}

// The block's tile of left·right, finished. What the epilogue says of rows is made while the first tiles of `inner` are on
// their way.
template <class T, class Left, class Right, class Epilogue>
DEVICE void product_tile(u8 *shared, Left &left, Right &right, const Bounds &bounds, u32 inner,
                         const Epilogue &epilogue) {
    Sums<T> sum;
    typename Epilogue::Row mine = {};
    multiply<T>(sum, left, right, inner, [&] {
        mine = epilogue.row(own_row<T>(bounds));
    });
    finish_tile<T>(sum, shared, bounds, mine, epilogue);
}
