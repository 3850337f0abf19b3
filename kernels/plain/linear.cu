// Matrix products of the forward pass with what follows them, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/args.cuh"

// qkv = r·(x Wᵀ) [N, 3C]; q and k rotated, then normed per head, whose r goes to qk_rstd [N, 2H].
//
// A block makes one head of q, k or v. Its tile's halves are the head's halves, so that one lane holds both numbers of
// a pair that rotates. A rotation does not change the sum of squares: it can be had before. Heads of more than 128
// columns are multiplied twice, once for that sum.
extern "C" __global__ void __launch_bounds__(256, 2)
qkv_plain(QkvArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, head = blockIdx.y, half = args.head_dim / 2;
    const u32 normed_heads = 2 * (args.width / args.head_dim);
    const Side a = rows_of(args.x, args.rows, args.width).from(first_row);
    const Side low = rows_of(args.w + size_t(head) * args.head_dim * args.width, half, args.width);
    const Side high = rows_of(args.w + (size_t(head) * args.head_dim + half) * args.width, half, args.width);
    Tile y;
    float squares[WARP_ROWS] = {};
    for (u32 first = 0; first < half; first += HALF_COLS) {
        y = product(a, low.from(first), high.from(first), args.width);
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                squares[r] += y.at[r][c] * y.at[r][c];
            }
        }
    }
    float factor[WARP_ROWS];
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        squares[r] = group_sum(squares[r]);
        factor[r] = row < args.rows ? row_rstd(args.sumsq, row, args.width) : 0.0f;
        if (row < args.rows && head < normed_heads) {
            const float head_rstd = rsqrtf(factor[r] * factor[r] * squares[r] / float(args.head_dim) + NORM_EPS);
            factor[r] *= head_rstd;
            if (threadIdx.x % WARP == 0) {
                args.qk_rstd[size_t(row) * normed_heads + head] = head_rstd;
            }
        }
    }
    for (u32 first = 0; first < half; first += HALF_COLS) {
        if (half > HALF_COLS) {
            y = product(a, low.from(first), high.from(first), args.width);
        }
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS / 2; ++c) {
                const u32 col = first + tile_col(c);
                if (row < args.rows && col < half) {
                    const float y1 = factor[r] * y.at[r][c], y2 = factor[r] * y.at[r][c + LANE_COLS / 2];
                    const float2 turn = head < normed_heads ? args.rope[size_t(row % args.positions) * half + col]
                                                            : make_float2(1.0f, 0.0f);
                    store_t *to = args.qkv + size_t(row) * 3 * args.width + head * args.head_dim + col;
                    to[0] = narrow(y1 * turn.x + y2 * turn.y);
                    to[half] = narrow(y2 * turn.x - y1 * turn.y);
                }
            }
        }
    }
}
BLOCK(qkv_plain, TILE_ROWS, 1, ROWS_FIRST);

// out = residual + a Wᵀ [N, cols], and the sums of squares of `out` as stored.
extern "C" __global__ void __launch_bounds__(256, 4)
linear_residual_plain(LinearResidualArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.a, args.rows, args.inner).from(first_row);
    const Side b = rows_of(args.w, args.cols, args.inner).from(first_col);
    const Tile y = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= args.rows) {
            break;
        }
        float squares = 0.0f;
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                args.out[at] = narrow(widen(args.residual[at]) + y.at[r][c]);
                squares += widen(args.out[at]) * widen(args.out[at]);
            }
        }
        squares = group_sum(squares);
        if (threadIdx.x % WARP == 0) {
            args.sumsq[size_t(row) * gridDim.y + blockIdx.y] = squares;
        }
    }
}
BLOCK(linear_residual_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// h = relu(r·(x Wᵀ))² [N, cols]. Not fmaxf, which would make a number of a NaN.
extern "C" __global__ void __launch_bounds__(256, 4)
linear_relu2_plain(LinearRelu2Args args) {
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
        const float rstd = row_rstd(args.sumsq, row, args.inner);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const float u = rstd * y.at[r][c], positive = u > 0.0f ? u : 0.0f * u;
                args.h[size_t(row) * args.cols + col] = narrow(positive * positive);
            }
        }
    }
}
BLOCK(linear_relu2_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);
