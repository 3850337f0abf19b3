// The steps that the kernels of the attention's backward share.
//
//   p = exp(scale·⟨q, k⟩ - lse), dp = ⟨do, v⟩, ds = p·(dp - dot), scale = 1/√D;
//   dv = pᵀ do, dq̂ = scale·ds k, dk̂ = scale·dsᵀ q
//
// with dot = ⟨do, o⟩ per row (FlashAttention-2's D). Two of the operations cost nothing: the sums of ⟨q, k⟩ start at
// -lse/scale, those of ⟨do, v⟩ at -dot. ds is stored without the scale, which multiplies the finished sums instead; in
// half precision that also keeps three more bits of small ones.
//
// Then, in the same kernels, the backward of head norm, rotary embedding and the norm before: with ŷ = q or k as
// stored,
// (but for the `_free` kernels, where dy = dŷ)
//   dy = r·rotate_back(r_head·(dŷ - ŷ·⟨dŷ, ŷ⟩/D)),   dv := r·dv,   s = ⟨dv, v⟩ + ε·(r_q²·⟨dq̂, q̂⟩ + r_k²·⟨dk̂, k̂⟩)
#pragma once
#include "mma/attention.cuh"
#include "shared/args.cuh"

// Queries that stream past a warp's keys in one step, or keys past its queries.
constexpr u32 STEP = 32;

// Addresses of shared memory that a warp's steps start from, as `HeadTile` makes them; from stage to stage the latter
// two advance.
struct StepAddresses {
    u32 a;
    u32 b;
    u32 b_transposed;
};

// A warp's keys and values: sums of their gradients.
template <u32 D, u32 ROW_TILES> struct WarpKeys {
    float dk[ROW_TILES][D / 8][4];
    float dv[ROW_TILES][D / 8][4];
};

// Which of a warp's keys, from position `key` on, a step's queries see: those before `positions` and not after the
// query, of which the first is at `query`. Without a causal mask that may be any position behind the last.
struct KeysMask {
    u32 key;
    u32 query;
    u32 positions;
};

// The same under blocks: those from the first position of its block on, or with `behind` from the first behind it; with
// `within` only those of its block.
struct BlockKeysMask {
    u32 key;
    u32 query;
    u32 positions;
    u32 block;
    bool behind;
    bool within;
};

// Where exp2 of a sum that started at -lse/scale is p: e^(scale·x) = 2^(x·EXP2_SCALE).
template <u32 D> constexpr float EXP2_SCALE = SCORE_SCALE<D> * LOG2_E;

// sum += a·bᵀ for 16 inner columns and 16·PAIRS rows of tile `b`.
template <u32 D, u32 ROW_TILES, u32 PAIRS>
DEVICE void inner_products(float (&sum)[ROW_TILES][2 * PAIRS][4], const u32 (&a)[ROW_TILES][4], u32 b_address) {
#pragma unroll
    for (u32 j = 0; j < PAIRS; ++j) {
        u32 b[4];
        load_matrices(b, b_address + j * 16 * HeadTile<D>::ROW_BYTES);
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
            multiply_add(sum[m][2 * j], a[m], b[0], b[1]);
            multiply_add(sum[m][2 * j + 1], a[m], b[2], b[3]);
        }
    }
}

// The same, where the sums start from `start`, which belongs to the rows of a (BY_ROW) or to those of b: the product
// takes it as its third operand, so that it is never copied.
template <u32 D, bool BY_ROW, u32 ROW_TILES, u32 PAIRS>
DEVICE void first_inner_products(float (&sum)[ROW_TILES][2 * PAIRS][4],
                                 const float (&start)[BY_ROW ? ROW_TILES : 2 * PAIRS][4],
                                 const u32 (&a)[ROW_TILES][4], u32 b_address) {
#pragma unroll
    for (u32 j = 0; j < PAIRS; ++j) {
        u32 b[4];
        load_matrices(b, b_address + j * 16 * HeadTile<D>::ROW_BYTES);
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
            multiply_add_to(sum[m][2 * j], start[BY_ROW ? m : 2 * j], a[m], b[0], b[1]);
            multiply_add_to(sum[m][2 * j + 1], start[BY_ROW ? m : 2 * j + 1], a[m], b[2], b[3]);
        }
    }
}

// p and ds as fragments from the finished sums, `score` from -lse/scale on, `dp` from -dot on.
template <u32 D, u32 ROW_TILES, u32 GROUPS>
DEVICE void weights_backward(const float (&score)[ROW_TILES][GROUPS][4], const float (&dp)[ROW_TILES][GROUPS][4],
                             u32 (&p)[GROUPS / 2][ROW_TILES][4], u32 (&ds)[GROUPS / 2][ROW_TILES][4]) {
#pragma unroll
    for (u32 j = 0; j < GROUPS; ++j) {
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const float a = exp2_fast(score[m][j][2 * h] * EXP2_SCALE<D>);
                const float b = exp2_fast(score[m][j][2 * h + 1] * EXP2_SCALE<D>);
                p[j / 2][m][j % 2 * 2 + h] = pack(a, b);
                ds[j / 2][m][j % 2 * 2 + h] = pack(a * dp[m][j][2 * h], b * dp[m][j][2 * h + 1]);
            }
        }
    }
}

// sum += a·b for 16 rows of tile `b` (the inner dimension), all D columns.
template <u32 D, u32 ROW_TILES>
DEVICE void add_rows(float (&sum)[ROW_TILES][D / 8][4], const u32 (&a)[ROW_TILES][4], u32 b_address, u32 offset) {
#pragma unroll
    for (u32 pair = 0; pair < D / 16; ++pair) {
        u32 b[4];
        load_matrices_transposed(b, HeadTile<D>::advance(b_address, pair) + offset);
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
            multiply_add(sum[m][2 * pair], a[m], b[0], b[1]);
            multiply_add(sum[m][2 * pair + 1], a[m], b[2], b[3]);
        }
    }
}

// Scores of what is not seen become -∞.
template <u32 ROW_TILES> DEVICE void hide(float (&score)[ROW_TILES][STEP / 8][4], const KeysMask &mask) {
    const u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            // How many of the queries from this lane's first on come before the key.
            const u32 key = mask.key + m * 16 + h * 8 + lane / 4;
            const int before = key < mask.positions ? int(key) - int(mask.query + lane % 4 * 2) : int(STEP);
#pragma unroll
            for (u32 j = 0; j < STEP / 8; ++j) {
                score[m][j][2 * h] = int(j * 8) < before ? -INFINITE : score[m][j][2 * h];
                score[m][j][2 * h + 1] = int(j * 8 + 1) < before ? -INFINITE : score[m][j][2 * h + 1];
            }
        }
    }
}

template <u32 ROW_TILES> DEVICE void hide(float (&score)[ROW_TILES][STEP / 8][4], const BlockKeysMask &mask) {
    const u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 key = mask.key + m * 16 + h * 8 + lane / 4, start = key - key % mask.block;
            const int first = int(mask.query + lane % 4 * 2), at = int(mask.behind ? start + mask.block : start) - first;
            const int before = key < mask.positions ? at : int(STEP);
            const int end = mask.within ? int(start + mask.block) - first : int(STEP);
#pragma unroll
            for (u32 j = 0; j < STEP / 8; ++j) {
                const int a = int(j * 8), b = a + 1;
                score[m][j][2 * h] = a < before || a >= end ? -INFINITE : score[m][j][2 * h];
                score[m][j][2 * h + 1] = b < before || b >= end ? -INFINITE : score[m][j][2 * h + 1];
            }
        }
    }
}

// STEP queries against a warp's keys: pᵀ and dsᵀ. `own_bytes` lie between k and v, `tile_bytes` between q and do. `lse`
// and `dot` are what the sums start from, or with RAW what op `Attention` and the projection's backward gave.
template <bool RAW, u32 D, class Mask, u32 ROW_TILES>
DEVICE void keys_weights(u32 (&p)[STEP / 16][ROW_TILES][4], u32 (&ds)[STEP / 16][ROW_TILES][4], const StepAddresses &at,
                         u32 own_bytes, u32 tile_bytes, const float *lse, const float *dot, bool masked,
                         const Mask &mask) {
    const u32 lane = threadIdx.x % WARP;
    float score_start[STEP / 8][4], dp_start[STEP / 8][4];
#pragma unroll
    for (u32 j = 0; j < STEP / 8; ++j) {
        const float2 l = *reinterpret_cast<const float2 *>(lse + j * 8 + lane % 4 * 2);
        const float2 d = *reinterpret_cast<const float2 *>(dot + j * 8 + lane % 4 * 2);
        constexpr float FACTOR = RAW ? -1.0f / SCORE_SCALE<D> : 1.0f;
        score_start[j][0] = score_start[j][2] = l.x * FACTOR;
        score_start[j][1] = score_start[j][3] = l.y * FACTOR;
        dp_start[j][0] = dp_start[j][2] = RAW ? -d.x : d.x;
        dp_start[j][1] = dp_start[j][3] = RAW ? -d.y : d.y;
    }
    float score[ROW_TILES][STEP / 8][4], dp[ROW_TILES][STEP / 8][4];
#pragma unroll
    for (u32 step = 0; step < D / 16; ++step) {
        const u32 own = HeadTile<D>::advance(at.a, step), other = HeadTile<D>::advance(at.b, step);
        u32 k[ROW_TILES][4], v[ROW_TILES][4];
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
            load_matrices(k[m], own + m * 16 * HeadTile<D>::ROW_BYTES);
            load_matrices(v[m], own + own_bytes + m * 16 * HeadTile<D>::ROW_BYTES);
        }
        if (step == 0) {
            first_inner_products<D, false, ROW_TILES, STEP / 16>(score, score_start, k, other);
            first_inner_products<D, false, ROW_TILES, STEP / 16>(dp, dp_start, v, other + tile_bytes);
        } else {
            inner_products<D, ROW_TILES, STEP / 16>(score, k, other);
            inner_products<D, ROW_TILES, STEP / 16>(dp, v, other + tile_bytes);
        }
    }
    if (masked) {
        hide(score, mask);
    }
    weights_backward<D>(score, dp, p, ds);
}

// dv += pᵀ do, dk += dsᵀ q.
template <u32 D, u32 ROW_TILES>
DEVICE void add_to_keys(WarpKeys<D, ROW_TILES> &w, const u32 (&p)[STEP / 16][ROW_TILES][4],
                        const u32 (&ds)[STEP / 16][ROW_TILES][4], const StepAddresses &at, u32 tile_bytes) {
#pragma unroll
    for (u32 i = 0; i < STEP / 16; ++i) {
        add_rows<D>(w.dv, p[i], at.b_transposed, tile_bytes + i * 16 * HeadTile<D>::ROW_BYTES);
        add_rows<D>(w.dk, ds[i], at.b_transposed, i * 16 * HeadTile<D>::ROW_BYTES);
    }
}

// Turns a quad's sums of one row, dŷ/scale, into dy; y stands in `tile`, eight rows from `row` on, and is replaced.
// Returns the row's part of s.
template <u32 D>
DEVICE float norm_rope_backward(const float (&sum)[D / 8][4], u32 h, u8 *tile, u32 row, float r, float head_rstd,
                                const float2 *rope) {
    float dot = 0.0f;
#pragma unroll
    for (u32 j = 0; j < D / 8; ++j) {
        const float2 y = unpack(*reinterpret_cast<const u32 *>(tile + HeadTile<D>::pair_at(row, j)));
        dot += sum[j][2 * h] * y.x + sum[j][2 * h + 1] * y.y;
    }
    dot = group_sum<4>(dot) * SCORE_SCALE<D>;
    const float factor = r * head_rstd, grow = factor * SCORE_SCALE<D>, pull = factor * dot / float(D);
#pragma unroll
    for (u32 j = 0; j < D / 16; ++j) {
        u32 *low = reinterpret_cast<u32 *>(tile + HeadTile<D>::pair_at(row, j));
        u32 *high = reinterpret_cast<u32 *>(tile + HeadTile<D>::pair_at(row, j + D / 16));
        const float4 angle = *reinterpret_cast<const float4 *>(rope + j * 8 + threadIdx.x % 4 * 2);
        const float2 y = unpack(*low), z = unpack(*high);
        const float a = sum[j][2 * h] * grow - y.x * pull, b = sum[j][2 * h + 1] * grow - y.y * pull;
        const float c = sum[j + D / 16][2 * h] * grow - z.x * pull, d = sum[j + D / 16][2 * h + 1] * grow - z.y * pull;
        *low = pack(a * angle.x - c * angle.y, b * angle.z - d * angle.w);
        *high = pack(a * angle.y + c * angle.x, b * angle.w + d * angle.z);
    }
    return NORM_EPS * head_rstd * head_rstd * dot;
}

// The same for v: dv := r·dv in place of v, returns ⟨dv, v⟩.
template <u32 D> DEVICE float value_backward(const float (&sum)[D / 8][4], u32 h, u8 *tile, u32 row, float r) {
    float dot = 0.0f;
#pragma unroll
    for (u32 j = 0; j < D / 8; ++j) {
        u32 *at = reinterpret_cast<u32 *>(tile + HeadTile<D>::pair_at(row, j));
        const float2 v = unpack(*at);
        dot += sum[j][2 * h] * v.x + sum[j][2 * h + 1] * v.y;
        *at = pack(sum[j][2 * h] * r, sum[j][2 * h + 1] * r);
    }
    return group_sum<4>(dot);
}

// A quad's sums of one row, times `factor`, in place of what stands there in `tile`.
template <u32 D> DEVICE void put_sums(const float (&sum)[D / 8][4], u32 h, u8 *tile, u32 row, float factor) {
#pragma unroll
    for (u32 j = 0; j < D / 8; ++j) {
        *reinterpret_cast<u32 *>(tile + HeadTile<D>::pair_at(row, j)) =
            pack(sum[j][2 * h] * factor, sum[j][2 * h + 1] * factor);
    }
}

// Finishes a warp's keys: rows from `warp_row` on of the tiles, from position `first` on. `s_of_queries`, where given,
// is by position and is added to s.
template <u32 D, u32 ROW_TILES, bool Norms = true>
DEVICE void finish_keys(const AttentionBackwardArgs &args, const HeadPlace &place, u8 *k_tile, u8 *v_tile, u32 warp_row,
                        u32 first, const float (&dk)[ROW_TILES][D / 8][4], const float (&dv)[ROW_TILES][D / 8][4],
                        const float *s_of_queries) {
    const u32 cols = args.heads * D, slots = ceil_div(cols, SUMSQ_COLS), lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 tile_row = warp_row + m * 16 + h * 8, row = m * 16 + h * 8 + lane / 4;
            if (!Norms) {
                put_sums<D>(dv[m], h, v_tile, tile_row, 1.0f);
                put_sums<D>(dk[m], h, k_tile, tile_row, SCORE_SCALE<D>);
                continue;
            }
            const u32 position = smaller(first + row, args.positions - 1);
            const size_t n = place.row + position;
            const float r = rstd_of(args.sumsq + n * slots, slots, cols);
            const float head_rstd = args.qk_rstd[n * 2 * args.heads + args.heads + place.head];
            float s = value_backward<D>(dv[m], h, v_tile, tile_row, r);
            s += norm_rope_backward<D>(dk[m], h, k_tile, tile_row, r, head_rstd, args.rope + position * (D / 2));
            if (lane % 4 == 0 && first + row < args.positions) {
                args.s[n * args.heads + place.head] = s_of_queries ? s + s_of_queries[position] : s;
            }
        }
    }
    store_t *dk_out = args.dqkv + place.row * 3 * cols + cols + place.head * D;
    store_rows<D, ROW_TILES * 16>(k_tile, warp_row, dk_out, 3 * cols, first, args.positions);
    store_rows<D, ROW_TILES * 16>(v_tile, warp_row, dk_out + cols, 3 * cols, first, args.positions);
}
