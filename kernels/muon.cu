// Muon's momentum, which moves bytes; the products and the step are in mma/muon.cu and plain/muon.cu. See the ops for formulas.
//
// A matrix is cut into chunks, a block each, so that sums have one order on every device. Its length is not known before all
// of them are done: x is written as it is, and what reads it divides. Squares live in f32: x was magnified before.
#include "shared/muon.cuh"
#include "shared/reductions.cuh"
#include "shared/update.cuh"

constexpr u32 THREADS = 256;

// Matrices x [rows, cols], which begin among the parameters where places[first + i] says.
struct MuonStack {
    store_t *x;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 first;
};

// m [params] of gradients [params], and x; a sum of squares for each block.
struct MuonMomentumArgs {
    MuonStack stack[STACKS];
    const StepArgs *step;
    const float *grads;
    const StepMetrics *metrics;
    const float *scale;
    const u32 *places;
    float *m;
    float *sumsq;
    float clip;
    float momentum;
    float magnified;
    float largest;
    u32 ring;
};

// 2ᵏ·n, n = μ·m + (1-μ)·g of an m that has (1-μ)·g in it.
DEVICE float ahead(float m, float g, const MuonMomentumArgs &args) {
    return args.magnified * (args.momentum * m + g);
}

// The first `left` of four numbers: at once where `wide`.
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

// m = μ·m + (1-μ)·g, x = 2ᵏ·(μ·m + (1-μ)·g), and the sum of its squares in each chunk. Where the norm of all gradients is not
// finite, m stays and x is 0.
BLOCK_ROWS(muon_momentum, MUON_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
muon_momentum(MuonMomentumArgs args) {
    __shared__ float warp_sums[THREADS / WARP];
    MuonStack stack;
    const u32 block = find_stack(stack, args.stack, [](const MuonStack &of) {
        return muon_chunks(of.rows, of.cols);
    });
    const u32 chunks = muon_chunks(stack.rows, stack.cols), len = stack.rows * stack.cols;
    const u32 matrix = block / chunks, begin = block % chunks * MUON_CHUNK, count = min(MUON_CHUNK, len - begin);
    const size_t at = size_t(args.places[stack.first + matrix]) + begin;
    const float *const grads = args.grads + at;
    float *const momenta = args.m + at;
    store_t *const x = stack.x + size_t(matrix) * len + begin;
    const bool aligned16 = aligned(grads, 16) && aligned(momenta, 16), aligned8 = aligned(x, 8);
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    const bool finite = fabsf(norm) < INFINITE;
    const float factor = gradient_scale(norm, args.clip, args.scale), fresh = 1.0f - args.momentum;
    float sum = 0.0f;
#pragma unroll
    for (u32 step = 0; step < MUON_CHUNK; step += 4 * THREADS) {
        const u32 i = step + threadIdx.x * 4;
        if (i >= count) {
            break;
        }
        const u32 left = count - i;
        const bool whole = left >= 4;
        float4 n = {};
        if (finite) {
            float4 g = load_four(grads + i, left, whole && aligned16), m = load_four(momenta + i, left, whole && aligned16);
            g = make_float4(fresh * (g.x * factor), fresh * (g.y * factor), fresh * (g.z * factor), fresh * (g.w * factor));
            m = make_float4(args.momentum * m.x + g.x, args.momentum * m.y + g.y, args.momentum * m.z + g.z,
                            args.momentum * m.w + g.w);
            store_four(momenta + i, m, left, whole && aligned16);
            n = make_float4(ahead(m.x, g.x, args), ahead(m.y, g.y, args), ahead(m.z, g.z, args), ahead(m.w, g.w, args));
            sum += (n.x * n.x + n.y * n.y) + (n.z * n.z + n.w * n.w);
        }
        const auto held = [&](float value) {
            return fminf(fmaxf(value, -args.largest), args.largest);
        };
        store_four(x + i, make_float4(held(n.x), held(n.y), held(n.z), held(n.w)), left, whole && aligned8);
    }
    sum = block_sum(sum, warp_sums);
    if (threadIdx.x == 0) {
        args.sumsq[blockIdx.x] = sum;
    }
}
