// Levels of Gaussian noise over vectors: `program/op/vectors.rs`.
#pragma once
#include "shared/types.cuh"

// The most numbers of a vector.
HOST constexpr u32 LARGEST_VECTOR = 1024;

// A level, and a step from it to a lower one: `program::VectorStep`.
struct VectorStep {
    float alpha; // α
    float sigma; // σ
    float place; // of γ between its ends
    float cost;  // of a squared error
    float of_denoised;
    float of_noisy;
    float of_noise;
    float alpha_to;
    float sigma_to;
    float clamps; // not 0 where x̂ is the nearest token's vector
    float ends;   // not 0 of a text's last step
};

// The step that a sequence is at, of R in a row.
DEVICE const VectorStep &step_of(const VectorStep *rows, u32 sequence, u32 steps, const StepArgs *args) {
    return rows[size_t(sequence) * steps + args->step % steps];
}

// κ = α/σ², by which the output prior counts.
DEVICE float sharpness_of(const VectorStep &step) {
    return __fdiv_rn(step.alpha, step.sigma * step.sigma);
}

// c = (α²/d + σ²)^-½, which makes z's numbers have squares of about 1.
DEVICE float scale_of(const VectorStep &step, u32 dims) {
    return __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(step.alpha * step.alpha, float(dims)) + step.sigma * step.sigma));
}

// What x̂ of a latent is made of: `VectorStep::skip_and_out`.
struct Guess {
    float skip;
    float out;

    static DEVICE Guess at(const VectorStep &step, u32 dims) {
        const float d = float(dims), total = __fdiv_rn(step.alpha * step.alpha, d) + step.sigma * step.sigma;
        const float deviation = __fdiv_rn(step.sigma, __fsqrt_rn(d));
        return Guess{__fdiv_rn(__fdiv_rn(step.alpha, d), total), __fdiv_rn(deviation, __fsqrt_rn(total))};
    }

    DEVICE float of(float output, float z) const {
        return skip * z + out * output;
    }
};
