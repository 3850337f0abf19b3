// Texts from left to right: what an autoregressive model reads, and how a text grows by a token: `decode.rs`.
//
// Letters: B texts, T positions, C width. Of a text's T positions the last `remaining` are open.
//
// All of it but the attention is a few hundred bytes a text: latency counts. A thread makes a token, a block a row.
//
// `cached_attention` is attention of one query, or a few, over keys and values that are kept, for any head dimension: what it
// reads, 4·C bytes for each position of a text, bounds it, so there is nothing for tensor cores to win. The grid is a block for
// each head of each text, which takes its queries one after another: texts of a batch are at positions of their own. A block's warps share the keys, 32 at a time each, as in
// plain/attention.cu, and their sums meet at the end (Dao et al., Flash-Decoding, 2023, within a block).
#include "shared/attention.cuh"
#include "shared/integers.cuh"
#include "shared/texts.cuh"

constexpr u32 THREADS = 256;

// xt [B, T] of x0 [B, T]; weight [B, T] may be null. Tokens count by `mean`, or where `windows` is not 0 as the first of these
// evenly spaced windows that has them says: 1, then 0. `span` is how far the last window starts behind the first.
struct ShiftArgs {
    const StepArgs *step;
    const u32 *x0;
    u32 *xt;
    float *weight;
    u64 span;
    u32 windows;
    float mean;
    u32 start;
    u32 sequences;
    u32 positions;
};

// A token a thread.
BLOCK_ROWS(shift, THREADS);
extern "C" __global__ void __launch_bounds__(256)
shift(ShiftArgs args) {
    const u32 row = blockIdx.x * THREADS + threadIdx.x, positions = args.positions;
    if (row >= args.sequences * positions) {
        return;
    }
    const u32 b = row / positions, p = row - b * positions;
    args.xt[row] = p == 0 ? args.start : args.x0[row - 1];
    if (args.weight == nullptr) {
        return;
    }
    float weight = args.mean;
    if (args.windows != 0) {
        const u64 gaps = max(args.windows - 1, 1u), i = min(args.step->sequence + b, args.windows - 1);
        const u64 fresh = i == 0 ? positions : i * args.span / gaps - (i - 1) * args.span / gaps;
        weight = positions - p <= fresh ? 1.0f : 0.0f;
    }
    args.weight[row] = weight;
}

// out [B, C] and out_sumsq [B, slots] of x [B·T, C] and sumsq [B·T, slots]; slots may be 0.
struct OpenRowArgs {
    const store_t *x;
    const float *sumsq;
    const u32 *remaining;
    store_t *out;
    float *out_sumsq;
    u32 positions;
    u32 width;
    u32 slots;
};

// A block copies the row of a text.
BLOCK_ROWS(open_row, 1);
extern "C" __global__ void __launch_bounds__(256)
open_row(OpenRowArgs args) {
    const u32 b = blockIdx.x, next = next_position(args.remaining[b], args.positions);
    const size_t row = size_t(b) * args.positions + min(next, args.positions - 1);
    for (u32 c = threadIdx.x; c < args.width; c += THREADS) {
        args.out[size_t(b) * args.width + c] = args.x[row * args.width + c];
    }
    for (u32 s = threadIdx.x; s < args.slots; s += THREADS) {
        args.out_sumsq[size_t(b) * args.slots + s] = args.sumsq[row * args.slots + s];
    }
}

// ids [B] of x [B, T].
struct LastTokenArgs {
    const u32 *x;
    const u32 *remaining;
    u32 *ids;
    u32 start;
    u32 texts;
    u32 positions;
};

// A text a thread.
BLOCK_ROWS(last_token, THREADS);
extern "C" __global__ void __launch_bounds__(256)
last_token(LastTokenArgs args) {
    const u32 b = blockIdx.x * THREADS + threadIdx.x;
    if (b >= args.texts) {
        return;
    }
    const u32 next = next_position(args.remaining[b], args.positions);
    const bool any = next > 0 && next < args.positions;
    args.ids[b] = any ? args.x[size_t(b) * args.positions + next - 1] : args.start;
}

// cache [B·T, 2C] of qkv [B·P, 3C]: the first P = `filled` of each text's T positions.
struct FillCacheArgs {
    const store_t *qkv;
    store_t *cache;
    u32 filled;
    u32 positions;
    u32 width;
};

// A block copies the keys and values of a row.
BLOCK_ROWS(fill_cache, 1);
extern "C" __global__ void __launch_bounds__(256)
fill_cache(FillCacheArgs args) {
    const u32 row = blockIdx.x, width = args.width, b = row / args.filled, p = row - b * args.filled;
    const store_t *from = args.qkv + (3 * size_t(row) + 1) * width;
    store_t *to = args.cache + (size_t(b) * args.positions + p) * 2 * width;
    for (u32 c = threadIdx.x; c < 2 * width; c += THREADS) {
        to[c] = from[c];
    }
}

// o [B·P, C] of qkv [B·P, 3C], rope [T, D/2] (cos, sin) and cache [B·T, 2C], which gets P = `rows` rows of each text.
struct CachedAttentionArgs {
    const store_t *qkv;
    const u32 *remaining;
    const float2 *rope;
    store_t *cache;
    store_t *o;
    u32 rows;
    u32 positions;
    u32 heads;
    u32 head_dim;
};

constexpr u32 DECODE_WARPS = 4;
static_assert((DECODE_WARPS + 1) * LARGEST_HEAD * sizeof(float) <= 40 * 1024, "sums and a query fit static shared memory");

// One pair of columns, turned.
DEVICE float2 turned(float first, float second, float2 turn) {
    return make_float2(first * turn.x + second * turn.y, second * turn.x - first * turn.y);
}

template <bool Rotated> DEVICE void attend_to_cache(const CachedAttentionArgs &args) {
    __shared__ float query[LARGEST_HEAD];
    __shared__ float sums[DECODE_WARPS][LARGEST_HEAD];
    __shared__ float maxima[DECODE_WARPS], totals[DECODE_WARPS];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head_dim = args.head_dim, half = head_dim / 2;
    const u32 b = blockIdx.x / args.heads, head = blockIdx.x - b * args.heads, width = args.heads * head_dim;
    const u32 rows = args.rows, position = next_position(args.remaining[b], args.positions), end = position + rows;
    const size_t first_row = size_t(b) * rows;
    store_t *o = args.o + first_row * width + head * head_dim;
    if (end > args.positions) {
        for (u32 row = 0; row < rows; ++row) {
            for (u32 c = threadIdx.x; c < head_dim; c += blockDim.x) {
                o[size_t(row) * width + c] = narrow(0.0f);
            }
        }
        return;
    }
    const size_t stride = 2 * size_t(width);
    const store_t *q = args.qkv + 3 * first_row * width + head * head_dim;
    const float2 *turns = args.rope + size_t(position) * half;
    const auto turn = [=](u32 c) { return Rotated ? turns[c] : make_float2(1.0f, 0.0f); };
    store_t *keys = args.cache + size_t(b) * args.positions * stride + head * head_dim;
    for (u32 row = 0; row < rows; ++row) {
        const store_t *k = q + (3 * size_t(row) + 1) * width, *v = k + width;
        store_t *own = keys + (position + row) * stride;
        for (u32 c = threadIdx.x; c < half; c += blockDim.x) {
            const float2 answers = turned(widen(k[c]), widen(k[c + half]), turn(c));
            own[c] = narrow(answers.x);
            own[c + half] = narrow(answers.y);
        }
        for (u32 c = threadIdx.x; c < head_dim; c += blockDim.x) {
            own[width + c] = v[c];
        }
    }

    const float scale = rsqrtf(float(head_dim));
    for (u32 row = 0; row < rows; ++row) {
        const store_t *asking = q + 3 * size_t(row) * width;
        for (u32 c = threadIdx.x; c < half; c += blockDim.x) {
            const float2 asks = turned(widen(asking[c]), widen(asking[c + half]), turn(c));
            query[c] = asks.x;
            query[c + half] = asks.y;
        }
        // Behind this the keys are there too, and what the query before has left is used up.
        __syncthreads();
        float max = -3.0e38f, total = 0.0f;
        clear(sums[warp], head_dim);
        for (u32 first = warp * WARP; first < end; first += DECODE_WARPS * WARP) {
            const u32 count = min(end - first, WARP);
            float score = -3.0e38f;
            if (lane < count) {
                const store_t *key = keys + (first + lane) * stride;
                float sum = 0.0f;
                for (u32 c = 0; c < head_dim; ++c) {
                    sum += query[c] * widen(key[c]);
                }
                score = scale * sum;
            }
            const float larger = fmaxf(max, group_max(score));
            const float factor = expf(max - larger), weight = lane < count ? expf(score - larger) : 0.0f;
            max = larger;
            total = factor * total + group_sum(weight);
            add_weighted(sums[warp], factor, weight, keys + first * stride + width, stride, count, head_dim);
        }
        if (lane == 0) {
            maxima[warp] = max;
            totals[warp] = total;
        }
        __syncthreads();
        float factors[DECODE_WARPS], largest = maxima[0], whole = 0.0f;
#pragma unroll
        for (u32 w = 1; w < DECODE_WARPS; ++w) {
            largest = fmaxf(largest, maxima[w]);
        }
#pragma unroll
        for (u32 w = 0; w < DECODE_WARPS; ++w) {
            factors[w] = expf(maxima[w] - largest);
            whole += factors[w] * totals[w];
        }
        for (u32 c = threadIdx.x; c < head_dim; c += blockDim.x) {
            float sum = 0.0f;
#pragma unroll
            for (u32 w = 0; w < DECODE_WARPS; ++w) {
                sum += factors[w] * sums[w][c];
            }
            o[size_t(row) * width + c] = narrow(sum / whole);
        }
    }
}

// A block has a head of a text. Head dimensions up to 1024.
BLOCK_ROWS(cached_attention, 1);
extern "C" __global__ void __launch_bounds__(128)
cached_attention(CachedAttentionArgs args) {
    attend_to_cache<true>(args);
}

// The same without rotation; rope is not read.
BLOCK_ROWS(cached_attention_free, 1);
extern "C" __global__ void __launch_bounds__(128)
cached_attention_free(CachedAttentionArgs args) {
    attend_to_cache<false>(args);
}

// Of candidate and confidence [B] what becomes of x, masked, committed_at [B, T] and remaining [B].
struct AppendTokenArgs {
    const StepArgs *step;
    const u32 *candidate;
    const float *confidence;
    u32 *x;
    u32 *masked;
    u32 *committed_at;
    u32 *remaining;
    u32 texts;
    u32 positions;
};

// A text a thread.
BLOCK_ROWS(append_token, THREADS);
extern "C" __global__ void __launch_bounds__(256)
append_token(AppendTokenArgs args) {
    const u32 b = blockIdx.x * THREADS + threadIdx.x, positions = args.positions;
    if (b >= args.texts) {
        return;
    }
    u32 *remaining = args.remaining;
    const u32 left = remaining[b], next = next_position(left, positions);
    if (next >= positions) {
        return;
    }
    if (args.confidence[b] != args.confidence[b]) {
        remaining[b] = BROKEN;
        return;
    }
    const size_t at = size_t(b) * positions + next;
    args.x[at] = args.candidate[b];
    args.masked[at] = 0;
    args.committed_at[at] = u32(args.step->step);
    remaining[b] = left - 1;
}
