// Which numbers a dropout keeps: `program::Lots`.
#pragma once
#include "shared/philox.cuh"

// Lots below `threshold` drop; others are kept and multiplied by `scale`.
struct Lots {
    const StepArgs *step;
    u32 threshold;
    float scale;
    u32 place;
    u32 places;
};

// The lots of one sequence at one place, or at a head's own behind it.
struct Draws {
    u64 seed;
    u64 step;
    u32 threshold;
    float scale;

    DEVICE Draws(const Lots &lots, u32 sequence, u32 head = 0)
        : seed(lots.step->seed),
          step(lots.step->step << 32 | u32((lots.step->sequence + sequence) * lots.places + lots.place + head)),
          threshold(lots.threshold), scale(lots.scale) {}

    // Words of the four numbers from 4·group on.
    DEVICE uint4 four(u32 group) const {
        return philox(seed, Stream::Dropout, step, group);
    }

    // What the number of a word is multiplied by.
    DEVICE float factor(u32 word) const {
        return uniform24(word) < threshold ? 0.0f : scale;
    }

    // What the weight of a query and a key is multiplied by: `program::weight_number`.
    DEVICE float factor_of_weight(u32 positions, u32 query, u32 key) const {
        return factor_of(query * ((positions + 3) / 4 * 4) + key);
    }

    // What number i is multiplied by.
    DEVICE float factor_of(u32 i) const {
        const uint4 words = four(i / 4);
        const u32 of = i % 4;
        return factor(of == 0 ? words.x : of == 1 ? words.y : of == 2 ? words.z : words.w);
    }
};
