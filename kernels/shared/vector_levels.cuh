// Levels of Gaussian noise that are drawn, the CPU's bit by bit: `vectors.rs`; in files that are compiled with --fmad=false.
#pragma once
#include "shared/exact.cuh"
#include "shared/integers.cuh"
#include "shared/levels.cuh"
#include "shared/vectors.cuh"

// `program::ErrorCost`.
HOST enum class ErrorCost : u32 { Bound, Denoised, Noise, Velocity };

// A level, and what a row of it counts.
struct WeighedStep {
    VectorStep step;
    float weight;
};

// The level of a sequence, by number of the whole batch. Of a kernel's arguments count `step`, `quantiles`, `level_of` (sequences of
// the whole batch), `gamma_least`, `gamma_most`, `cost` and `per_token` (1 / tokens of the whole batch).
template <class Args> DEVICE WeighedStep drawn(const Args &args, u32 sequence) {
    const u32 offset = uniform24(philox(args.step->seed, Stream::Level, args.step->step, 0).x);
    const MappedLevel level = mapped(stratum(offset, sequence, args.level_of), args.quantiles, args.step->uniform_share);
    const float place = float(level.level) * UNIFORM_STEP, range = args.gamma_most - args.gamma_least;
    const float noise_to_signal = exp_exact(args.gamma_least + range * place), whole = 1.0f + noise_to_signal;
    const float alpha2 = __fdiv_rn(1.0f, whole), sigma2 = __fdiv_rn(noise_to_signal, whole);
    WeighedStep found = {};
    found.step.alpha = __fsqrt_rn(alpha2);
    found.step.sigma = __fsqrt_rn(sigma2);
    found.step.place = place;
    found.weight = 1.0f;
    switch (args.cost) {
    case ErrorCost::Bound:
        found.step.cost = __fdiv_rn(0.5f * range, noise_to_signal);
        found.weight = level.importance;
        break;
    case ErrorCost::Denoised: found.step.cost = 1.0f; break;
    case ErrorCost::Noise: found.step.cost = __fdiv_rn(1.0f, noise_to_signal); break;
    case ErrorCost::Velocity: found.step.cost = __fdiv_rn(1.0f, sigma2); break;
    }
    found.weight *= args.per_token;
    return found;
}
