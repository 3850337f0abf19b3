// Matrix products of the forward pass with what follows them: A [rows, inner] times W [cols, inner]ᵀ, both row-major.
//
// The norm before a product has no weights, so that it is a factor r of each row of the result, made here from the
// partial sums of squares that whoever wrote x left: norm(x) Wᵀ = r·(x Wᵀ). What follows the product happens on f32
// sums in shared memory before anything is rounded; see main_loop.cuh for the tiles and the main loop.
//
// All kernels: 128 threads. Grid: (ceil(cols/128), ceil(rows/128)), cols = 3·width for qkv; of the `_small` ones,
// which pay as long as the larger tiles do not fill the GPU: (ceil(cols/128), ceil(rows/32)). The grid's y bounds rows
// to 65535 times 128 or 32. Outputs overlap no inputs. What must be aligned stands at each; a `_small` kernel needs
// what its namesake does. "16-byte rows" means the base is 16-byte aligned and the row length a multiple of 8 numbers.
#include "mma/main_loop.cuh"
#include "shared/args.cuh"

// The block's tile of a Wᵀ.
template <class T, class Meanwhile>
DEVICE void linear(Sums<T> &sum, u8 *shared, const store_t *a, const store_t *w, const Bounds &bounds, u32 inner,
                   Meanwhile meanwhile) {
    const u32 at = shared_address(shared);
    Along<LEFT, T::ROWS> left(a, inner, bounds.first_row, bounds.rows, at, T::warp_row());
    Along<RIGHT, TILE_COLS> right(w, inner, bounds.first_col, bounds.cols, at + T::LEFT_BYTES, T::warp_col());
    multiply<T>(sum, left, right, inner, meanwhile);
}

template <class T>
DEVICE void qkv_tile(u8 *shared, const QkvArgs &args) {
    const u32 cols = 3 * args.width, normed = 2 * args.width;
    const u32 half = args.head_dim / 2, half_eights = args.head_dim / 16, heads_shift = 31 - __clz(args.head_dim);
    const Bounds bounds = tile_bounds<T>(args.rows, cols);
    const u32 first_position = bounds.first_row % args.positions;
    Sums<T> sum;
    float own_factor = 0.0f;
    linear<T>(sum, shared, args.x, args.w, bounds, args.width, [&] {
        own_factor = own_rstd<T>(bounds, args.sumsq, args.width);
    });
    struct Angles {
        float4 two[4];
    };
    const auto angles = [&](u32 row, u32 column) {
        if (bounds.first_col >= normed) {
            return Angles{};
        }
        u32 position = first_position + row - bounds.first_row;
        while (position >= args.positions) {
            position -= args.positions;
        }
        const float4 *from =
            reinterpret_cast<const float4 *>(args.rope + size_t(position) * half + (column & (half - 1)));
        return Angles{{__ldg(from), __ldg(from + 1), __ldg(from + 2), __ldg(from + 3)}};
    };
    const float share = 1.0f / float(args.head_dim);
    finish_tile<T>(sum, shared, bounds, own_factor, angles, [&](const Spot &spot, float factor, const Angles &angle) {
        Eight y = spot.sums();
        const bool rotated = spot.column < normed;
        if (bounds.first_col < normed) {
            // Half split: columns below `half` are x₁ cos + x₂ sin, those above x₂ cos - x₁ sin.
            const Eight other = spot.sums(spot.eight ^ half_eights);
            const float sign = spot.eight & half_eights ? -1.0f : 1.0f;
            Eight turned;
            float squares = 0.0f;
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                const float4 two = angle.two[i];
                turned.at[2 * i] = factor * (y.at[2 * i] * two.x + sign * other.at[2 * i] * two.y);
                turned.at[2 * i + 1] = factor * (y.at[2 * i + 1] * two.z + sign * other.at[2 * i + 1] * two.w);
                squares += turned.at[2 * i] * turned.at[2 * i] + turned.at[2 * i + 1] * turned.at[2 * i + 1];
            }
            const float rstd = rsqrtf(lanes_sum(squares, args.head_dim / 8) * share + NORM_EPS);
#pragma unroll
            for (u32 i = 0; i < 8; ++i) {
                y.at[i] = rotated ? turned.at[i] * rstd : y.at[i] * factor;
            }
            if (spot.inside && rotated && (spot.column & (args.head_dim - 1)) == 0) {
                args.qk_rstd[size_t(spot.row) * (normed >> heads_shift) + (spot.column >> heads_shift)] = rstd;
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < 8; ++i) {
                y.at[i] *= factor;
            }
        }
        if (spot.inside) {
            store8(args.qkv + size_t(spot.row) * cols + spot.column, y);
        }
    });
}

// head_dim is 16, 32, 64 or 128 and divides width, so that a head lies within a tile: its lanes sum its squares, and the
// column that one is rotated with is in the staged row. Needs 16-byte rows of x, w and qkv.
extern "C" __global__ void __launch_bounds__(128, 2)
qkv_mma(QkvArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    qkv_tile<Large>(shared, args);
}
SHARED_BYTES(qkv_mma, Large::SHARED);
BLOCK(qkv_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
qkv_mma_small(QkvArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    qkv_tile<Small>(shared, args);
}
SHARED_BYTES(qkv_mma_small, Small::SHARED);
BLOCK(qkv_mma_small, Small::ROWS, TILE_COLS, COLS_FIRST);

template <class T>
DEVICE void linear_residual_tile(u8 *shared, const LinearResidualArgs &args) {
    const Bounds bounds = tile_bounds<T>(args.rows, args.cols);
    Sums<T> sum;
    linear<T>(sum, shared, args.a, args.w, bounds, args.inner, [] {});
    const auto residual = [&](u32 row, u32 column) {
        return read16(args.residual + size_t(row) * args.cols + column);
    };
    finish_tile<T>(sum, shared, bounds, Nothing{}, residual, [&](const Spot &spot, Nothing, const uint4 &ahead) {
        const size_t at = size_t(spot.row) * args.cols + spot.column;
        const Eight y = spot.sums(), around = eight_of(ahead);
        store2_t stored[4];
        float squares = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            stored[i] = pack(y.at[2 * i] + around.at[2 * i], y.at[2 * i + 1] + around.at[2 * i + 1]);
            const float2 two = unpack(stored[i]);
            squares += two.x * two.x + two.y * two.y;
        }
        squares = group_sum<16>(spot.inside ? squares : 0.0f);
        if (spot.inside) {
            *reinterpret_cast<uint4 *>(args.out + at) = make_uint4(stored[0], stored[1], stored[2], stored[3]);
            if (spot.eight == 0) {
                args.sumsq[size_t(spot.row) * ((args.cols + SUMSQ_COLS - 1) / SUMSQ_COLS) + blockIdx.x] = squares;
            }
        }
    });
}

// Needs 16-byte rows of a, w, residual and out (inner and cols multiples of 8); sumsq 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
linear_residual_mma(LinearResidualArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_residual_tile<Large>(shared, args);
}
SHARED_BYTES(linear_residual_mma, Large::SHARED);
BLOCK(linear_residual_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
linear_residual_mma_small(LinearResidualArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_residual_tile<Small>(shared, args);
}
SHARED_BYTES(linear_residual_mma_small, Small::SHARED);
BLOCK(linear_residual_mma_small, Small::ROWS, TILE_COLS, COLS_FIRST);

template <class T>
DEVICE void linear_relu2_tile(u8 *shared, const LinearRelu2Args &args) {
    const Bounds bounds = tile_bounds<T>(args.rows, args.cols);
    Sums<T> sum;
    float own_factor = 0.0f;
    linear<T>(sum, shared, args.x, args.w, bounds, args.inner, [&] {
        own_factor = own_rstd<T>(bounds, args.sumsq, args.inner);
    });
    finish_tile<T>(sum, shared, bounds, own_factor, nothing, [&](const Spot &spot, float factor, Nothing) {
        Eight y = spot.sums();
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            // 0·u, not 0: what is not a number must stay so, for the loss scale to see it.
            const float u = factor * y.at[i], rectified = u > 0.0f ? u : 0.0f * u;
            y.at[i] = rectified * rectified;
        }
        if (spot.inside) {
            store8(args.h + size_t(spot.row) * args.cols + spot.column, y);
        }
    });
}

// Needs 16-byte rows of x, w and h (inner and cols multiples of 8); sumsq 4-byte aligned.
extern "C" __global__ void __launch_bounds__(128, 2)
linear_relu2_mma(LinearRelu2Args args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_relu2_tile<Large>(shared, args);
}
SHARED_BYTES(linear_relu2_mma, Large::SHARED);
BLOCK(linear_relu2_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
linear_relu2_mma_small(LinearRelu2Args args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_relu2_tile<Small>(shared, args);
}
SHARED_BYTES(linear_relu2_mma_small, Small::SHARED);
BLOCK(linear_relu2_mma_small, Small::ROWS, TILE_COLS, COLS_FIRST);

// A warp writes a row of the tile at a time: 16 bytes a lane where rows of logits allow it, else neighbouring floats.
template <class T>
DEVICE void head_logits_tile(u8 *shared, const HeadLogitsArgs &args) {
    const Bounds bounds = tile_bounds<T>(args.rows, args.cols);
    constexpr u32 AT_ONCE = GEMM_THREADS / WARP;
    const u32 lane = threadIdx.x % WARP;
    float *const factors = reinterpret_cast<float *>(shared + T::STAGED_BYTES);
    Sums<T> sum;
    float own_factor = 0.0f;
    linear<T>(sum, shared, args.x, args.w, bounds, args.inner, [&] {
        own_factor = own_rstd<T>(bounds, args.sumsq, args.inner);
    });
    copy_wait<0>();
    __syncthreads();
    if (threadIdx.x < T::ROWS) {
        factors[threadIdx.x] = own_factor;
    }
#pragma unroll
    for (u32 pass = 0; pass < T::PASSES; ++pass) {
        if (pass > 0) {
            __syncthreads();
        }
        stage_sums<T>(sum, shared, pass);
        __syncthreads();
        for (u32 step = 0; step < T::STAGED_ROWS / AT_ONCE; ++step) {
            const u32 staged = step * AT_ONCE + threadIdx.x / WARP;
            const u32 in_tile = tile_row<T>(staged, pass), row = bounds.first_row + in_tile;
            if (row >= args.rows) {
                continue;
            }
            const float factor = factors[in_tile];
            float *const to = args.logits + size_t(row) * args.cols + bounds.first_col;
            const u32 width = min(args.cols - bounds.first_col, TILE_COLS);
            if (args.cols % 4 == 0) {
                const float4 y = *reinterpret_cast<const float4 *>(shared + staged_chunk(staged, lane));
                if (lane * 4 < width) {
                    reinterpret_cast<float4 *>(to)[lane] =
                        make_float4(factor * y.x, factor * y.y, factor * y.z, factor * y.w);
                }
            } else {
#pragma unroll
                for (u32 i = 0; i < TILE_COLS; i += WARP) {
                    const u8 *const chunk = shared + staged_chunk(staged, (i + lane) / 4);
                    if (i + lane < width) {
                        to[i + lane] = factor * reinterpret_cast<const float *>(chunk)[lane % 4];
                    }
                }
            }
        }
    }
}

// Needs 16-byte rows of x and w (inner a multiple of 8); logits 16-byte aligned if cols is a multiple of 4, else
// 4-byte.
extern "C" __global__ void __launch_bounds__(128, 2)
head_logits_mma(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<Large>(shared, args);
}
SHARED_BYTES(head_logits_mma, Large::SHARED);
BLOCK(head_logits_mma, Large::ROWS, TILE_COLS, COLS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
head_logits_mma_small(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<Small>(shared, args);
}
SHARED_BYTES(head_logits_mma_small, Small::SHARED);
BLOCK(head_logits_mma_small, Small::ROWS, TILE_COLS, COLS_FIRST);
