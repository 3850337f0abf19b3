// Standard normals, the CPU's bit by bit: in files that are compiled with --fmad=false.
#pragma once
#include "shared/exact.cuh"
#include "shared/integers.cuh"

// Two standard normals from two words (Box–Muller): `rng::box_muller`.
DEVICE float2 box_muller(u32 radius, u32 angle) {
    const float u = float(uniform24(radius) + 1) * UNIFORM_STEP; // (0, 1]: never the logarithm of zero
    const float r = __fsqrt_rn(-2.0f * ln(u));
    const float2 circle = cos_sin_turn(uniform24(angle));
    return make_float2(r * circle.x, r * circle.y);
}

// Four of them from four words: `rng::normals`.
DEVICE float4 four_normals(uint4 words) {
    const float2 low = box_muller(words.x, words.y), high = box_muller(words.z, words.w);
    return make_float4(low.x, low.y, high.x, high.y);
}

// Number `element` of a sequence's: number element mod 4 of the four at (step·2³² + sequence, ⌊element/4⌋).
DEVICE float normal_at(const StepArgs *step, Stream stream, u32 b, u32 element) {
    const uint4 words = philox(step->seed, stream, step->step << 32 | (step->sequence + b), element / 4);
    const bool high = element % 4 >= 2;
    const float2 pair = box_muller(high ? words.z : words.x, high ? words.w : words.y);
    return element % 2 == 0 ? pair.x : pair.y;
}
