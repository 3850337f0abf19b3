// The matrix products on tensor cores: one main loop for every kernel of linear, linear_backward and weight_grads.
//
// A block makes a tile (tiles.cuh) of left·right, summed in f32 over `inner`, 32 at a time: cp.async fills a ring of
// stages, ldmatrix reads fragments (operands.cuh), mma.m16n8k16 multiplies. What follows is an epilogue's (staging.cuh).
//
// The loop, three tiles of `inner`, as ptxas 13.0 makes it for sm_80 (86 and 89 alike, sm_90 within 5 instructions):
//
// | step                                              | along·along | along·across | across·across |
// | ------------------------------------------------- | ----------- | ------------ | ------------- |
// | every pointer moved every tile                    | 412 (47 %)  | 445 (43 %)   | 433 (44 %)    |
// | along: moved once a round; across: strides there  | 346 (55 %)  | 388 (49 %)   | 403 (48 %)    |
// | across: one pointer walks down the rows           |             | 361 (53 %)   | 364 (53 %)    |
// | epilogue in as many steps for every thread        | 346 (55 %)  | 352 (55 %)   | 364 (53 %)    |
// | addresses in shared memory kept, not made anew    | 316 (61 %)  | 316 (61 %)   | 320 (60 %)    |
//
// in instructions, of which 192 are HMMA, and their share. sm_120 adds some 170 NOPs, each behind an HMMA.
// A tile of 32 rows reads more for each HMMA: 168 instructions for 64 (38 %). These are counts of instructions:
// docs/stalls.md says what they wait for on a card.
#pragma once
#include "mma/operands.cuh"

template <class T> DEVICE void clear(Sums<T> &sum) {
#pragma unroll
    for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
#pragma unroll
        for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
            sum[i][j][0] = sum[i][j][1] = sum[i][j][2] = sum[i][j][3] = 0.0f;
        }
    }
}

// Multiplies what lies in a stage. The second half's fragments are loaded before the first half is multiplied.
template <class T, class Left, class Right>
DEVICE void multiply_stage(Sums<T> &sum, const Left &left, const Right &right, u32 stage) {
    u32 a[2][T::ROW_FRAGMENTS][4], b[2][T::COL_PAIRS][4];
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
        for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
            left.load(a[k][i], stage, k, i);
        }
#pragma unroll
        for (u32 j = 0; j < T::COL_PAIRS; ++j) {
            right.load(b[k][j], stage, k, j);
        }
    }
#pragma unroll
    for (u32 k = 0; k < 2; ++k) {
#pragma unroll
        for (u32 i = 0; i < T::ROW_FRAGMENTS; ++i) {
#pragma unroll
            for (u32 j = 0; j < 2 * T::COL_PAIRS; ++j) {
                multiply_add(sum[i][j], a[k][i], b[k][j / 2][j % 2 * 2], b[k][j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

// sum = left·right. One barrier a tile of `inner`: behind it, all have read the stage that is filled next, and what was
// waited for is visible to all. The ring is unrolled, so that stages are offsets in the instructions. `meanwhile()` runs
// while the first tiles are on their way.
template <class T, class Left, class Right, class Meanwhile>
DEVICE void multiply(Sums<T> &sum, Left &left, Right &right, u32 inner, Meanwhile meanwhile) {
    constexpr u32 AHEAD = T::STAGES - 1;
    const u32 tiles = inner / DEPTH, rest = inner % DEPTH;
    clear<T>(sum);
#pragma unroll
    for (u32 stage = 0; stage < AHEAD; ++stage) {
        if (stage < tiles) {
            left.copy(stage * T::STAGE_BYTES, stage);
            right.copy(stage * T::STAGE_BYTES, stage);
        }
        copy_commit();
    }
    meanwhile();
    for (u32 tile = 0; tile < tiles; tile += T::STAGES) {
#pragma unroll
        for (u32 stage = 0; stage < T::STAGES; ++stage) {
            if (stage > 0 && tile + stage >= tiles) {
                break;
            }
            copy_wait<AHEAD - 1>();
            __syncthreads();
            if (tile + stage + AHEAD < tiles) {
                left.copy((stage + AHEAD) % T::STAGES * T::STAGE_BYTES, stage + AHEAD);
                right.copy((stage + AHEAD) % T::STAGES * T::STAGE_BYTES, stage + AHEAD);
            }
            copy_commit();
            multiply_stage<T>(sum, left, right, stage * T::STAGE_BYTES);
        }
        left.advance(T::STAGES);
        right.advance(T::STAGES);
    }
    if (rest > 0) {
        __syncthreads();
        left.copy_rest(tiles * DEPTH, rest);
        right.copy_rest(tiles * DEPTH, rest);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
        multiply_stage<T>(sum, left, right, 0);
    }
}
