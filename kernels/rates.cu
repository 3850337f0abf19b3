// What a card can do, measured: the limits that times of other kernels are held against. No program launches these.
//
// `product_rate` is the loop that every matrix product is made of and nothing else. Eight sums a warp, each the operand of its
// own next product, are more than a tensor core has in flight; two blocks of eight warps give each of a multiprocessor's
// four schedulers four. `clock_rate` counts cycles of the core clock over a stretch of the card's wall clock.
#include "mma/instructions.cuh"

// Independent sums of a warp, warps of a block, and blocks that a multiprocessor holds.
HOST constexpr u32 RATE_SUMS = 8;
HOST constexpr u32 RATE_WARPS = 8;
HOST constexpr u32 RATE_BLOCKS = 2;

// A number in ±1, never zero: with zeros a card draws less power, and clocks higher.
DEVICE float number(u32 seed) {
    const u32 word = (seed * 747796405u ^ 2891336453u) * 277803737u;
    return __uint_as_float((word & 0x80000000u) | 0x3f000000u | (word & 0x007fffffu));
}

// rounds · 8 products of 16×8×16 a warp; out [blocks · 256]: what keeps them from being left out. Grid: any.
extern "C" __global__ void __launch_bounds__(RATE_WARPS *WARP, RATE_BLOCKS)
product_rate(float *out, u32 rounds) {
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x;
    u32 a[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        a[i] = pack(number(thread * 16 + 2 * i), number(thread * 16 + 2 * i + 1));
    }
    const u32 b0 = pack(number(thread * 16 + 8), number(thread * 16 + 9));
    const u32 b1 = pack(number(thread * 16 + 10), number(thread * 16 + 11));
    float sum[RATE_SUMS][4] = {};
    for (u32 round = 0; round < rounds; ++round) {
#pragma unroll
        for (u32 i = 0; i < RATE_SUMS; ++i) {
            multiply_add(sum[i], a, b0, b1);
        }
    }
    float total = 0.0f;
#pragma unroll
    for (u32 i = 0; i < RATE_SUMS; ++i) {
        total += (sum[i][0] + sum[i][1]) + (sum[i][2] + sum[i][3]);
    }
    out[thread] = total;
}

// PTX ISA 10.26 %globaltimer: nanoseconds, of a resolution that is the card's own.
DEVICE u64 nanoseconds() {
    u64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    return now;
}

// PTX ISA 10.24 %clock64: cycles of the multiprocessor.
DEVICE u64 cycles() {
    u64 now;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(now)::"memory");
    return now;
}

// out [2]: cycles, and the nanoseconds that they took; at least `wanted` of these, from one tick of the wall clock to another.
// Grid: (1).
extern "C" __global__ void __launch_bounds__(1)
clock_rate(u64 *out, u64 wanted) {
    u64 before = nanoseconds(), start = before;
    while (start == before) {
        start = nanoseconds();
    }
    const u64 first = cycles();
    u64 end = start;
    while (end - start < wanted) {
        end = nanoseconds();
    }
    out[0] = cycles() - first;
    out[1] = end - start;
}
