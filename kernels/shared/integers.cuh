// What noise and sampling decide on integers, so that every device decides alike: counts over a block, the timestep
// that a mask rate stands for, and where the k smallest of a sequence's random words end.
#pragma once
#include "shared/philox.cuh"

// Threads of every block that counts together, and the words of shared memory that it counts in.
constexpr u32 COUNT_THREADS = 256;
constexpr u32 COUNT_WARPS = COUNT_THREADS / WARP;

// One step of a 24-bit uniform; times it, in f32, a uniform is exact.
constexpr float UNIFORM_STEP = 1.0f / float(UNIFORM_STEPS);

// Sum over the block; every thread gets it. `partial` holds one word a warp.
DEVICE u32 block_total(u32 value, u32 (&partial)[COUNT_WARPS]) {
    value = __reduce_add_sync(FULL_MASK, value);
    __syncthreads(); // what was last put together may still be read
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    u32 total = 0;
#pragma unroll
    for (u32 w = 0; w < COUNT_WARPS; ++w) {
        total += partial[w];
    }
    return total;
}

// Lowest over the block; every thread gets it.
DEVICE u32 block_lowest(u32 value, u32 (&partial)[COUNT_WARPS]) {
    value = __reduce_min_sync(FULL_MASK, value);
    __syncthreads(); // what was last put together may still be read
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    u32 lowest = ~0u;
#pragma unroll
    for (u32 w = 0; w < COUNT_WARPS; ++w) {
        lowest = min(lowest, partial[w]);
    }
    return lowest;
}

// IEEE 754's total order (-NaN < -∞ < ... < -0 < 0 < ... < ∞ < NaN) as that of integers: `f32::total_cmp`.
DEVICE u32 total_order(float value) {
    const u32 bits = __float_as_uint(value);
    return bits >> 31 != 0 ? ~bits : bits | 1u << 31;
}

// The timestep whose masking probability (t+1)/timesteps is the nearest that is at least `count/of`; 0 without
// timesteps: `noise::timestep_above`.
DEVICE u32 timestep_above(u32 count, u32 of, u32 timesteps) {
    const u64 product = u64(count) * timesteps;
    const u64 whole = product / of;
    const u32 above = u32(whole + (whole * of != product ? 1 : 0));
    return min(max(above, 1u), max(timesteps, 1u)) - 1;
}

// Where a selection ends: (word, position) up to and with this one.
struct Cut {
    u32 word;
    u32 position;

    DEVICE bool holds(u32 other, u32 at) const {
        return other < word || (other == word && at <= position);
    }
};

// The k-th smallest pair (word_of(p), p) of the positions in [first, end) that are open, 1 ≤ k ≤ their number. Found
// bit by bit from the top: the largest word that fewer than k words lie below is the k-th smallest, and of the
// positions that hold it the same search finds the right one. About 32 + log₂ T counts of the block, whatever the
// words are.
template <class Open, class Word>
DEVICE Cut kth_smallest(u32 k, u32 first, u32 end, Open open, Word word_of, u32 (&partial)[COUNT_WARPS]) {
    u32 word = 0, below = 0;
    for (u32 bit = 1u << 31; bit != 0; bit >>= 1) {
        u32 count = 0;
        for (u32 p = first + threadIdx.x; p < end; p += COUNT_THREADS) {
            count += open(p) && word_of(p) < (word | bit) ? 1 : 0;
        }
        count = block_total(count, partial);
        if (count < k) {
            word |= bit;
            below = count;
        }
    }
    u32 position = 0;
    for (u32 bit = 1u << (31 - __clz(end)); bit != 0; bit >>= 1) {
        u32 count = 0;
        for (u32 p = first + threadIdx.x; p < min(position | bit, end); p += COUNT_THREADS) {
            count += open(p) && word_of(p) == word ? 1 : 0;
        }
        if (below + block_total(count, partial) < k) {
            position |= bit;
        }
    }
    return Cut{word, position};
}
