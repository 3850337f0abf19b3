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
#include "shared/args.cuh"

// The block's tile of dY W.
template <class Left, class Meanwhile>
DEVICE void linear_backward(Sums<Large> &sum, u8 *shared, const store_t *dy, const store_t *w, const Bounds &bounds,
                            u32 inner, Meanwhile meanwhile) {
    const u32 at = shared_address(shared);
    Left left(dy, inner, bounds.first_row, bounds.rows, at, Large::warp_row());
    Across<RIGHT> right(w, bounds.cols, bounds.first_col, at + Large::LEFT_BYTES, Large::warp_col());
    multiply<Large>(sum, left, right, inner, meanwhile);
}

using Wide = Along<LEFT, 128>;

template <class Left>
DEVICE void norm_linear_backward_tile(u8 *shared, const NormLinearBackwardArgs &args) {
    const Bounds bounds = tile_bounds<Large>(args.rows, args.cols);
    Sums<Large> sum;
    float own_pull = 0.0f;
    linear_backward<Left>(sum, shared, args.dy, args.w, bounds, args.inner, [&] {
        // What x is pulled by: r²·Σs/C.
        const float r = own_rstd<Large>(bounds, args.sumsq, args.cols);
        const float *s = args.s + size_t(own_row<Large>(bounds)) * args.parts;
        float total = 0.0f;
        for (u32 part = 0; part < args.parts; ++part) {
            total += s[part];
        }
        own_pull = r * r * total / float(args.cols);
    });
    struct Ahead {
        uint4 x;
        uint4 residual;
    };
    const auto load = [&](u32 row, u32 column) {
        const size_t at = size_t(row) * args.cols + column;
        return Ahead{read16(args.x + at), args.residual != nullptr ? read16(args.residual + at) : uint4{}};
    };
    finish_tile<Large>(sum, shared, bounds, own_pull, load, [&](const Spot &spot, float pull, const Ahead &ahead) {
        const size_t at = size_t(spot.row) * args.cols + spot.column;
        const Eight y = spot.sums(), stream = eight_of(ahead.x), around = eight_of(ahead.residual);
        Eight gradient;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = y.at[i] - stream.at[i] * pull + around.at[i];
        }
        if (spot.inside) {
            store8(args.dx + at, gradient);
        }
    });
}

// Needs 16-byte rows of dy, w, x, residual and dx (inner and cols multiples of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
norm_linear_backward_mma(NormLinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    norm_linear_backward_tile<Wide>(shared, args);
}
SHARED_BYTES(norm_linear_backward_mma, Large::SHARED);
BLOCK(norm_linear_backward_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

// The same for dy whose rows are not multiples of 16 bytes: the head's, [rows, 66] with 66 symbols. Needs dy 4-byte
// aligned and inner even; 16-byte rows of w, x, residual and dx (cols a multiple of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
norm_linear_backward_mma_narrow(NormLinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    norm_linear_backward_tile<AlongNarrow>(shared, args);
}
SHARED_BYTES(norm_linear_backward_mma_narrow, Large::SHARED);
BLOCK(norm_linear_backward_mma_narrow, Large::ROWS, TILE_COLS, COLS_FIRST);

// 128 columns are a tile's width.
// Needs 16-byte rows of dx, w, h and dy (inner and cols multiples of 8); sumsq and s 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
relu2_backward_mma(Relu2BackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    const Bounds bounds = tile_bounds<Large>(args.rows, args.cols);
    Sums<Large> sum;
    float own_twice_r = 0.0f;
    linear_backward<Wide>(sum, shared, args.dx, args.w, bounds, args.inner, [&] {
        own_twice_r = 2.0f * own_rstd<Large>(bounds, args.sumsq, args.inner);
    });
    const auto load = [&](u32 row, u32 column) {
        return read16(args.h + size_t(row) * args.cols + column);
    };
    finish_tile<Large>(sum, shared, bounds, own_twice_r, load, [&](const Spot &spot, float twice_r, const uint4 &ahead) {
        const size_t at = size_t(spot.row) * args.cols + spot.column;
        const Eight dh = spot.sums(), squares = eight_of(ahead);
        Eight gradient;
        float share = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = twice_r * dh.at[i] * sqrt_fast(squares.at[i]);
            share += dh.at[i] * squares.at[i];
        }
        share = group_sum<16>(spot.inside ? share : 0.0f);
        if (spot.inside) {
            store8(args.dy + at, gradient);
            if (spot.eight == 0) {
                args.s[size_t(spot.row) * ((args.cols + SUMSQ_COLS - 1) / SUMSQ_COLS) + blockIdx.x] = 2.0f * share;
            }
        }
    });
}
SHARED_BYTES(relu2_backward_mma, Large::SHARED);
BLOCK(relu2_backward_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

// head_dim is 16, 32, 64 or 128 and divides cols: a head lies within a tile.
// Needs 16-byte rows of dx, w, o and d_o (inner and cols multiples of 8); dot 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
projection_backward_mma(ProjectionBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    const Bounds bounds = tile_bounds<Large>(args.rows, args.cols);
    const u32 heads_shift = 31 - __clz(args.head_dim);
    Sums<Large> sum;
    linear_backward<Wide>(sum, shared, args.dx, args.w, bounds, args.inner, [] {});
    const auto load = [&](u32 row, u32 column) {
        return read16(args.o + size_t(row) * args.cols + column);
    };
    finish_tile<Large>(sum, shared, bounds, Nothing{}, load, [&](const Spot &spot, Nothing, const uint4 &ahead) {
        const size_t at = size_t(spot.row) * args.cols + spot.column;
        const Eight y = spot.sums(), out = eight_of(ahead);
        float product = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            product += y.at[i] * out.at[i];
        }
        product = lanes_sum(product, args.head_dim / 8);
        if (spot.inside) {
            store8(args.d_o + at, y);
            if ((spot.column & (args.head_dim - 1)) == 0) {
                args.dot[size_t(spot.row) * (args.cols >> heads_shift) + (spot.column >> heads_shift)] = product;
            }
        }
    });
}
SHARED_BYTES(projection_backward_mma, Large::SHARED);
BLOCK(projection_backward_mma, Large::ROWS, TILE_COLS, COLS_FIRST);
