// What the state of texts in the making says: `program/op/sampling.rs`.
#pragma once
#include "shared/types.cuh"

// `committed_at` of a position that was given.
HOST constexpr u32 GIVEN = 4294967295;

// `remaining` of a text whose model predicts what is not a number.
HOST constexpr u32 BROKEN = 4294967295;

// Where a text's next token goes; T where nothing is open, or the text is broken.
DEVICE u32 next_position(u32 remaining, u32 positions) {
    return remaining <= positions ? positions - remaining : positions;
}
