// The first of a warp's largest numbers.
#pragma once
#include "shared/reductions.cuh"

// The largest of all symbols' numbers, and the first symbol that has it; symbol 0 where all are -∞ or no numbers.
struct Largest {
    float most;
    u32 symbol;

    static DEVICE Largest none() {
        return Largest{-INFINITE, ~0u};
    }

    // Of what a lane meets in ascending order.
    DEVICE void meet(float number, u32 v) {
        symbol = number > most ? v : symbol;
        most = fmaxf(most, number);
    }

    DEVICE Largest of_warp() const {
        const float whole = group_max(most);
        const u32 first = __reduce_min_sync(FULL_MASK, most == whole ? symbol : ~0u);
        return Largest{whole, first == ~0u ? 0 : first};
    }
};
