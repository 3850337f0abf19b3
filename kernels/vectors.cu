// Tokens as vectors of one length: `vectors.rs`.
//
// Letters: V symbols, d numbers of a vector.
//
// A table of some dozens of rows, once a step: a row to a warp.
#include "shared/reductions.cuh"

constexpr u32 ROW_WARPS = 8;

// units [V, d] and rstd [V] of table [V, d].
struct UnitRowsArgs {
    const float *table;
    float *units;
    float *rstd;
    u32 rows; // V
    u32 cols; // d
};

// units = table·rstd, rstd = 1/|row|, 0 of a row of zeros.
BLOCK_ROWS(unit_rows, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
unit_rows(UnitRowsArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const size_t base = size_t(row) * cols;
    float squares = 0.0f;
    for (u32 c = lane; c < cols; c += WARP) {
        squares += args.table[base + c] * args.table[base + c];
    }
    squares = group_sum(squares);
    const float rstd = squares > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(squares)) : 0.0f;
    for (u32 c = lane; c < cols; c += WARP) {
        args.units[base + c] = args.table[base + c] * rstd;
    }
    if (lane == 0) {
        args.rstd[row] = rstd;
    }
}
