// The average of the weights: `average.rs`. It moves 12 bytes a parameter, and each thread has four parameters in flight.
#include "shared/math.cuh"

constexpr u32 THREADS = 256;

// params and average [n] f32; metrics [ring] for the norm of this step's gradients.
struct WeightAverageArgs {
    const StepArgs *step;
    const StepMetrics *metrics;
    const float *params;
    float *average;
    u64 n;
    float decay;
    u32 ring;
};

// average += (1 - min(decay, warm-up))·(p - average); nothing where the norm is not finite. Any n; 16-byte accesses where
// both bases are aligned to 16.
BLOCK_ROWS(weight_average, 4 * THREADS);
extern "C" __global__ void __launch_bounds__(256)
weight_average(WeightAverageArgs args) {
    const u64 i = (u64(blockIdx.x) * THREADS + threadIdx.x) * 4;
    if (i >= args.n) {
        return;
    }
    const u64 left = args.n - i;
    const bool wide = left >= 4 && aligned16(args.params, args.average);
    // These are on their way while the step's numbers are fetched.
    const float4 p = load_four(args.params + i, left, wide), mean = load_four(args.average + i, left, wide);
    if (!(fabsf(row_of(args.step, args.metrics, args.ring).grad_norm) < INFINITE)) {
        return;
    }
    const float share = 1.0f - fminf(args.decay, args.step->ema_warmup);
    const auto approach = [=](float average, float p) { return average + share * (p - average); };
    store_four(args.average + i,
               make_float4(approach(mean.x, p.x), approach(mean.y, p.y), approach(mean.z, p.z), approach(mean.w, p.w)),
               left, wide);
}
