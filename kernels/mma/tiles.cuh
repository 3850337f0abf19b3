// Tile shapes of the matrix products: what a block of 4 warps makes of a result, and how its warps divide it.
//
// Large has warps of 64×64, the shape that reads the fewest shared bytes a flop of those whose sums fit the registers, and
// leaves two blocks an SM (3 stages are 48 KB, so that an RTX 4090's 100 KB hold two). Small has warps of 32×32, for when
// rows are too few to fill the GPU with large tiles; the columns stay 128, because sums of squares and heads of up to 128
// columns then end within a tile.
#pragma once
#include "shared/epilogues.cuh"

constexpr u32 GEMM_THREADS = 128;
constexpr u32 DEPTH = 32;

// `Blocks`: how many a multiprocessor is to hold.
template <u32 Rows, u32 Cols, u32 Stages, u32 Blocks> struct Tile {
    static constexpr u32 ROWS = Rows;
    static constexpr u32 COLS = Cols;
    static constexpr u32 STAGES = Stages;
    static constexpr u32 BLOCKS = Blocks;
    static constexpr u32 WARPS_DOWN = ROWS == 128 ? 2 : 1;
    static constexpr u32 WARPS_ACROSS = 4 / WARPS_DOWN;
    static constexpr u32 WARP_ROWS = ROWS / WARPS_DOWN;
    static constexpr u32 WARP_COLS = COLS / WARPS_ACROSS;
    static constexpr u32 ROW_FRAGMENTS = WARP_ROWS / 16;
    static constexpr u32 COL_PAIRS = WARP_COLS / 16;
    static constexpr u32 LEFT_BYTES = ROWS * DEPTH * 2;
    static constexpr u32 STAGE_BYTES = LEFT_BYTES + COLS * DEPTH * 2;
    static constexpr u32 SHARED = STAGES * STAGE_BYTES;
    static_assert(ROWS == 128 || ROWS == 32, "operands deal out whole rows of 32 to the threads");
    static_assert(COLS == 128 || (COLS == 64 && ROWS == 128), "a warp multiplies by 16 columns at a time");
    static_assert(SHARED <= 48 * 1024, "more would need an opt-in and leave one block an SM on sm_86, 89 and 120");

    // This warp's first row and column.
    static DEVICE u32 warp_row() {
        return threadIdx.x / WARP % WARPS_DOWN * WARP_ROWS;
    }
    static DEVICE u32 warp_col() {
        return threadIdx.x / WARP / WARPS_DOWN * WARP_COLS;
    }

    // The block's part of a result [rows, cols].
    static DEVICE Bounds bounds(u32 rows, u32 cols) {
        return Bounds{rows, cols, blockIdx.y * ROWS, blockIdx.x * COLS};
    }
};

using Large = Tile<128, 128, 3, 2>;
using Small = Tile<32, 128, 4, 4>;

// A kernel's tile, said here alone: `kernel_tile` for the kernel, and for the host what a block needs and makes.
#define TILED(kernel, ...)                                                                                             \
    using kernel##_tile = __VA_ARGS__;                                                                                 \
    SHARED_BYTES(kernel, kernel##_tile::SHARED);                                                                       \
    BLOCK(kernel, kernel##_tile::ROWS, kernel##_tile::COLS, COLS_FIRST)

// Sums of a warp: [row fragment][8 columns][as multiply_add has them].
template <class T> using Sums = float[T::ROW_FRAGMENTS][2 * T::COL_PAIRS][4];
