// What the losses of the head share: a softmax whose sums are built up while the logits pass by.
#pragma once
#include "shared/reductions.cuh"

// Below every logit, yet finite: the difference of two maxima is never ∞ - ∞.
constexpr float LOWEST = -3.0e38f;

// e^(logit - max) for logit ≤ max. Rounding the exponent x costs |x|·2⁻²⁴ of e^x: at most 2⁻²⁵ of the largest term, 1.
DEVICE float softmax_term(float logit, float max) {
    return exp2_fast((logit - max) * LOG2_E);
}

// Sums over the logits of one row (Milakov & Gimelshein, Online normalizer calculation for softmax, 2018), and what s
// needs: with t the target, ⟨p - onehot(t), logits⟩ = moment/sum + max - logit_t. Taking the moment about the maximum
// keeps its terms small where p is large, so that little cancels.
struct SoftmaxSums {
    float max;          // m, largest logit so far
    float sum;          // Σ e^(l - m)
    float moment;       // Σ e^(l - m)·(l - m)
    float target_logit; // logit of the target, 0 in lanes that have not met it

    // Moves the reference point of the sums up to `larger`.
    DEVICE void raise(float larger) {
        const float shift = max - larger, factor = exp2_fast(shift * LOG2_E);
        moment = sum > 0.0f ? (moment + shift * sum) * factor : moment;
        sum *= factor;
        max = larger;
    }

    // Adds a logit ≤ max.
    DEVICE void add(float logit) {
        add(logit, sum, moment);
    }

    // The same to a part of the sums, which is kept apart.
    DEVICE void add(float logit, float &part, float &moment_part) const {
        const float term = softmax_term(logit, max);
        part += term;
        moment_part += term * (logit - max);
    }

    // Makes one of the sums of `Lanes` neighbouring lanes; all get the same bits.
    template <u32 Lanes> DEVICE void merge() {
        raise(group_max<Lanes>(max));
        sum = group_sum<Lanes>(sum);
        moment = group_sum<Lanes>(moment);
        target_logit = group_sum<Lanes>(target_logit);
    }

    // -ln p[target]. The sum is near 1 where the model is sure: logf keeps the relative error there, __logf does not.
    DEVICE float cross_entropy() const {
        return logf(sum) + (max - target_logit);
    }

    // ⟨p - onehot(target), logits⟩.
    DEVICE float excess() const {
        return __fdividef(moment, sum) + (max - target_logit);
    }
};
