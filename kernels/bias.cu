// Gradients of biases: the sums of a matrix's columns.
//
// Bound by the bytes of dy, which are read once. A block sums 256 rows of 64 columns, a warp every 8th row, two neighbouring
// columns a lane, and leaves one partial row; `bias_grad_reduce` adds these in order.
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
HOST constexpr u32 BIAS_ROWS = 256;
constexpr u32 BIAS_COLS = 2 * WARP;

// db [cols] (+)= Σ dy [rows, cols]; partials [⌈rows/256⌉, cols].
struct BiasGradArgs {
    const store_t *dy;
    float *partials;
    float *db;
    u32 rows;
    u32 cols;
    Accumulate accumulate;
};

// Adds up the warps' sums of the block's columns, in order; threads below BIAS_COLS get a column's.
DEVICE float add_warps(float (&sums)[WARPS][BIAS_COLS], float low, float high) {
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    sums[warp][2 * lane] = low;
    sums[warp][2 * lane + 1] = high;
    __syncthreads();
    float total = 0.0f;
    if (threadIdx.x < BIAS_COLS) {
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) {
            total += sums[w][threadIdx.x];
        }
    }
    return total;
}

BLOCK(bias_grad, BIAS_ROWS, BIAS_COLS, ROWS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 4)
bias_grad(BiasGradArgs args) {
    __shared__ float sums[WARPS][BIAS_COLS];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    const u32 first_col = blockIdx.y * BIAS_COLS, col = first_col + 2 * lane;
    const u32 first = blockIdx.x * BIAS_ROWS, end = min(args.rows, first + BIAS_ROWS);
    const bool paired = cols % 2 == 0 && (reinterpret_cast<size_t>(args.dy) & 3) == 0;
    float low = 0.0f, high = 0.0f;
#pragma unroll 4
    for (u32 row = first + warp; row < end; row += WARPS) {
        const store_t *from = args.dy + size_t(row) * cols + col;
        if (paired && col < cols) {
            const float2 two = unpack(*reinterpret_cast<const u32 *>(from));
            low += two.x;
            high += two.y;
        } else {
            low += col < cols ? widen(from[0]) : 0.0f;
            high += col + 1 < cols ? widen(from[1]) : 0.0f;
        }
    }
    const float total = add_warps(sums, low, high);
    if (threadIdx.x < BIAS_COLS && first_col + threadIdx.x < cols) {
        args.partials[size_t(blockIdx.x) * cols + first_col + threadIdx.x] = total;
    }
}

// A block adds the partial rows of its columns, a warp an eighth of them in order.
BLOCK(bias_grad_reduce, 1, BIAS_COLS, COLS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 4)
bias_grad_reduce(BiasGradArgs args) {
    __shared__ float sums[WARPS][BIAS_COLS];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    const u32 first_col = blockIdx.x * BIAS_COLS, col = first_col + 2 * lane;
    const u32 parts = ceil_div(args.rows, BIAS_ROWS), share = ceil_div(parts, WARPS);
    float low = 0.0f, high = 0.0f;
    for (u32 part = warp * share; part < min(parts, (warp + 1) * share); ++part) {
        const float *from = args.partials + size_t(part) * cols + col;
        low += col < cols ? from[0] : 0.0f;
        high += col + 1 < cols ? from[1] : 0.0f;
    }
    const float total = add_warps(sums, low, high);
    if (threadIdx.x < BIAS_COLS && first_col + threadIdx.x < cols) {
        put(args.db[first_col + threadIdx.x], total, args.accumulate);
    }
}
