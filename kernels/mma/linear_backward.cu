// Gradients of the matrix products' inputs, with what precedes them: dY [rows, inner] times W [inner, cols], both
// row-major.
//
// W is as the forward stored it, [out, in]: here its rows run along the summed dimension's other side, and
// ldmatrix.trans turns them. Gradients dY are row-scaled by r where a norm stood before the product, so that only x's
// share of the norm is left to subtract, whose sum s = ⟨dY, Y⟩ is known beforehand; see the op and, for the tiles and
// the main loop, main_loop.cuh.
//
// All kernels: 128 threads. Grid: (ceil(cols/128), ceil(rows/128)), so that rows are at most 65535·128. Outputs
// overlap no inputs. What must be aligned stands at each; "16-byte rows" means the base is 16-byte aligned and the row
// length a multiple of 8 numbers.
#include "mma/main_loop.cuh"

// The block's tile of dY W.
template <class Left>
DEVICE void linear_backward(Sums<Large> &sum, u8 *shared, const store_t *dy, const store_t *w, const Bounds &bounds,
                            u32 inner) {
    const u32 at = shared_address(shared);
    Left left(dy, inner, bounds.first_row, bounds.rows, at, Large::warp_row());
    Across<RIGHT> right(w, bounds.cols, bounds.first_col, at + Large::LEFT_BYTES, Large::warp_col());
    multiply<Large>(sum, left, right, inner);
}

using Wide = Along<LEFT, 128>;

template <class Left>
DEVICE void norm_linear_backward_tile(u8 *shared, const store_t *dy, const store_t *w, const store_t *x,
                                      const float *sumsq, const float *s, const store_t *residual, store_t *dx,
                                      u32 rows, u32 inner, u32 cols, u32 parts) {
    const Bounds bounds = tile_bounds<Large>(rows, cols);
    Sums<Large> sum;
    linear_backward<Left>(sum, shared, dy, w, bounds, inner);
    // What x is pulled by: r²·Σs/C.
    const auto pull = [&](u32 row) {
        const float r = Rstd{sumsq, cols}(row);
        float total = 0.0f;
        for (u32 part = 0; part < parts; ++part) {
            total += s[size_t(row) * parts + part];
        }
        return r * r * total / float(cols);
    };
    finish_tile<Large>(sum, shared, bounds, pull, [&](const Spot &spot) {
        const size_t at = size_t(spot.row) * cols + spot.column;
        const Eight y = spot.sums(), stream = load8(x + at);
        const Eight around = residual != nullptr ? load8(residual + at) : Eight{};
        Eight gradient;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = y.at[i] - stream.at[i] * spot.factor + around.at[i];
        }
        if (spot.inside) {
            store8(dx + at, gradient);
        }
    });
}

// dx [rows, cols] = [residual +] dy W - x·(r²·Σs/C), C = cols; sumsq [rows, ceil(cols/128)], s [rows, parts].
// `residual` may be null.
// Needs 16-byte rows of dy, w, x, residual and dx (inner and cols multiples of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
norm_linear_backward_mma(const store_t *__restrict__ dy, const store_t *__restrict__ w, const store_t *__restrict__ x,
                     const float *__restrict__ sumsq, const float *__restrict__ s,
                     const store_t *__restrict__ residual, store_t *__restrict__ dx, u32 rows, u32 inner, u32 cols,
                     u32 parts) {
    extern __shared__ __align__(128) u8 shared[];
    norm_linear_backward_tile<Wide>(shared, dy, w, x, sumsq, s, residual, dx, rows, inner, cols, parts);
}
SHARED_BYTES(norm_linear_backward_mma, Large::SHARED);

// The same for dy whose rows are not multiples of 16 bytes: the head's, [rows, 66] with 66 symbols. Needs dy 4-byte
// aligned and inner even; 16-byte rows of w, x, residual and dx (cols a multiple of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
norm_linear_backward_mma_narrow(const store_t *__restrict__ dy, const store_t *__restrict__ w,
                            const store_t *__restrict__ x, const float *__restrict__ sumsq,
                            const float *__restrict__ s, const store_t *__restrict__ residual,
                            store_t *__restrict__ dx, u32 rows, u32 inner, u32 cols, u32 parts) {
    extern __shared__ __align__(128) u8 shared[];
    norm_linear_backward_tile<AlongNarrow>(shared, dy, w, x, sumsq, s, residual, dx, rows, inner, cols, parts);
}
SHARED_BYTES(norm_linear_backward_mma_narrow, Large::SHARED);

// dh = dx W, dy [rows, cols] = r·dh·2√h, s [rows, ceil(cols/128)] = Σ 2·dh·h per 128 columns: a tile's width. r is of
// the x [rows, inner] that h was made from, sumsq [rows, ceil(inner/128)].
// Needs 16-byte rows of dx, w, h and dy (inner and cols multiples of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
relu2_backward_mma(const store_t *__restrict__ dx, const store_t *__restrict__ w, const store_t *__restrict__ h,
               const float *__restrict__ sumsq, store_t *__restrict__ dy, float *__restrict__ s, u32 rows, u32 inner,
               u32 cols) {
    extern __shared__ __align__(128) u8 shared[];
    const Bounds bounds = tile_bounds<Large>(rows, cols);
    Sums<Large> sum;
    linear_backward<Wide>(sum, shared, dx, w, bounds, inner);
    const auto twice_r = [&](u32 row) {
        return 2.0f * Rstd{sumsq, inner}(row);
    };
    finish_tile<Large>(sum, shared, bounds, twice_r, [&](const Spot &spot) {
        const size_t at = size_t(spot.row) * cols + spot.column;
        const Eight dh = spot.sums(), squares = load8(h + at);
        Eight gradient;
        float share = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = spot.factor * dh.at[i] * sqrt_fast(squares.at[i]);
            share += dh.at[i] * squares.at[i];
        }
        share = group_sum<16>(spot.inside ? share : 0.0f);
        if (spot.inside) {
            store8(dy + at, gradient);
            if (spot.eight == 0) {
                s[size_t(spot.row) * ((cols + SUMSQ_COLS - 1) / SUMSQ_COLS) + blockIdx.x] = 2.0f * share;
            }
        }
    });
}
SHARED_BYTES(relu2_backward_mma, Large::SHARED);

// d_o [rows, cols] = dx W, dot [rows, cols/head_dim] = Σ d_o·o per head, of d_o before it is rounded. head_dim is 16,
// 32, 64 or 128 and divides cols: a head lies within a tile.
// Needs 16-byte rows of dx, w, o and d_o (inner and cols multiples of 8); dot 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
projection_backward_mma(const store_t *__restrict__ dx, const store_t *__restrict__ w, const store_t *__restrict__ o,
                    store_t *__restrict__ d_o, float *__restrict__ dot, u32 rows, u32 inner, u32 cols, u32 head_dim) {
    extern __shared__ __align__(128) u8 shared[];
    const Bounds bounds = tile_bounds<Large>(rows, cols);
    const u32 heads_shift = 31 - __clz(head_dim);
    Sums<Large> sum;
    linear_backward<Wide>(sum, shared, dx, w, bounds, inner);
    finish_tile<Large>(sum, shared, bounds, Unscaled{}, [&](const Spot &spot) {
        const size_t at = size_t(spot.row) * cols + spot.column;
        const Eight y = spot.sums(), out = load8(o + at);
        float product = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            product += y.at[i] * out.at[i];
        }
        product = lanes_sum(product, head_dim / 8);
        if (spot.inside) {
            store8(d_o + at, y);
            if ((spot.column & (head_dim - 1)) == 0) {
                dot[size_t(spot.row) * (cols >> heads_shift) + (spot.column >> heads_shift)] = product;
            }
        }
    });
}
SHARED_BYTES(projection_backward_mma, Large::SHARED);
