// Draws of symbols by a model's logits, the CPU's bit by bit: `sampling.rs`; in files that are compiled with --fmad=false.
#pragma once
#include "shared/exact.cuh"
#include "shared/integers.cuh"
#include "shared/reductions.cuh"

// The random words of one position of one text: a function of the text's own number, not of its batch.
DEVICE uint4 reveal_words(const StepArgs *step, u32 b, u32 position) {
    return philox(step->seed, Stream::Reveal, (u64(step->sequence) + b) << 32 | step->step, position);
}

// softmax(logits/temperature) of one row without `drop`, before its division by the sum: at most 1, and 1 somewhere,
// unless a logit is not a number or infinite. Then some weight is not a number, and so is the sum. Weights below `least`
// are none.
struct Weights {
    const float *logits;
    float temperature;
    u32 drop;
    float most;
    float least;

    DEVICE float logit(u32 v) const {
        return v == drop ? -INFINITE : logits[v];
    }

    DEVICE float exponent(u32 v) const {
        return __fdiv_rn(logit(v) - most, temperature);
    }

    DEVICE float at(u32 v) const {
        const float weight = exp_below(exponent(v));
        return weight < least ? 0.0f : weight;
    }

    DEVICE float sum(u32 symbols, u32 lane) const {
        float sum = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            sum += at(v);
        }
        return group_sum(sum);
    }
};

// Inverse distribution function at u of the symbols by id.
template <class Weights> DEVICE u32 draw_of_all(const Weights &weights, u32 symbols, float sum, float u, u32 lane) {
    const float goal = u * sum;
    float below = 0.0f;
    u32 last = 0;
    for (u32 first = 0; first < symbols; first += WARP) {
        const float weight = first + lane < symbols ? weights.at(first + lane) : 0.0f;
        const float kept = weight > 0.0f ? weight : 0.0f;
        const u32 present = __ballot_sync(FULL_MASK, kept > 0.0f);
        u32 hit = WARP;
#pragma unroll
        for (u32 i = 0; i < WARP; ++i) {
            below += __shfl_sync(FULL_MASK, kept, i);
            hit = hit == WARP && goal < below ? i : hit;
        }
        if (hit < WARP) {
            return first + hit;
        }
        last = present != 0 ? first + 31 - __clz(present) : last;
    }
    return last;
}
