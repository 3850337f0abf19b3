// Every matrix product of the model and what is fused to it, without tensor cores: the first rung of the ladder.
//
// These kernels are the specification in CUDA. They take every shape and every alignment, odd widths and odd halves of
// heads included, and run where the tensor-core kernels do not apply. All of them are one function, `product`, and a
// few lines that finish its tile:
//
//     y[i][j] = Σ_k a[i][k]·b[j][k]        a block of 256 threads makes 32 rows and 128 columns of y
//
// A warp owns 4 whole rows of the tile, a lane every 32nd column of them. So a sum along a row, and most of what is
// fused here is one, is a sum over a warp's lanes that needs no barrier; and 128 columns are what one partial sum of
// squares covers. 32 numbers of k at a time are staged in shared memory as f32: b is read there by 8 warps, a by 32
// lanes at once. Two multiplications cost one read of shared memory, which has room for half the f32 peak.
//
// Letters: N rows, C width, D head dimension, F = 4C, V symbols. Matrices are row-major, parameters in the order of
// their ops' fields; all sums are f32 in a fixed order. Of strides and base addresses nothing is required but that each
// element is aligned.
#pragma once
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 TILE_ROWS = 32;
constexpr u32 TILE_COLS = 128;
constexpr u32 HALF_COLS = TILE_COLS / 2;
constexpr u32 TILE_INNER = 32;
constexpr u32 WARP_ROWS = TILE_ROWS / (THREADS / WARP);
constexpr u32 LANE_COLS = TILE_COLS / WARP;
static_assert(TILE_COLS == SUMSQ_COLS, "a tile's row is one partial sum");
static_assert(LANE_COLS % 2 == 0, "a lane has as many columns of the tile's first half as of its second");

// One side of a product, `count` vectors along k: number k of vector i is at[i·vector + k·step].
struct Side {
    const store_t *at;
    u32 count;
    size_t vector;
    size_t step;

    DEVICE Side from(u32 first) const {
        return Side{at + first * vector, count > first ? count - first : 0, vector, step};
    }
};

// A matrix [count, inner] whose rows are the vectors: x in x Wᵀ, and W [out, in] too.
DEVICE Side rows_of(const store_t *matrix, u32 count, u32 inner) {
    return Side{matrix, count, inner, 1};
}

// A matrix [inner, count] whose columns are the vectors: W [out, in] in dy W, dy and x in dyᵀ x.
DEVICE Side columns_of(const store_t *matrix, u32 count) {
    return Side{matrix, count, 1, count};
}

// Stages `Count` vectors from k = `first` on; zeros stand for what lies outside. Neighbouring threads read neighbouring
// addresses, whichever way the matrix lies; the odd row length keeps them in different banks when they write a column.
template <u32 Count> DEVICE void stage(float (&tile)[TILE_INNER][Count + 1], const Side &side, u32 first, u32 inner) {
    const bool along_k = side.step == 1;
#pragma unroll 2
    for (u32 index = threadIdx.x; index < TILE_INNER * Count; index += THREADS) {
        const u32 i = along_k ? index / TILE_INNER : index % Count;
        const u32 k = along_k ? index % TILE_INNER : index / Count;
        const bool inside = i < side.count && first + k < inner;
        tile[k][i] = inside ? widen(side.at[i * side.vector + (first + k) * side.step]) : 0.0f;
    }
}

// A thread's share of a tile: rows `tile_row(0)..` of its warp, columns `tile_col(0)..` of its lane.
struct Tile {
    float at[WARP_ROWS][LANE_COLS];
};

DEVICE u32 tile_row(u32 r) {
    return threadIdx.x / WARP * WARP_ROWS + r;
}

DEVICE u32 tile_col(u32 c) {
    return threadIdx.x % WARP + c * WARP;
}

// The tile of a's first 32 vectors with the first 64 of `low` and, as its columns 64.., the first 64 of `high`.
DEVICE Tile product(const Side &a, const Side &low, const Side &high, u32 inner) {
    __shared__ float a_tile[TILE_INNER][TILE_ROWS + 1];
    __shared__ float b_tile[2][TILE_INNER][HALF_COLS + 1];
    Tile y = {};
    for (u32 first = 0; first < inner; first += TILE_INNER) {
        __syncthreads(); // the tiles before have been read
        stage<TILE_ROWS>(a_tile, a, first, inner);
        stage<HALF_COLS>(b_tile[0], low, first, inner);
        stage<HALF_COLS>(b_tile[1], high, first, inner);
        __syncthreads();
#pragma unroll 4
        for (u32 k = 0; k < TILE_INNER; ++k) {
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const float b = b_tile[c / (LANE_COLS / 2)][k][tile_col(c) % HALF_COLS];
#pragma unroll
                for (u32 r = 0; r < WARP_ROWS; ++r) {
                    y.at[r][c] += a_tile[k][tile_row(r)] * b;
                }
            }
        }
    }
    return y;
}

// The same with 128 neighbouring vectors.
DEVICE Tile product(const Side &a, const Side &b, u32 inner) {
    return product(a, b, b.from(HALF_COLS), inner);
}

// f(where it lies in a result of `cols` columns, its column, the product) of every number of a tile that lies inside.
template <class F> DEVICE void each_inside(const Tile &y, u32 first_row, u32 rows, u32 first_col, u32 cols, F f) {
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= rows) {
            break;
        }
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < cols) {
                f(size_t(row) * cols + col, col, y.at[r][c]);
            }
        }
    }
}
