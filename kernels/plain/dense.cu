// Matrix products with biases, GELU and their backwards, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/args.cuh"
#include "shared/gelu.cuh"

// y = [residual +] x Wᵀ [+ bias] [N, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_plain(LinearArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.x, args.rows, args.inner).from(first_row);
    const Side b = rows_of(args.w, args.cols, args.inner).from(first_col);
    const Tile y = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= args.rows) {
            break;
        }
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                const float bias = args.bias != nullptr ? widen(args.bias[col]) : 0.0f;
                const float around = args.residual != nullptr ? widen(args.residual[at]) : 0.0f;
                args.y[at] = narrow(y.at[r][c] + bias + around);
            }
        }
    }
}
BLOCK(linear_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// u = x Wᵀ [+ bias], h = gelu(u) [N, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_gelu_plain(LinearGeluArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.x, args.rows, args.inner).from(first_row);
    const Side b = rows_of(args.w, args.cols, args.inner).from(first_col);
    const Tile y = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= args.rows) {
            break;
        }
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                const float u = y.at[r][c] + (args.bias != nullptr ? widen(args.bias[col]) : 0.0f);
                args.u[at] = narrow(u);
                args.h[at] = narrow(gelu(u));
            }
        }
    }
}
BLOCK(linear_gelu_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// dx = dy W [N, cols]; dy [N, inner], W [inner, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_backward_plain(LinearBackwardArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.dy, args.rows, args.inner).from(first_row);
    const Side b = columns_of(args.w, args.cols).from(first_col);
    const Tile y = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < args.rows && col < args.cols) {
                args.dx[size_t(row) * args.cols + col] = narrow(y.at[r][c]);
            }
        }
    }
}
BLOCK(linear_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// du = (dx W)·gelu'(u) [N, cols = F]; dx [N, inner = C], W [inner, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
gelu_backward_plain(GeluBackwardArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.dx, args.rows, args.inner).from(first_row);
    const Side b = columns_of(args.w, args.cols).from(first_col);
    const Tile dh = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= args.rows) {
            break;
        }
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                args.du[at] = narrow(dh.at[r][c] * gelu_slope(widen(args.u[at])));
            }
        }
    }
}
BLOCK(gelu_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);
