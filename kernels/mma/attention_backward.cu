// Backward of attention, head norm and rotary embedding for any length, in two kernels: gradients of keys and values by
// blocks of keys, then those of queries by blocks of queries. Each makes its weights anew from q, k and lse: seven
// products of [T, T] by D where a single pass needs five (attention_backward_fused.cu, up to 256 positions), but
// nothing is added across blocks, so results are the same bits every time.
//
//   qkv, dqkv [N, 3C] and d_o [N, C] stored; qk_rstd [N, 2·heads], lse, dot, s [N, heads], sumsq [N, ⌈C/128⌉] float;
//   rope [positions, D/2] (cos, sin). The formulas stand in attention_backward.cuh.
//
// Keys: a warp owns 32 rows of k and v (16 for D = 128, whose sums would not fit) and makes the transposed scores, so
// that p and ds are at once the left fragments of dv += pᵀ do and dk += dsᵀ q. Queries stream through a ring of two
// stages of 32. Queries: as in the forward, a warp keeps fragments of its queries, and keys and values stream. Under a
// causal mask, steps beyond the diagonal are left out by whole blocks and by warps; a branch masks those on it (two
// loops, with and without, spilled for D = 64). Queries beyond the last are zero and add nothing; keys beyond it are
// copies of it with weight zero.
//
// Requires: base addresses aligned to 16 bytes. The keys' kernel writes s, the queries' adds to it: launch them in this
// order.
#include "mma/attention_backward.cuh"
#include "shared/spans.cuh"

template <u32 D, u32 ROW_TILES, u32 WARPS> struct KeysShape {
    static constexpr u32 KEYS = WARPS * ROW_TILES * 16;
    static constexpr u32 OWN_BYTES = KEYS * D * 2;
    static constexpr u32 TILE_BYTES = STEP * D * 2;
    static constexpr u32 STATISTICS_BYTES = STEP * 4;
    static constexpr u32 STAGE_BYTES = 2 * (TILE_BYTES + STATISTICS_BYTES);
    static constexpr u32 BYTES = 2 * (OWN_BYTES + STAGE_BYTES);
    static_assert(BYTES <= 99 * 1024, "more than an 8.6, 8.9 or 12.0 gives one block");
};

template <u32 D, u32 ROW_TILES, u32 WARPS, Sees SEES = Sees::Text, bool Norms = true>
DEVICE void backward_of_keys(const AttentionBackwardArgs &args) {
    constexpr bool BLOCKS = SEES == Sees::Blocks;
    using Shape = KeysShape<D, ROW_TILES, WARPS>;
    using Tile = HeadTile<D>;
    extern __shared__ __align__(256) u8 shared[];
    const u32 positions = args.positions, heads = args.heads, cols = heads * D, row_len = 3 * cols;
    const u32 thread = threadIdx.x;
    const u32 tiles = ceil_div(positions, Shape::KEYS);
    HeadPlace place = head_place(tiles, positions, heads);
    // The first keys are seen by the most queries: they go first.
    place.tile = tiles - 1 - place.tile;
    const u32 first_key = place.tile * Shape::KEYS, warp_row = thread / WARP * ROW_TILES * 16;
    const u32 key = first_key + warp_row;
    const u32 k_tile = shared_address(shared), ring = k_tile + 2 * Shape::OWN_BYTES;

    const RowCopy<D, WARPS * WARP> copy;
    const store_t *k = args.qkv + place.row * row_len + cols + place.head * D + copy.chunk * 8;
    copy.template repeat_last<Shape::KEYS>(k_tile, k, row_len, first_key, positions - 1);
    copy.template repeat_last<Shape::KEYS>(k_tile + Shape::OWN_BYTES, k + cols, row_len, first_key, positions - 1);

    // Under blocks the queries of the keys' own text that see one of them, and those with noise that do.
    Span own = {}, noised = {};
    u32 own_steps = 0;
    if (BLOCKS) {
        const u32 last_key = smaller(first_key + Shape::KEYS, positions) - 1;
        own = queries_seeing(args, place.row, first_key, last_key, 0);
        noised = queries_seeing(args, place.row, first_key, last_key, 1);
        own_steps = ceil_div(own.end - own.start, STEP);
    }
    const bool is_noised = BLOCKS && place.row < args.half;
    const u32 noised_steps = BLOCKS && noised.end > noised.start ? ceil_div(noised.end - noised.start, STEP) : 0;
    const u32 steps = BLOCKS ? own_steps + noised_steps : ceil_div(positions, STEP);
    const u32 first_step = !BLOCKS && args.causal ? first_key / STEP : 0;
    const store_t *q = k - cols, *d_o = args.d_o + place.row * cols + place.head * D + copy.chunk * 8;
    const float *statistics = (thread < STEP ? args.lse : args.dot) + place.row * heads + place.head;
    const auto fetch = [&](u32 step) {
        const u32 to = ring + step % 2 * Shape::STAGE_BYTES;
        u32 first = step * STEP;
        if (BLOCKS) {
            if (step == own_steps) {
                q -= size_t(args.half) * row_len;
                d_o -= size_t(args.half) * cols;
                statistics -= size_t(args.half) * heads;
            }
            first = step < own_steps ? own.start + step * STEP : noised.start + (step - own_steps) * STEP;
        }
        copy.template zero_fill<STEP>(to, q, row_len, first, positions - 1);
        copy.template zero_fill<STEP>(to + Shape::TILE_BYTES, d_o, cols, first, positions - 1);
        if (thread < 2 * STEP) {
            const u32 query = first + thread % STEP;
            const float *from = statistics + size_t(smaller(query, positions - 1)) * heads;
            copy4_zero_fill(to + 2 * Shape::TILE_BYTES + thread * 4, from, query < positions ? 4 : 0);
        }
        copy_commit();
    };
    fetch(first_step);
    const StepAddresses base = {kept(k_tile + Tile::a_at(warp_row, 0)), kept(ring + Tile::b_at(0, 0)),
                                kept(ring + Tile::b_transposed_at(0, 0))};

    WarpKeys<D, ROW_TILES> w = {};
    copy_wait<0>();
    __syncthreads();
#pragma unroll 1
    for (u32 step = first_step; step < steps; ++step) {
        if (step + 1 < steps) {
            fetch(step + 1);
        }
        const u32 offset = step % 2 * Shape::STAGE_BYTES;
        const bool behind = BLOCKS && step >= own_steps;
        const u32 query = !BLOCKS ? step * STEP
                          : behind ? noised.start + (step - own_steps) * STEP
                                   : own.start + step * STEP;
        // The queries that see the warp's first key, and whether some of the step's may not see some of the keys.
        const u32 warp_from = BLOCKS ? key - key % args.block + (behind ? args.block : 0) : key;
        const u32 last_key = smaller(key + ROW_TILES * 16, positions) - 1;
        const u32 warp_end = last_key - last_key % args.block + args.block;
        const bool seen = BLOCKS ? key < positions && warp_from < query + STEP && (!is_noised || query < warp_end)
                                 : !args.causal || key < query + STEP;
        if (seen) {
            const u8 *statistics_at = shared + 2 * Shape::OWN_BYTES + offset + 2 * Shape::TILE_BYTES;
            const float *lse = reinterpret_cast<const float *>(statistics_at);
            const StepAddresses at = {base.a, base.b + offset, base.b_transposed + offset};
            u32 p[STEP / 16][ROW_TILES][4], ds[STEP / 16][ROW_TILES][4];
            if (BLOCKS) {
                const bool masked = is_noised || query < warp_end;
                keys_weights<true, D>(p, ds, at, Shape::OWN_BYTES, Shape::TILE_BYTES, lse, lse + STEP, masked,
                                      BlockKeysMask{key, query, positions, args.block, behind, is_noised});
            } else {
                const bool masked = args.causal && query < key + ROW_TILES * 16;
                keys_weights<true, D>(p, ds, at, Shape::OWN_BYTES, Shape::TILE_BYTES, lse, lse + STEP, masked,
                                      KeysMask{key, query, positions});
            }
            add_to_keys<D>(w, p, ds, at, Shape::TILE_BYTES);
        }
        copy_wait<0>();
        __syncthreads();
    }
    finish_keys<D, ROW_TILES, Norms>(args, place, shared, shared + Shape::OWN_BYTES, warp_row, key, w.dk, w.dv, nullptr);
}

template <u32 D, u32 ROW_TILES, u32 WARPS> struct QueriesShape {
    static constexpr u32 QUERIES = WARPS * ROW_TILES * 16;
    static constexpr u32 OWN_BYTES = QUERIES * D * 2;
    static constexpr u32 TILE_BYTES = STEP * D * 2;
    static constexpr u32 STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr u32 BYTES = 2 * (OWN_BYTES + STAGE_BYTES);
    // Under blocks, with the first position of each query's block.
    static constexpr u32 BLOCKS_BYTES = BYTES + QUERIES * 4;
    static_assert(BLOCKS_BYTES <= 99 * 1024, "more than an 8.6, 8.9 or 12.0 gives one block");
};

template <u32 D, u32 ROW_TILES> struct WarpGradients {
    u32 q[ROW_TILES][D / 16][4];
    // For D = 64 there are registers for one of the two only: do is loaded anew in every step.
    static constexpr bool HOLDS_D_O = D != 64;
    u32 d_o[ROW_TILES][HOLDS_D_O ? D / 16 : 1][4];
    float lse[ROW_TILES][2];
    float dot[ROW_TILES][2];
    float dq[ROW_TILES][D / 8][4];
};

// STEP keys, from position `key` on, against a warp's queries; with `masked`, the query at position i sees those up to
// it, for i from `query` on, and before `end`; under blocks, whose first positions `starts` has for each query, those of its
// own block, or without `own` those before, and with `through` both.
template <u32 D, u32 ROW_TILES, u32 WARPS>
DEVICE void queries_step(WarpGradients<D, ROW_TILES> &w, const StepAddresses &at, bool masked, u32 query, u32 key,
                         u32 end, const u32 *starts = nullptr, u32 block = 0, bool own = false, bool through = false) {
    using Shape = QueriesShape<D, ROW_TILES, WARPS>;
    float score_start[ROW_TILES][4], dp_start[ROW_TILES][4];
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) {
            score_start[m][e] = w.lse[m][e / 2];
            dp_start[m][e] = w.dot[m][e / 2];
        }
    }
    float score[ROW_TILES][STEP / 8][4], dp[ROW_TILES][STEP / 8][4];
#pragma unroll
    for (u32 step = 0; step < D / 16; ++step) {
        u32 q[ROW_TILES][4], d_o[ROW_TILES][4];
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                q[m][i] = w.q[m][step][i];
                d_o[m][i] = w.d_o[m][w.HOLDS_D_O ? step : 0][i];
            }
            if (!w.HOLDS_D_O) {
                load_matrices(d_o[m], HeadTile<D>::advance(at.a, step) + m * 16 * HeadTile<D>::ROW_BYTES);
            }
        }
        const u32 other = HeadTile<D>::advance(at.b, step);
        if (step == 0) {
            first_inner_products<D, true, ROW_TILES, STEP / 16>(score, score_start, q, other);
            first_inner_products<D, true, ROW_TILES, STEP / 16>(dp, dp_start, d_o, other + Shape::TILE_BYTES);
        } else {
            inner_products<D, ROW_TILES, STEP / 16>(score, q, other);
            inner_products<D, ROW_TILES, STEP / 16>(dp, d_o, other + Shape::TILE_BYTES);
        }
    }
    if (masked) {
        const u32 lane = threadIdx.x % WARP;
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                int seen = int(smaller(query + m * 16 + h * 8 + lane / 4 + 1, end)) - int(key + lane % 4 * 2);
                if (starts != nullptr) {
                    const int start = int(starts[m * 16 + h * 8 + lane / 4]) - int(key + lane % 4 * 2);
                    seen = own || through ? start + int(block) : start;
                    if (own) {
#pragma unroll
                        for (u32 j = 0; j < STEP / 8; ++j) {
                            score[m][j][2 * h] = int(j * 8) < start ? -INFINITE : score[m][j][2 * h];
                            score[m][j][2 * h + 1] = int(j * 8 + 1) < start ? -INFINITE : score[m][j][2 * h + 1];
                        }
                    }
                }
#pragma unroll
                for (u32 j = 0; j < STEP / 8; ++j) {
                    score[m][j][2 * h] = int(j * 8) < seen ? score[m][j][2 * h] : -INFINITE;
                    score[m][j][2 * h + 1] = int(j * 8 + 1) < seen ? score[m][j][2 * h + 1] : -INFINITE;
                }
            }
        }
    }
    u32 p[STEP / 16][ROW_TILES][4], ds[STEP / 16][ROW_TILES][4];
    weights_backward<D>(score, dp, p, ds);
#pragma unroll
    for (u32 i = 0; i < STEP / 16; ++i) {
        add_rows<D>(w.dq, ds[i], at.b_transposed, i * 16 * HeadTile<D>::ROW_BYTES);
    }
}

template <u32 D, u32 ROW_TILES, u32 WARPS, Sees SEES = Sees::Text, bool Norms = true>
DEVICE void backward_of_queries(const AttentionBackwardArgs &args) {
    constexpr bool BLOCKS = SEES == Sees::Blocks;
    using Shape = QueriesShape<D, ROW_TILES, WARPS>;
    using Tile = HeadTile<D>;
    extern __shared__ __align__(256) u8 shared[];
    const u32 positions = args.positions, heads = args.heads, cols = heads * D, row_len = 3 * cols;
    const u32 slots = ceil_div(cols, SUMSQ_COLS), lane = threadIdx.x % WARP;
    const HeadPlace place = head_place(ceil_div(positions, Shape::QUERIES), positions, heads);
    const u32 first_query = place.tile * Shape::QUERIES, warp_row = threadIdx.x / WARP * ROW_TILES * 16;
    const u32 query = first_query + warp_row;
    const u32 q_tile = shared_address(shared), ring = q_tile + 2 * Shape::OWN_BYTES;

    const RowCopy<D, WARPS * WARP> copy;
    const store_t *q = args.qkv + place.row * row_len + place.head * D + copy.chunk * 8, *k = q + cols;
    const store_t *d_o = args.d_o + place.row * cols + place.head * D + copy.chunk * 8;
    copy.template zero_fill<Shape::QUERIES>(q_tile, q, row_len, first_query, positions - 1);
    copy.template zero_fill<Shape::QUERIES>(q_tile + Shape::OWN_BYTES, d_o, cols, first_query, positions - 1);
    // Under blocks the keys without noise that one of the queries sees, and those with.
    const u32 last_query = smaller(first_query + Shape::QUERIES, positions) - 1;
    u32 *starts = reinterpret_cast<u32 *>(shared + Shape::BYTES);
    Span clean = {}, own = {};
    if (BLOCKS) {
        clean = keys_seen(args, place.row, first_query, last_query, 0);
        own = keys_seen(args, place.row, first_query, last_query, 1);
        k += (clean.row - place.row) * row_len;
        for (u32 row = threadIdx.x; row < Shape::QUERIES; row += WARPS * WARP) {
            const u32 position = smaller(first_query + row, positions - 1);
            starts[row] = position - position % args.block;
        }
    }
    const u32 clean_steps = ceil_div(clean.end, STEP);
    const u32 own_steps = BLOCKS && own.end > own.start ? ceil_div(own.end - own.start, STEP) : 0;
    const auto fetch = [&](u32 step) {
        const u32 to = ring + step % 2 * Shape::STAGE_BYTES;
        u32 first = step * STEP;
        if (BLOCKS && step >= clean_steps) {
            if (step == clean_steps) {
                k = q + cols;
            }
            first = own.start + (step - clean_steps) * STEP;
        }
        copy.template zero_fill<STEP>(to, k, row_len, first, positions - 1);
        copy.template zero_fill<STEP>(to + Shape::TILE_BYTES, k + cols, row_len, first, positions - 1);
        copy_commit();
    };
    fetch(0);
    const StepAddresses base = {kept(q_tile + Shape::OWN_BYTES + Tile::a_at(warp_row, 0)), kept(ring + Tile::b_at(0, 0)),
                                kept(ring + Tile::b_transposed_at(0, 0))};

    WarpGradients<D, ROW_TILES> w = {};
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 position = smaller(query + m * 16 + h * 8 + lane / 4, positions - 1);
            const size_t n = (place.row + position) * heads + place.head;
            w.lse[m][h] = args.lse[n] * (-1.0f / SCORE_SCALE<D>);
            w.dot[m][h] = -args.dot[n];
        }
    }
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 step = 0; step < D / 16; ++step) {
            load_matrices(w.q[m][step], q_tile + Tile::a_at(warp_row + m * 16, step));
            if (w.HOLDS_D_O) {
                load_matrices(w.d_o[m][step], q_tile + Shape::OWN_BYTES + Tile::a_at(warp_row + m * 16, step));
            }
        }
    }
    const u32 steps = BLOCKS ? clean_steps + own_steps
                             : ceil_div(args.causal ? smaller(positions, first_query + Shape::QUERIES) : positions, STEP);
#pragma unroll 1
    for (u32 step = 0; step < steps; ++step) {
        if (step + 1 < steps) {
            fetch(step + 1);
        }
        const u32 key = step * STEP, offset = step % 2 * Shape::STAGE_BYTES;
        if (BLOCKS) {
            const StepAddresses at = {base.a, base.b + offset, base.b_transposed + offset};
            const bool of_own = step >= clean_steps, through = place.row >= args.half;
            const u32 key = of_own ? own.start + (step - clean_steps) * STEP : step * STEP;
            const u32 from = starts[warp_row], end = starts[warp_row + ROW_TILES * 16 - 1];
            const u32 least = through ? from + args.block : from;
            const u32 seen = of_own || through ? end + args.block : end;
            if (query < positions && key < seen && (!of_own || key + STEP > from)) {
                const bool masked = of_own || key + STEP > least;
                queries_step<D, ROW_TILES, WARPS>(w, at, masked, query, key, positions, starts + warp_row, args.block,
                                                  of_own, through);
            }
        } else if (!args.causal || key < query + ROW_TILES * 16) {
            const StepAddresses at = {base.a, base.b + offset, base.b_transposed + offset};
            const bool masked = key + STEP > (args.causal ? smaller(positions, query + 1) : positions);
            // Without a causal mask every query is as one behind the last.
            queries_step<D, ROW_TILES, WARPS>(w, at, masked, args.causal ? query : positions, key, positions);
        }
        copy_wait<0>();
        __syncthreads();
    }

#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            if (!Norms) {
                put_sums<D>(w.dq[m], h, shared, warp_row + m * 16 + h * 8, SCORE_SCALE<D>);
                continue;
            }
            const u32 row = m * 16 + h * 8 + lane / 4, position = smaller(query + row, positions - 1);
            const size_t n = place.row + position;
            const float r = rstd_of(args.sumsq + n * slots, slots, cols);
            const float head_rstd = args.qk_rstd[n * 2 * heads + place.head];
            const float s = norm_rope_backward<D>(w.dq[m], h, shared, warp_row + m * 16 + h * 8, r, head_rstd,
                                                  args.rope + position * (D / 2));
            if (lane % 4 == 0 && query + row < positions) {
                args.s[n * heads + place.head] += s;
            }
        }
    }
    store_t *dq = args.dqkv + place.row * row_len + place.head * D;
    store_rows<D, ROW_TILES * 16>(shared, warp_row, dq, row_len, query, positions);
}

// Grid: (sequences·heads·⌈T/128⌉).
extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_kv_d32(AttentionBackwardArgs args) {
    backward_of_keys<32, 2, 4>(args);
}
SHARED_BYTES(attention_backward_mma_kv_d32, (KeysShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_d32, (KeysShape<32, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_kv_d64(AttentionBackwardArgs args) {
    backward_of_keys<64, 2, 4>(args);
}
SHARED_BYTES(attention_backward_mma_kv_d64, (KeysShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_d64, (KeysShape<64, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_kv_d128(AttentionBackwardArgs args) {
    backward_of_keys<128, 1, 8>(args);
}
SHARED_BYTES(attention_backward_mma_kv_d128, (KeysShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_d128, (KeysShape<128, 1, 8>::KEYS));

// Grid: (sequences·heads·⌈T/128⌉).
extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_q_d32(AttentionBackwardArgs args) {
    backward_of_queries<32, 2, 4>(args);
}
SHARED_BYTES(attention_backward_mma_q_d32, (QueriesShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_d32, (QueriesShape<32, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_q_d64(AttentionBackwardArgs args) {
    backward_of_queries<64, 2, 4>(args);
}
SHARED_BYTES(attention_backward_mma_q_d64, (QueriesShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_d64, (QueriesShape<64, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_q_d128(AttentionBackwardArgs args) {
    backward_of_queries<128, 1, 8>(args);
}
SHARED_BYTES(attention_backward_mma_q_d128, (QueriesShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_d128, (QueriesShape<128, 1, 8>::QUERIES));

// The same behind which no norms and no rotation stand.
extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_kv_free_d32(AttentionBackwardArgs args) {
    backward_of_keys<32, 2, 4, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_kv_free_d32, (KeysShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_free_d32, (KeysShape<32, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_kv_free_d64(AttentionBackwardArgs args) {
    backward_of_keys<64, 2, 4, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_kv_free_d64, (KeysShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_free_d64, (KeysShape<64, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_kv_free_d128(AttentionBackwardArgs args) {
    backward_of_keys<128, 1, 8, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_kv_free_d128, (KeysShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_backward_mma_kv_free_d128, (KeysShape<128, 1, 8>::KEYS));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_q_free_d32(AttentionBackwardArgs args) {
    backward_of_queries<32, 2, 4, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_q_free_d32, (QueriesShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_free_d32, (QueriesShape<32, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_q_free_d64(AttentionBackwardArgs args) {
    backward_of_queries<64, 2, 4, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_q_free_d64, (QueriesShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_free_d64, (QueriesShape<64, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_q_free_d128(AttentionBackwardArgs args) {
    backward_of_queries<128, 1, 8, Sees::Text, false>(args);
}
SHARED_BYTES(attention_backward_mma_q_free_d128, (QueriesShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_backward_mma_q_free_d128, (QueriesShape<128, 1, 8>::QUERIES));

// And by blocks.
extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_blocks_kv_d32(AttentionBackwardArgs args) {
    backward_of_keys<32, 2, 4, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_kv_d32, (KeysShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_kv_d32, (KeysShape<32, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_blocks_kv_d64(AttentionBackwardArgs args) {
    backward_of_keys<64, 2, 4, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_kv_d64, (KeysShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_kv_d64, (KeysShape<64, 2, 4>::KEYS));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_blocks_kv_d128(AttentionBackwardArgs args) {
    backward_of_keys<128, 1, 8, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_kv_d128, (KeysShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_kv_d128, (KeysShape<128, 1, 8>::KEYS));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_backward_mma_blocks_q_d32(AttentionBackwardArgs args) {
    backward_of_queries<32, 2, 4, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_q_d32, (QueriesShape<32, 2, 4>::BLOCKS_BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_q_d32, (QueriesShape<32, 2, 4>::QUERIES));

// With 32 queries a warp it spills.
extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_blocks_q_d64(AttentionBackwardArgs args) {
    backward_of_queries<64, 1, 8, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_q_d64, (QueriesShape<64, 1, 8>::BLOCKS_BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_q_d64, (QueriesShape<64, 1, 8>::QUERIES));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_backward_mma_blocks_q_d128(AttentionBackwardArgs args) {
    backward_of_queries<128, 1, 8, Sees::Blocks>(args);
}
SHARED_BYTES(attention_backward_mma_blocks_q_d128, (QueriesShape<128, 1, 8>::BLOCKS_BYTES));
BLOCK_ROWS(attention_backward_mma_blocks_q_d128, (QueriesShape<128, 1, 8>::QUERIES));
