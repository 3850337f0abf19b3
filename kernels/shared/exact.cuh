// Functions whose bits are the CPU's in files that are compiled with --fmad=false.
#pragma once
#include "shared/math.cuh"

constexpr float HALF_PI = 1.57079632679489661923f;

// ln of a positive normal number: exponent and a series in s = (m-1)/(m+1), m in [√½, √2), as `rng.rs` sums it.
DEVICE float ln(float x) {
    const u32 bits = __float_as_uint(x);
    const int exponent = int(bits - 0x3F3504F3u) >> 23; // √½ centres the mantissa on 1
    const float m = __uint_as_float(bits - (u32(exponent) << 23));
    const float s = __fdiv_rn(m - 1.0f, m + 1.0f);
    const float s2 = s * s;
    float series = 2.0f / 11.0f;
    series = series * s2 + 2.0f / 9.0f;
    series = series * s2 + 2.0f / 7.0f;
    series = series * s2 + 2.0f / 5.0f;
    series = series * s2 + 2.0f / 3.0f;
    series = series * s2 + 2.0f;
    return float(exponent) * 0.693147180559945309417f + s * series;
}

// e^x for x ≤ 0: `math.rs`'s `exp::<true>`, scale 1, shift 0. Not a number stays one, whatever its bits.
DEVICE float exp_below(float x) {
    constexpr float ROUND = 12582912.0f;
    constexpr float LN2_HIGH = 0.6933594f;
    constexpr float LN2_LOW = -2.1219444e-4f;
    const float shifted = __fmaf_rn(x, LOG2_E, ROUND);
    const float n = shifted - ROUND;
    const float r = __fmaf_rn(n, -LN2_LOW, __fmaf_rn(n, -LN2_HIGH, x));
    float p = 1.9875691e-4f;
    p = __fmaf_rn(p, r, 1.3981999e-3f);
    p = __fmaf_rn(p, r, 8.333452e-3f);
    p = __fmaf_rn(p, r, 4.1665796e-2f);
    p = __fmaf_rn(p, r, 1.6666665e-1f);
    p = __fmaf_rn(p, r, 0.5f);
    const float e = __fmaf_rn(p * r, r, r) + 1.0f;
    const float scaled = __uint_as_float(__float_as_uint(e) + (__float_as_uint(shifted) << 23));
    return x < -87.3f ? 0.0f : (x != x ? x : scaled);
}

// e^x for |x| up to 87, as `rng.rs` has it.
DEVICE float exp_exact(float x) {
    constexpr float ROUND = 12582912.0f; // 1.5·2²³: what is added to it is rounded to a whole number.
    constexpr float LN2_HIGH = 0.6933594f;
    constexpr float LN2_LOW = -2.1219444e-4f;
    const float n = (x * LOG2_E + ROUND) - ROUND;
    const float r = (x - n * LN2_HIGH) - n * LN2_LOW;
    float series = 1.0f / 40320.0f;
    series = series * r + 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    return __uint_as_float(__float_as_uint(series) + (u32(int(n)) << 23));
}

// sin (x) and cos (y) of an angle in [0, π/2]: Taylor series, as `schedule.rs` and `rng.rs` sum them.
DEVICE float2 sin_cos(float x) {
    const float x2 = x * x;
    float sin = -1.0f / 39916800.0f;
    sin = sin * x2 + 1.0f / 362880.0f;
    sin = sin * x2 + -1.0f / 5040.0f;
    sin = sin * x2 + 1.0f / 120.0f;
    sin = sin * x2 + -1.0f / 6.0f;
    sin = sin * x2 + 1.0f;
    float cos = 1.0f / 479001600.0f;
    cos = cos * x2 + -1.0f / 3628800.0f;
    cos = cos * x2 + 1.0f / 40320.0f;
    cos = cos * x2 + -1.0f / 720.0f;
    cos = cos * x2 + 1.0f / 24.0f;
    cos = cos * x2 + -0.5f;
    cos = cos * x2 + 1.0f;
    return make_float2(sin * x, cos);
}

// Cosine (x) and sine (y) of `turn`·2⁻²⁴ turns: exact reduction to a quadrant, then the series on [0, π/2).
DEVICE float2 cos_sin_turn(u32 turn) {
    const u32 quadrant = turn >> 22;
    const float x = float(turn & 0x3FFFFFu) * (HALF_PI / 4194304.0f);
    const float2 circle = sin_cos(x);
    const float across = quadrant % 2 == 0 ? circle.y : circle.x, up = quadrant % 2 == 0 ? circle.x : circle.y;
    return make_float2(quadrant == 1 || quadrant == 2 ? -across : across, quadrant >= 2 ? -up : up);
}
