// What the state of texts in the making says: `program/op/sampling.rs`.
#pragma once
#include "shared/types.cuh"

// `committed_at` of a position that was given.
HOST constexpr u32 GIVEN = 4294967295;

// `remaining` of a text whose model predicts what is not a number.
HOST constexpr u32 BROKEN = 4294967295;
