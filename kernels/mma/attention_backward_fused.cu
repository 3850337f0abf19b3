// Backward of attention, head norm and rotary embedding in one pass, for at most 256 positions: a block has a whole
// head of one sequence on chip, so the scores are made once and nothing is added across blocks. Five products, as many
// as there must be.
//
//   qkv, dqkv [N, 3C] and d_o [N, C] stored; qk_rstd [N, 2·heads], lse, dot, s [N, heads], sumsq [N, ⌈C/128⌉] float;
//   rope [positions, D/2] (cos, sin). The formulas stand in attention_backward.cuh.
//
// Eight warps own 32 keys each, with the sums of dk and dv in registers. All of k and v stay in shared memory; q and do
// come in steps of 32 queries through a ring of two stages. Each warp makes the transposed scores of its keys, which
// are the left fragments of dv += pᵀ do and dk += dsᵀ q, and leaves dsᵀ in shared memory; then all warps together make
// the step's rows of dq from all keys: 16 queries and 16 columns a warp, final at once.
//
// Shared memory for D = 64: k, v 64 KB; ring 16 KB; ds 16 KB, which also stages dq; lse and dot 2 KB: 98 KB, what one
// block has on every architecture since 8.0. Steps of 64 queries, v in registers, or sixteen warps all spill; so
// did fetching the next step before the first barrier instead of behind it (8.6).
//
//   instructions of a step and warp, D = 64, no mask (8.0)     all    products   share
//   starting sums copied into the accumulators                 915       160     17 %
//   starting sums as third operand, half the threads finish    740       160     22 %
//
// Requires: positions ≤ 256, base addresses aligned to 16 bytes.
#include "mma/attention_backward.cuh"

// Longest sequence that fits.
HOST constexpr u32 FUSED_POSITIONS = 256;

template <u32 D> struct FusedShape {
    static constexpr u32 WARPS = 8;
    static constexpr u32 ROW_TILES = 2;
    static constexpr u32 KEYS = FUSED_POSITIONS;
    static_assert(KEYS == WARPS * ROW_TILES * 16, "every key is a warp's");
    static constexpr u32 OWN_BYTES = KEYS * D * 2;
    static constexpr u32 TILE_BYTES = STEP * D * 2;
    static constexpr u32 STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr u32 RING_AT = 2 * OWN_BYTES;
    static constexpr u32 DS_AT = RING_AT + 2 * STAGE_BYTES;
    static constexpr u32 DS_BYTES = KEYS * STEP * 2;
    static constexpr u32 LSE_AT = DS_AT + DS_BYTES;
    static constexpr u32 DOT_AT = LSE_AT + KEYS * 4;
    static constexpr u32 BYTES = DOT_AT + KEYS * 4;
    static_assert(BYTES <= 98 * 1024, "more than an 8.6, 8.9 or 12.0 gives one block");
    // Rows of dq on their way from sums to output. The even and the odd groups of four columns lie apart, and four rows
    // are followed by a gap, so that neither the pairs of sums nor the columns that threads read meet on a bank.
    static constexpr u32 DQ_HALF = D / 2 + 4;
    static constexpr u32 DQ_FLOATS = STEP * (D + 8) + STEP / 4 * 16;
    static DEVICE u32 dq_row(u32 row) {
        return row * (D + 8) + row / 4 * 16;
    }
    static_assert((DQ_FLOATS + 2 * STEP) * 4 <= DS_BYTES, "dq and two scales a row take the place of ds");
    static_assert(STEP == WARP, "a step's rows are those of the threads of one warp");
};

// Eight columns of the staged sums.
template <u32 D> DEVICE Eight staged_sums(const float *row, u32 chunk) {
    const float4 a = *reinterpret_cast<const float4 *>(row + chunk * 4);
    const float4 b = *reinterpret_cast<const float4 *>(row + FusedShape<D>::DQ_HALF + chunk * 4);
    return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

// As `store8`, which the compiler takes apart here into four stores of four bytes.
DEVICE void store_whole(store_t *to, const Eight &v) {
    const u32 a = pack(v.at[0], v.at[1]), b = pack(v.at[2], v.at[3]), c = pack(v.at[4], v.at[5]);
    __stcg(reinterpret_cast<uint4 *>(to), make_uint4(a, b, c, pack(v.at[6], v.at[7])));
}

// As `norm_rope_backward`, for a row that D / 16 threads share, with eight columns of either half each: sums `low` and
// `high` become dy, `y` and `z` are the stored values beside them; `scale` is (r, r_head).
template <u32 D>
DEVICE float finish_query(Eight &low, Eight &high, const Eight &y, const Eight &z, float2 scale,
                          const float4 (&angles)[4]) {
    float dot = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        dot += low.at[i] * y.at[i] + high.at[i] * z.at[i];
    }
    dot = group_sum<D / 16>(dot) * SCORE_SCALE<D>;
    const float factor = scale.x * scale.y, grow = factor * SCORE_SCALE<D>, pull = factor * dot / float(D);
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        const float cosine = i % 2 ? angles[i / 2].z : angles[i / 2].x;
        const float sine = i % 2 ? angles[i / 2].w : angles[i / 2].y;
        const float a = low.at[i] * grow - y.at[i] * pull, b = high.at[i] * grow - z.at[i] * pull;
        low.at[i] = a * cosine - b * sine;
        high.at[i] = a * sine + b * cosine;
    }
    return NORM_EPS * scale.y * scale.y * dot;
}

template <u32 D> DEVICE void backward_fused(const AttentionBackwardArgs &args) {
    using Shape = FusedShape<D>;
    using Tile = HeadTile<D>;
    using DsTile = HeadTile<STEP>;
    constexpr u32 ROW_TILES = Shape::ROW_TILES;
    extern __shared__ __align__(128) u8 shared[];
    const u32 positions = args.positions, heads = args.heads, cols = heads * D, row_len = 3 * cols;
    const u32 slots = ceil_div(cols, SUMSQ_COLS), thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    const HeadPlace place = head_place(1, positions, heads);
    const u32 base = shared_address(shared), key = warp * ROW_TILES * 16;
    float *lse = reinterpret_cast<float *>(shared + Shape::LSE_AT);
    float *dot = reinterpret_cast<float *>(shared + Shape::DOT_AT);

    const RowCopy<D, Shape::WARPS * WARP> copy;
    const store_t *q = args.qkv + place.row * row_len + place.head * D + copy.chunk * 8;
    const store_t *d_o = args.d_o + place.row * cols + place.head * D + copy.chunk * 8;
    copy.template repeat_last<Shape::KEYS>(base, q + cols, row_len, 0, positions - 1);
    copy.template repeat_last<Shape::KEYS>(base + Shape::OWN_BYTES, q + 2 * cols, row_len, 0, positions - 1);
    const auto fetch = [&](u32 step) {
        const u32 to = base + Shape::RING_AT + step % 2 * Shape::STAGE_BYTES;
        copy.template zero_fill<STEP>(to, q, row_len, step * STEP, positions - 1);
        copy.template zero_fill<STEP>(to + Shape::TILE_BYTES, d_o, cols, step * STEP, positions - 1);
        copy_commit();
    };
    fetch(0);
    // A query beyond the last has lse = ∞: its weights are exactly zero.
    const size_t statistic = (place.row + thread) * heads + place.head;
    lse[thread] = thread < positions ? args.lse[statistic] * (-1.0f / SCORE_SCALE<D>) : -INFINITE;
    dot[thread] = thread < positions ? -args.dot[statistic] : 0.0f;
    // A thread keeps what the output of its row is scaled with.
    const size_t own_row = place.row + smaller(thread, positions - 1);
    const float r = rstd_of(args.sumsq + own_row * slots, slots, cols);
    const float q_rstd = args.qk_rstd[own_row * 2 * heads + place.head];

    const StepAddresses first = {base + Tile::a_at(key, 0), kept(base + Shape::RING_AT + Tile::b_at(0, 0)),
                                 kept(base + Shape::RING_AT + Tile::b_transposed_at(0, 0))};

    WarpKeys<D, ROW_TILES> w = {};
    copy_wait<0>();
    __syncthreads();

    const u32 steps = ceil_div(positions, STEP);
#pragma unroll 1
    for (u32 step = 0; step < steps; ++step) {
        const u32 query = step * STEP, offset = step % 2 * Shape::STAGE_BYTES;
        // Keys from here on are seen by none of the step's queries.
        const u32 end = args.causal ? smaller(positions, query + STEP) : positions;
        if (key < end) {
            const StepAddresses at = {first.a, first.b + offset, first.b_transposed + offset};
            u32 p[STEP / 16][ROW_TILES][4], ds[STEP / 16][ROW_TILES][4];
            const bool masked = key + ROW_TILES * 16 > (args.causal ? smaller(positions, query + 1) : positions);
            keys_weights<false, D, KeysMask>(p, ds, at, Shape::OWN_BYTES, Shape::TILE_BYTES, lse + query, dot + query, masked,
                                   KeysMask{key, args.causal ? query : positions, positions});
#pragma unroll
            for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
                for (u32 e = 0; e < 8; ++e) {
                    const u32 row = key + m * 16 + e % 2 * 8;
                    *reinterpret_cast<u32 *>(shared + Shape::DS_AT + DsTile::pair_at(row, e / 2)) = ds[e / 4][m][e % 4];
                }
            }
            add_to_keys<D>(w, p, ds, at, Shape::TILE_BYTES);
        }
        __syncthreads();

        // The other stage is free since the last step's end.
        if (step + 1 < steps) {
            fetch(step + 1);
        }

        // A warp's part of dq: 16 queries, 16 columns. Two sums, of every other 16 keys, halve the chain of products
        // that wait for each other. Rows of ds are there up to a multiple of 32. The rotation for a thread's row is
        // loaded meanwhile. Half of the threads finish rows, as many of each scheduler; a phase has rows r and r + 4,
        // as in `RowCopy`.
        constexpr u32 LANES = D / 16;
        const bool finishes = thread < STEP * LANES, multiplies = D == 64 || warp < D / 8;
        const u32 row_tile = warp % 2, pair = warp / 2, chunk = thread % LANES, place_of_row = thread / LANES;
        const u32 row = place_of_row / 8 * 8 + place_of_row / 2 % 4 + place_of_row % 2 * 4;
        const u32 position = smaller(query + row, positions - 1);
        float4 angles[4];
        if (finishes) {
            const float4 *rope = reinterpret_cast<const float4 *>(args.rope + position * (D / 2) + chunk * 8);
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                angles[i] = rope[i];
            }
        }
        float *staged = reinterpret_cast<float *>(shared + Shape::DS_AT);
        float2 *row_scale = reinterpret_cast<float2 *>(staged + Shape::DQ_FLOATS);
        float dq[2][2][4] = {};
        if (multiplies) {
            const u32 ds_at = base + Shape::DS_AT + DsTile::b_at(0, row_tile);
            const u32 k_at = base + Tile::b_transposed_at(0, pair);
#pragma unroll 2
            for (u32 i = 0; i < end; i += 32) {
#pragma unroll
                for (u32 part = 0; part < 2; ++part) {
                    u32 ds[4], k[4];
                    load_matrices_transposed(ds, ds_at + (i + part * 16) * DsTile::ROW_BYTES);
                    load_matrices_transposed(k, k_at + (i + part * 16) * Tile::ROW_BYTES);
                    multiply_add(dq[part][0], ds, k[0], k[1]);
                    multiply_add(dq[part][1], ds, k[2], k[3]);
                }
            }
        }
        __syncthreads();
        if (multiplies) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                const u32 row = row_tile * 16 + e % 2 * 8 + lane / 4, group = pair * 2 + e / 2;
                float *to = staged + Shape::dq_row(row) + lane % 4 / 2 * Shape::DQ_HALF + group * 4 + lane % 2 * 2;
                *reinterpret_cast<float2 *>(to) = make_float2(dq[0][e / 2][e % 2 * 2] + dq[1][e / 2][e % 2 * 2],
                                                             dq[0][e / 2][e % 2 * 2 + 1] + dq[1][e / 2][e % 2 * 2 + 1]);
            }
        }
        if (warp == step) {
            row_scale[lane] = make_float2(r, q_rstd);
        }
        __syncthreads();

        if (finishes) {
            const u8 *q_tile = shared + Shape::RING_AT + offset;
            const Eight y = load8(reinterpret_cast<const store_t *>(q_tile + Tile::at(row, chunk)));
            const Eight z = load8(reinterpret_cast<const store_t *>(q_tile + Tile::at(row, chunk + LANES)));
            Eight low = staged_sums<D>(staged + Shape::dq_row(row), chunk);
            Eight high = staged_sums<D>(staged + Shape::dq_row(row), chunk + LANES);
            const float s = finish_query<D>(low, high, y, z, row_scale[row], angles);
            if (query + row < positions) {
                store_t *out = args.dqkv + (place.row + position) * row_len + place.head * D + chunk * 8;
                store_whole(out, low);
                store_whole(out + D / 2, high);
            }
            // The step's lse have been used up: their place keeps the queries' part of s.
            if (chunk == 0) {
                lse[query + row] = s;
            }
        }
        copy_wait<0>();
        __syncthreads();
    }
    finish_keys<D, ROW_TILES>(args, place, shared, shared + Shape::OWN_BYTES, key, key, w.dk, w.dv, lse);
}

// Grid: (sequences·heads).
extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_fused_d32(AttentionBackwardArgs args) {
    backward_fused<32>(args);
}
SHARED_BYTES(attention_backward_mma_fused_d32, FusedShape<32>::BYTES);
BLOCK_ROWS(attention_backward_mma_fused_d32, FusedShape<32>::KEYS);

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_fused_d64(AttentionBackwardArgs args) {
    backward_fused<64>(args);
}
SHARED_BYTES(attention_backward_mma_fused_d64, FusedShape<64>::BYTES);
BLOCK_ROWS(attention_backward_mma_fused_d64, FusedShape<64>::KEYS);
