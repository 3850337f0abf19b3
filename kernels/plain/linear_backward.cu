// Gradients of the matrix products' inputs and weights, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"

// dx = [residual +] dy W - x·(r²·Σs/C) [N, cols = C]; dy [N, inner], W [inner, cols], s [N, parts].
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) norm_linear_backward_plain(const store_t *dy, const store_t *w,
    const store_t *x, const float *sumsq, const float *s, const store_t *residual, store_t *dx, u32 rows, u32 inner,
    u32 cols, u32 parts) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile y = product(rows_of(dy, rows, inner).from(first_row), columns_of(w, cols).from(first_col), inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= rows) {
            break;
        }
        const float rstd = row_rstd(sumsq, row, cols);
        float total = 0.0f;
        for (u32 part = 0; part < parts; ++part) {
            total += s[size_t(row) * parts + part];
        }
        const float pull = rstd * rstd * total / float(cols);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < cols) {
                const size_t at = size_t(row) * cols + col;
                const float around = residual != nullptr ? widen(residual[at]) : 0.0f;
                dx[at] = narrow(around + (y.at[r][c] - widen(x[at]) * pull));
            }
        }
    }
}

// dh = dx W, dy = r·dh·2√h [N, cols = F], s = Σ 2·dh·h per 128 columns; dx [N, inner = C], W [inner, cols].
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) relu2_backward_plain(const store_t *dx, const store_t *w,
    const store_t *h, const float *sumsq, store_t *dy, float *s, u32 rows, u32 inner, u32 cols) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile dh = product(rows_of(dx, rows, inner).from(first_row), columns_of(w, cols).from(first_col), inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= rows) {
            break;
        }
        const float rstd = row_rstd(sumsq, row, inner);
        float dot = 0.0f;
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < cols) {
                const size_t at = size_t(row) * cols + col;
                const float twice = 2.0f * dh.at[r][c], squared = widen(h[at]);
                dy[at] = narrow(rstd * twice * sqrtf(squared));
                dot += twice * squared;
            }
        }
        dot = group_sum(dot);
        if (threadIdx.x % WARP == 0) {
            s[size_t(row) * gridDim.y + blockIdx.y] = dot;
        }
    }
}

// do = dx W [N, cols = C], dot = Σ_D do·o per head [N, H]; dx [N, inner], W [inner, cols]. A block makes one head.
// Grid: (ceil(rows/32), heads).
extern "C" __global__ void __launch_bounds__(256, 2) projection_backward_plain(const store_t *dx, const store_t *w,
    const store_t *o, store_t *d_o, float *dot, u32 rows, u32 inner, u32 cols, u32 head_dim) {
    const u32 first_row = blockIdx.x * TILE_ROWS, head = blockIdx.y, end_col = (head + 1) * head_dim;
    const Side a = rows_of(dx, rows, inner).from(first_row);
    Side b = columns_of(w, cols);
    b.count = end_col;
    float sum[WARP_ROWS] = {};
    for (u32 first_col = head * head_dim; first_col < end_col; first_col += TILE_COLS) {
        const Tile y = product(a, b.from(first_col), inner);
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 col = first_col + tile_col(c);
                if (row < rows && col < end_col) {
                    const size_t at = size_t(row) * cols + col;
                    d_o[at] = narrow(y.at[r][c]);
                    sum[r] += y.at[r][c] * widen(o[at]);
                }
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        sum[r] = group_sum(sum[r]);
        if (row < rows && threadIdx.x % WARP == 0) {
            dot[size_t(row) * gridDim.y + head] = sum[r];
        }
    }
}

// dw [out, in] = dyᵀ x, added to what is there if `accumulate` is not 0; dy [N, out], x [N, in]. N is summed in order.
// Grid: (ceil(out/32), ceil(in/128)).
extern "C" __global__ void __launch_bounds__(256, 2) weight_grads_plain(const store_t *dy, const store_t *x, float *dw,
    u32 rows, u32 out, u32 in, u32 accumulate) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile y = product(columns_of(dy, out).from(first_row), columns_of(x, in).from(first_col), rows);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < out && col < in) {
                float *to = dw + size_t(row) * in + col;
                *to = accumulate != 0 ? *to + y.at[r][c] : y.at[r][c];
            }
        }
    }
}
