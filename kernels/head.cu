// Cross-entropy from stored logits, and sums of losses.
//
//     cross_entropy = ln Σ exp(logits - max) - (logits[target] - max), without symbol `drop`
//     metrics[step mod ring].{loss, tokens} (+)= Σ weight·cross_entropy, rows with a weight;  sums[b] = [Σ cross_entropy, rows]
//
// Letters: B sequences, T positions, N = B·T rows, V symbols.
//
// `cross_entropy` reads a row twice, for the maximum and for the sum; the second time it lies in L1. The sums are one
// or a few blocks, bound by latency: 16 bytes an access, and no second launch. The CPU adds in double
// precision; here a sum is two floats, the rounded sum and what its roundings lost (Knuth's TwoSum), which no order
// of additions notices. Only rows with a weight are looked at: what stands beside a weight of 0 may be anything.
#include "shared/reductions.cuh"

// cross_entropy [N] = -ln p[target] of p = softmax(logits) without symbol `drop` (~0 for none); logits [N, V], target [N].
struct CrossEntropyArgs {
    const float *logits;
    const u32 *target;
    float *cross_entropy;
    u32 rows;
    u32 symbols;
    u32 drop;
};

constexpr u32 ROW_WARPS = 8;

// A row to a warp. Any V; 16-byte accesses where V is a multiple of 4.
BLOCK_ROWS(cross_entropy, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
cross_entropy(CrossEntropyArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 symbols = args.symbols, drop = args.drop;
    if (row >= args.rows) {
        return;
    }
    const float *y = args.logits + size_t(row) * symbols;
    const bool wide = symbols % 4 == 0 && aligned16(args.logits);
    const u32 quads = wide ? symbols / 4 : 0;
    const auto four = [=](u32 quad) {
        float4 v = __ldg(reinterpret_cast<const float4 *>(y) + quad);
        if (quad == drop / 4) {
            v.x = drop % 4 == 0 ? -INFINITE : v.x;
            v.y = drop % 4 == 1 ? -INFINITE : v.y;
            v.z = drop % 4 == 2 ? -INFINITE : v.z;
            v.w = drop % 4 == 3 ? -INFINITE : v.w;
        }
        return v;
    };
    const auto one = [=](u32 v) { return v == drop ? -INFINITE : __ldg(y + v); };

    float most = -INFINITE;
    for (u32 quad = lane; quad < quads; quad += WARP) {
        const float4 v = four(quad);
        most = fmaxf(most, fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)));
    }
    for (u32 v = quads * 4 + lane; v < symbols; v += WARP) {
        most = fmaxf(most, one(v));
    }
    most = group_max(most);
    float sum = 0.0f;
    for (u32 quad = lane; quad < quads; quad += WARP) {
        const float4 v = four(quad);
        sum += (expf(v.x - most) + expf(v.y - most)) + (expf(v.z - most) + expf(v.w - most));
    }
    for (u32 v = quads * 4 + lane; v < symbols; v += WARP) {
        sum += expf(one(v) - most);
    }
    sum = group_sum(sum);
    if (lane == 0) {
        args.cross_entropy[row] = logf(sum) - (one(args.target[row]) - most);
    }
}

// A sum of floats, about twice as precise as one: `high` + `low`, and how many terms went in.
struct Sum {
    float high;
    float low;
    u32 count;

    // Knuth's TwoSum: high + value is exactly the new high and `lost`. Each operation must round by itself.
    DEVICE void add(float value, float rest) {
        const float sum = __fadd_rn(high, value);
        const float shadow = __fsub_rn(sum, high);
        const float lost = __fadd_rn(__fsub_rn(high, __fsub_rn(sum, shadow)), __fsub_rn(value, shadow));
        high = sum;
        low = __fadd_rn(low, __fadd_rn(lost, rest));
    }

    // What is not finite has no meaningful rest.
    DEVICE float value() const {
        return fabsf(high) < INFINITE ? high + low : high;
    }
};

// Adds weight·ce, or ce, of one row, if it has a weight. A product's rounding error is a product-sum away.
template <bool Weighted> DEVICE void add_row(Sum &sum, float ce, float weight) {
    if (weight == 0.0f) {
        return;
    }
    const float product = __fmul_rn(ce, weight);
    if (Weighted) {
        sum.add(product, __fmaf_rn(ce, weight, -product));
    } else {
        sum.add(ce, 0.0f);
    }
    ++sum.count;
}

// A block's sum over `count` rows; thread 0 gets it.
template <u32 Threads, bool Weighted> DEVICE Sum block_sum_rows(const float *ce, const float *weight, u32 count) {
    static_assert(Threads % WARP == 0 && Threads / WARP <= WARP, "one warp adds what all have");
    __shared__ Sum partial[Threads / WARP];
    Sum sum = {0.0f, 0.0f, 0};
    const bool wide = aligned16(ce, weight);
    const u32 quads = wide ? count / 4 : 0;
#pragma unroll 2
    for (u32 quad = threadIdx.x; quad < quads; quad += Threads) {
        const float4 c = reinterpret_cast<const float4 *>(ce)[quad], w = reinterpret_cast<const float4 *>(weight)[quad];
        add_row<Weighted>(sum, c.x, w.x);
        add_row<Weighted>(sum, c.y, w.y);
        add_row<Weighted>(sum, c.z, w.z);
        add_row<Weighted>(sum, c.w, w.w);
    }
    for (u32 row = quads * 4 + threadIdx.x; row < count; row += Threads) {
        add_row<Weighted>(sum, ce[row], weight[row]);
    }
    const auto over_lanes = [](Sum sum, u32 lanes) {
        for (u32 offset = lanes / 2; offset > 0; offset /= 2) {
            const float high = __shfl_xor_sync(FULL_MASK, sum.high, offset);
            const float low = __shfl_xor_sync(FULL_MASK, sum.low, offset);
            sum.add(high, low);
            sum.count += __shfl_xor_sync(FULL_MASK, sum.count, offset);
        }
        return sum;
    };
    sum = over_lanes(sum, WARP);
    if (threadIdx.x % WARP == 0) {
        partial[threadIdx.x / WARP] = sum;
    }
    __syncthreads();
    if (threadIdx.x >= WARP) {
        return sum;
    }
    sum = threadIdx.x < Threads / WARP ? partial[threadIdx.x] : Sum{0.0f, 0.0f, 0};
    return over_lanes(sum, WARP);
}

// Of cross_entropy, weight [N] this step's loss and tokens in metrics [ring].
struct LossSumArgs {
    const StepArgs *step;
    const float *cross_entropy;
    const float *weight;
    StepMetrics *metrics;
    u32 rows;
    u32 ring;
    Accumulate accumulate;
};

// loss (+)= Σ weight·cross_entropy, tokens (+)= rows with a weight. One block.
extern "C" __global__ void __launch_bounds__(1024)
loss_sum(LossSumArgs args) {
    const Sum sum = block_sum_rows<1024, true>(args.cross_entropy, args.weight, args.rows);
    if (threadIdx.x == 0) {
        StepMetrics &to = row_of(args.step, args.metrics, args.ring);
        put(to.loss, sum.value(), args.accumulate);
        put(to.tokens, float(sum.count), args.accumulate);
    }
}

// Of cross_entropy, weight [B·T] the sums [B, 2] of the rows with a weight.
struct SequenceLossArgs {
    const float *cross_entropy;
    const float *weight;
    float *sums;
    u32 positions;
    u32 sequences;
};

// sums[b] = [Σ cross_entropy over rows with a weight, their number]. A block makes one sequence.
BLOCK_ROWS(sequence_loss, 1);
extern "C" __global__ void __launch_bounds__(128)
sequence_loss(SequenceLossArgs args) {
    if (blockIdx.x >= args.sequences) {
        return;
    }
    const size_t first = size_t(blockIdx.x) * args.positions;
    const Sum sum = block_sum_rows<128, false>(args.cross_entropy + first, args.weight + first, args.positions);
    if (threadIdx.x == 0) {
        args.sums[2 * size_t(blockIdx.x)] = sum.value();
        args.sums[2 * size_t(blockIdx.x) + 1] = float(sum.count);
    }
}

// out [count] = 0.
struct ClearArgs {
    store_t *out;
    u64 count;
};

constexpr u32 CLEAR_THREADS = 256;
constexpr u32 CLEARED = 8;

// Eight elements a thread, 16 bytes at once where their address allows.
BLOCK_ROWS(clear, CLEARED * CLEAR_THREADS);
extern "C" __global__ void __launch_bounds__(256)
clear(ClearArgs args) {
    const u64 first = (u64(blockIdx.x) * CLEAR_THREADS + threadIdx.x) * CLEARED;
    if (first + CLEARED <= args.count && aligned16(args.out)) {
        *reinterpret_cast<uint4 *>(args.out + first) = make_uint4(0, 0, 0, 0);
        return;
    }
    for (u64 i = first; i < args.count && i < first + CLEARED; ++i) {
        args.out[i] = store_t{0};
    }
}
