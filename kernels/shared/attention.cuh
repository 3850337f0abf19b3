// What attention without tensor cores is made of: a warp has the sums of a row in shared memory.
#pragma once
#include "shared/reductions.cuh"

// Columns of a head that there is room for: models have no wider ones.
HOST constexpr u32 LARGEST_HEAD = 1024;

// Positions [start, end) of the sequence whose first row this is.
struct Span {
    size_t row;
    u32 start;
    u32 end;
};

// The keys that queries at positions `first` to `last` of the sequence at `row` see, in two spans; of one query exactly
// these. Under blocks those of the text without noise, then those of the queries' own; the second is empty otherwise.
template <class Args> DEVICE Span keys_seen(const Args &args, size_t row, u32 first, u32 last, u32 which) {
    if (args.block == 0) {
        return which == 0 ? Span{row, 0, args.causal != 0 ? last + 1 : args.positions} : Span{row, 0, 0};
    }
    const bool noised = row < args.half;
    const u32 start = last - last % args.block;
    if (which == 0) {
        return noised ? Span{row + args.half, 0, start} : Span{row, 0, start + args.block};
    }
    return Span{row, first - first % args.block, noised ? start + args.block : 0};
}

// The queries that see keys at positions `first` to `last`, in two spans; of one key exactly these. Under blocks those of
// the keys' own text, then those with noise that see keys without.
template <class Args> DEVICE Span queries_seeing(const Args &args, size_t row, u32 first, u32 last, u32 which) {
    if (args.block == 0) {
        return which == 0 ? Span{row, args.causal != 0 ? first : 0, args.positions} : Span{row, 0, 0};
    }
    const bool noised = row < args.half;
    const u32 start = first - first % args.block;
    if (which == 0) {
        return Span{row, start, noised ? last - last % args.block + args.block : args.positions};
    }
    return noised ? Span{row, 0, 0} : Span{row - args.half, start + args.block, args.positions};
}

// sums[D] = factor·sums + Σ_j weight_j·vectors[j], where lane j < count holds weight_j and vectors lie `stride` apart.
DEVICE void add_weighted(float *sums, float factor, float weight, const store_t *vectors, size_t stride, u32 count,
                         u32 head_dim) {
    for (u32 first = 0; first < head_dim; first += WARP) {
        const u32 col = first + threadIdx.x % WARP;
        const bool inside = col < head_dim;
        float sum = inside ? factor * sums[col] : 0.0f;
        const store_t *vector = vectors + col;
        for (u32 j = 0; j < count; ++j, vector += stride) {
            const float weight_j = __shfl_sync(FULL_MASK, weight, j);
            sum += inside ? weight_j * widen(*vector) : 0.0f;
        }
        if (inside) {
            sums[col] = sum;
        }
    }
}

DEVICE void clear(float *sums, u32 head_dim) {
    for (u32 col = threadIdx.x % WARP; col < head_dim; col += WARP) {
        sums[col] = 0.0f;
    }
}
