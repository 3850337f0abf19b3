// Gradients of weights, dw [out, in] (+)= dyᵀ x over all rows, dy [rows, out] and x [rows, in] row-major; up to four
// matrices a launch, those of one layer, because alone most have too few tiles to fill a GPU.
//
// Both operands run across the summed dimension, so both are read by ldmatrix.trans (main_loop.cuh). The rows are cut into
// a fixed number of slices: each makes its own partial sums in a workspace, and `weight_grads_reduce` adds them in
// order. Nothing is added atomically, so a run repeats bit by bit, and the number of slices does not depend on the GPU
// unless the launcher makes it.
#include "mma/main_loop.cuh"

template <class T, class Left>
DEVICE void weight_grads_tile(u8 *shared, const WeightGradGroup &group, float *partials) {
    // Which matrix and which of its tiles, those along `in` first: they share a strip of dy.
    WeightGrad grad = group.grad[0];
    u32 tile = blockIdx.x;
#pragma unroll
    for (u32 i = 0; i + 1 < GRAD_GROUP; ++i) {
        const u32 tiles = ceil_div(grad.out, T::ROWS) * ceil_div(grad.in, T::COLS);
        if (i + 1 < group.count && tile >= tiles) {
            tile -= tiles;
            grad = group.grad[i + 1];
        } else {
            break;
        }
    }
    const u32 across = ceil_div(grad.in, T::COLS);
    const u32 first_row = tile / across * T::ROWS, first_col = tile % across * T::COLS;

    // The rows of the slice; a slice beyond the last row is empty and makes zeros.
    const u32 length = ((group.rows + group.slices - 1) / group.slices + DEPTH - 1) / DEPTH * DEPTH;
    const u32 begin = min(size_t(blockIdx.y) * length, size_t(group.rows)), rows = min(length, group.rows - begin);
    const u32 at = shared_address(shared);
    Left left(grad.dy + size_t(begin) * grad.out, grad.out, first_row, at, T::warp_row());
    Across<RIGHT, T::COLS> right(grad.x + size_t(begin) * grad.in, grad.in, first_col, at + T::LEFT_BYTES,
                        T::warp_col());
    Sums<T> sum;
    multiply<T>(sum, left, right, rows, [] {});

    // Fragments are stored as they are: the 8 bytes of 4 neighbouring lanes are a whole sector of 32.
    const bool direct = group.slices == 1, add = direct && group.accumulate != Accumulate::Overwrite;
    float *const to = direct ? grad.dw : partials + blockIdx.y * group.slice_floats + grad.partial;
    const u32 lane = threadIdx.x % WARP;
    const u32 row = first_row + T::warp_row() + lane / 4, col = first_col + T::warp_col() + lane % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            const u32 out = row + i * 16 + half * 8;
            float *const line = to + size_t(out) * grad.in + col;
#pragma unroll
            for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
                if (out < grad.out && col + j * 8 < grad.in) {
                    float2 *const spot = reinterpret_cast<float2 *>(line + j * 8);
                    float2 value = make_float2(sum[i][j][2 * half], sum[i][j][2 * half + 1]);
                    if (add) {
                        const float2 before = *spot;
                        value = make_float2(before.x + value.x, before.y + value.y);
                    }
                    *spot = value;
                }
            }
        }
    }
}

// Grid: (tiles of all of the group, slices), 128 threads. With one slice writes dw, or adds to it
// where `accumulate` says so, and does not touch partials; else writes partials [slices, slice_floats], each matrix
// at its `partial`, and does not touch dw. A slice is ceil(rows/slices) rows, rounded up to 32; one without rows makes
// zeros.
// Needs dy and x 16-byte aligned, out and in multiples of 8; dw and partials 8-byte aligned, `partial` and slice_floats
// even.
TILED(weight_grads_mma, Large);
extern "C" __global__ void __launch_bounds__(128, weight_grads_mma_tile::BLOCKS)
weight_grads_mma(WeightGradGroup group, float *partials) {
    extern __shared__ __align__(128) u8 shared[];
    weight_grads_tile<weight_grads_mma_tile, Across<LEFT, weight_grads_mma_tile::ROWS>>(shared, group, partials);
}

// The same for groups with a dy whose rows are not multiples of 16 bytes: the head's. Needs dy only 4-byte aligned and
// out even; all else as above.
TILED(weight_grads_mma_narrow, Large);
extern "C" __global__ void __launch_bounds__(128, weight_grads_mma_narrow_tile::BLOCKS)
weight_grads_mma_narrow(WeightGradGroup group, float *partials) {
    extern __shared__ __align__(128) u8 shared[];
    weight_grads_tile<weight_grads_mma_narrow_tile, AcrossNarrow>(shared, group, partials);
}

DEVICE void reduce_quad(const WeightGradGroup &group, const float *__restrict__ partials) {
    const u64 at = (u64(blockIdx.x) * 256 + threadIdx.x) * 4;
    float *to = nullptr;
#pragma unroll
    for (u32 i = 0; i < GRAD_GROUP; ++i) {
        const WeightGrad &grad = group.grad[i];
        if (i < group.count && at >= grad.partial && at - grad.partial < u64(grad.out) * grad.in) {
            to = grad.dw + (at - grad.partial);
        }
    }
    if (to == nullptr) {
        return;
    }
    const float *from = partials + at;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (u32 slice = 0; slice < group.slices; ++slice, from += group.slice_floats) {
        const float4 part = *reinterpret_cast<const float4 *>(from);
        sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
    }
    if (group.accumulate != Accumulate::Overwrite) {
        const float4 before = *reinterpret_cast<const float4 *>(to);
        sum = make_float4(before.x + sum.x, before.y + sum.y, before.z + sum.z, before.w + sum.w);
    }
    *reinterpret_cast<float4 *>(to) = sum;
}

// dw (+)= the slices' partial sums, added in order; slices > 1. 256 threads, one quad of floats each.
// Grid: (ceil(slice_floats/1024)). What of a slice belongs to no matrix is not read.
// Needs dw and partials 16-byte aligned, in a multiple of 4, `partial` and slice_floats multiples of 4.
extern "C" __global__ void __launch_bounds__(256, 4)
weight_grads_reduce(WeightGradGroup group, const float *__restrict__ partials) {
    reduce_quad(group, partials);
}
BLOCK_ROWS(weight_grads_reduce, 256 * 4);
