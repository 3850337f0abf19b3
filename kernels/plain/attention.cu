// Attention and its backward without tensor cores: the first rung of the ladder, for any head dimension and alignment.
//
// A warp makes one head of one row. It goes over what the row meets (keys, or queries in the backward of k and v) 32 at
// a time: first each lane takes one of the 32 and makes its score, then each lane takes every 32nd column of the head
// and adds up the 32 vectors, each weighted by the score that another lane hands over by a shuffle. No score is ever
// stored, so that sequences may be of any length; and because only lanes of one warp meet, there is no block barrier.
//
// The sums of a head's columns are in shared memory, because the head dimension is not known here and an array in
// registers could not be indexed by it. A lane touches only its own columns of them until the sums are complete.
//
// qkv [N, 3C] = q | k | v, a head's D columns together; N rows = sequences of T positions; C = H·D. Of strides and
// addresses nothing is required but that each element is aligned.
#include "shared/args.cuh"
#include "shared/attention.cuh"
#include "shared/dropout.cuh"
#include "shared/reductions.cuh"
#include "shared/spans.cuh"

constexpr u32 WARPS = 4;
static_assert(WARPS * 2 * LARGEST_HEAD * sizeof(float) <= 48 * 1024, "sums of dk and dv fit static shared memory");

DEVICE float dot_product(const store_t *a, const store_t *b, u32 count) {
    float sum = 0.0f;
    for (u32 i = 0; i < count; ++i) {
        sum += widen(a[i]) * widen(b[i]);
    }
    return sum;
}

// Attention, or its backward, whose weights are dropped.
struct AttentionDropArgs {
    AttentionArgs attention[1];
    Lots lots[1];
};
struct AttentionBackwardDropArgs {
    AttentionBackwardArgs attention[1];
    Lots lots[1];
};

// What nothing is dropped by.
struct KeepAll {
    DEVICE KeepAll(const void *, u32, u32) {}
    DEVICE float factor_of_weight(u32, u32, u32) const {
        return 1.0f;
    }
};

// The lots of a row's head.
struct HeadDraws : Draws {
    DEVICE HeadDraws(const Lots *lots, u32 sequence, u32 head) : Draws(*lots, sequence, head) {}
};

// o = softmax(q kᵀ/√D) v, lse = ln Σ exp(q kᵀ/√D), with the running maximum of Milakov & Gimelshein (2018).
template <class Drops> DEVICE void attend(const AttentionArgs &args, const Lots *lots = nullptr) {
    __shared__ float sums[WARPS][LARGEST_HEAD];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 row = blockIdx.x, head = blockIdx.y * WARPS + warp, width = args.heads * args.head_dim;
    if (head >= args.heads) {
        return;
    }
    const size_t stride = 3 * size_t(width);
    const u32 position = row % args.positions;
    const store_t *q = args.qkv + row * stride + head * args.head_dim;
    const float scale = rsqrtf(float(args.head_dim));
    const Drops drops(lots, row / args.positions, head);
    float max = -3.0e38f, sum = 0.0f;
    clear(sums[warp], args.head_dim);
    for (u32 which = 0; which < 2; ++which) {
        const Span seen = keys_seen(args, row - position, position, position, which);
        const store_t *k = args.qkv + seen.row * stride + width + head * args.head_dim, *v = k + width;
        for (u32 first = seen.start; first < seen.end; first += WARP) {
            const u32 count = min(seen.end - first, WARP);
            float score = -3.0e38f;
            if (lane < count) {
                score = scale * dot_product(q, k + (first + lane) * stride, args.head_dim);
            }
            const float larger = fmaxf(max, group_max(score));
            const float factor = expf(max - larger), weight = lane < count ? expf(score - larger) : 0.0f;
            max = larger;
            sum = factor * sum + group_sum(weight);
            const float kept = weight * drops.factor_of_weight(args.positions, position, first + lane);
            add_weighted(sums[warp], factor, kept, v + first * stride, stride, count, args.head_dim);
        }
    }
    for (u32 col = lane; col < args.head_dim; col += WARP) {
        args.o[size_t(row) * width + head * args.head_dim + col] = narrow(sums[warp][col] / sum);
    }
    if (lane == 0) {
        args.lse[size_t(row) * args.heads + head] = max + logf(sum);
    }
}

// Grid: (rows, ceil(heads/4)). Head dimensions up to 1024.
extern "C" __global__ void __launch_bounds__(128, 8)
attention_plain(AttentionArgs args) {
    attend<KeepAll>(args);
}
BLOCK(attention_plain, 1, WARPS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
attention_plain_drop(AttentionDropArgs args) {
    attend<HeadDraws>(args.attention[0], args.lots);
}
BLOCK(attention_plain_drop, 1, WARPS, ROWS_FIRST);

// One query and one key: p = exp(q·k/√D - lse), ds = p·(do·v - dot)/√D; where p is dropped to p·kept, that and
// ds = p·(kept·do·v - dot)/√D.
struct Weights {
    float p;
    float ds;
};

DEVICE Weights weights_of(const store_t *q, const store_t *k, const store_t *v, const store_t *d_o, float lse,
                          float dot, u32 head_dim, float kept) {
    const float scale = rsqrtf(float(head_dim));
    const float p = expf(scale * dot_product(q, k, head_dim) - lse);
    return Weights{p * kept, scale * p * (kept * dot_product(d_o, v, head_dim) - dot)};
}

// Backward of the head norm, the rotation and the row scale r, for ŷ = q̂ or k̂ [D] and its gradient (complete):
// out = r·back(r_head·(dŷ - ŷ·⟨dŷ, ŷ⟩/D)). Every lane gets ε·r_head²·⟨dŷ, ŷ⟩, this head's share of s.
DEVICE float head_backward(const float *gradient, const store_t *y, float head_rstd, float rstd, const float2 *rope,
                           store_t *out, u32 head_dim) {
    const u32 lane = threadIdx.x % WARP, half = head_dim / 2;
    __syncwarp();
    float dot = 0.0f;
    for (u32 col = lane; col < head_dim; col += WARP) {
        dot += gradient[col] * widen(y[col]);
    }
    dot = group_sum(dot);
    const float factor = rstd * head_rstd, pull = dot / float(head_dim);
    for (u32 col = lane; col < half; col += WARP) {
        const float g1 = factor * (gradient[col] - widen(y[col]) * pull);
        const float g2 = factor * (gradient[col + half] - widen(y[col + half]) * pull);
        const float2 turn = rope[col];
        out[col] = narrow(g1 * turn.x - g2 * turn.y);
        out[col + half] = narrow(g1 * turn.y + g2 * turn.x);
    }
    return NORM_EPS * head_rstd * head_rstd * dot;
}

// A finished sum of a head's columns, stored.
DEVICE void store_head(const float *sum, store_t *to, u32 head_dim) {
    for (u32 col = threadIdx.x % WARP; col < head_dim; col += WARP) {
        to[col] = narrow(sum[col]);
    }
}

// dk and dv of dqkv, and with Norms s = ⟨dv, v⟩ + ε·r_k²·⟨dk̂, k̂⟩. A warp has one key and goes over the queries that see it.
template <bool Norms, class Drops = KeepAll>
DEVICE void backward_of_keys(const AttentionBackwardArgs &args, const Lots *lots = nullptr) {
    __shared__ float sums[WARPS][2][LARGEST_HEAD];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 row = blockIdx.x, head = blockIdx.y * WARPS + warp, width = args.heads * args.head_dim;
    if (head >= args.heads) {
        return;
    }
    const size_t stride = 3 * size_t(width);
    const u32 position = row % args.positions;
    const store_t *k = args.qkv + row * stride + width + head * args.head_dim, *v = k + width;
    const Drops drops(lots, row / args.positions, head);
    float *dk = sums[warp][0], *dv = sums[warp][1];
    clear(dk, args.head_dim);
    clear(dv, args.head_dim);
    for (u32 which = 0; which < 2; ++which) {
        const Span seeing = queries_seeing(args, row - position, position, position, which);
        for (u32 first = seeing.start; first < seeing.end; first += WARP) {
            const u32 count = min(seeing.end - first, WARP);
            const store_t *q = args.qkv + (seeing.row + first) * stride + head * args.head_dim;
            const store_t *d_o_rows = args.d_o + (seeing.row + first) * width + head * args.head_dim;
            Weights weights = {0.0f, 0.0f};
            if (lane < count) {
                const size_t at = (seeing.row + first + lane) * args.heads + head;
                const store_t *d_o_row = d_o_rows + size_t(lane) * width;
                const float kept = drops.factor_of_weight(args.positions, first + lane, position);
                weights = weights_of(q + lane * stride, k, v, d_o_row, args.lse[at], args.dot[at], args.head_dim, kept);
            }
            add_weighted(dk, 1.0f, weights.ds, q, stride, count, args.head_dim);
            add_weighted(dv, 1.0f, weights.p, d_o_rows, width, count, args.head_dim);
        }
    }
    if (!Norms) {
        store_t *const out = args.dqkv + row * stride + width + head * args.head_dim;
        store_head(dk, out, args.head_dim);
        store_head(dv, out + width, args.head_dim);
        return;
    }
    const u32 slots = (width + SUMSQ_COLS - 1) / SUMSQ_COLS;
    const float rstd = rstd_of(args.sumsq + size_t(row) * slots, slots, width);
    const float head_rstd = args.qk_rstd[size_t(row) * 2 * args.heads + args.heads + head];
    store_t *dk_out = args.dqkv + row * stride + width + head * args.head_dim, *dv_out = dk_out + width;
    const float2 *turns = args.rope + size_t(position) * (args.head_dim / 2);
    const float k_share = head_backward(dk, k, head_rstd, rstd, turns, dk_out, args.head_dim);
    float v_share = 0.0f;
    for (u32 col = lane; col < args.head_dim; col += WARP) {
        v_share += dv[col] * widen(v[col]);
        dv_out[col] = narrow(rstd * dv[col]);
    }
    v_share = group_sum(v_share);
    if (lane == 0) {
        args.s[size_t(row) * args.heads + head] = v_share + k_share;
    }
}

// Grid: (rows, ceil(heads/4)). Head dimensions up to 1024.
extern "C" __global__ void __launch_bounds__(128, 4)
attention_backward_plain_kv(AttentionBackwardArgs args) {
    backward_of_keys<true>(args);
}
BLOCK(attention_backward_plain_kv, 1, WARPS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
attention_backward_plain_kv_free(AttentionBackwardArgs args) {
    backward_of_keys<false>(args);
}
BLOCK(attention_backward_plain_kv_free, 1, WARPS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
attention_backward_plain_kv_drop(AttentionBackwardDropArgs args) {
    backward_of_keys<false, HeadDraws>(args.attention[0], args.lots);
}
BLOCK(attention_backward_plain_kv_drop, 1, WARPS, ROWS_FIRST);

// dq of dqkv, and with Norms s += ε·r_q²·⟨dq̂, q̂⟩; runs after attention_backward_plain_kv. A warp has one query.
template <bool Norms, class Drops = KeepAll>
DEVICE void backward_of_queries(const AttentionBackwardArgs &args, const Lots *lots = nullptr) {
    __shared__ float sums[WARPS][LARGEST_HEAD];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 row = blockIdx.x, head = blockIdx.y * WARPS + warp, width = args.heads * args.head_dim;
    if (head >= args.heads) {
        return;
    }
    const size_t stride = 3 * size_t(width), at = size_t(row) * args.heads + head;
    const u32 position = row % args.positions;
    const store_t *q = args.qkv + row * stride + head * args.head_dim;
    const store_t *d_o_row = args.d_o + size_t(row) * width + head * args.head_dim;
    const Drops drops(lots, row / args.positions, head);
    float *dq = sums[warp];
    clear(dq, args.head_dim);
    for (u32 which = 0; which < 2; ++which) {
        const Span seen = keys_seen(args, row - position, position, position, which);
        const store_t *k = args.qkv + seen.row * stride + width + head * args.head_dim, *v = k + width;
        for (u32 first = seen.start; first < seen.end; first += WARP) {
            const u32 count = min(seen.end - first, WARP);
            Weights weights = {0.0f, 0.0f};
            if (lane < count) {
                const size_t key = (first + lane) * stride;
                const float kept = drops.factor_of_weight(args.positions, position, first + lane);
                weights = weights_of(q, k + key, v + key, d_o_row, args.lse[at], args.dot[at], args.head_dim, kept);
            }
            add_weighted(dq, 1.0f, weights.ds, k + first * stride, stride, count, args.head_dim);
        }
    }
    if (!Norms) {
        return store_head(dq, args.dqkv + row * stride + head * args.head_dim, args.head_dim);
    }
    const u32 slots = (width + SUMSQ_COLS - 1) / SUMSQ_COLS;
    const float rstd = rstd_of(args.sumsq + size_t(row) * slots, slots, width);
    const float head_rstd = args.qk_rstd[size_t(row) * 2 * args.heads + head];
    const float2 *turns = args.rope + size_t(position) * (args.head_dim / 2);
    store_t *dq_out = args.dqkv + row * stride + head * args.head_dim;
    const float q_share = head_backward(dq, q, head_rstd, rstd, turns, dq_out, args.head_dim);
    if (lane == 0) {
        args.s[at] += q_share;
    }
}

// Grid: (rows, ceil(heads/4)). Head dimensions up to 1024.
extern "C" __global__ void __launch_bounds__(128, 7)
attention_backward_plain_q(AttentionBackwardArgs args) {
    backward_of_queries<true>(args);
}
BLOCK(attention_backward_plain_q, 1, WARPS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 7)
attention_backward_plain_q_free(AttentionBackwardArgs args) {
    backward_of_queries<false>(args);
}
BLOCK(attention_backward_plain_q_free, 1, WARPS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(128, 4)
attention_backward_plain_q_drop(AttentionBackwardDropArgs args) {
    backward_of_queries<false, HeadDraws>(args.attention[0], args.lots);
}
BLOCK(attention_backward_plain_q_drop, 1, WARPS, ROWS_FIRST);
