// Levels of noise that cover their range evenly, or as a density of them says: `noise.rs`, bit by bit.
#pragma once
#include "shared/philox.cuh"

// What numbers are drawn for: `program::Streams`.
HOST enum class Streams : u32 { Train, Eval };

// (offset + i/n) mod 1 in units of 2⁻²⁴. Whole turns change nothing, so i is taken mod n, and the 24 bits of its
// quotient come by long division: exact for every n below 2⁶⁴, where i·2²⁴ would need more than 64 bits.
DEVICE u32 stratum(u32 offset, u64 i, u64 n) {
    u64 rest = i % n;
    u32 shift = 0;
    for (int bit = 0; bit < 24; ++bit) {
        const bool carry = rest >> 63 != 0;
        rest <<= 1;
        shift <<= 1;
        if (carry || rest >= n) {
            rest -= n;
            shift |= 1;
        }
    }
    return (offset + shift) % UNIFORM_STEPS;
}

// A uniform level as one of the density that has these quantiles, but for the last `uniform_share` of them, and one over the
// density there: `mapped` of `noise.rs`.
struct MappedLevel {
    u32 level;
    float importance;
};

HOST constexpr u32 DENSITY_CELLS = 256;

DEVICE u32 stretched(u32 level, u32 of) {
    return u32(u64(level) * UNIFORM_STEPS / of);
}

DEVICE MappedLevel mapped(u32 level, const u32 *quantiles, u32 uniform_share) {
    constexpr u32 CELL = UNIFORM_STEPS / DENSITY_CELLS;
    if (quantiles == nullptr) {
        return MappedLevel{level, 1.0f};
    }
    const u32 shaped = UNIFORM_STEPS - uniform_share;
    if (level >= shaped) {
        return MappedLevel{stretched(level - shaped, uniform_share), 1.0f};
    }
    level = stretched(level, shaped);
    const u32 from = quantiles[level / CELL], width = quantiles[level / CELL + 1] - from;
    return MappedLevel{from + u32(u64(width) * (level % CELL) / CELL), float(width) * (1.0f / CELL)};
}
