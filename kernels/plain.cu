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
// element is aligned. Registers, the most on sm_80, 86, 89, 90 and 120: 56 to 101; two blocks per SM; no spills.
#include "softmax.cuh"

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

// r of a row of x [N, cols].
DEVICE float row_rstd(const float *sumsq, u32 row, u32 cols) {
    const u32 slots = (cols + SUMSQ_COLS - 1) / SUMSQ_COLS;
    return rstd_of(sumsq + size_t(row) * slots, slots, cols);
}

// qkv = r·(x Wᵀ) [N, 3C]; q and k rotated, then normed per head, whose r goes to qk_rstd [N, 2H].
//
// A block makes one head of q, k or v. Its tile's halves are the head's halves, so that one lane holds both numbers of
// a pair that rotates. A rotation does not change the sum of squares: it can be had before. Heads of more than 128
// columns are multiplied twice, once for that sum.
// Grid: (ceil(rows/32), 3·heads).
extern "C" __global__ void __launch_bounds__(256, 2) plain_qkv(const store_t *x, const float *sumsq, const store_t *w,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_linear_residual(const store_t *a, const store_t *w,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_linear_relu2(const store_t *x, const float *sumsq,
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

// logits = r·(x Wᵀ) [N, cols] f32.
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) plain_head_logits(const store_t *x, const float *sumsq,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_head_loss(const store_t *x, const float *sumsq,
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

// dx = [residual +] dy W - x·(r²·Σs/C) [N, cols = C]; dy [N, inner], W [inner, cols], s [N, parts].
// Grid: (ceil(rows/32), ceil(cols/128)).
extern "C" __global__ void __launch_bounds__(256, 2) plain_norm_linear_backward(const store_t *dy, const store_t *w,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_relu2_backward(const store_t *dx, const store_t *w,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_projection_backward(const store_t *dx, const store_t *w,
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
extern "C" __global__ void __launch_bounds__(256, 2) plain_weight_grad(const store_t *dy, const store_t *x, float *dw,
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
