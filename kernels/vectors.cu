// Tokens as vectors of one length, Gaussian noise over them, what a model reads of them, and the table's gradient: `vectors.rs`.
//
// Noise and levels are the CPU's bit by bit: this file is compiled with --fmad=false, and divisions and roots are __fdiv_rn
// and __fsqrt_rn.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, N = B·T rows, V symbols, d numbers of a vector, R steps of a text.
//
// All are bound by the latency of what little they move: a row has d numbers where the transformer's has its width. `unit_rows`
// and `vector_input` give a row to a warp. `diffuse` gives the four normals of one counter to a thread, as `normal_noise`
// does, and draws a sequence's level once a block.
#include "shared/normals.cuh"
#include "shared/reductions.cuh"
#include "shared/vector_levels.cuh"

constexpr u32 THREADS = 256;
constexpr u32 ROW_WARPS = 8;

// units [V, d] and rstd [V] of table [V, d].
struct UnitRowsArgs {
    const float *table;
    float *units;
    float *rstd;
    u32 rows; // V
    u32 cols; // d
};

// units = table·rstd, rstd = 1/|row|, 0 of a row of zeros.
BLOCK_ROWS(unit_rows, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
unit_rows(UnitRowsArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const size_t base = size_t(row) * cols;
    float squares = 0.0f;
    for (u32 c = lane; c < cols; c += WARP) {
        squares += args.table[base + c] * args.table[base + c];
    }
    squares = group_sum(squares);
    const float rstd = squares > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(squares)) : 0.0f;
    for (u32 c = lane; c < cols; c += WARP) {
        args.units[base + c] = args.table[base + c] * rstd;
    }
    if (lane == 0) {
        args.rstd[row] = rstd;
    }
}

// `program::VectorLevel`.
HOST enum class VectorLevel : u32 { Given, Drawn };

// z [N, d] and weight [N] of x0 [B, T] and units [V, d]; steps [B] are read, or drawn and written.
struct DiffuseArgs {
    const StepArgs *step;
    const u32 *x0;
    const float *units;
    const u32 *quantiles; // of Drawn
    VectorStep *steps;
    float *z;
    float *weight;
    VectorLevel level;
    ErrorCost cost;    // of Drawn
    u32 level_of;      // of Drawn: sequences of the whole batch
    float gamma_least; // of Drawn
    float gamma_most;  // of Drawn
    float per_token;   // of Drawn: 1 / tokens of the whole batch
    Streams streams;
    u32 sequences;
    u32 positions; // T
    u32 dims;      // d
};

// z = α·units[x0] + σ·ε: element e = p·d + c of sequence b is number e % 4 of the words at (step·2³² + sequence, e / 4). The
// thread of a row's first element writes its weight.
BLOCK_ROWS(diffuse, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
diffuse(DiffuseArgs args) {
    __shared__ WeighedStep at;
    const u32 dims = args.dims, positions = args.positions, count = positions * dims; // elements of a sequence
    const u32 quads = ceil_div(count, 4), blocks = ceil_div(quads, THREADS);
    const u32 b = blockIdx.x / blocks, block = blockIdx.x - b * blocks, quad = block * THREADS + threadIdx.x;
    const StepArgs *step = args.step;
    if (threadIdx.x == 0) {
        if (args.level == VectorLevel::Given) {
            at = WeighedStep{args.steps[b], 1.0f};
        } else {
            at = drawn(args, step->sequence + b);
            if (block == 0) {
                args.steps[b] = at.step;
            }
        }
    }
    const Stream stream = args.streams == Streams::Train ? Stream::Noise : Stream::EvalNoise;
    const float4 noise = four_normals(philox(step->seed, stream, step->step << 32 | (step->sequence + b), quad));
    __syncthreads();
    if (quad >= quads) {
        return;
    }
    const float normals[4] = {noise.x, noise.y, noise.z, noise.w}, alpha = at.step.alpha, sigma = at.step.sigma;
    float z[4] = {};
    u32 p = quad * 4 / dims, c = quad * 4 - p * dims;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        if (p < positions) {
            const size_t row = size_t(b) * positions + p;
            z[i] = alpha * args.units[size_t(args.x0[row]) * dims + c] + sigma * normals[i];
            if (c == 0) {
                args.weight[row] = at.weight;
            }
        }
        c = c + 1 == dims ? 0 : c + 1;
        p += c == 0 ? 1 : 0;
    }
    float *to = args.z + size_t(b) * count + quad * 4;
    const u32 left = count - quad * 4;
    store_four(to, make_float4(z[0], z[1], z[2], z[3]), left, left >= 4 && aligned16(to));
}

// How many cosines tell a model where its noise level lies.
HOST constexpr u32 NOISE_FEATURES = 16;

// y [N, 2d + 16] of z and denoised [N, d] (null where it is not told) and steps [B, R].
struct VectorInputArgs {
    const StepArgs *step;
    const float *z;
    const VectorStep *steps;
    const float *denoised;
    store_t *y;
    u32 rows;
    u32 positions;
    u32 row_steps; // R
    u32 dims;
};

// y = [c·z | √d·x̂ | cos(π·k·place)]. A lane makes two neighbours, and stores them at once where that is aligned.
BLOCK_ROWS(vector_input, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
vector_input(VectorInputArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, dims = args.dims;
    if (row >= args.rows) {
        return;
    }
    const VectorStep step = step_of(args.steps, row / args.positions, args.row_steps, args.step);
    const float scale = scale_of(step, dims), root = __fsqrt_rn(float(dims));
    const float *z = args.z + size_t(row) * dims;
    const float *denoised = args.denoised == nullptr ? nullptr : args.denoised + size_t(row) * dims;
    // Half turns in units of 2⁻²³ of one.
    const u32 half = u32(step.place * float(UNIFORM_STEPS / 2));
    const auto number = [=](u32 c) {
        if (c < dims) {
            return scale * z[c];
        }
        if (c < 2 * dims) {
            return denoised == nullptr ? 0.0f : root * denoised[c - dims];
        }
        return cos_sin_turn((c - 2 * dims) * half % UNIFORM_STEPS).x;
    };
    const u32 cols = 2 * dims + NOISE_FEATURES;
    store_t *y = args.y + size_t(row) * cols;
    const bool pairs = reinterpret_cast<size_t>(y) % 4 == 0;
    for (u32 c = 2 * lane; c < cols; c += 2 * WARP) {
        const float low = number(c), high = number(c + 1);
        if (pairs) {
            *reinterpret_cast<store2_t *>(y + c) = pack(low, high);
        } else {
            y[c] = narrow(low);
            y[c + 1] = narrow(high);
        }
    }
}

// dtable [V, d] of x0 [B, T], steps [B, R], dy [N, 2d + 16], own [N, d], dunits and units [V, d] and rstd [V].
struct DiffuseBackwardArgs {
    const StepArgs *step;
    const u32 *x0;
    const VectorStep *steps;
    const store_t *dy;
    const float *own;
    const float *dunits;
    const float *units;
    const float *rstd;
    float *dtable;
    u32 rows; // N
    u32 positions;
    u32 row_steps; // R
    u32 symbols;
    u32 dims;
    Accumulate accumulate;
};

constexpr u32 SUM_THREADS = 512;
constexpr u32 SUM_WARPS = SUM_THREADS / WARP;

// With dE = dunits + Σ (own + α·c·dy[..d]) over the rows of a symbol, dtable (+)= rstd·(dE - E·⟨dE, E⟩). A block makes one symbol:
// each warp looks for it in a sixteenth of all rows, in order, and the sixteenths are added in order. So any number of symbols
// will do, of which each costs a look at N ids; with 66 they come to 4·66 bytes a row beside the 6·d that are read of it.
BLOCK_ROWS(diffuse_backward, 1);
extern "C" __global__ void __launch_bounds__(512)
diffuse_backward(DiffuseBackwardArgs args) {
    __shared__ float gradient[LARGEST_VECTOR];
    __shared__ float parts[SUM_WARPS][WARP];
    __shared__ float along[SUM_WARPS];
    const u32 symbol = blockIdx.x, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, dims = args.dims;
    const u32 share = ceil_div(ceil_div(args.rows, SUM_WARPS), WARP) * WARP;
    const u32 end = min(args.rows, (warp + 1) * share);
    const float *unit = args.units + size_t(symbol) * dims;
    for (u32 base = 0; base < dims; base += WARP) {
        const u32 c = base + lane;
        float sum = 0.0f;
        for (u32 first = warp * share; first < end; first += WARP) {
            const u32 row = first + lane;
            const bool mine = row < end && args.x0[row] == symbol;
            float factor = 0.0f;
            if (mine) {
                const VectorStep &step = step_of(args.steps, row / args.positions, args.row_steps, args.step);
                factor = step.alpha * scale_of(step, dims);
            }
            for (u32 left = __ballot_sync(FULL_MASK, mine); left != 0; left &= left - 1) {
                const u32 at = __ffs(left) - 1;
                const float of_input = __shfl_sync(FULL_MASK, factor, at);
                if (c < dims) {
                    const size_t from = first + at;
                    sum += args.own[from * dims + c];
                    sum += of_input * widen(args.dy[from * (2 * dims + NOISE_FEATURES) + c]);
                }
            }
        }
        parts[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && c < dims) {
            float whole = args.dunits[size_t(symbol) * dims + c];
            for (u32 w = 0; w < SUM_WARPS; ++w) {
                whole += parts[w][lane];
            }
            gradient[c] = whole;
        }
        __syncthreads();
    }
    float product = 0.0f;
    for (u32 c = threadIdx.x; c < dims; c += SUM_THREADS) {
        product += gradient[c] * unit[c];
    }
    product = block_sum(product, along);
    const float rstd = args.rstd[symbol];
    for (u32 c = threadIdx.x; c < dims; c += SUM_THREADS) {
        put(args.dtable[size_t(symbol) * dims + c], rstd * (gradient[c] - unit[c] * product), args.accumulate);
    }
}
