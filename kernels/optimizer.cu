// The gradient's norm, AdamW with clipping, averaging and the stored copy, and the dynamic loss scale: `optimizer.rs`.
//
// All parameters are one row of P numbers: grads, params, m, v, ema f32, stored in the activations' type. metrics
// [ring, 4] f32: loss, masked tokens, gradient norm, loss scale; the row of this step is step mod ring. scale [2] f32
// (nullable): the loss scale S, a power of two, and how many steps it has held; the gradients are S times too large,
// and multiplying by 1/S is exact.
//
// Both kernels move bytes: `grad_norm` 4 a parameter, `adamw_step` 16 in and 12 to 18 out. Four numbers a thread, so
// that a thread has four 16-byte loads in flight before it computes, and a warp's accesses are whole sectors. The
// norm is summed in blocks of a fixed cut, so that its bits do not depend on the device: 16 squares to each of four
// sums a thread, then over threads, then over blocks in order. Squares live in f32, so gradients above 1.8·10¹⁹ count
// as infinite.
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
// Parameters of one block of the norm.
constexpr u32 NORM_BLOCK = 1u << 14;

DEVICE float4 load4(const float *from) {
    return *reinterpret_cast<const float4 *>(from);
}

DEVICE void store4(float *to, float4 v) {
    *reinterpret_cast<float4 *>(to) = v;
}

DEVICE bool aligned(const void *pointer, size_t bytes) {
    return reinterpret_cast<size_t>(pointer) % bytes == 0;
}

// partials[i] = Σ (g/S)² over the i-th 16384 parameters. Any n; 16-byte accesses where grads is aligned to 16.
// Grid: (ceil(n/16384)).
extern "C" __global__ void __launch_bounds__(256)
grad_norm(const float *grads, const float *scale, float *partials, u64 n) {
    __shared__ float warp_sums[THREADS / WARP];
    const u64 first = u64(blockIdx.x) * NORM_BLOCK;
    const u32 count = u32(min(n - first, u64(NORM_BLOCK)));
    const float inverse = scale == nullptr ? 1.0f : 1.0f / scale[0];
    const float *g = grads + first;
    const u32 quads = aligned(grads, 16) ? count / 4 : 0;
    float sum[4] = {};
#pragma unroll 4
    for (u32 quad = threadIdx.x; quad < quads; quad += THREADS) {
        const float4 v = load4(g + quad * 4);
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
        partials[blockIdx.x] = total;
    }
}

// metrics[row][2] = √Σ partials, metrics[row][3] = S, or 1 without one. Grid: (1).
extern "C" __global__ void __launch_bounds__(256)
grad_norm_finish(const StepArgs *args, const float *partials, const float *scale, float *metrics, u32 blocks,
                 u32 ring) {
    __shared__ float warp_sums[THREADS / WARP];
    float sum = 0.0f;
#pragma unroll 4
    for (u32 i = threadIdx.x; i < blocks; i += THREADS) {
        sum += partials[i];
    }
    sum = block_sum(sum, warp_sums);
    if (threadIdx.x == 0) {
        float *to = metrics + size_t(args->step % ring) * 4;
        to[2] = sqrtf(sum);
        to[3] = scale == nullptr ? 1.0f : scale[0];
    }
}

// AdamW's constants (Loshchilov & Hutter 2019), and the rows of metrics.
struct AdamWConfig {
    float beta1;
    float beta2;
    float eps;
    float weight_decay;
    float clip;
    u32 ring;
};

// Added to the norm before dividing by it, as PyTorch's `clip_grad_norm_` does.
constexpr float CLIP_EPS = 1e-6f;

// One step's numbers, the same for every parameter.
struct Step {
    float shrink;
    float gradient_scale;
    float beta1;
    float beta2;
    float step_size;
    float inverse_root_bias2;
    float eps;
    float approach;

    DEVICE void update(float g, float &p, float &m, float &v) const {
        g *= gradient_scale;
        m += (1.0f - beta1) * (g - m);
        v = beta2 * v + (1.0f - beta2) * g * g;
        // Within 4 ulp of exact roots and quotients, whose slow paths would cost registers: v below the normal numbers
        // counts as 0 beside ε.
        p = p * shrink - __fdividef(step_size * m, sqrt_fast(v) * inverse_root_bias2 + eps);
    }

    DEVICE float average(float ema, float p) const {
        return ema + approach * (p - ema);
    }
};

// One step on all parameters, with the gradient divided by S and scaled by min(1, clip/(norm + 10⁻⁶)); then ema +=
// (1-decay)·(p - ema), and stored = p, rounded. Nothing happens where the norm is not finite. A thread makes four
// parameters. Any n; 16-byte accesses where all bases are aligned to 16 (stored: to 8). Grid: (ceil(n/1024)).
extern "C" __global__ void __launch_bounds__(256, 5)
adamw_step(const StepArgs *args, const float *grads, const float *metrics, const float *scale, float *params, float *m,
           float *v, float *ema, store_t *stored, AdamWConfig config, u64 n) {
    const u64 i = (u64(blockIdx.x) * THREADS + threadIdx.x) * 4;
    if (i >= n) {
        return;
    }
    const bool wide = i + 4 <= n && aligned(grads, 16) && aligned(params, 16) && aligned(m, 16) && aligned(v, 16) &&
                      aligned(ema, 16) && aligned(stored, 8);
    // These are on their way while the step's numbers are fetched, one after another, and computed.
    float4 g = {}, p = {}, first = {}, second = {}, mean = {};
    if (wide) {
        g = load4(grads + i);
        p = load4(params + i);
        first = load4(m + i);
        second = load4(v + i);
        if (ema != nullptr) {
            mean = load4(ema + i);
        }
    }
    const float norm = metrics[size_t(args->step % config.ring) * 4 + 2];
    if (!(fabsf(norm) < INFINITE)) {
        return;
    }
    const float clip = fminf(config.clip / (norm + CLIP_EPS), 1.0f);
    const Step step = {
        1.0f - args->lr * config.weight_decay,
        scale == nullptr ? clip : clip / scale[0],
        config.beta1,
        config.beta2,
        args->lr / args->bias1,
        1.0f / sqrtf(args->bias2),
        config.eps,
        1.0f - args->ema_decay,
    };
    if (!wide) {
#pragma unroll 1
        for (u64 k = i; k < min(i + 4, n); ++k) {
            step.update(grads[k], params[k], m[k], v[k]);
            if (ema != nullptr) {
                ema[k] = step.average(ema[k], params[k]);
            }
            if (stored != nullptr) {
                stored[k] = narrow(params[k]);
            }
        }
        return;
    }
    step.update(g.x, p.x, first.x, second.x);
    step.update(g.y, p.y, first.y, second.y);
    step.update(g.z, p.z, first.z, second.z);
    step.update(g.w, p.w, first.w, second.w);
    store4(params + i, p);
    store4(m + i, first);
    store4(v + i, second);
    if (ema != nullptr) {
        store4(ema + i, make_float4(step.average(mean.x, p.x), step.average(mean.y, p.y), step.average(mean.z, p.z),
                                    step.average(mean.w, p.w)));
    }
    if (stored != nullptr) {
        *reinterpret_cast<uint2 *>(stored + i) = make_uint2(pack(p.x, p.y), pack(p.z, p.w));
    }
}

// The loss scale doubles after so many good steps, up to so much; it halves where the norm was not finite, down to 1.
constexpr float GOOD_STEPS = 2000.0f;
constexpr float MOST_SCALE = 16777216.0f;

// scale = [S, good steps] after a step whose norm stands in metrics. Grid: (1), one thread of it works.
extern "C" __global__ void __launch_bounds__(32)
loss_scale(const StepArgs *args, const float *metrics, float *scale, u32 ring) {
    if (threadIdx.x != 0) {
        return;
    }
    const float norm = metrics[size_t(args->step % ring) * 4 + 2];
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
