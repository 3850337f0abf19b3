// The gradient's norm, AdamW with clipping and the stored copy, and the dynamic loss scale: `optimizer.rs`.
//
// All parameters are one row of P numbers: grads, params, m, v f32, stored in the activations' type. scale [2] f32
// (nullable): the loss scale S, a power of two, and how many steps it has held; the gradients are S times too large,
// and multiplying by 1/S is exact.
//
// Both kernels move bytes: `grad_norm` 4 a parameter, `adamw_step` 16 in and 12 or 14 out. Four numbers a thread, so
// that a thread has four 16-byte loads in flight before it computes, and a warp's accesses are whole sectors. The
// norm is summed in blocks of a fixed cut, so that its bits do not depend on the device: 16 squares to each of four
// sums a thread, then over threads, then over blocks in order. Squares live in f32, so gradients above 1.8·10¹⁹ count
// as infinite.
#include "shared/reductions.cuh"
#include "shared/update.cuh"

constexpr u32 THREADS = 256;

// Of grads [n] this step's norm and loss scale in metrics [ring]; partials [⌈n/16384⌉].
struct GradNormArgs {
    const StepArgs *step;
    const float *grads;
    const float *scale;
    float *partials;
    StepMetrics *metrics;
    u64 n;
    u32 ring;
};

// Parameters of a block of the norm.
HOST constexpr u32 GRAD_NORM_BLOCK = 16384;

// partials[i] = Σ (g/S)² over the i-th 16384 parameters. Any n; 16-byte accesses where grads is aligned to 16.
BLOCK_ROWS(grad_norm, GRAD_NORM_BLOCK);
extern "C" __global__ void __launch_bounds__(256)
grad_norm(GradNormArgs args) {
    __shared__ float warp_sums[THREADS / WARP];
    const u64 first = u64(blockIdx.x) * GRAD_NORM_BLOCK;
    const u32 count = u32(min(args.n - first, u64(GRAD_NORM_BLOCK)));
    const float inverse = args.scale == nullptr ? 1.0f : 1.0f / args.scale[0];
    const float *g = args.grads + first;
    const u32 quads = aligned(args.grads, 16) ? count / 4 : 0;
    float sum[4] = {};
#pragma unroll 4
    for (u32 quad = threadIdx.x; quad < quads; quad += THREADS) {
        const float4 v = reinterpret_cast<const float4 *>(g)[quad];
        const float a = v.x * inverse, b = v.y * inverse, c = v.z * inverse, d = v.w * inverse;
        sum[0] += a * a;
        sum[1] += b * b;
        sum[2] += c * c;
        sum[3] += d * d;
    }
    for (u32 i = quads * 4 + threadIdx.x; i < count; i += THREADS) {
        const float a = g[i] * inverse;
        sum[0] += a * a;
    }
    const float total = block_sum((sum[0] + sum[1]) + (sum[2] + sum[3]), warp_sums);
    if (threadIdx.x == 0) {
        args.partials[blockIdx.x] = total;
    }
}

// grad_norm = √Σ partials, loss_scale = S, or 1 without one. One block.
extern "C" __global__ void __launch_bounds__(256)
grad_norm_finish(GradNormArgs args) {
    __shared__ float warp_sums[THREADS / WARP];
    const u32 blocks = u32((args.n + GRAD_NORM_BLOCK - 1) / GRAD_NORM_BLOCK);
    float sum = 0.0f;
#pragma unroll 4
    for (u32 i = threadIdx.x; i < blocks; i += THREADS) {
        sum += args.partials[i];
    }
    sum = block_sum(sum, warp_sums);
    if (threadIdx.x == 0) {
        StepMetrics &to = row_of(args.step, args.metrics, args.ring);
        to.grad_norm = sqrtf(sum);
        to.loss_scale = args.scale == nullptr ? 1.0f : args.scale[0];
    }
}

// AdamW (Loshchilov & Hutter 2019) on params [n], with its moments m and v, and the matmuls' copy stored,
// which may be null.
struct AdamWArgs {
    const StepArgs *step;
    const float *grads;
    const StepMetrics *metrics;
    const float *scale;
    float *params;
    float *m;
    float *v;
    store_t *stored;
    u64 n;
    float beta1;
    float beta2;
    float eps;
    float weight_decay;
    float clip;
    u32 ring;
};

// One step's numbers, the same for every parameter.
struct Step {
    float shrink;
    float gradient_scale;
    float beta1;
    float beta2;
    float step_size;
    float inverse_root_bias2;
    float eps;

    DEVICE void update(float g, float &p, float &m, float &v) const {
        g *= gradient_scale;
        m += (1.0f - beta1) * (g - m);
        v = beta2 * v + (1.0f - beta2) * g * g;
        // Within 4 ulp of exact roots and quotients, whose slow paths would cost registers: v below the normal numbers
        // counts as 0 beside ε.
        p = p * shrink - __fdividef(step_size * m, sqrt_fast(v) * inverse_root_bias2 + eps);
    }
};

// One step on all parameters, with the gradient divided by S and scaled by min(1, clip/(norm + 10⁻⁶)); then
// stored = p, rounded. Nothing happens where the norm is not finite. A thread makes four
// parameters. Any n; 16-byte accesses where all bases are aligned to 16 (stored: to 8).
BLOCK_ROWS(adamw_step, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256, 5)
adamw_step(AdamWArgs args) {
    const u64 i = (u64(blockIdx.x) * THREADS + threadIdx.x) * 4;
    if (i >= args.n) {
        return;
    }
    const u64 left = args.n - i;
    const bool wide = left >= 4 && aligned(args.grads, 16) && aligned(args.params, 16) && aligned(args.m, 16) &&
                      aligned(args.v, 16) && aligned(args.stored, 8);
    // These are on their way while the step's numbers are fetched, one after another, and computed.
    const float4 g = load_four(args.grads + i, left, wide);
    float4 p = load_four(args.params + i, left, wide), m = load_four(args.m + i, left, wide);
    float4 v = load_four(args.v + i, left, wide);
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    if (!(fabsf(norm) < INFINITE)) {
        return;
    }
    const Step step = {
        1.0f - args.step->lr * args.weight_decay,
        gradient_scale(norm, args.clip, args.scale),
        args.beta1,
        args.beta2,
        args.step->lr / args.step->bias1,
        1.0f / sqrtf(args.step->bias2),
        args.eps,
    };
    step.update(g.x, p.x, m.x, v.x);
    step.update(g.y, p.y, m.y, v.y);
    step.update(g.z, p.z, m.z, v.z);
    step.update(g.w, p.w, m.w, v.w);
    store_four(args.params + i, p, left, wide);
    store_four(args.m + i, m, left, wide);
    store_four(args.v + i, v, left, wide);
    if (args.stored == nullptr) {
        return;
    }
    if (wide) {
        *reinterpret_cast<uint2 *>(args.stored + i) = make_uint2(pack(p.x, p.y), pack(p.z, p.w));
        return;
    }
    const u64 packed = u64(pack(p.z, p.w)) << 32 | pack(p.x, p.y);
#pragma unroll 1
    for (u32 k = 0; k < 4 && i + k < args.n; ++k) {
        args.stored[i + k] = store_t{u16(packed >> 16 * k)};
    }
}

// The loss scale doubles after so many good steps, up to so much; it halves where the norm was not finite, down to 1.
constexpr float GOOD_STEPS = 2000.0f;
constexpr float MOST_SCALE = 16777216.0f;

// scale = [S, good steps] after a step whose norm stands in metrics [ring].
struct LossScaleArgs {
    const StepArgs *step;
    const StepMetrics *metrics;
    float *scale;
    u32 ring;
};

// One block, of which one thread works.
extern "C" __global__ void __launch_bounds__(32)
loss_scale(LossScaleArgs args) {
    if (threadIdx.x != 0) {
        return;
    }
    float *scale = args.scale;
    const float norm = row_of(args.step, args.metrics, args.ring).grad_norm;
    const float now = scale[0], good = scale[1] + 1.0f;
    if (!(fabsf(norm) < INFINITE)) {
        scale[0] = fmaxf(now * 0.5f, 1.0f);
        scale[1] = 0.0f;
    } else if (good >= GOOD_STEPS) {
        scale[0] = fminf(now * 2.0f, MOST_SCALE);
        scale[1] = 0.0f;
    } else {
        scale[1] = good;
    }
}
