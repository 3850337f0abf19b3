// Muon's momentum and step, which move bytes; its products are in mma/muon.cu and plain/muon.cu. See the ops for formulas.
//
// A matrix is cut into chunks of 4096 numbers, a block each, so that sums have one order on every device. The momentum
// takes two launches, because every number of x waits for the sum over its matrix: the first leaves m and its chunk's sum of
// squares, the second reads m and the gradient once more. Squares live in f32: what underflows is nothing beside ε.
#include "shared/muon.cuh"
#include "shared/reductions.cuh"
#include "shared/update.cuh"

constexpr u32 THREADS = 256;

// Numbers of a block.
HOST constexpr u32 MUON_CHUNK = 4096;

// Matrices x [rows, cols], which begin among the parameters where places[first + i] says.
struct MuonStack {
    store_t *x;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 first;
};

// A block's part of a matrix.
struct Chunk {
    store_t *x;
    // Of its first number among the parameters.
    size_t at;
    u32 count;
    // Its number in the matrix, and how many there are.
    u32 number;
    u32 chunks;
    float shape;
    bool wide;

    // Whether four of them are 16 bytes wherever they are f32, and 8 where they are stored.
    DEVICE Chunk(const MuonStack (&stacks)[STACKS], const u32 *places) {
        MuonStack stack;
        const u32 block = find_stack(stack, stacks, [](const MuonStack &of) {
            return ceil_div(of.rows * of.cols, MUON_CHUNK);
        });
        const u32 len = stack.rows * stack.cols;
        chunks = ceil_div(len, MUON_CHUNK);
        const u32 matrix = block / chunks;
        number = block % chunks;
        const u32 begin = number * MUON_CHUNK;
        count = min(MUON_CHUNK, len - begin);
        x = stack.x + size_t(matrix) * len + begin;
        at = size_t(places[stack.first + matrix]) + begin;
        shape = sqrtf(fmaxf(float(stack.rows) / float(stack.cols), 1.0f));
        wide = aligned(x, 8);
    }
};

DEVICE float4 load_four(const store_t *from, u32 left, bool wide) {
    if (wide) {
        const uint2 words = *reinterpret_cast<const uint2 *>(from);
        const float2 a = unpack(words.x), b = unpack(words.y);
        return make_float4(a.x, a.y, b.x, b.y);
    }
    return make_float4(widen(from[0]), left > 1 ? widen(from[1]) : 0.0f, left > 2 ? widen(from[2]) : 0.0f,
                       left > 3 ? widen(from[3]) : 0.0f);
}

DEVICE void store_four(store_t *to, float4 v, u32 left, bool wide) {
    const u32 low = pack(v.x, v.y), high = pack(v.z, v.w);
    if (wide) {
        *reinterpret_cast<uint2 *>(to) = make_uint2(low, high);
        return;
    }
    const u64 packed = u64(high) << 32 | low;
#pragma unroll
    for (u32 k = 0; k < 4; ++k) {
        if (k < left) {
            to[k] = store_t{u16(packed >> 16 * k)};
        }
    }
}

// m [params] of gradients [params], and x; partials hold a sum of squares for each block.
struct MuonMomentumArgs {
    MuonStack stack[STACKS];
    const StepArgs *step;
    const float *grads;
    const StepMetrics *metrics;
    const float *scale;
    const u32 *places;
    float *m;
    float *partials;
    float clip;
    float momentum;
    float eps;
    u32 ring;
};

// n = μ·m + (1-μ)·g of an m that has (1-μ)·g in it.
DEVICE float ahead(float m, float g, const MuonMomentumArgs &args) {
    return args.momentum * m + g;
}

// m = μ·m + (1-μ)·g, and Σ n² of each chunk. Nothing happens where the norm of all gradients is not finite.
BLOCK_ROWS(muon_momentum, MUON_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
muon_momentum(MuonMomentumArgs args) {
    __shared__ float warp_sums[THREADS / WARP];
    const Chunk chunk(args.stack, args.places);
    const float *const grads = args.grads + chunk.at;
    float *const momenta = args.m + chunk.at;
    const bool aligned16 = aligned(grads, 16) && aligned(momenta, 16);
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    if (!(fabsf(norm) < INFINITE)) {
        return;
    }
    const float factor = gradient_scale(norm, args.clip, args.scale), fresh = 1.0f - args.momentum;
    float sum = 0.0f;
#pragma unroll
    for (u32 step = 0; step < MUON_CHUNK; step += 4 * THREADS) {
        const u32 i = step + threadIdx.x * 4;
        if (i >= chunk.count) {
            break;
        }
        const u32 left = chunk.count - i;
        const bool wide = left >= 4 && aligned16;
        float4 g = load_four(grads + i, left, wide), m = load_four(momenta + i, left, wide);
        g = make_float4(fresh * (g.x * factor), fresh * (g.y * factor), fresh * (g.z * factor), fresh * (g.w * factor));
        m = make_float4(args.momentum * m.x + g.x, args.momentum * m.y + g.y, args.momentum * m.z + g.z,
                        args.momentum * m.w + g.w);
        store_four(momenta + i, m, left, wide);
        const float a = ahead(m.x, g.x, args), b = ahead(m.y, g.y, args), c = ahead(m.z, g.z, args);
        const float d = ahead(m.w, g.w, args);
        sum += (a * a + b * b) + (c * c + d * d);
    }
    sum = block_sum(sum, warp_sums);
    if (threadIdx.x == 0) {
        args.partials[blockIdx.x] = sum;
    }
}

// x = n/(‖n‖ + ε), of an m that was just made; 0 where the norm of all gradients is not finite.
BLOCK_ROWS(muon_direction, MUON_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
muon_direction(MuonMomentumArgs args) {
    __shared__ float warp_sums[THREADS / WARP];
    const Chunk chunk(args.stack, args.places);
    const float *const grads = args.grads + chunk.at;
    const float *const momenta = args.m + chunk.at;
    const bool aligned16 = aligned(grads, 16) && aligned(momenta, 16);
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    const bool finite = fabsf(norm) < INFINITE;
    float squares = 0.0f;
    if (finite) {
        const float *const of_matrix = args.partials + (blockIdx.x - chunk.number);
        for (u32 i = threadIdx.x; i < chunk.chunks; i += THREADS) {
            squares += of_matrix[i];
        }
    }
    squares = block_sum(squares, warp_sums);
    const float factor = gradient_scale(norm, args.clip, args.scale), fresh = 1.0f - args.momentum;
    const float inverse = 1.0f / (sqrtf(squares) + args.eps);
#pragma unroll
    for (u32 step = 0; step < MUON_CHUNK; step += 4 * THREADS) {
        const u32 i = step + threadIdx.x * 4;
        if (i >= chunk.count) {
            break;
        }
        const u32 left = chunk.count - i;
        const bool wide = left >= 4 && aligned16;
        float4 n = {};
        if (finite) {
            const float4 g = load_four(grads + i, left, wide), m = load_four(momenta + i, left, wide);
            n = make_float4(inverse * ahead(m.x, fresh * (g.x * factor), args),
                            inverse * ahead(m.y, fresh * (g.y * factor), args),
                            inverse * ahead(m.z, fresh * (g.z * factor), args),
                            inverse * ahead(m.w, fresh * (g.w * factor), args));
        }
        store_four(chunk.x + i, n, left, left >= 4 && chunk.wide);
    }
}

// Parameters, and the matmuls' copy of them, which may be null; both [params].
struct MuonStepArgs {
    MuonStack stack[STACKS];
    const StepArgs *step;
    const StepMetrics *metrics;
    const u32 *places;
    float *params;
    store_t *stored;
    float rate;
    float weight_decay;
    u32 ring;
};

// p = (1 - lr·weight_decay)·p - lr·rate·√max(1, rows/cols)·x; then stored = p, rounded. Nothing happens where
// the norm of all gradients is not finite.
BLOCK_ROWS(muon_step, MUON_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
muon_step(MuonStepArgs args) {
    const Chunk chunk(args.stack, args.places);
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    if (!(fabsf(norm) < INFINITE)) {
        return;
    }
    float *const params = args.params + chunk.at;
    store_t *const copies = args.stored + chunk.at;
    const bool params_wide = aligned(params, 16), copies_wide = aligned(copies, 8);
    const float shrink = 1.0f - args.step->lr * args.weight_decay, size = args.step->lr * args.rate * chunk.shape;
#pragma unroll
    for (u32 step = 0; step < MUON_CHUNK; step += 4 * THREADS) {
        const u32 i = step + threadIdx.x * 4;
        if (i >= chunk.count) {
            break;
        }
        const u32 left = chunk.count - i;
        const bool whole = left >= 4;
        const float4 x = load_four(chunk.x + i, left, whole && chunk.wide);
        float4 p = load_four(params + i, left, whole && params_wide);
        p = make_float4(p.x * shrink - size * x.x, p.y * shrink - size * x.y, p.z * shrink - size * x.z,
                        p.w * shrink - size * x.w);
        store_four(params + i, p, left, whole && params_wide);
        if (args.stored != nullptr) {
            store_four(copies + i, p, left, whole && copies_wide);
        }
    }
}
