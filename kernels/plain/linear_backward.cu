// Gradients of the matrix products' inputs and weights, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/args.cuh"

// dx = [residual +] dy W - x·(r²·Σs/C) [N, cols = C]; dy [N, inner], W [inner, cols], s [N, parts].
extern "C" __global__ void __launch_bounds__(256, 4)
norm_linear_backward_plain(NormLinearBackwardArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = rows_of(args.dy, args.rows, args.inner).from(first_row);
    const Side b = columns_of(args.w, args.cols).from(first_col);
    const Tile y = product(a, b, args.inner);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        if (row >= args.rows) {
            break;
        }
        const float rstd = row_rstd(args.sumsq, row, args.cols);
        float total = 0.0f;
        for (u32 part = 0; part < args.parts; ++part) {
            total += args.s[size_t(row) * args.parts + part];
        }
        const float pull = rstd * rstd * total / float(args.cols);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                const float around = args.residual != nullptr ? widen(args.residual[at]) : 0.0f;
                args.dx[at] = narrow(around + (y.at[r][c] - widen(args.x[at]) * pull));
            }
        }
    }
}
BLOCK(norm_linear_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// dh = dx W, dy = r·dh·2√h [N, cols = F], s = Σ 2·dh·h per 128 columns; dx [N, inner = C], W [inner, cols].
extern "C" __global__ void __launch_bounds__(256, 2)
relu2_backward_plain(Relu2BackwardArgs args) {
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
        const float rstd = row_rstd(args.sumsq, row, args.inner);
        float dot = 0.0f;
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                const size_t at = size_t(row) * args.cols + col;
                const float twice = 2.0f * dh.at[r][c], squared = widen(args.h[at]);
                args.dy[at] = narrow(rstd * twice * sqrtf(squared));
                dot += twice * squared;
            }
        }
        dot = group_sum(dot);
        if (threadIdx.x % WARP == 0) {
            args.s[size_t(row) * gridDim.y + blockIdx.y] = dot;
        }
    }
}
BLOCK(relu2_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// do = dx W [N, cols = C], dot = Σ_D do·o per head [N, H]; dx [N, inner], W [inner, cols]. A block makes one head.
extern "C" __global__ void __launch_bounds__(256, 4)
projection_backward_plain(ProjectionBackwardArgs args) {
    const u32 first_row = blockIdx.x * TILE_ROWS, head = blockIdx.y, end_col = (head + 1) * args.head_dim;
    const Side a = rows_of(args.dx, args.rows, args.inner).from(first_row);
    Side b = columns_of(args.w, args.cols);
    b.count = end_col;
    float sum[WARP_ROWS] = {};
    for (u32 first_col = head * args.head_dim; first_col < end_col; first_col += TILE_COLS) {
        const Tile y = product(a, b.from(first_col), args.inner);
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 col = first_col + tile_col(c);
                if (row < args.rows && col < end_col) {
                    const size_t at = size_t(row) * args.cols + col;
                    args.d_o[at] = narrow(y.at[r][c]);
                    sum[r] += y.at[r][c] * widen(args.o[at]);
                }
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        sum[r] = group_sum(sum[r]);
        if (row < args.rows && threadIdx.x % WARP == 0) {
            args.dot[size_t(row) * gridDim.y + head] = sum[r];
        }
    }
}
BLOCK(projection_backward_plain, TILE_ROWS, 1, ROWS_FIRST);

// dw [out, in] = dyᵀ x, added to what is there where `accumulate` says so; dy [N, out], x [N, in]. N is summed in order.
extern "C" __global__ void __launch_bounds__(256, 4)
weight_grads_plain(WeightGradGroup group) {
    const WeightGrad &grad = group.grad[0];
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Side a = columns_of(grad.dy, grad.out).from(first_row);
    const Side b = columns_of(grad.x, grad.in).from(first_col);
    const Tile y = product(a, b, group.rows);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < grad.out && col < grad.in) {
                float *to = grad.dw + size_t(row) * grad.in + col;
                *to = group.accumulate != Accumulate::Overwrite ? *to + y.at[r][c] : y.at[r][c];
            }
        }
    }
}
BLOCK(weight_grads_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);
