// Windows of the corpus, what is masked in them and how it weighs, and normal noise: `noise.rs`, bit by bit.
//
// Every decision compares integers, and every number is made of operations that IEEE 754 rounds exactly, in the
// CPU's order: this file is compiled with --fmad=false, and divisions and roots are __fdiv_rn and __fsqrt_rn.
// So a batch is the same bits on every device. Random words are pure functions of (seed, stream, step, index) (Salmon
// et al., SC'11), which is why any grid gives the same ones and why `count_masked` can replay what `corrupt` will
// draw.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, C width. x0, xt [B, T] u32; weight [B·T]; t [B]; inv_count [1]; quantiles
// [257] u32; out [B·T, C] f32.
// All of it is a few hundred kB a step (normal noise apart), so latency counts, not bandwidth: one thread a token where
// tokens are independent, one block a sequence where a sequence has to agree on something.
//
// The k smallest words of a sequence (`ExactCount`) are found by counting, bit by bit, not by sorting: no length of T
// needs memory for it. The words of the first 4096 positions are kept in shared memory, further ones are drawn anew in
// each count.
#include "shared/integers.cuh"

constexpr float HALF_PI = 1.57079632679489661923f;

// Start of a window: `windows` = 0 draws it among all of [start, end), else it is one of so many, evenly spaced.
DEVICE u64 window_start(const StepArgs *args, u64 start, u64 end, u32 windows, u32 sequence, u32 positions) {
    const u64 last = end - start - positions;
    if (windows == 0) {
        const uint4 words = philox(args->seed, STREAM_CROP, args->step, sequence);
        return start + __umul64hi(u64(words.x) << 32 | words.y, last + 1);
    }
    return start + u64(min(sequence, windows - 1)) * last / max(windows - 1, 1u);
}

template <class Token>
DEVICE void crop(const StepArgs *args, const Token *corpus, u32 *x0, u64 start, u64 end, u32 windows, u32 sequences,
                 u32 positions) {
    const u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= sequences * positions) {
        return;
    }
    const u32 b = row / positions;
    x0[row] = corpus[window_start(args, start, end, windows, args->sequence + b, positions) + (row - b * positions)];
}

// x0[b] = corpus[start_b .. start_b + T], from a corpus of bytes. Grid: (ceil(B·T/256)).
extern "C" __global__ void __launch_bounds__(256)
crop_u8(const StepArgs *args, const u8 *corpus, u32 *x0, u64 start, u64 end, u32 windows, u32 sequences,
        u32 positions) {
    crop(args, corpus, x0, start, end, windows, sequences, positions);
}

// The same from a corpus of 16-bit ids. Grid: (ceil(B·T/256)).
extern "C" __global__ void __launch_bounds__(256)
crop_u16(const StepArgs *args, const u16 *corpus, u32 *x0, u64 start, u64 end, u32 windows, u32 sequences,
         u32 positions) {
    crop(args, corpus, x0, start, end, windows, sequences, positions);
}

// Timestep of a sequence, uniform in 0..timesteps, and the 24-bit threshold of masking probability (t+1)/timesteps.
struct Timestep {
    u32 t;
    u32 threshold;
};

DEVICE Timestep timestep_of(const StepArgs *args, u32 sequence, u32 timesteps) {
    const u32 t = __umulhi(philox(args->seed, STREAM_LEVEL, args->step, sequence).x, timesteps);
    return Timestep{t, u32(u64(t + 1) * UNIFORM_STEPS / timesteps)};
}

// Positions that a warp of `count_masked` draws for one threshold.
constexpr u32 COUNT_RUN = 128;
constexpr u32 COUNT_ALL_THREADS = 1024;

// inv_count = 1 / max(1, masked tokens of the whole batch) under `Noise::Timesteps`. A warp counts runs of 128
// positions, which share the division that makes their threshold. Grid: (1).
extern "C" __global__ void __launch_bounds__(1024)
count_masked(const StepArgs *args, float *inv_count, u32 positions, u32 context, u32 sequences, u32 timesteps) {
    __shared__ u32 partial[COUNT_ALL_THREADS / WARP];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 runs = (positions - context + COUNT_RUN - 1) / COUNT_RUN;
    u32 count = 0;
    for (u64 run = warp; run < u64(sequences) * runs; run += COUNT_ALL_THREADS / WARP) {
        const u32 sequence = u32(run / runs);
        const u32 first = context + u32(run - u64(sequence) * runs) * COUNT_RUN;
        const u32 threshold = timestep_of(args, sequence, timesteps).threshold;
#pragma unroll
        for (u32 i = 0; i < COUNT_RUN; i += WARP) {
            const u32 p = first + i + lane;
            const u32 word = philox(args->seed, STREAM_MASK, args->step, sequence * positions + p).x;
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
            inv_count[0] = __fdiv_rn(1.0f, float(max(count, 1u)));
        }
    }
}

// `Op::Corrupt`'s constants. The two floats are computed on the host, exactly as `noise.rs` does.
struct CorruptConfig {
    u32 noise;           // 0 Timesteps, 1 Continuous, 2 ExactCount
    u32 schedule;        // 0 Linear, 1 LogLinear, 2 Cosine, 3 Quadratic
    u32 weighting;       // 0 Nelbo, 1 Simple
    u32 level;           // 0 Independent, 1 Stratified, 2 Spread
    u32 level_of;        // sequences of the whole batch; windows
    u32 level_passes;    // passes
    u32 streams;         // 0 Train, 1 Eval
    u32 positions;       // T
    u32 context;         // positions that are never masked
    u32 mask_id;         // the mask token, where symbols is 0
    u32 symbols;         // what is hit becomes one of so many
    u32 timesteps;       // of the model's time embedding, 0 for none
    u32 noise_timesteps; // of the noise
    float per_token;     // 1 / tokens of the whole batch that can be masked
    float mean_rate;     // ∫μ(u)·p(u) du
};

// (offset + i/n) mod 1 in units of 2⁻²⁴. Whole turns change nothing, so i is taken mod n, and the 24 bits of its
// quotient come by long division: exact for every n below 2⁶⁴, where i·2²⁴ would need more than 64 bits.
DEVICE u32 stratum(u32 offset, u64 i, u64 n) {
    u64 rest = i % n;
    u32 shift = 0;
    for (int bit = 0; bit < 24; ++bit) {
        const bool carry = rest >> 63 != 0;
        rest <<= 1;
        shift <<= 1;
        if (carry || rest >= n) {
            rest -= n;
            shift |= 1;
        }
    }
    return (offset + shift) % UNIFORM_STEPS;
}

// Level of a sequence in units of 2⁻²⁴.
DEVICE u32 level24(const StepArgs *args, const CorruptConfig &config, u32 sequence) {
    const u32 stream = config.streams == 0 ? STREAM_LEVEL : STREAM_EVAL_LEVEL;
    const bool spread = config.level == 2;
    const u32 index = config.level == 0 ? sequence : 0;
    const u32 word = uniform24(philox(args->seed, stream, spread ? 0 : args->step, index).x);
    if (config.level == 0) {
        return word;
    }
    const u64 windows = config.level_of;
    return spread ? stratum(word, args->step % config.level_passes * windows + sequence, windows * config.level_passes)
                  : stratum(word, sequence, windows);
}

// A uniform level as one of the density that has these quantiles, and one over the density there: `mapped` of `noise.rs`.
struct MappedLevel {
    u32 level;
    float importance;
};

constexpr u32 DENSITY_CELLS = 256;

DEVICE MappedLevel mapped(u32 level, const u32 *quantiles) {
    constexpr u32 CELL = UNIFORM_STEPS / DENSITY_CELLS;
    if (quantiles == nullptr) {
        return MappedLevel{level, 1.0f};
    }
    const u32 from = quantiles[level / CELL], width = quantiles[level / CELL + 1] - from;
    return MappedLevel{from + u32(u64(width) * (level % CELL) / CELL), float(width) * (1.0f / CELL)};
}

// sin (x) and cos (y) of an angle in [0, π/2]: Taylor series, as `schedule.rs` and `rng.rs` sum them.
DEVICE float2 sin_cos(float x) {
    const float x2 = x * x;
    float sin = -1.0f / 39916800.0f;
    sin = sin * x2 + 1.0f / 362880.0f;
    sin = sin * x2 + -1.0f / 5040.0f;
    sin = sin * x2 + 1.0f / 120.0f;
    sin = sin * x2 + -1.0f / 6.0f;
    sin = sin * x2 + 1.0f;
    float cos = 1.0f / 479001600.0f;
    cos = cos * x2 + -1.0f / 3628800.0f;
    cos = cos * x2 + 1.0f / 40320.0f;
    cos = cos * x2 + -1.0f / 720.0f;
    cos = cos * x2 + 1.0f / 24.0f;
    cos = cos * x2 + -0.5f;
    cos = cos * x2 + 1.0f;
    return make_float2(sin * x, cos);
}

// (μ, -α'/(1-α)) of a schedule at level u: `Schedule::mask_rate_and_weight`.
DEVICE float2 mask_rate_and_weight(u32 schedule, float level) {
    const float u = fmaxf(level, 1e-4f);
    if (schedule == 0) {
        return make_float2(u, __fdiv_rn(1.0f, u));
    }
    if (schedule == 1) {
        return make_float2((1.0f - 1e-3f) * u, __fdiv_rn(1.0f, u));
    }
    if (schedule == 2) {
        const float2 circle = sin_cos(u * HALF_PI);
        return make_float2(circle.x, __fdiv_rn(HALF_PI * circle.y, circle.x));
    }
    return make_float2(u * u, __fdiv_rn(2.0f, u));
}

// How many words of a sequence are kept between counts: 16 KB.
constexpr u32 KEPT_WORDS = 4096;

// xt = masked ? mask_id or a symbol : x0, t and weight. A block makes one sequence. Grid: (B).
extern "C" __global__ void __launch_bounds__(256)
corrupt(const StepArgs *args, const u32 *x0, const float *inv_count, const u32 *quantiles, u32 *xt, u32 *t,
        float *weight, CorruptConfig config) {
    __shared__ u32 kept[KEPT_WORDS];
    __shared__ u32 partial[COUNT_WARPS];
    const u32 sequence = args->sequence + blockIdx.x, positions = config.positions;
    const u32 maskable = positions - config.context;
    const bool eval = config.streams != 0;
    const u64 seed = args->seed, step = eval ? args->step << 32 | sequence : args->step;
    const u32 stream = eval ? STREAM_EVAL_MASK : STREAM_MASK, first = eval ? 0 : sequence * positions;
    const auto words = [=](u32 p) { return philox(seed, stream, step, first + p); };
    const auto draw = [=](u32 p) { return words(p).x; };

    // What of a position's random word means "masked" (those up to `cut`), how much such a position weighs, the
    // timestep.
    Cut cut;
    float each;
    u32 timestep;
    u32 threshold = 0;
    const bool exact = config.noise == 2;
    if (config.noise == 0) {
        const Timestep drawn = timestep_of(args, sequence, config.noise_timesteps);
        threshold = drawn.threshold;
        each = inv_count[0];
        timestep = timestep_above(drawn.t + 1, config.noise_timesteps, config.timesteps);
    } else if (config.noise == 1) {
        const MappedLevel drawn = mapped(level24(args, config, sequence), quantiles);
        const float2 rate = mask_rate_and_weight(config.schedule, float(drawn.level) * UNIFORM_STEP);
        threshold = u32(rate.x * float(UNIFORM_STEPS));
        each = config.weighting == 0 ? rate.y * config.per_token * drawn.importance
                                     : __fdiv_rn(config.per_token, config.mean_rate);
        timestep = timestep_above(threshold, UNIFORM_STEPS, config.timesteps);
    } else {
        const MappedLevel drawn = mapped(level24(args, config, sequence), quantiles);
        const u32 k = 1 + u32(u64(drawn.level) * maskable / UNIFORM_STEPS);
        each = __fdiv_rn(float(maskable), float(k)) * config.per_token * drawn.importance;
        timestep = timestep_above(k, maskable, config.timesteps);
        // Each thread reads back only what it has written itself.
        for (u32 p = config.context + threadIdx.x; p < min(positions, KEPT_WORDS); p += COUNT_THREADS) {
            kept[p] = draw(p);
        }
        cut = kth_smallest(
            k, config.context, positions, [](u32) { return true; },
            [&](u32 p) { return p < KEPT_WORDS ? kept[p] : draw(p); }, partial);
    }

    const size_t base = size_t(blockIdx.x) * positions;
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        const uint4 drawn = words(p);
        const bool hit = exact ? cut.holds(drawn.x, p) : uniform24(drawn.x) < threshold;
        const bool masked = hit && p >= config.context;
        const u32 noise = config.symbols == 0 ? config.mask_id : __umulhi(drawn.y, config.symbols);
        xt[base + p] = masked ? noise : x0[base + p];
        weight[base + p] = masked ? each : 0.0f;
    }
    if (threadIdx.x == 0) {
        t[blockIdx.x] = timestep;
    }
}

// ln of a positive normal number: exponent and a series in s = (m-1)/(m+1), m in [√½, √2), as `rng.rs` sums it.
DEVICE float ln(float x) {
    const u32 bits = __float_as_uint(x);
    const int exponent = int(bits - 0x3F3504F3u) >> 23; // √½ centres the mantissa on 1
    const float m = __uint_as_float(bits - (u32(exponent) << 23));
    const float s = __fdiv_rn(m - 1.0f, m + 1.0f);
    const float s2 = s * s;
    float series = 2.0f / 11.0f;
    series = series * s2 + 2.0f / 9.0f;
    series = series * s2 + 2.0f / 7.0f;
    series = series * s2 + 2.0f / 5.0f;
    series = series * s2 + 2.0f / 3.0f;
    series = series * s2 + 2.0f;
    return float(exponent) * 0.693147180559945309417f + s * series;
}

// Cosine (x) and sine (y) of `turn`·2⁻²⁴ turns: exact reduction to a quadrant, then the series on [0, π/2).
DEVICE float2 cos_sin_turn(u32 turn) {
    const u32 quadrant = turn >> 22;
    const float x = float(turn & 0x3FFFFFu) * (HALF_PI / 4194304.0f);
    const float2 circle = sin_cos(x);
    const float across = quadrant % 2 == 0 ? circle.y : circle.x, up = quadrant % 2 == 0 ? circle.x : circle.y;
    return make_float2(quadrant == 1 || quadrant == 2 ? -across : across, quadrant >= 2 ? -up : up);
}

// Two standard normals from two words (Box–Muller): `rng::box_muller`.
DEVICE float2 box_muller(u32 radius, u32 angle) {
    const float u = float(uniform24(radius) + 1) * UNIFORM_STEP; // (0, 1]: never the logarithm of zero
    const float r = __fsqrt_rn(-2.0f * ln(u));
    const float2 circle = cos_sin_turn(uniform24(angle));
    return make_float2(r * circle.x, r * circle.y);
}

// Standard normals for rows of width C: element e = p·C + c of sequence b is number e % 4 of the words at
// (step·2³² + sequence, e / 4). A thread makes the four of one counter and stores them at once where their address
// allows. Grid: (B·ceil(ceil(T·C/4)/256)).
extern "C" __global__ void __launch_bounds__(256)
normal_noise(const StepArgs *args, float *out, u32 positions, u32 cols, u32 sequences) {
    const u64 count = u64(positions) * cols; // elements of a sequence
    const u32 quads = u32((count + 3) / 4);
    const u32 blocks = (quads + 255) / 256;
    const u32 b = blockIdx.x / blocks;
    const u32 quad = (blockIdx.x - b * blocks) * 256 + threadIdx.x;
    if (b >= sequences || quad >= quads) {
        return;
    }
    const uint4 words = philox(args->seed, STREAM_NOISE, args->step << 32 | (args->sequence + b), quad);
    const float2 low = box_muller(words.x, words.y), high = box_muller(words.z, words.w);
    float *to = out + b * count + u64(quad) * 4;
    const u64 left = count - u64(quad) * 4;
    if (left >= 4 && (reinterpret_cast<size_t>(to) & 15) == 0) {
        *reinterpret_cast<float4 *>(to) = make_float4(low.x, low.y, high.x, high.y);
        return;
    }
    to[0] = low.x;
    if (left > 1) {
        to[1] = low.y;
    }
    if (left > 2) {
        to[2] = high.x;
    }
    if (left > 3) {
        to[3] = high.y;
    }
}
