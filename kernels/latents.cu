// Latents with Gaussian noise: levels, noise, what predictions of them cost, the way back, one reverse step, and what is read off:
// `latents.rs`.
//
//     z = α·h + σ·ε,  x̂ = skip·z + out·o
//
// Levels, noise, steps and what is read off are the CPU's bit by bit: this file is compiled with --fmad=false, and what decides is
// computed as the CPU does, operation by operation. The 32 lanes of its sums are those of a warp, and its tree over them is the
// butterfly.
// nvcc: --fmad=false
//
// Letters: B texts, M latents, L = M/B of a text, d numbers of a latent, N = B·T tokens, V symbols, R steps of a text.
//
// All are bound by the latency of what little they move: r tokens, each of the network's width, have d numbers here. Where nothing is
// added up over a latent, four neighbouring numbers go to a thread, as normals come out of one counter, and blocks hold numbers of one
// text, whose level is the block's. Where something is, a latent or a row of logits goes to a warp. What changes a text's state goes
// to a block, which looks first whether all that it reads are numbers.
#include "shared/draws.cuh"
#include "shared/largest.cuh"
#include "shared/normals.cuh"
#include "shared/texts.cuh"
#include "shared/vector_levels.cuh"

constexpr u32 THREADS = 256;
constexpr u32 ROW_WARPS = THREADS / WARP;
static_assert(ROW_WARPS == COUNT_WARPS, "blocks count together");

// Four neighbouring numbers of one text's latents.
struct Four {
    u32 text;
    u32 quad; // of the text's
    size_t at;
    u32 left; // 0 behind the text's last

    // `numbers` of each text.
    static DEVICE Four mine(u32 numbers) {
        const u32 blocks = ceil_div(ceil_div(numbers, 4), THREADS), text = blockIdx.x / blocks;
        const u32 quad = (blockIdx.x - text * blocks) * THREADS + threadIdx.x, first = quad * 4;
        return Four{text, quad, size_t(text) * numbers + first, first < numbers ? numbers - first : 0};
    }

    DEVICE float4 load(const float *from) const {
        return load_four(from + at, left, left >= 4 && aligned16(from + at));
    }

    DEVICE void store(float *to, float4 numbers) const {
        store_four(to + at, numbers, left, left >= 4 && aligned16(to + at));
    }

    // Two words are four.
    DEVICE void store(store_t *to, float4 numbers) const {
        to += at;
        if (left >= 4 && reinterpret_cast<size_t>(to) % 8 == 0) {
            *reinterpret_cast<uint2 *>(to) = make_uint2(pack(numbers.x, numbers.y), pack(numbers.z, numbers.w));
            return;
        }
        const float each[4] = {numbers.x, numbers.y, numbers.z, numbers.w};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            if (i < left) {
                to[i] = narrow(each[i]);
            }
        }
    }
};

// steps [B] and weight [B, rows of a text].
struct DrawLevelsArgs {
    const StepArgs *step;
    const u32 *quantiles;
    VectorStep *steps;
    float *weight;
    ErrorCost cost;
    u32 level_of; // sequences of the whole batch
    float gamma_least;
    float gamma_most;
    float per_token; // 1 / tokens of the whole batch
    u32 rows;        // of a text
};

// A block makes one text.
BLOCK_ROWS(draw_levels, 1);
extern "C" __global__ void __launch_bounds__(256)
draw_levels(DrawLevelsArgs args) {
    __shared__ float weight;
    const u32 b = blockIdx.x;
    if (threadIdx.x == 0) {
        const WeighedStep at = drawn(args, args.step->sequence + b);
        args.steps[b] = at.step;
        weight = at.weight;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < args.rows; i += THREADS) {
        args.weight[size_t(b) * args.rows + i] = weight;
    }
}

// z and y [M, d], of which either may be null, of latents [M, d] and steps [B, R].
struct DiffuseLatentsArgs {
    const StepArgs *step;
    const float *latents;
    const VectorStep *steps;
    float *z;
    store_t *y;
    Stream stream;
    u32 row_steps; // R
    u32 numbers;   // L·d
    u32 dims;
};

// z = α·h + σ·ε and y = c·z: element e of a text is number e % 4 of the words at (step·2³² + text, e / 4).
BLOCK_ROWS(diffuse_latents, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
diffuse_latents(DiffuseLatentsArgs args) {
    const Four mine = Four::mine(args.numbers);
    if (mine.left == 0) {
        return;
    }
    const StepArgs *at = args.step;
    const VectorStep &step = step_of(args.steps, mine.text, args.row_steps, at);
    const float4 e = four_normals(philox(at->seed, args.stream, at->step << 32 | (at->sequence + mine.text), mine.quad));
    const float4 h = mine.load(args.latents);
    const float alpha = step.alpha, sigma = step.sigma;
    const float4 z = make_float4(alpha * h.x + sigma * e.x, alpha * h.y + sigma * e.y, alpha * h.z + sigma * e.z,
                                 alpha * h.w + sigma * e.w);
    if (args.z != nullptr) {
        mine.store(args.z, z);
    }
    if (args.y != nullptr) {
        const float scale = scale_of(step, args.dims);
        mine.store(args.y, make_float4(scale * z.x, scale * z.y, scale * z.z, scale * z.w));
    }
}

// y = scale·z, so many numbers.
struct LatentInputArgs {
    const float *z;
    store_t *y;
    u32 numbers;
    float scale;
};

BLOCK_ROWS(latent_input, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
latent_input(LatentInputArgs args) {
    const Four mine = Four::mine(args.numbers);
    if (mine.left == 0) {
        return;
    }
    const float4 z = mine.load(args.z);
    mine.store(args.y, make_float4(args.scale * z.x, args.scale * z.y, args.scale * z.z, args.scale * z.w));
}

// denoised [M, d] of output and z [M, d] and steps [B, R].
struct DenoiseLatentsArgs {
    const StepArgs *step;
    const float *output;
    const float *z;
    const VectorStep *steps;
    float *denoised;
    u32 row_steps; // R
    u32 numbers;   // L·d
    u32 dims;
};

// x̂ of every latent.
BLOCK_ROWS(denoise_latents, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
denoise_latents(DenoiseLatentsArgs args) {
    const Four mine = Four::mine(args.numbers);
    if (mine.left == 0) {
        return;
    }
    const Guess guess = Guess::at(step_of(args.steps, mine.text, args.row_steps, args.step), args.dims);
    const float4 o = mine.load(args.output), z = mine.load(args.z);
    mine.store(args.denoised,
               make_float4(guess.of(o.x, z.x), guess.of(o.y, z.y), guess.of(o.z, z.z), guess.of(o.w, z.w)));
}

// Of output, z and latents [M, d] and steps [B, R] the loss [M]; and where doutput [M, d] is given, with the loss's weight [M],
// d = scale·weight·∂loss/∂output, doutput = r·d, s [M] = ⟨d, output⟩ and own [M, d], the gradient by the latents.
struct LatentLossArgs {
    const StepArgs *step;
    const float *output;
    const float *z;
    const float *latents;
    const VectorStep *steps;
    float *loss;
    const float *sumsq; // of rows `width` wide, null for r = 1
    const float *weight;
    const float *scale;
    store_t *doutput;
    float *s;
    float *own;
    u32 rows; // M
    u32 per_text; // L
    u32 row_steps; // R
    u32 dims;
    u32 width;
};

// cost·|x̂ - h|².
BLOCK_ROWS(latent_loss, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
latent_loss(LatentLossArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, dims = args.dims;
    if (row >= args.rows) {
        return;
    }
    const VectorStep &step = step_of(args.steps, row / args.per_text, args.row_steps, args.step);
    const Guess guess = Guess::at(step, dims);
    const size_t base = size_t(row) * dims;
    const bool learns = args.doutput != nullptr;
    float slope = 0.0f, r = 1.0f;
    if (learns) {
        slope = 2.0f * (args.scale != nullptr ? args.scale[0] : 1.0f) * args.weight[row] * step.cost;
        r = args.sumsq != nullptr ? row_rstd(args.sumsq, row, args.width) : 1.0f;
    }
    const float by_latent = slope * (guess.skip * step.alpha - 1.0f), by_output = slope * guess.out;
    float squares = 0.0f, s = 0.0f;
    for (u32 c = lane; c < dims; c += WARP) {
        const float output = args.output[base + c], off = guess.of(output, args.z[base + c]) - args.latents[base + c];
        squares += off * off;
        if (learns) {
            const float d = by_output * off;
            s += d * output;
            args.doutput[base + c] = narrow(r * d);
            args.own[base + c] = by_latent * off;
        }
    }
    squares = group_sum(squares);
    s = group_sum(s);
    if (lane == 0) {
        args.loss[row] = step.cost * squares;
        if (learns) {
            args.s[row] = s;
        }
    }
}

// dtable [M, d] of latents [M, d] and rstd [M], and of gradients of what is read of them with noise: dy [M, columns] at steps [B, R],
// of a decoder, and where a denoiser learns its own likewise, with what latents get besides, own [M, d].
struct LatentsBackwardArgs {
    const StepArgs *step;
    const float *latents;
    const float *rstd;
    const VectorStep *steps;
    const store_t *dy;
    const VectorStep *denoiser_steps; // null for none
    const store_t *denoiser_dy;
    const float *own;
    store_t *dtable;
    u32 rows; // M
    u32 per_text; // L
    u32 row_steps; // R
    u32 dims;
    u32 cols; // of dy
    u32 denoiser_cols;
};

// With g = α·c·dy + α'·c'·dy' + own, dtable = rstd·(g - h·⟨g, h⟩). Sums are made anew for the second look at them.
BLOCK_ROWS(latents_backward, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
latents_backward(LatentsBackwardArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, dims = args.dims;
    if (row >= args.rows) {
        return;
    }
    const u32 text = row / args.per_text;
    const size_t base = size_t(row) * dims;
    const auto of = [=](const VectorStep *steps) {
        const VectorStep &step = step_of(steps, text, args.row_steps, args.step);
        return step.alpha * scale_of(step, dims);
    };
    const bool denoises = args.denoiser_steps != nullptr;
    const float of_decoder = of(args.steps);
    const float of_denoiser = denoises ? of(args.denoiser_steps) : 0.0f;
    const auto gradient = [=](u32 c) {
        float g = of_decoder * widen(args.dy[size_t(row) * args.cols + c]);
        if (denoises) {
            g += of_denoiser * widen(args.denoiser_dy[size_t(row) * args.denoiser_cols + c]);
            g += args.own[base + c];
        }
        return g;
    };
    float along = 0.0f;
    for (u32 c = lane; c < dims; c += WARP) {
        along += gradient(c) * args.latents[base + c];
    }
    along = group_sum(along);
    const float rstd = args.rstd[row];
    for (u32 c = lane; c < dims; c += WARP) {
        args.dtable[base + c] = narrow(rstd * (gradient(c) - args.latents[base + c] * along));
    }
}

// Of output and known [M, d], steps [B, R] and masked [B, T], what becomes of z and denoised [M, d] and of remaining [B].
struct RenoiseLatentsArgs {
    const StepArgs *step;
    const float *output;
    const VectorStep *steps;
    const float *known;
    const u32 *masked;
    float *z;
    float *denoised;
    u32 *remaining;
    u32 per_text; // L
    u32 pool;     // T/L
    u32 row_steps; // R
    u32 dims;
};

// One reverse step of all latents of a text, a latent to a warp.
BLOCK_ROWS(renoise_latents, 1);
extern "C" __global__ void __launch_bounds__(256)
renoise_latents(RenoiseLatentsArgs args) {
    __shared__ u32 partial[COUNT_WARPS];
    const u32 b = blockIdx.x, dims = args.dims, lane = threadIdx.x % WARP;
    const u32 remaining = args.remaining[b];
    if (remaining == 0 || remaining == BROKEN) {
        return;
    }
    const size_t first = size_t(b) * args.per_text;
    u32 broken = 0;
    for (u32 i = threadIdx.x; i < args.per_text * dims; i += THREADS) {
        const float output = args.output[first * dims + i];
        broken |= output != output ? 1 : 0;
    }
    if (block_total(broken, partial) != 0) {
        if (threadIdx.x == 0) {
            args.remaining[b] = BROKEN;
        }
        return;
    }
    const VectorStep step = step_of(args.steps, b, args.row_steps, args.step);
    const Guess guess = Guess::at(step, dims);
    for (u32 row = threadIdx.x / WARP; row < args.per_text; row += ROW_WARPS) {
        const size_t base = (first + row) * dims;
        const auto normal = [&](u32 c) { return normal_at(args.step, Stream::Noise, b, row * dims + c); };
        bool open = false;
        for (u32 i = lane; i < args.pool; i += WARP) {
            open |= args.masked[(first + row) * args.pool + i] != 0;
        }
        if (!__any_sync(FULL_MASK, open)) {
            for (u32 c = lane; c < dims; c += WARP) {
                const float x = args.known[base + c];
                args.denoised[base + c] = x;
                args.z[base + c] = step.alpha_to * x + step.sigma_to * normal(c);
            }
            continue;
        }
        float rstd = 1.0f;
        if (step.clamps != 0.0f) {
            float squares = 0.0f;
            for (u32 c = lane; c < dims; c += WARP) {
                const float x = guess.of(args.output[base + c], args.z[base + c]);
                squares += x * x;
            }
            squares = group_sum(squares);
            rstd = squares > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(squares)) : 0.0f;
        }
        for (u32 c = lane; c < dims; c += WARP) {
            const float z = args.z[base + c], x = guess.of(args.output[base + c], z) * rstd;
            args.denoised[base + c] = x;
            args.z[base + c] = step.of_denoised * x + step.of_noisy * z + step.of_noise * normal(c);
        }
    }
    if (threadIdx.x == 0 && step.ends != 0.0f) {
        args.remaining[b] = 0;
    }
}

// The likeliest symbol, the first among equals; the same in all lanes.
DEVICE Largest likeliest(const Weights &weights, u32 symbols, u32 lane) {
    Largest largest = Largest::none();
    for (u32 v = lane; v < symbols; v += WARP) {
        largest.meet(weights.logit(v), v);
    }
    return largest.of_warp();
}

// Of logits [N, V] and params [B], what becomes of x, masked and committed_at [B, T] and of remaining [B].
struct ReadTokensArgs {
    const StepArgs *step;
    const float *logits;
    const SamplingParams *params;
    u32 *remaining;
    u32 *x;
    u32 *masked;
    u32 *committed_at;
    u32 positions; // T
    u32 symbols;   // V
    u32 drop;
};

// The likeliest token at each open position, and of a text that ended a draw. A block makes one text, a warp a position.
BLOCK_ROWS(read_tokens, 1);
extern "C" __global__ void __launch_bounds__(256)
read_tokens(ReadTokensArgs args) {
    __shared__ u32 partial[COUNT_WARPS];
    const u32 b = blockIdx.x, positions = args.positions, symbols = args.symbols, lane = threadIdx.x % WARP;
    const u32 remaining = args.remaining[b];
    if (remaining == BROKEN) {
        return;
    }
    const size_t first = size_t(b) * positions;
    u32 broken = 0;
    for (size_t i = threadIdx.x; i < size_t(positions) * symbols; i += THREADS) {
        broken |= fabsf(args.logits[first * symbols + i]) < INFINITE ? 0 : 1;
    }
    if (block_total(broken, partial) != 0) {
        if (threadIdx.x == 0) {
            args.remaining[b] = BROKEN;
        }
        return;
    }
    const bool ends = remaining == 0;
    const float temperature = ends ? args.params[b].temperature : 0.0f;
    for (u32 p = threadIdx.x / WARP; p < positions; p += ROW_WARPS) {
        const size_t row = first + p;
        if (args.masked[row] == 0) {
            continue;
        }
        Weights weights = {args.logits + row * symbols, temperature, args.drop, 0.0f, 0.0f};
        const Largest largest = likeliest(weights, symbols, lane);
        u32 next = largest.symbol;
        if (temperature != 0.0f) {
            weights.most = largest.most;
            const float u = float(uniform24(reveal_words(args.step, b, p).y)) * UNIFORM_STEP;
            next = draw_of_all(weights, symbols, weights.sum(symbols, lane), u, lane);
        }
        if (lane == 0) {
            if (args.x[row] != next || args.committed_at[row] == GIVEN) {
                args.committed_at[row] = u32(args.step->step);
            }
            args.x[row] = next;
            args.masked[row] = ends ? 0 : args.masked[row];
        }
    }
}

// wrong [N] of logits [N, V] and target [N].
struct MisreadArgs {
    const float *logits;
    const u32 *target;
    float *wrong;
    u32 rows; // N
    u32 symbols;
    u32 drop;
};

// 1 where the likeliest symbol is not the target, else 0.
BLOCK_ROWS(misread, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
misread(MisreadArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.rows) {
        return;
    }
    const Weights weights = {args.logits + size_t(row) * args.symbols, 1.0f, args.drop, 0.0f, 0.0f};
    const u32 symbol = likeliest(weights, args.symbols, lane).symbol;
    if (lane == 0) {
        args.wrong[row] = symbol != args.target[row] ? 1.0f : 0.0f;
    }
}
