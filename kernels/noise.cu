// Windows of the corpus, what is masked in them and how it weighs, and normal noise: `noise.rs`, bit by bit.
//
// Every decision compares integers, and every number is made of operations that IEEE 754 rounds exactly, in the
// CPU's order: this file is compiled with --fmad=false, and divisions and roots are __fdiv_rn and __fsqrt_rn.
// So a batch is the same bits on every device. Random words are pure functions of (seed, stream, step, index) (Salmon
// et al., SC'11), which is why any grid gives the same ones and why `count_masked` can replay what `corrupt` will
// draw.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, C width.
//
// All of it is a few hundred kB a step (normal noise apart), so latency counts, not bandwidth: one thread a token where
// tokens are independent, one block a sequence where a sequence has to agree on something.
//
// The k smallest words of a sequence (`ExactCount`) are found by counting, bit by bit, not by sorting: no length of T
// needs memory for it. The words of the first 4096 positions are kept in shared memory, further ones are drawn anew in
// each count.
#include "shared/integers.cuh"
#include "shared/levels.cuh"
#include "shared/mixing.cuh"
#include "shared/normals.cuh"

constexpr u32 THREADS = 256;

// x0 [B, T] of the positions [start, end) of a corpus, whose ids have 8 or 16 bits: one of `windows` that are evenly spaced,
// or, where this is 0, a window drawn among all.
struct CropArgs {
    const StepArgs *step;
    const u8 *corpus;
    u32 *x0;
    u64 start;
    u64 end;
    u32 windows;
    u32 sequences;
    u32 positions;
};

DEVICE u64 window_start(const CropArgs &args, u32 sequence) {
    const u64 last = args.end - args.start - args.positions;
    if (args.windows == 0) {
        const uint4 words = philox(args.step->seed, Stream::Crop, args.step->step, sequence);
        return args.start + __umul64hi(u64(words.x) << 32 | words.y, last + 1);
    }
    return args.start + u64(min(sequence, args.windows - 1)) * last / max(args.windows - 1, 1u);
}

template <class Token> DEVICE void crop(const CropArgs &args) {
    const u32 row = blockIdx.x * THREADS + threadIdx.x, positions = args.positions;
    if (row >= args.sequences * positions) {
        return;
    }
    const u32 b = row / positions;
    const Token *window = reinterpret_cast<const Token *>(args.corpus) + window_start(args, args.step->sequence + b);
    args.x0[row] = window[row - b * positions];
}

// x0[b] = corpus[start_b .. start_b + T], a token a thread.
BLOCK_ROWS(crop_u8, THREADS);
extern "C" __global__ void __launch_bounds__(256)
crop_u8(CropArgs args) {
    crop<u8>(args);
}

BLOCK_ROWS(crop_u16, THREADS);
extern "C" __global__ void __launch_bounds__(256)
crop_u16(CropArgs args) {
    crop<u16>(args);
}

// Timestep of a sequence, uniform in 0..timesteps, and the 24-bit threshold of masking probability (t+1)/timesteps.
struct Timestep {
    u32 t;
    u32 threshold;
};

DEVICE Timestep timestep_of(const StepArgs *step, u32 sequence, u32 timesteps) {
    const u32 t = __umulhi(philox(step->seed, Stream::Level, step->step, sequence).x, timesteps);
    return Timestep{t, u32(u64(t + 1) * UNIFORM_STEPS / timesteps)};
}

// Positions that a warp of `count_masked` draws for one threshold.
constexpr u32 COUNT_RUN = 128;
constexpr u32 COUNT_ALL_THREADS = 1024;

// inv_count [1] of so many sequences, all micro-batches together, of which the positions from `context` on can be masked.
struct CountMaskedArgs {
    const StepArgs *step;
    float *inv_count;
    u32 positions;
    u32 context;
    u32 sequences;
    u32 timesteps;
};

// inv_count = 1 / max(1, masked tokens of the whole batch) under `Noise::Timesteps`. A warp counts runs of 128
// positions, which share the division that makes their threshold. One block.
extern "C" __global__ void __launch_bounds__(1024)
count_masked(CountMaskedArgs args) {
    __shared__ u32 partial[COUNT_ALL_THREADS / WARP];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 positions = args.positions, context = args.context, sequences = args.sequences;
    const u32 runs = ceil_div(positions - context, COUNT_RUN);
    u32 count = 0;
    for (u64 run = warp; run < u64(sequences) * runs; run += COUNT_ALL_THREADS / WARP) {
        const u32 sequence = u32(run / runs);
        const u32 first = context + u32(run - u64(sequence) * runs) * COUNT_RUN;
        const u32 threshold = timestep_of(args.step, sequence, args.timesteps).threshold;
#pragma unroll
        for (u32 i = 0; i < COUNT_RUN; i += WARP) {
            const u32 p = first + i + lane;
            const u32 word = philox(args.step->seed, Stream::Mask, args.step->step, sequence * positions + p).x;
            count += p < positions && uniform24(word) < threshold ? 1 : 0;
        }
    }
    count = __reduce_add_sync(FULL_MASK, count);
    if (lane == 0) {
        partial[warp] = count;
    }
    __syncthreads();
    if (warp == 0) {
        count = __reduce_add_sync(FULL_MASK, partial[lane]);
        if (lane == 0) {
            args.inv_count[0] = __fdiv_rn(1.0f, float(max(count, 1u)));
        }
    }
}

// The choices of `program::Corrupt`, without what belongs to them.
HOST enum class Noise : u32 { Timesteps, Continuous, Given, ExactCount };
HOST enum class Schedule : u32 { Linear, LogLinear, Cosine, Quadratic, Sqrt };
HOST enum class Weighting : u32 { Nelbo, Simple, NelboByRate, Even };
HOST enum class Level : u32 { Independent, Stratified, Spread };

// xt [B, T], t [B], weight [B, T] and, where it is wanted, rates [B, 2] of x0 [B, T]; under Given rates are read; quantiles [257]
// of the density of levels, null for uniform ones. The floats are computed on the host, exactly as `noise.rs` does.
struct CorruptArgs {
    const StepArgs *step;
    const u32 *x0;
    const float *inv_count; // of Timesteps
    const u32 *quantiles;
    u32 *xt;
    u32 *t;
    float *weight;
    u32 *rates;
    Noise noise;
    u32 noise_timesteps; // of Timesteps
    Schedule schedule;   // of Continuous
    Weighting weighting; // of Continuous
    float mean_rate;     // of Simple: ∫μ(u)·p(u) du
    float uniform_rate;  // of Simple: ∫μ(u) du
    Level level;
    u32 level_of;     // sequences of the whole batch; windows
    u32 level_passes; // passes
    u32 blocks;       // sequences that are blocks of one text
    Streams streams;
    u32 positions;   // T
    u32 context;     // positions that noise does not hit,
    u32 context_drop; // but all of them in so many of training's sequences, in units of 2⁻²⁴ of them
    Mixing mixing;   // what is hit becomes
    u32 timesteps;   // of the model's time embedding, 0 for none
    float per_token; // 1 / tokens of the whole batch that can be masked
};

// Level of a sequence in units of 2⁻²⁴.
DEVICE u32 level24(const CorruptArgs &args, u32 sequence) {
    const Stream stream = args.streams == Streams::Train ? Stream::Level : Stream::EvalLevel;
    const u64 step = args.step->step;
    const bool spread = args.level == Level::Spread;
    const u32 index = args.level == Level::Independent ? sequence : 0;
    const u32 word = uniform24(philox(args.step->seed, stream, spread ? 0 : step, index).x);
    if (args.level == Level::Independent) {
        return word;
    }
    const u64 windows = args.level_of;
    // The first blocks of all texts come first.
    const u64 place = u64(sequence % args.blocks) * (args.level_of / args.blocks) + sequence / args.blocks;
    return spread ? stratum(word, step % args.level_passes * windows + place, windows * args.level_passes)
                  : stratum(word, place, windows);
}

// (μ, -α'/(1-α)) of a schedule at level u: `Schedule::mask_rate_and_weight`.
DEVICE float2 mask_rate_and_weight(Schedule schedule, float level) {
    const float u = fmaxf(level, 1e-4f);
    if (schedule == Schedule::Linear) {
        return make_float2(u, __fdiv_rn(1.0f, u));
    }
    if (schedule == Schedule::LogLinear) {
        return make_float2((1.0f - 1e-3f) * u, __fdiv_rn(1.0f, u));
    }
    if (schedule == Schedule::Cosine) {
        const float2 circle = sin_cos(u * HALF_PI);
        return make_float2(circle.x, __fdiv_rn(HALF_PI * circle.y, circle.x));
    }
    if (schedule == Schedule::Quadratic) {
        return make_float2(u * u, __fdiv_rn(2.0f, u));
    }
    return make_float2(__fsqrt_rn(u), __fdiv_rn(0.5f, u));
}

// How many words of a sequence are kept between counts: 16 KB.
constexpr u32 KEPT_WORDS = 4096;

// xt = masked ? mask_id or a symbol : x0, t and weight. A block makes one sequence.
BLOCK_ROWS(corrupt, 1);
extern "C" __global__ void __launch_bounds__(256)
corrupt(CorruptArgs args) {
    __shared__ u32 kept[KEPT_WORDS];
    __shared__ u32 partial[COUNT_WARPS];
    const u32 sequence = args.step->sequence * args.blocks + blockIdx.x, positions = args.positions;
    const u32 maskable = positions - args.context;
    const bool eval = args.streams == Streams::Eval;
    const u64 seed = args.step->seed, step = eval ? args.step->step << 32 | sequence : args.step->step;
    const Stream stream = eval ? Stream::EvalMask : Stream::Mask;
    const u32 first = eval ? 0 : sequence * positions;
    const auto words = [=](u32 p) { return philox(seed, stream, step, first + p); };
    const auto draw = [=](u32 p) { return words(p).x; };

    // What of a position's random word means "masked" (those up to `cut`), how much such a position weighs, the
    // timestep.
    Cut cut;
    float each, rest = 0.0f; // of what is hit, and of what is not
    u32 timestep;
    u32 threshold = 0;
    const bool exact = args.noise == Noise::ExactCount;
    if (args.noise == Noise::Timesteps) {
        const Timestep drawn = timestep_of(args.step, sequence, args.noise_timesteps);
        threshold = drawn.threshold;
        each = args.inv_count[0];
        timestep = timestep_above(drawn.t + 1, args.noise_timesteps, args.timesteps);
    } else if (args.noise == Noise::Continuous) {
        const MappedLevel drawn = mapped(level24(args, sequence), args.quantiles, args.step->uniform_share);
        const float uniform = float(args.step->uniform_share) * UNIFORM_STEP;
        const float2 rate = mask_rate_and_weight(args.schedule, float(drawn.level) * UNIFORM_STEP);
        threshold = u32(rate.x * float(UNIFORM_STEPS));
        switch (args.weighting) {
        case Weighting::Nelbo: each = rate.y * args.per_token * drawn.importance; break;
        case Weighting::Simple:
            each = __fdiv_rn(args.per_token, args.mean_rate + uniform * (args.uniform_rate - args.mean_rate));
            break;
        case Weighting::NelboByRate: rest = each = rate.y * rate.x * args.per_token * drawn.importance; break;
        case Weighting::Even: rest = each = args.per_token; break;
        }
        timestep = timestep_above(threshold, UNIFORM_STEPS, args.timesteps);
    } else if (args.noise == Noise::Given) {
        threshold = args.rates[2 * size_t(blockIdx.x)];
        rest = each = 1.0f;
        timestep = timestep_above(threshold, UNIFORM_STEPS, args.timesteps);
    } else {
        const MappedLevel drawn = mapped(level24(args, sequence), args.quantiles, args.step->uniform_share);
        const u32 k = 1 + u32(u64(drawn.level) * maskable / UNIFORM_STEPS);
        each = __fdiv_rn(float(maskable), float(k)) * args.per_token * drawn.importance;
        timestep = timestep_above(k, maskable, args.timesteps);
        // Each thread reads back only what it has written itself.
        for (u32 p = args.context + threadIdx.x; p < min(positions, KEPT_WORDS); p += COUNT_THREADS) {
            kept[p] = draw(p);
        }
        cut = kth_smallest(
            k, args.context, positions, [](u32) { return true; },
            [&](u32 p) { return p < KEPT_WORDS ? kept[p] : draw(p); }, partial);
    }

    const bool is_dropped = !eval && uniform24(philox(seed, Stream::PromptDrop, step, sequence).x) < args.context_drop;
    const size_t base = size_t(blockIdx.x) * positions;
    const u32 masks = masks_at(args.mixing, threshold);
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        const uint4 drawn = words(p);
        const bool hit = exact ? cut.holds(drawn.x, p) : uniform24(drawn.x) < threshold;
        const bool is_context = p < args.context, masked = is_context ? is_dropped : hit;
        args.xt[base + p] = masked ? mixed(args.mixing, drawn.y, drawn.z, masks) : args.x0[base + p];
        args.weight[base + p] = is_context ? 0.0f : masked ? each : rest;
    }
    if (threadIdx.x == 0) {
        args.t[blockIdx.x] = timestep;
        if (args.rates != nullptr && args.noise == Noise::Continuous) {
            args.rates[2 * size_t(blockIdx.x)] = threshold;
            args.rates[2 * size_t(blockIdx.x) + 1] = 0;
        }
    }
}

// out [B, count], count = T·C.
struct NormalNoiseArgs {
    const StepArgs *step;
    float *out;
    u64 count;
    u32 sequences;
};

// Standard normals for rows of width C: element e = p·C + c of sequence b is number e % 4 of the words at
// (step·2³² + sequence, e / 4). A thread makes the four of one counter and stores them at once where their address
// allows.
BLOCK_ROWS(normal_noise, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
normal_noise(NormalNoiseArgs args) {
    const u64 count = args.count; // elements of a sequence
    const u32 quads = u32((count + 3) / 4);
    const u32 blocks = ceil_div(quads, THREADS);
    const u32 b = blockIdx.x / blocks;
    const u32 quad = (blockIdx.x - b * blocks) * THREADS + threadIdx.x;
    if (b >= args.sequences || quad >= quads) {
        return;
    }
    const StepArgs *step = args.step;
    const float4 drawn = four_normals(philox(step->seed, Stream::Noise, step->step << 32 | (step->sequence + b), quad));
    float *to = args.out + b * count + u64(quad) * 4;
    const u64 left = count - u64(quad) * 4;
    const bool wide = left >= 4 && aligned16(to);
    store_four(to, drawn, left, wide);
}
