// Sums and maxima over lanes, blocks and partial sums, each in one fixed order.
#pragma once
#include "shared/math.cuh"

// Butterfly sum of groups of `Lanes` neighbouring lanes; every lane gets the same bits.
template <u32 Lanes = WARP> DEVICE float group_sum(float value) {
#pragma unroll
    for (u32 offset = Lanes / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(FULL_MASK, value, offset);
    }
    return value;
}

// Largest of groups of `Lanes` neighbouring lanes' numbers; not-a-numbers do not count.
template <u32 Lanes = WARP> DEVICE float group_max(float value) {
#pragma unroll
    for (u32 offset = Lanes / 2; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL_MASK, value, offset));
    }
    return value;
}

// Sum over the block in a fixed order; `partial` holds one float a warp. Every thread gets it.
DEVICE float block_sum(float value, float *partial) {
    const u32 warps = blockDim.x / WARP;
    value = group_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    float total = 0.0f;
    for (u32 w = 0; w < warps; ++w) {
        total += partial[w];
    }
    return total;
}

// r of a row from its partial sums of squares: (Σ/C + ε)^-½.
DEVICE float rstd_of(const float *sumsq, u32 slots, u32 cols) {
    float sum = 0.0f;
    for (u32 slot = 0; slot < slots; ++slot) {
        sum += sumsq[slot];
    }
    // Not `/`: an exact division is a call to a slow path, and 2 ulp are enough here.
    return rsqrtf(__fdividef(sum, float(cols)) + NORM_EPS);
}

// Partial sums of squares of a row of so many columns.
DEVICE u32 sumsq_slots(u32 cols) {
    return (cols + SUMSQ_COLS - 1) / SUMSQ_COLS;
}

// r of a row of x [_, cols].
DEVICE float row_rstd(const float *sumsq, u32 row, u32 cols) {
    return rstd_of(sumsq + size_t(row) * sumsq_slots(cols), sumsq_slots(cols), cols);
}
