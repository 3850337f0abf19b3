// Fused attention: o = softmax(q kᵀ/√D) v per head, lse = ln Σ exp(q kᵀ/√D). Scores never leave registers.
//
//   qkv [N, 3C] stored, o [N, C] stored, lse [N, heads] float; C = heads·D, N = sequences·positions.
//
// A block takes 128 queries of one head; a warp keeps its queries' fragments in registers and goes over all keys. Keys
// and values stream through a ring of two stages of 64 rows, so that shared memory does not depend on the sequence's
// length, and one barrier a stage is all that the warps wait for each other. The scores' accumulators are, element for
// element, the fragments of the second product's left side (FlashAttention-2, Dao, 2023). Row sums come from one more
// product with a column of ones, in the same rounded weights that multiply v: no shuffles, no additions.
//
// Whole blocks of keys go through a loop without any mask; the last ones, on the diagonal or at a ragged end, through a
// second one that masks in steps of 32 keys and leaves out what lies beyond a warp's diagonal. Keys beyond the last are
// copies of it, so that a weight of exactly zero multiplies a finite value.
//
//   bounded  Queries and keys are normed per head, so |q·k|/√D ≤ √D: for D ≤ 64 the weights exp(q·k/√D) lie within
//            [3.3e-4, 3.0e3], all normal numbers of either stored type, and need no maximum. log₂e/√D is multiplied
//            into the queries' fragments once (one more rounding of q) instead of into every score.
//   online   Any scores: a running maximum per row (Milakov and Gimelshein, 2018), scale and maximum in one FFMA a
//            score.
//
//   loop over whole blocks of keys, D = 64 (8.0)           instructions   products   share
//   bounded, addresses computed from the block's number             319        136    43 %
//   bounded, pointers and limits that advance                       300        136    45 %
//   online                                                          566        136    24 %
//
// Under blocks (block diffusion) the keys come in two spans: those of the text without noise that one of the block's queries
// sees, and then, for queries with noise, their own blocks; each span is masked at its ends.
//
// Requires: base addresses aligned to 16 bytes (row strides are, as D is a multiple of 32).
#include "mma/attention.cuh"
#include "shared/args.cuh"
#include "shared/spans.cuh"

enum class Scores { Bounded, Free };

constexpr u32 STAGE_KEYS = 64;
constexpr u32 MASKED_KEYS = 32;

template <u32 D, u32 ROW_TILES, u32 WARPS> struct AttentionShape {
    static constexpr u32 QUERIES = WARPS * ROW_TILES * 16;
    static constexpr u32 QUERY_BYTES = QUERIES * D * 2;
    static constexpr u32 TILE_BYTES = STAGE_KEYS * D * 2;
    static constexpr u32 STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr u32 BYTES = QUERY_BYTES + 2 * STAGE_BYTES;
    static_assert(BYTES <= 99 * 1024, "more than an 8.6, 8.9 or 12.0 gives one block");
};

// What a warp holds of its queries: ROW_TILES times 16 rows.
template <u32 D, u32 ROW_TILES> struct WarpQueries {
    u32 q[ROW_TILES][D / 16][4];
    float out[ROW_TILES][D / 8][4];
    float sum[ROW_TILES][4];
    float max[ROW_TILES][2];
};

// Two ones, as a fragment of a matrix of ones.
#if defined(STORE_BF16)
constexpr u32 ONES = 0x3f803f80u;
#else
constexpr u32 ONES = 0x3c003c00u;
#endif

// KEYS keys, the first of them at `key` of the sequence and at `offset` of shared memory from `k_at` and `v_at`. With
// MASKED, query row (m, h) sees keys below `limit`[m][h]; where `from` is given, from `from`[m][h] on.
template <Scores SCORES, bool MASKED, u32 KEYS, u32 D, u32 ROW_TILES>
DEVICE void attend_keys(WarpQueries<D, ROW_TILES> &w, const u32 (&k_at)[D / 16], const u32 (&v_at)[D / 16],
                        u32 offset, u32 key, const u32 (*limit)[2], const u32 (*from)[2] = nullptr) {
    float score[ROW_TILES][KEYS / 8][4] = {};
#pragma unroll
    for (u32 step = 0; step < D / 16; ++step) {
#pragma unroll
        for (u32 j = 0; j < KEYS / 16; ++j) {
            u32 k[4];
            load_matrices(k, k_at[step] + offset + j * 16 * HeadTile<D>::ROW_BYTES);
#pragma unroll
            for (u32 m = 0; m < ROW_TILES; ++m) {
                multiply_add(score[m][2 * j], w.q[m][step], k[0], k[1]);
                multiply_add(score[m][2 * j + 1], w.q[m][step], k[2], k[3]);
            }
        }
    }
    if (MASKED) {
        const u32 first = key + threadIdx.x % 4 * 2;
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const int seen = int(limit[m][h]) - int(first);
#pragma unroll
                for (u32 j = 0; j < KEYS / 8; ++j) {
                    score[m][j][2 * h] = int(j * 8) < seen ? score[m][j][2 * h] : -INFINITE;
                    score[m][j][2 * h + 1] = int(j * 8 + 1) < seen ? score[m][j][2 * h + 1] : -INFINITE;
                }
                if (from != nullptr) {
                    const int hidden = int(from[m][h]) - int(first);
#pragma unroll
                    for (u32 j = 0; j < KEYS / 8; ++j) {
                        score[m][j][2 * h] = int(j * 8) < hidden ? -INFINITE : score[m][j][2 * h];
                        score[m][j][2 * h + 1] = int(j * 8 + 1) < hidden ? -INFINITE : score[m][j][2 * h + 1];
                    }
                }
            }
        }
    }
    u32 weight[ROW_TILES][KEYS / 16][4];
    constexpr float SCALE = SCORE_SCALE<D> * LOG2_E;
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            float shift = 0.0f;
            if (SCORES == Scores::Free) {
                float top = w.max[m][h];
#pragma unroll
                for (u32 j = 0; j < KEYS / 8; ++j) {
                    top = fmaxf(top, fmaxf(score[m][j][2 * h], score[m][j][2 * h + 1]));
                }
                top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
                top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
                const float shrink = exp2_fast((w.max[m][h] - top) * SCALE);
                w.max[m][h] = top;
                shift = top * SCALE;
                w.sum[m][2 * h] *= shrink;
                w.sum[m][2 * h + 1] *= shrink;
#pragma unroll
                for (u32 j = 0; j < D / 8; ++j) {
                    w.out[m][j][2 * h] *= shrink;
                    w.out[m][j][2 * h + 1] *= shrink;
                }
            }
#pragma unroll
            for (u32 j = 0; j < KEYS / 8; ++j) {
                const float a = score[m][j][2 * h], b = score[m][j][2 * h + 1];
                weight[m][j / 2][j % 2 * 2 + h] =
                    SCORES == Scores::Free ? pack(exp2_fast(fmaf(a, SCALE, -shift)), exp2_fast(fmaf(b, SCALE, -shift)))
                                           : pack(exp2_fast(a), exp2_fast(b));
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < KEYS / 16; ++i) {
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
            multiply_add(w.sum[m], weight[m][i], ONES, ONES);
        }
#pragma unroll
        for (u32 pair = 0; pair < D / 16; ++pair) {
            u32 v[4];
            load_matrices_transposed(v, v_at[pair] + offset + i * 16 * HeadTile<D>::ROW_BYTES);
#pragma unroll
            for (u32 m = 0; m < ROW_TILES; ++m) {
                multiply_add(w.out[m][2 * pair], weight[m][i], v[0], v[1]);
                multiply_add(w.out[m][2 * pair + 1], weight[m][i], v[2], v[3]);
            }
        }
    }
}

template <Scores SCORES, u32 D, u32 ROW_TILES, u32 WARPS, Sees SEES = Sees::Text>
DEVICE void attend(const AttentionArgs &args) {
    constexpr bool BLOCKS = SEES == Sees::Blocks;
    using Shape = AttentionShape<D, ROW_TILES, WARPS>;
    using Tile = HeadTile<D>;
    extern __shared__ __align__(256) u8 shared[];
    const HeadPlace place = head_place(ceil_div(args.positions, Shape::QUERIES), args.positions, args.heads);
    const u32 lane = threadIdx.x % WARP, cols = args.heads * D, row_len = 3 * cols;
    const u32 first_query = place.tile * Shape::QUERIES;
    const u32 warp_row = threadIdx.x / WARP * ROW_TILES * 16;
    const store_t *q = args.qkv + place.row * row_len + place.head * D;
    const u32 q_tile = shared_address(shared), ring = q_tile + Shape::QUERY_BYTES;
    const u32 last_query = smaller(first_query + Shape::QUERIES, args.positions) - 1;
    // Under blocks the keys without noise and those with.
    Span clean = {}, own = {};
    if (BLOCKS) {
        clean = keys_seen(args, place.row, first_query, last_query, 0);
        own = keys_seen(args, place.row, first_query, last_query, 1);
    }
    const u32 end = args.causal ? smaller(args.positions, first_query + Shape::QUERIES) : args.positions;
    const u32 first_stages = ceil_div(BLOCKS ? clean.end : end, STAGE_KEYS);
    const u32 own_stages = BLOCKS && own.end > own.start ? ceil_div(own.end - own.start, STAGE_KEYS) : 0;
    const u32 stages = first_stages + own_stages;
    const u32 seen_by_all = BLOCKS ? keys_seen(args, place.row, first_query, first_query, 0).end
                                   : (args.causal ? smaller(args.positions, first_query) : args.positions);
    const u32 whole = seen_by_all / STAGE_KEYS;

    // The next stage to fetch: all that it needs advances with it, so that nothing is computed anew in the loop.
    const RowCopy<D, WARPS * WARP> copy;
    const store_t *k = q + cols + copy.chunk * 8;
    if (BLOCKS) {
        k += (clean.row - place.row) * row_len;
    }
    u32 last = args.positions - 1, fetched = 0;
    const auto fetch = [&](u32 offset) {
        if (BLOCKS && fetched++ == first_stages) {
            k = q + cols + copy.chunk * 8 + size_t(own.start) * row_len;
            last = args.positions - 1 - own.start;
        }
        copy.template repeat_last<STAGE_KEYS>(ring + offset, k, row_len, 0, last);
        copy.template repeat_last<STAGE_KEYS>(ring + offset + Shape::TILE_BYTES, k + cols, row_len, 0, last);
        copy_commit();
        k += size_t(STAGE_KEYS) * row_len;
        last -= STAGE_KEYS;
    };
    copy.template repeat_last<Shape::QUERIES>(q_tile, q + copy.chunk * 8, row_len, first_query, args.positions - 1);
    fetch(0);

    WarpQueries<D, ROW_TILES> w = {};
    u32 k_at[D / 16], v_at[D / 16];
#pragma unroll
    for (u32 step = 0; step < D / 16; ++step) {
        k_at[step] = kept(ring + Tile::b_at(0, step));
        v_at[step] = kept(Tile::advance(ring + Shape::TILE_BYTES + Tile::b_transposed_at(0, 0), step));
    }
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 step = 0; step < D / 16; ++step) {
            load_matrices(w.q[m][step], q_tile + Tile::a_at(warp_row + m * 16, step));
            if (SCORES == Scores::Bounded) {
#pragma unroll
                for (u32 i = 0; i < 4; ++i) {
                    const float2 pair = unpack(w.q[m][step][i]);
                    constexpr float SCALE = SCORE_SCALE<D> * LOG2_E;
                    w.q[m][step][i] = pack(pair.x * SCALE, pair.y * SCALE);
                }
            }
        }
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            // Under blocks a query may see none of the first keys: then this is the maximum so far.
            w.max[m][h] = BLOCKS ? -3.0e38f : -INFINITE;
        }
    }

    u32 stage = 0, offset = 0;
#pragma unroll 1
    for (; stage < whole; ++stage) {
        if (stage + 1 < stages) {
            fetch(offset ^ Shape::STAGE_BYTES);
        }
        attend_keys<SCORES, false, STAGE_KEYS>(w, k_at, v_at, offset, 0, nullptr);
        copy_wait<0>();
        __syncthreads();
        offset ^= Shape::STAGE_BYTES;
    }
    u32 limit[ROW_TILES][2];
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 query = first_query + warp_row + m * 16 + h * 8 + lane / 4;
            limit[m][h] = args.causal ? smaller(query + 1, args.positions) : args.positions;
        }
    }
    u32 warp_end =
        args.causal ? smaller(args.positions, first_query + warp_row + ROW_TILES * 16) : args.positions;
    u32 from[ROW_TILES][2] = {}, warp_from = 0;
    if (BLOCKS) {
        const u32 warp_query = smaller(first_query + warp_row, args.positions - 1);
        const u32 warp_last = smaller(warp_query + ROW_TILES * 16 - 1, args.positions - 1);
        warp_end = keys_seen(args, place.row, warp_last, warp_last, 0).end;
        warp_from = keys_seen(args, place.row, warp_query, warp_query, 1).start;
#pragma unroll
        for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                const u32 query = smaller(first_query + warp_row + m * 16 + h * 8 + lane / 4, args.positions - 1);
                limit[m][h] = keys_seen(args, place.row, query, query, 0).end;
            }
        }
    }
#pragma unroll 1
    for (; stage < stages; ++stage) {
        if (stage + 1 < stages) {
            fetch(offset ^ Shape::STAGE_BYTES);
        }
        if (BLOCKS && stage == first_stages) {
            // From here on the queries' own blocks, which begin where the keys without noise end.
            warp_end += args.block;
#pragma unroll
            for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
                for (u32 h = 0; h < 2; ++h) {
                    from[m][h] = limit[m][h];
                    limit[m][h] += args.block;
                }
            }
        }
        const bool of_own = BLOCKS && stage >= first_stages;
#pragma unroll 1
        for (u32 part = 0; part < STAGE_KEYS; part += MASKED_KEYS) {
            const u32 key = part + (of_own ? own.start + (stage - first_stages) * STAGE_KEYS : stage * STAGE_KEYS);
            if (key < warp_end && (!of_own || key + MASKED_KEYS > warp_from)) {
                attend_keys<SCORES, true, MASKED_KEYS>(w, k_at, v_at, offset + part * Tile::ROW_BYTES, key, limit,
                                                       BLOCKS ? from : nullptr);
            }
        }
        copy_wait<0>();
        __syncthreads();
        offset ^= Shape::STAGE_BYTES;
    }

    // The queries' own rows of shared memory take the outputs: no other warp reads them.
#pragma unroll
    for (u32 m = 0; m < ROW_TILES; ++m) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
            const u32 row = warp_row + m * 16 + h * 8, query = first_query + row + lane / 4;
            const float sum = w.sum[m][2 * h], factor = 1.0f / sum;
            if (lane % 4 == 0 && query < args.positions) {
                const float max = SCORES == Scores::Free ? w.max[m][h] * SCORE_SCALE<D> : 0.0f;
                args.lse[(place.row + query) * args.heads + place.head] = max + __logf(sum);
            }
#pragma unroll
            for (u32 j = 0; j < D / 8; ++j) {
                *reinterpret_cast<u32 *>(shared + Tile::pair_at(row, j)) =
                    pack(w.out[m][j][2 * h] * factor, w.out[m][j][2 * h + 1] * factor);
            }
        }
    }
    store_t *head_o = args.o + place.row * cols + place.head * D;
    store_rows<D, ROW_TILES * 16>(shared, warp_row, head_o, cols, first_query + warp_row, args.positions);
}

// Grid of every kernel: (sequences·heads·⌈T/128⌉).
extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_bounded_d32(AttentionArgs args) {
    attend<Scores::Bounded, 32, 2, 4>(args);
}
SHARED_BYTES(attention_mma_bounded_d32, (AttentionShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_bounded_d32, (AttentionShape<32, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_bounded_d64(AttentionArgs args) {
    attend<Scores::Bounded, 64, 2, 4>(args);
}
SHARED_BYTES(attention_mma_bounded_d64, (AttentionShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_bounded_d64, (AttentionShape<64, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_online_d32(AttentionArgs args) {
    attend<Scores::Free, 32, 2, 4>(args);
}
SHARED_BYTES(attention_mma_online_d32, (AttentionShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_online_d32, (AttentionShape<32, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_online_d64(AttentionArgs args) {
    attend<Scores::Free, 64, 2, 4>(args);
}
SHARED_BYTES(attention_mma_online_d64, (AttentionShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_online_d64, (AttentionShape<64, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_mma_online_d128(AttentionArgs args) {
    attend<Scores::Free, 128, 1, 8>(args);
}
SHARED_BYTES(attention_mma_online_d128, (AttentionShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_mma_online_d128, (AttentionShape<128, 1, 8>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_blocks_d32(AttentionArgs args) {
    attend<Scores::Bounded, 32, 2, 4, Sees::Blocks>(args);
}
SHARED_BYTES(attention_mma_blocks_d32, (AttentionShape<32, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_blocks_d32, (AttentionShape<32, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(128, 2)
attention_mma_blocks_d64(AttentionArgs args) {
    attend<Scores::Bounded, 64, 2, 4, Sees::Blocks>(args);
}
SHARED_BYTES(attention_mma_blocks_d64, (AttentionShape<64, 2, 4>::BYTES));
BLOCK_ROWS(attention_mma_blocks_d64, (AttentionShape<64, 2, 4>::QUERIES));

extern "C" __global__ void __launch_bounds__(256, 1)
attention_mma_blocks_d128(AttentionArgs args) {
    attend<Scores::Free, 128, 1, 8, Sees::Blocks>(args);
}
SHARED_BYTES(attention_mma_blocks_d128, (AttentionShape<128, 1, 8>::BYTES));
BLOCK_ROWS(attention_mma_blocks_d128, (AttentionShape<128, 1, 8>::QUERIES));
