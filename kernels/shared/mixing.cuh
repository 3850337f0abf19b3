// What noise turns tokens into, rate by rate: `mixing.rs`, operation by operation, in every file that says --fmad=false to the bit.
//
//     q(z) = α·1[z=x] + b(z),  α = 1 - μ;  b = μ·π, or GIDD's, whose share of masks rises with the rate
#pragma once
#include "shared/integers.cuh"

// `program::Mixing`.
struct Mixing {
    u32 mask;
    u32 symbols; // all others
    u32 mask_share;
    float hump; // GIDD's k, or 0
};

// Of the mask, and of each other symbol.
struct Share {
    float mask;
    float other;

    DEVICE float of(u32 v, const Mixing &mixing) const {
        return v == mixing.mask ? mask : other;
    }
};

// `program::Marginal`.
struct Marginal {
    float keep;  // α
    Share noise; // b
};

// `program::Transition`.
struct Transition {
    float stays;
    Share moves;
};

// Time of GIDD's noise, t, 1 - t and √(t(1-t)).
struct Time {
    float past;
    float left;
    float mean;
};

// A share of so many steps of 2⁻²⁴.
DEVICE float share_of(u32 steps) {
    return float(steps) * UNIFORM_STEP;
}

// Of the mask and all others together that of each of them.
DEVICE Share apart(const Mixing &mixing, float mask, float others) {
    return Share{mask, __fdiv_rn(others, float(max(mixing.symbols, 1u)))};
}

DEVICE Share pi_of(const Mixing &mixing) {
    return apart(mixing, share_of(mixing.mask_share), share_of(UNIFORM_STEPS - mixing.mask_share));
}

DEVICE Time time_of(const Mixing &mixing, u32 rate) {
    const float keep = share_of(UNIFORM_STEPS - rate), noise = share_of(rate);
    const float a = (mixing.hump * keep) * (mixing.hump * keep);
    const float root = __fsqrt_rn(a * (a + 4.0f * (noise * keep)));
    const float past = __fdiv_rn(2.0f * (noise * noise), (a + 2.0f * noise) + root);
    const float left = __fdiv_rn((a + 2.0f * keep) + root, 2.0f * (1.0f + a));
    return Time{past, left, __fsqrt_rn(past * left)};
}

// The law of a rate in units of 2⁻²⁴.
DEVICE Marginal marginal_at(const Mixing &mixing, u32 rate) {
    const float keep = share_of(UNIFORM_STEPS - rate), noise = share_of(rate);
    if (mixing.hump > 0.0f) {
        const Time time = time_of(mixing, rate);
        const float others = mixing.hump * time.mean, whole = 1.0f + others;
        return Marginal{keep, apart(mixing, __fdiv_rn(time.past, whole), __fdiv_rn(others, whole))};
    }
    const Share pi = pi_of(mixing);
    return Marginal{keep, {noise * pi.mask, noise * pi.other}};
}

// Where tokens go that are hit while the rate grows by next to nothing.
DEVICE Share jumps_at(const Mixing &mixing, u32 rate) {
    if (mixing.hump > 0.0f) {
        const Time time = time_of(mixing, rate);
        const float masks = 2.0f * time.mean, others = mixing.hump * time.left, whole = masks + others;
        return apart(mixing, __fdiv_rn(masks, whole), __fdiv_rn(others, whole));
    }
    return pi_of(mixing);
}

// What happens between two rates, the second not above the first.
DEVICE Transition transition_of(const Mixing &mixing, u32 from, u32 to) {
    const Marginal late = marginal_at(mixing, from), early = marginal_at(mixing, to);
    const float stays = __fdiv_rn(late.keep, early.keep);
    if (mixing.hump > 0.0f) {
        return Transition{stays,
                          {fmaxf(late.noise.mask - stays * early.noise.mask, 0.0f),
                           fmaxf(late.noise.other - stays * early.noise.other, 0.0f)}};
    }
    const Share pi = pi_of(mixing);
    const float way = early.keep - late.keep;
    return Transition{stays, {__fdiv_rn(pi.mask * way, early.keep), __fdiv_rn(pi.other * way, early.keep)}};
}

// The share of masks among what tokens become that noise of a rate hits, in units of 2⁻²⁴.
DEVICE u32 masks_at(const Mixing &mixing, u32 rate) {
    if (mixing.hump > 0.0f) {
        const Time time = time_of(mixing, max(rate, 1u));
        return u32(__fdiv_rn(time.past, time.past + mixing.hump * time.mean) * float(UNIFORM_STEPS));
    }
    return mixing.mask_share;
}

// What a token that noise hits becomes, by two random words: `Mixing::draw`.
DEVICE u32 mixed(const Mixing &mixing, u32 word, u32 mask_word, u32 masks) {
    const u32 symbol = __umulhi(word, mixing.symbols);
    return uniform24(mask_word) < masks ? mixing.mask : symbol + (symbol >= mixing.mask ? 1 : 0);
}
