// The head's loss on tensor cores: logits, softmax, cross-entropy and their gradient, with no logit ever in memory.
//
//     logits = r·(x Wᵀ)              x [N, C], W [V, C]
//     p = softmax(logits)            without symbol `drop`
//     cross_entropy = -ln p[target]
//     d = weight·scale·(p - onehot(target)), dlogits = r·d [N, V], s = ⟨d, logits⟩
//
// Tiling: a block makes 128 rows and goes over the symbols 128 at a time, so that a row never leaves its block. Each of
// 8 warps has 16 whole rows: a row's 128 logits are in the 4 lanes of a quad, 32 each, and a sum over them takes two
// shuffles. Up to 128 symbols (characters) are one tile, whose logits wait in registers for their sum. More symbols are
// gone over twice, first for the sums, then for the gradient. Multiplying again takes 2·C flops a logit, storing it and
// reading it back 8 bytes: on an A100, with 156 flops a byte, multiplying is faster up to C = 600, and needs no memory.
//
// 16-byte stores cost nothing here, neither shared memory nor shuffles: which symbol stands at which column of the tile
// is free, because a lane of ldmatrix may point at any row of W. The mma gives lane q of a quad columns 8j + 2q and the
// next; symbol 32·(j/4) + 8q + 2·(j%4) is put there, so that a lane's 4 neighbouring fragments are 8 neighbouring
// symbols. A phase of ldmatrix then reads 4 pairs of rows, 8 apart: W is swizzled by row/8, x as usual by row/2.
//
// The pipeline, 3 stages of 32 columns, runs through all tiles and both sweeps without being drained, because nothing
// between two products needs shared memory. One barrier a stage: behind it, everyone has read the stage before.
//
// The ladder (registers, the most on sm_80, 86, 89, 90 and 120; blocks per SM):
//     head_loss_plain                       101   2   no tensor cores
//     logits multiplied by r where read     176   1   held to two blocks it spills 96 bytes
//     multiplied in place                   128   2   no spills
//     and no stage copied in vain           128   2   14 % fewer sectors read at C = 384: head_loss
// 32 of the loop's 141 instructions on sm_80 are HMMA (23 %); 30 others run only where a tile of symbols ends. No bank
// conflicts; sectors as few as possible, and mma flops the useful ones, if rows and symbols are whole tiles.
#include "mma/instructions.cuh"
#include "shared/args.cuh"
#include "shared/softmax.cuh"

constexpr u32 THREADS = 256;
constexpr u32 TILE_ROWS = 128;
constexpr u32 TILE_SYMBOLS = 128;
constexpr u32 TILE_INNER = 32;
constexpr u32 STAGES = 3;
constexpr u32 CHUNK = 8; // numbers in 16 bytes
constexpr u32 ROW_BYTES = TILE_INNER * sizeof(store_t);
constexpr u32 SIDE_BYTES = TILE_ROWS * ROW_BYTES;
constexpr u32 STAGE_BYTES = 2 * SIDE_BYTES;
constexpr u32 FRAGMENTS = TILE_SYMBOLS / 8;
constexpr u32 GROUPS = FRAGMENTS / 4; // of 4 fragments: 8 neighbouring symbols of a lane
constexpr u32 QUAD = 4;
constexpr u32 COPIED_ROWS = THREADS / QUAD; // of x and of W at a time, a quad each
static_assert(TILE_ROWS == THREADS / WARP * 16, "a warp has the 16 rows of one mma");
static_assert(TILE_ROWS == TILE_SYMBOLS, "both sides of a stage are copied alike");
static_assert(ROW_BYTES == 64, "the swizzles are made for rows of four chunks");
static_assert(2 * STAGES * STAGE_BYTES <= 99 * 1024, "two blocks are resident wherever 100 KB are shared memory");

extern __shared__ __align__(128) u8 shared[]; // STAGES stages, each a tile of x, then one of W

// Copies stages of x and W, tile of symbols by tile, and from the first tile again while any are `left`. A thread
// copies one chunk of two rows of each; what lies outside becomes zero, and its address, whatever it is, is not read.
struct Loader {
    const store_t *x, *w; // the chunk in the thread's first row
    u32 x_rows, w_rows;   // rows from the thread's first one on that exist
    u32 inner, symbols;
    u32 tile, k; // what comes next
    u32 stage;   // where it goes
    u32 left;    // stages to be copied

    // The next stage, as a group of copies of its own, which is empty at the end.
    DEVICE void next() {
        if (left > 0) {
            copy();
            --left;
        }
        copy_commit();
    }

    DEVICE void copy() {
        const u32 row = threadIdx.x / QUAD, chunk = threadIdx.x % QUAD;
        const u32 to = shared_address(shared) + stage * STAGE_BYTES + row * ROW_BYTES;
        const u32 x_to = to + (chunk ^ (row / 2 % 4)) * 16, w_to = to + SIDE_BYTES + (chunk ^ (row / 8 % 4)) * 16;
        const bool inside = k + chunk * CHUNK < inner;
#pragma unroll
        for (u32 i = 0; i < TILE_ROWS; i += COPIED_ROWS) {
            copy16_zero_fill(x_to + i * ROW_BYTES, x + size_t(i) * inner, inside && i < x_rows ? 16 : 0);
            copy16_zero_fill(w_to + i * ROW_BYTES, w + size_t(i) * inner, inside && tile + i < w_rows ? 16 : 0);
        }
        stage = stage + 1 < STAGES ? stage + 1 : 0;
        k += TILE_INNER;
        x += TILE_INNER;
        w += TILE_INNER;
        if (k >= inner) {
            x -= k;
            w += size_t(TILE_SYMBOLS) * inner - k;
            k = 0;
            tile += TILE_SYMBOLS;
            if (tile >= symbols) {
                w -= size_t(tile) * inner;
                tile = 0;
            }
        }
    }
};

// How many of `count` lie from `first` on.
DEVICE u32 count_from(u32 first, u32 count) {
    return count > first ? count - first : 0;
}

// Sixteen rows of a warp times 128 symbols: [j][2h + e] is row lane/4 + 8h, symbol 32·(j/4) + 8·(lane%4) + 2·(j%4) + e.
typedef float Logits[FRAGMENTS][4];

// One stage: two steps of 16 columns.
DEVICE void multiply_stage(Logits &logits, u32 stage) {
    const u32 lane = threadIdx.x % WARP, base = shared_address(shared) + stage * STAGE_BYTES;
    const u32 x_row = threadIdx.x / WARP * 16 + lane % 16;
    const u32 x_at = base + x_row * ROW_BYTES + ((lane / 16) ^ (x_row / 2 % 4)) * 16;
    // Four matrices: fragments j and j + 1, each at k and k + 8.
    const u32 pair = lane % 8 / 2, w_row = pair * 8 + lane / 16 * 2 + lane % 2;
    const u32 w_at = base + SIDE_BYTES + w_row * ROW_BYTES + ((lane / 8 % 2) ^ pair) * 16;
#pragma unroll
    for (u32 step = 0; step < TILE_INNER / 16; ++step) {
        u32 a[4];
        load_matrices(a, x_at ^ (step * 32));
#pragma unroll
        for (u32 j = 0; j < FRAGMENTS; j += 2) {
            u32 b[4];
            load_matrices(b, (w_at ^ (step * 32)) + (j / 4 * 32 + j % 4 * 2) * ROW_BYTES);
            multiply_add(logits[j], a, b[0], b[1]);
            multiply_add(logits[j + 1], a, b[2], b[3]);
        }
    }
}

// The place of number `i` (of 8) of a group (of 4) of a lane's symbols, from the lane's first symbol in the tile on.
DEVICE u32 place_of(u32 group, u32 i) {
    return group * 32 + i;
}

// What a lane must know of the symbols, as places: to compare, these are constants, where symbols would take registers.
struct Places {
    u32 count; // places from here on are no symbols
    u32 target;
    u32 drop;

    DEVICE bool counts(u32 place) const {
        return place < count && place != drop;
    }
};

DEVICE Places places_of(u32 first, u32 symbols, u32 target, u32 drop) {
    return Places{count_from(first, symbols), target - first, drop - first};
}

template <u32 Half> DEVICE float logit_of(const Logits &logits, u32 group, u32 i) {
    return logits[group * 4 + i / 2][2 * Half + i % 2];
}

// Adds one row's share of a tile to its sums.
template <u32 Half> DEVICE void add_logits(SoftmaxSums &sums, const Logits &logits, const Places &places) {
    float max = sums.max;
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
#pragma unroll
        for (u32 i = 0; i < CHUNK; ++i) {
            max = fmaxf(max, places.counts(place_of(group, i)) ? logit_of<Half>(logits, group, i) : LOWEST);
        }
    }
    sums.raise(max);
    // The tile's own first: one by one, a vocabulary of 50,000 symbols would round a lane's sums 12,500 times.
    float sum = 0.0f, moment = 0.0f;
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
#pragma unroll
        for (u32 i = 0; i < CHUNK; ++i) {
            const float logit = logit_of<Half>(logits, group, i);
            if (places.counts(place_of(group, i))) {
                sums.add(logit, sum, moment);
            }
            sums.target_logit = place_of(group, i) == places.target ? logit : sums.target_logit;
        }
    }
    sums.sum += sum;
    sums.moment += moment;
}

// Writes one row's share of a tile of dlogits, from the lane's first symbol on.
template <u32 Half>
DEVICE void write_gradient(store_t *dlogits, const SoftmaxSums &sums, const Logits &logits, float rstd, float gain,
                           const Places &places, u32 symbols) {
    const float factor = rstd * gain, share = __fdividef(factor, sums.sum);
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
        Eight d;
#pragma unroll
        for (u32 i = 0; i < CHUNK; ++i) {
            const u32 place = place_of(group, i);
            const float term = softmax_term(logit_of<Half>(logits, group, i), sums.max);
            d.at[i] = (place == places.drop ? 0.0f : share * term) - (place == places.target ? factor : 0.0f);
        }
        store_t *to = dlogits + place_of(group, 0);
        if (symbols % CHUNK == 0) {
            if (place_of(group, 0) < places.count) {
                store8(to, d);
            }
            continue;
        }
#pragma unroll
        for (u32 i = 0; i < CHUNK; i += 2) {
            const u32 left = count_from(place_of(group, i), places.count);
            if (symbols % 2 == 0 && left > 0) {
                *reinterpret_cast<store2_t *>(to + i) = pack(d.at[i], d.at[i + 1]);
            } else {
                if (left > 0) {
                    to[i] = narrow(d.at[i]);
                }
                if (left > 1) {
                    to[i + 1] = narrow(d.at[i + 1]);
                }
            }
        }
    }
}

// Requires inner % 8 == 0 and x and w aligned to 16 bytes, and dlogits where symbols % 8 == 0.
template <bool Normed> DEVICE void head_loss(const HeadLossArgs &args) {
    // What the loops need is kept; the rest is read where it is used, since there are no registers left.
    const u32 rows = args.rows, inner = args.inner, symbols = args.symbols;
    const u32 lane = threadIdx.x % WARP;
    const u32 first_row = blockIdx.x * TILE_ROWS;
    const u32 tiles = (symbols + TILE_SYMBOLS - 1) / TILE_SYMBOLS;
    const u32 slots = (inner + SUMSQ_COLS - 1) / SUMSQ_COLS;
    const u32 sweeps = tiles > 1 ? 2 : 1;
    const u32 copied = threadIdx.x / QUAD, chunk = threadIdx.x % QUAD * CHUNK;
    Loader loader = {};
    loader.x = args.x + size_t(first_row + copied) * inner + chunk;
    loader.w = args.w + size_t(copied) * inner + chunk;
    loader.x_rows = count_from(first_row + copied, rows);
    loader.w_rows = count_from(copied, symbols);
    loader.inner = inner;
    loader.symbols = symbols;
    loader.left = sweeps * tiles * ((inner + TILE_INNER - 1) / TILE_INNER);
#pragma unroll
    for (u32 ahead = 0; ahead < STAGES - 1; ++ahead) {
        loader.next();
    }
    // A quad has two rows, 8 apart. Its lanes look up one each and tell the others.
    const u32 row = first_row + threadIdx.x / WARP * 16 + lane / QUAD, own_row = row + lane % 2 * 8;
    const bool inside = own_row < rows;
    const float own_rstd = inside ? Normed ? rstd_of(args.sumsq + size_t(own_row) * slots, slots, inner) : 1.0f : 0.0f;
    const float own_gain = inside ? args.weight[own_row] * (args.scale != nullptr ? args.scale[0] : 1.0f) : 0.0f;
    const u32 own_target = inside ? args.target[own_row] : 0;
    float rstd[2], gain[2];
    u32 wanted[2];
    SoftmaxSums sums[2];
#pragma unroll
    for (u32 h = 0; h < 2; ++h) {
        const u32 from = lane / 2 * 2 + h;
        rstd[h] = __shfl_sync(FULL_MASK, own_rstd, from);
        gain[h] = __shfl_sync(FULL_MASK, own_gain, from);
        wanted[h] = __shfl_sync(FULL_MASK, own_target, from);
        sums[h] = SoftmaxSums{LOWEST, 0.0f, 0.0f, 0.0f};
    }
    u32 stage = 0;
    for (u32 step = 0; step < sweeps * tiles; ++step) {
        Logits logits = {};
        for (u32 k = 0; k < inner; k += TILE_INNER) {
            copy_wait<STAGES - 2>();
            __syncthreads();
            loader.next();
            multiply_stage(logits, stage);
            stage = stage + 1 < STAGES ? stage + 1 : 0;
        }
#pragma unroll
        for (u32 j = 0; j < FRAGMENTS; ++j) {
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                logits[j][i] *= rstd[i / 2];
            }
        }
        const u32 first = (step < tiles ? step : step - tiles) * TILE_SYMBOLS + lane % QUAD * CHUNK;
        const Places places[2] = {places_of(first, symbols, wanted[0], args.drop),
                                  places_of(first, symbols, wanted[1], args.drop)};
        if (step < tiles) {
            add_logits<0>(sums[0], logits, places[0]);
            add_logits<1>(sums[1], logits, places[1]);
        }
        if (step + 1 == tiles) {
#pragma unroll
            for (u32 h = 0; h < 2; ++h) {
                sums[h].merge<QUAD>();
                if (row + 8 * h < rows && lane % QUAD == 0) {
                    // Where the target is the dropped symbol, its p is 0.
                    const float infinity = __int_as_float(0x7f800000);
                    args.cross_entropy[row + 8 * h] = wanted[h] == args.drop ? infinity : sums[h].cross_entropy();
                    args.s[row + 8 * h] = gain[h] * sums[h].excess();
                }
            }
        }
        if (step >= tiles || sweeps == 1) {
            store_t *to = args.dlogits + size_t(row) * symbols + first;
            if (row < rows) {
                write_gradient<0>(to, sums[0], logits, rstd[0], gain[0], places[0], symbols);
            }
            if (row + 8 < rows) {
                write_gradient<1>(to + 8 * size_t(symbols), sums[1], logits, rstd[1], gain[1], places[1],
                                  symbols);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
head_loss_mma(const __grid_constant__ HeadLossArgs args) {
    head_loss<true>(args);
}
SHARED_BYTES(head_loss_mma, STAGES * STAGE_BYTES);
BLOCK_ROWS(head_loss_mma, TILE_ROWS);

// The same for rows that are normed already.
extern "C" __global__ void __launch_bounds__(256, 2)
head_loss_mma_free(const __grid_constant__ HeadLossArgs args) {
    head_loss<false>(args);
}
SHARED_BYTES(head_loss_mma_free, STAGES * STAGE_BYTES);
BLOCK_ROWS(head_loss_mma_free, TILE_ROWS);
