// The head's logits and its loss, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/args.cuh"
#include "shared/softmax.cuh"

// r of a row, 1 where rows are not to be normed.
template <bool Normed> DEVICE float factor_of(const float *sumsq, u32 row, u32 cols) {
    return Normed ? row_rstd(sumsq, row, cols) : 1.0f;
}

// logits = r·(x Wᵀ) [N, cols] f32.
template <bool Normed> DEVICE void head_logits_tile(const HeadLogitsArgs &args) {
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
        const float rstd = factor_of<Normed>(args.sumsq, row, args.inner);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (col < args.cols) {
                args.logits[size_t(row) * args.cols + col] = rstd * y.at[r][c];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
head_logits_plain(HeadLogitsArgs args) {
    head_logits_tile<true>(args);
}
BLOCK(head_logits_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(256, 4)
head_logits_plain_free(HeadLogitsArgs args) {
    head_logits_tile<false>(args);
}
BLOCK(head_logits_plain_free, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// cross_entropy = -ln p[target] of p = softmax(r·(x Wᵀ)) without symbol `drop` (0xffffffff for none), and its backward:
// d = weight·scale·(p - onehot(target)), dlogits = r·d [N, V], s = ⟨d, logits⟩. `scale` [1] may be null: 1.
//
// A block makes all symbols of its rows, 128 at a time: first the softmax's sums, then, multiplying again if there is
// more than one tile, the gradient.
template <bool Normed> DEVICE void head_loss_rows(const HeadLossArgs &args) {
    const u32 first_row = blockIdx.x * TILE_ROWS;
    const Side a = rows_of(args.x, args.rows, args.inner).from(first_row);
    const Side b = rows_of(args.w, args.symbols, args.inner);
    float rstd[WARP_ROWS];
    u32 wanted[WARP_ROWS];
    SoftmaxSums sums[WARP_ROWS];
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        rstd[r] = row < args.rows ? factor_of<Normed>(args.sumsq, row, args.inner) : 0.0f;
        wanted[r] = row < args.rows ? args.target[row] : 0;
        sums[r] = SoftmaxSums{LOWEST, 0.0f, 0.0f, 0.0f};
    }
    Tile y;
    for (u32 first = 0; first < args.symbols; first += TILE_COLS) {
        y = product(a, b.from(first), args.inner);
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 symbol = first + tile_col(c);
                const float logit = rstd[r] * y.at[r][c];
                if (symbol == wanted[r]) {
                    sums[r].target_logit = logit;
                }
                if (symbol < args.symbols && symbol != args.drop) {
                    sums[r].raise(fmaxf(sums[r].max, logit));
                    sums[r].add(logit);
                }
            }
        }
    }
    float gain[WARP_ROWS];
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        sums[r].merge<WARP>();
        gain[r] = row < args.rows ? args.weight[row] * (args.scale != nullptr ? args.scale[0] : 1.0f) : 0.0f;
        if (row < args.rows && threadIdx.x % WARP == 0) {
            // Where the target is the dropped symbol, its p is 0.
            args.cross_entropy[row] = wanted[r] == args.drop ? __int_as_float(0x7f800000) : sums[r].cross_entropy();
            args.s[row] = gain[r] * sums[r].excess();
        }
    }
    for (u32 first = 0; first < args.symbols; first += TILE_COLS) {
        if (args.symbols > TILE_COLS) {
            y = product(a, b.from(first), args.inner);
        }
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 symbol = first + tile_col(c);
                if (row < args.rows && symbol < args.symbols) {
                    const float term = softmax_term(rstd[r] * y.at[r][c], sums[r].max);
                    const float p = symbol == args.drop ? 0.0f : term / sums[r].sum;
                    const float d = gain[r] * (p - (symbol == wanted[r] ? 1.0f : 0.0f));
                    args.dlogits[size_t(row) * args.symbols + symbol] = narrow(rstd[r] * d);
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
head_loss_plain(HeadLossArgs args) {
    head_loss_rows<true>(args);
}
BLOCK_ROWS(head_loss_plain, TILE_ROWS);

extern "C" __global__ void __launch_bounds__(256, 2)
head_loss_plain_free(HeadLossArgs args) {
    head_loss_rows<false>(args);
}
BLOCK_ROWS(head_loss_plain_free, TILE_ROWS);
