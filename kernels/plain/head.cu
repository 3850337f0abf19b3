// The head's logits and its loss, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/softmax.cuh"

// logits = r·(x Wᵀ) [N, cols] f32.
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) head_logits_plain(const store_t *x, const float *sumsq,
    const store_t *w, float *logits, u32 rows, u32 inner, u32 cols) {
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
                logits[size_t(row) * cols + col] = rstd * y.at[r][c];
            }
        }
    }
}

// cross_entropy = -ln p[target] of p = softmax(r·(x Wᵀ)) without symbol `drop` (0xffffffff for none), and its backward:
// d = weight·scale·(p - onehot(target)), dlogits = r·d [N, V], s = ⟨d, logits⟩. `scale` [1] may be null: 1.
//
// A block makes all symbols of its rows, 128 at a time: first the softmax's sums, then, multiplying again if there is
// more than one tile, the gradient.
// Grid: (ceil(rows/32)).
extern "C" __global__ void __launch_bounds__(256, 2) head_loss_plain(const store_t *x, const float *sumsq,
    const store_t *w, const u32 *target, const float *weight, const float *scale, float *cross_entropy,
    store_t *dlogits, float *s, u32 rows, u32 inner, u32 symbols, u32 drop) {
    const u32 first_row = blockIdx.x * TILE_ROWS;
    const Side a = rows_of(x, rows, inner).from(first_row), b = rows_of(w, symbols, inner);
    float rstd[WARP_ROWS];
    u32 wanted[WARP_ROWS];
    SoftmaxSums sums[WARP_ROWS];
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
        rstd[r] = row < rows ? row_rstd(sumsq, row, inner) : 0.0f;
        wanted[r] = row < rows ? target[row] : 0;
        sums[r] = SoftmaxSums{LOWEST, 0.0f, 0.0f, 0.0f};
    }
    Tile y;
    for (u32 first = 0; first < symbols; first += TILE_COLS) {
        y = product(a, b.from(first), inner);
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 symbol = first + tile_col(c);
                const float logit = rstd[r] * y.at[r][c];
                if (symbol == wanted[r]) {
                    sums[r].target_logit = logit;
                }
                if (symbol < symbols && symbol != drop) {
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
        gain[r] = row < rows ? weight[row] * (scale != nullptr ? scale[0] : 1.0f) : 0.0f;
        if (row < rows && threadIdx.x % WARP == 0) {
            // Where the target is the dropped symbol, its p is 0.
            cross_entropy[row] = wanted[r] == drop ? __int_as_float(0x7f800000) : sums[r].cross_entropy();
            s[row] = gain[r] * sums[r].excess();
        }
    }
    for (u32 first = 0; first < symbols; first += TILE_COLS) {
        if (symbols > TILE_COLS) {
            y = product(a, b.from(first), inner);
        }
#pragma unroll
        for (u32 r = 0; r < WARP_ROWS; ++r) {
            const u32 row = first_row + tile_row(r);
#pragma unroll
            for (u32 c = 0; c < LANE_COLS; ++c) {
                const u32 symbol = first + tile_col(c);
                if (row < rows && symbol < symbols) {
                    const float term = softmax_term(rstd[r] * y.at[r][c], sums[r].max);
                    const float p = symbol == drop ? 0.0f : term / sums[r].sum;
                    const float d = gain[r] * (p - (symbol == wanted[r] ? 1.0f : 0.0f));
                    dlogits[size_t(row) * symbols + symbol] = narrow(rstd[r] * d);
                }
            }
        }
    }
}
