// Random numbers: pure functions of (seed, stream, step, index), the same bits as the CPU's (`rng`).
#pragma once
#include "shared/types.cuh"

// Streams that kernels draw from: `rng::Stream`, which says what each is for and which the build holds these against.
HOST enum class Stream : u32 { Crop = 2, Level = 3, Mask = 4, Reveal = 5, EvalLevel = 6, EvalMask = 7, Noise = 10, Dropout = 13,
                               EvalNoise = 15, Decode = 16, Gumbel = 18, GumbelAgain = 19, PromptDrop = 22 };

// Philox4x32-10 (Salmon et al., SC'11) under key `seed` at the counter (index, step, stream): `rng::philox`.
DEVICE uint4 philox(u64 seed, Stream stream, u64 step, u32 index) {
    uint4 c = make_uint4(index, u32(step), u32(step >> 32), u32(stream));
    u32 k0 = u32(seed), k1 = u32(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u32 high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
        const u32 high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
        c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// The top 24 bits of a word: what probabilities are compared with.
HOST constexpr u32 UNIFORM_STEPS = 16777216;
DEVICE u32 uniform24(u32 word) {
    return word >> 8;
}
