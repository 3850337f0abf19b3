// Matrix products of the forward pass with what follows them, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"

// qkv = r·(x Wᵀ) [N, 3C]; q and k rotated, then normed per head, whose r goes to qk_rstd [N, 2H].
//
// A block makes one head of q, k or v. Its tile's halves are the head's halves, so that one lane holds both numbers of
// a pair that rotates. A rotation does not change the sum of squares: it can be had before. Heads of more than 128
// columns are multiplied twice, once for that sum.
// Grid: (ceil(rows/32), 3·heads).
extern "C" __global__ void __launch_bounds__(256, 2) qkv_plain(const store_t *x, const float *sumsq, const store_t *w,
    const float2 *rope, store_t *qkv, float *qk_rstd, u32 rows, u32 width, u32 positions, u32 head_dim) {
    const u32 first_row = blockIdx.x * TILE_ROWS, head = blockIdx.y, half = head_dim / 2;
    const u32 normed_heads = 2 * (width / head_dim);
    const Side a = rows_of(x, rows, width).from(first_row);
    const Side low = rows_of(w + size_t(head) * head_dim * width, half, width);
    const Side high = rows_of(w + (size_t(head) * head_dim + half) * width, half, width);
    Tile y;
    float squares[WARP_ROWS] = {};
    for (u32 first = 0; first < half; first += HALF_COLS) {
        y = product(a, low.from(first), high.from(first), width);
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
        factor[r] = row < rows ? row_rstd(sumsq, row, width) : 0.0f;
        if (row < rows && head < normed_heads) {
            const float head_rstd = rsqrtf(factor[r] * factor[r] * squares[r] / float(head_dim) + NORM_EPS);
            factor[r] *= head_rstd;
            if (threadIdx.x % WARP == 0) {
                qk_rstd[size_t(row) * normed_heads + head] = head_rstd;
            }
        }
    }
    for (u32 first = 0; first < half; first += HALF_COLS) {
        if (half > HALF_COLS) {
            y = product(a, low.from(first), high.from(first), width);
        }
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS / 2; ++c) {
                const u32 col = first + tile_col(c);
                if (row < rows && col < half) {
                    const float y1 = factor[r] * y.at[r][c], y2 = factor[r] * y.at[r][c + LANE_COLS / 2];
                    const float2 turn = head < normed_heads ? rope[size_t(row % positions) * half + col]
                                                            : make_float2(1.0f, 0.0f);
                    store_t *to = qkv + size_t(row) * 3 * width + head * head_dim + col;
                    to[0] = narrow(y1 * turn.x + y2 * turn.y);
                    to[half] = narrow(y2 * turn.x - y1 * turn.y);
                }
            }
        }
    }
}

// out = residual + a Wᵀ [N, cols], and the sums of squares of `out` as stored.
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) linear_residual_plain(const store_t *a, const store_t *w,
    const store_t *residual, store_t *out, float *sumsq, u32 rows, u32 inner, u32 cols) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile y = product(rows_of(a, rows, inner).from(first_row), rows_of(w, cols, inner).from(first_col), inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= rows) {
            break;
        }
        float squares = 0.0f;
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < cols) {
                const size_t at = size_t(row) * cols + col;
                out[at] = narrow(widen(residual[at]) + y.at[r][c]);
                squares += widen(out[at]) * widen(out[at]);
            }
        }
        squares = group_sum(squares);
        if (threadIdx.x % WARP == 0) {
            sumsq[size_t(row) * gridDim.y + blockIdx.y] = squares;
        }
    }
}

// h = relu(r·(x Wᵀ))² [N, cols]. Not fmaxf, which would make a number of a NaN.
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) linear_relu2_plain(const store_t *x, const float *sumsq,
    const store_t *w, store_t *h, u32 rows, u32 inner, u32 cols) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile y = product(rows_of(x, rows, inner).from(first_row), rows_of(w, cols, inner).from(first_col), inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= rows) {
            break;
        }
        const float rstd = row_rstd(sumsq, row, inner);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < cols) {
                const float u = rstd * y.at[r][c], positive = u > 0.0f ? u : 0.0f * u;
                h[size_t(row) * cols + col] = narrow(positive * positive);
            }
        }
    }
}
