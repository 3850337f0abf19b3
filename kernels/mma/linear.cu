// Matrix products of the forward pass with what follows them: A [rows, inner] times W [cols, inner]ᵀ, both row-major.
//
// The norm before a product has no weights, so that it is a factor r of each row of the result, made here from the
// partial sums of squares that whoever wrote x left: norm(x) Wᵀ = r·(x Wᵀ). What follows the product happens on f32
// sums before anything is rounded (shared/epilogues.cuh); see main_loop.cuh, and tiles.cuh for the tiles' sizes.
//
// All kernels: 128 threads. Grid: (tiles across, tiles down), of cols = 3·width for qkv; the `_small` ones pay as long as
// the larger tiles do not fill the GPU. The grid's y bounds rows to 65535 tiles. Outputs overlap no inputs. What must be
// aligned stands at each; a `_small` kernel needs what its namesake does. "16-byte rows" means the base is 16-byte aligned
// and the row length a multiple of 8 numbers.
#include "mma/products.cuh"

template <class T> DEVICE void qkv_tile(u8 *shared, const QkvArgs &args) {
    const Bounds bounds = T::bounds(args.rows, 3 * args.width);
    LinearOperands<T> of(shared, args.x, args.w, bounds, args.width);
    product_tile<T>(shared, of.left, of.right, bounds, args.width, QkvEpilogue(args, bounds));
}

// Needs 16-byte rows of x, w and qkv, and of heads what QkvEpilogue does.
TILED(qkv_mma, Large);
extern "C" __global__ void __launch_bounds__(128, qkv_mma_tile::BLOCKS)
qkv_mma(QkvArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    qkv_tile<qkv_mma_tile>(shared, args);
}

TILED(qkv_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, qkv_mma_small_tile::BLOCKS)
qkv_mma_small(QkvArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    qkv_tile<qkv_mma_small_tile>(shared, args);
}

template <class T> DEVICE void linear_residual_tile(u8 *shared, const LinearResidualArgs &args) {
    const Bounds bounds = T::bounds(args.rows, args.cols);
    LinearOperands<T> of(shared, args.a, args.w, bounds, args.inner);
    product_tile<T>(shared, of.left, of.right, bounds, args.inner, ResidualEpilogue{args});
}

// Needs 16-byte rows of a, w, residual and out (inner and cols multiples of 8); sumsq 4-byte aligned.
TILED(linear_residual_mma, Large);
extern "C" __global__ void __launch_bounds__(128, linear_residual_mma_tile::BLOCKS)
linear_residual_mma(LinearResidualArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_residual_tile<linear_residual_mma_tile>(shared, args);
}

TILED(linear_residual_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, linear_residual_mma_small_tile::BLOCKS)
linear_residual_mma_small(LinearResidualArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_residual_tile<linear_residual_mma_small_tile>(shared, args);
}

template <class T> DEVICE void linear_relu2_tile(u8 *shared, const LinearRelu2Args &args) {
    const Bounds bounds = T::bounds(args.rows, args.cols);
    LinearOperands<T> of(shared, args.x, args.w, bounds, args.inner);
    product_tile<T>(shared, of.left, of.right, bounds, args.inner, Relu2Epilogue{args});
}

// Needs 16-byte rows of x, w and h (inner and cols multiples of 8); sumsq 4-byte aligned.
TILED(linear_relu2_mma, Large);
extern "C" __global__ void __launch_bounds__(128, linear_relu2_mma_tile::BLOCKS)
linear_relu2_mma(LinearRelu2Args args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_relu2_tile<linear_relu2_mma_tile>(shared, args);
}

TILED(linear_relu2_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, linear_relu2_mma_small_tile::BLOCKS)
linear_relu2_mma_small(LinearRelu2Args args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_relu2_tile<linear_relu2_mma_small_tile>(shared, args);
}

// A warp writes a row of the tile at a time: 16 bytes a lane where rows of logits allow it, else neighbouring floats.
template <class T, bool Normed = true>
DEVICE void head_logits_tile(u8 *shared, const HeadLogitsArgs &args) {
    const Bounds bounds = T::bounds(args.rows, args.cols);
    using Stage = Staged<T>;
    constexpr u32 AT_ONCE = GEMM_THREADS / WARP;
    const u32 lane = threadIdx.x % WARP;
    float *const factors = reinterpret_cast<float *>(shared + Stage::BYTES);
    Sums<T> sum;
    float own_factor = 0.0f;
    LinearOperands<T> of(shared, args.x, args.w, bounds, args.inner);
    multiply<T>(sum, of.left, of.right, args.inner, [&] {
        own_factor = Normed ? row_rstd(args.sumsq, own_row<T>(bounds), args.inner) : 1.0f;
    });
    copy_wait<0>();
    __syncthreads();
    if (threadIdx.x < T::ROWS) {
        factors[threadIdx.x] = own_factor;
    }
#pragma unroll
    for (u32 pass = 0; pass < Stage::PASSES; ++pass) {
        if (pass > 0) {
            __syncthreads();
        }
        stage_sums<T>(sum, shared, pass);
        __syncthreads();
        for (u32 step = 0; step < Stage::ROWS / AT_ONCE; ++step) {
            const u32 staged = step * AT_ONCE + threadIdx.x / WARP;
            const u32 in_tile = Stage::tile_row(staged, pass), row = bounds.first_row + in_tile;
            if (row >= args.rows) {
                continue;
            }
            const float factor = factors[in_tile];
            float *const to = args.logits + size_t(row) * args.cols + bounds.first_col;
            const u32 width = min(args.cols - bounds.first_col, T::COLS);
            if (args.cols % 4 == 0) {
                const float4 y = *reinterpret_cast<const float4 *>(shared + Stage::at(staged, lane));
                if (lane * 4 < width) {
                    reinterpret_cast<float4 *>(to)[lane] =
                        make_float4(factor * y.x, factor * y.y, factor * y.z, factor * y.w);
                }
            } else {
#pragma unroll
                for (u32 i = 0; i < T::COLS; i += WARP) {
                    const u8 *const chunk = shared + Stage::at(staged, (i + lane) / 4);
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
TILED(head_logits_mma, Large);
extern "C" __global__ void __launch_bounds__(128, head_logits_mma_tile::BLOCKS)
head_logits_mma(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<head_logits_mma_tile>(shared, args);
}

TILED(head_logits_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, head_logits_mma_small_tile::BLOCKS)
head_logits_mma_small(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<head_logits_mma_small_tile>(shared, args);
}

// The same for rows that are normed already.
TILED(head_logits_mma_free, Large);
extern "C" __global__ void __launch_bounds__(128, head_logits_mma_free_tile::BLOCKS)
head_logits_mma_free(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<head_logits_mma_free_tile, false>(shared, args);
}

TILED(head_logits_mma_free_small, Small);
extern "C" __global__ void __launch_bounds__(128, head_logits_mma_free_small_tile::BLOCKS)
head_logits_mma_free_small(HeadLogitsArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    head_logits_tile<head_logits_mma_free_small_tile, false>(shared, args);
}
