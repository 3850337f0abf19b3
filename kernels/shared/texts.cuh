// What the state of texts in the making says: `program/op/sampling.rs`.
#pragma once
#include "shared/types.cuh"

// `committed_at` of a position that was given.
HOST constexpr u32 GIVEN = 4294967295;

// `remaining` of a text whose model predicts what is not a number.
HOST constexpr u32 BROKEN = 4294967295;

// How a text is sampled: `program::SamplingParams`.
struct SamplingParams {
    float temperature; // 0 for the most probable symbol
    float top_p;
    float min_p;
    float top_symbols; // 0 for all
    float greedy_tail;
    float confidence_at;
    float score; // a `Score`
    float least;
    float quota; // a `QuotaKind`
    float amount; // how many, φ or γ
    float guidance; // W of `guide`
};

// Where a text's next token goes; T where nothing is open, or the text is broken.
DEVICE u32 next_position(u32 remaining, u32 positions) {
    return remaining <= positions ? positions - remaining : positions;
}
