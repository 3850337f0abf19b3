// What attention without tensor cores is made of: a warp has the sums of a row in shared memory.
#pragma once
#include "shared/reductions.cuh"

// Columns of a head that there is room for: models have no wider ones.
HOST constexpr u32 LARGEST_HEAD = 1024;

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
