// Functions whose bits are the CPU's in files that are compiled with --fmad=false.
#pragma once
#include "shared/types.cuh"

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
