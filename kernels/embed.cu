// Token and time embedding with its norm, and the gradients of both tables.
//
//     e = token[ids] + time[t],  x = e·r,  r = (Σe²/C + ε)^-½
//     de = r·(dx - x·⟨dx, x⟩/C)
//     dtoken[v] (+)= Σ de over the rows with id v,  dtime[τ] (+)= Σ de over those with t = τ
//
// Letters: B sequences, T positions, N = B·T rows, C columns, V symbols.
//
// Both are bound by the bytes of x and dx. `embed` gives a row to a warp, and reads the table rows twice (they stay in
// L1) where registers would have to hold a row of any width.
//
// The backward sums rows by symbol without atomics and without sorting the batch. A block takes a chunk of up to 64
// rows of one sequence, orders *them* by symbol (few comparisons, in shared memory), and then sums each symbol's rows
// in registers, in the order of the rows, 128 columns by half a warp. So
//  - dx and x come once from DRAM: first for ⟨dx, x⟩, a warp a row; the sums read the chunk again, 98 KB at C = 384,
//    from L1 and L2;
//  - only symbols that occur in a chunk leave a partial row (in text half masked, 29 for 100 rows), and `slots` says
//    which; so any number of symbols will do, where accumulators in shared memory end at about 400;
//  - the chunk's sum, which is all that the time table's gradient needs, falls out of the same partial rows.
// `embed_backward_reduce` adds the chunks' rows of each symbol in the order of the chunks.
//
// Soft tokens are embedded as rows of a table that has one for each place. Of those nothing is to be gathered:
// `embed_rows_backward` takes the same chunks and stores de; its chunks' sums are gathered for the time table alone.
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;

// ids [B, T], t [B] (null without a time table), token [V, C], time [timesteps, C], x [N, C], sumsq [N, ⌈C/128⌉], rstd [N].
struct EmbedArgs {
    const u32 *ids;
    const u32 *t;
    const store_t *token;
    const store_t *time;
    store_t *x;
    float *sumsq;
    float *rstd;
    u32 rows;
    u32 positions;
    u32 cols;
};

// Of dx, x [N, C] and rstd [N] the gradients dtoken [V, C] and dtime [timesteps, C] (null, as t and totals, without a time
// table). For each chunk of rows: partials [chunks, min(64, V), C], a row for each symbol that occurs; slots [chunks, V],
// the number of a symbol's row or ~0; totals [chunks, C], the sum of all its rows.
struct EmbedBackwardArgs {
    const u32 *ids;
    const u32 *t;
    const store_t *dx;
    const store_t *x;
    const float *rstd;
    float *partials;
    float *totals;
    u32 *slots;
    float *dtoken;
    float *dtime;
    u32 sequences;
    u32 positions;
    u32 cols;
    u32 symbols;
    Accumulate accumulate;
};

// Of dx, x [N, C] and rstd [N] the rows de [N, C], and totals [chunks, C] (null without a time table).
struct EmbedRowsBackwardArgs {
    const store_t *dx;
    const store_t *x;
    const float *rstd;
    float *totals;
    store_t *de;
    u32 positions;
    u32 cols;
};

// Stored numbers in the 16 bytes that an access moves.
constexpr u32 WIDE = 8;

DEVICE Eight add8(const Eight &a, const Eight &b) {
    Eight sum;
#pragma unroll
    for (u32 i = 0; i < WIDE; ++i) {
        sum.at[i] = a.at[i] + b.at[i];
    }
    return sum;
}

DEVICE float squares8(const Eight &a) {
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < WIDE; ++i) {
        sum += a.at[i] * a.at[i];
    }
    return sum;
}

// Eight numbers as they will be read back.
DEVICE Eight store8_rounded(store_t *to, const Eight &v) {
    const uint4 words =
        make_uint4(pack(v.at[0], v.at[1]), pack(v.at[2], v.at[3]), pack(v.at[4], v.at[5]), pack(v.at[6], v.at[7]));
    *reinterpret_cast<uint4 *>(to) = words;
    const float2 a = unpack(words.x), b = unpack(words.y), c = unpack(words.z), d = unpack(words.w);
    return Eight{{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}

// One row by one warp, 16 bytes a lane: 256 columns at a time, half a warp to each partial sum of squares.
DEVICE float embed_row_wide(const store_t *token, const store_t *time, store_t *x, float *sumsq, u32 cols, u32 lane) {
    const auto row = [=](u32 c) {
        const Eight e = load8(token + c);
        return time == nullptr ? e : add8(e, load8(time + c));
    };
    float sum = 0.0f;
    for (u32 c = lane * WIDE; c < cols; c += WARP * WIDE) {
        sum += squares8(row(c));
    }
    const float r = rsqrtf(group_sum(sum) / float(cols) + NORM_EPS);
    for (u32 first = 0; first < cols; first += WARP * WIDE) {
        const u32 c = first + lane * WIDE;
        float part = 0.0f;
        if (c < cols) {
            Eight e = row(c);
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                e.at[i] *= r;
            }
            part = squares8(store8_rounded(x + c, e));
        }
        part = group_sum<SUMSQ_COLS / WIDE>(part);
        if (lane % (SUMSQ_COLS / WIDE) == 0 && c < cols) {
            sumsq[c / SUMSQ_COLS] = part;
        }
    }
    return r;
}

// The same for any width and alignment, a number a lane.
DEVICE float embed_row_narrow(const store_t *token, const store_t *time, store_t *x, float *sumsq, u32 cols, u32 lane) {
    const auto row = [=](u32 c) { return widen(token[c]) + (time == nullptr ? 0.0f : widen(time[c])); };
    float sum = 0.0f;
    for (u32 c = lane; c < cols; c += WARP) {
        sum += row(c) * row(c);
    }
    const float r = rsqrtf(group_sum(sum) / float(cols) + NORM_EPS);
    for (u32 first = 0; first < cols; first += SUMSQ_COLS) {
        float part = 0.0f;
        for (u32 c = first + lane; c < min(first + SUMSQ_COLS, cols); c += WARP) {
            const store_t stored = narrow(row(c) * r);
            x[c] = stored;
            part += widen(stored) * widen(stored);
        }
        part = group_sum(part);
        if (lane == 0) {
            sumsq[first / SUMSQ_COLS] = part;
        }
    }
    return r;
}

// x = norm(token[ids] + time[t]), the sums of squares of x as stored, and r. Any width; 16-byte accesses where C is a
// multiple of 8 and the bases are aligned to 16.
BLOCK_ROWS(embed, WARPS);
extern "C" __global__ void __launch_bounds__(256, 8)
embed(EmbedArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const store_t *token_row = args.token + size_t(args.ids[row]) * cols;
    const store_t *time_row =
        args.t == nullptr ? nullptr : args.time + size_t(args.t[row / args.positions]) * cols;
    store_t *to = args.x + size_t(row) * cols;
    float *sums = args.sumsq + size_t(row) * ceil_div(cols, SUMSQ_COLS);
    const bool wide = cols % WIDE == 0 && aligned16(args.token, args.time, args.x);
    const float r = wide ? embed_row_wide(token_row, time_row, to, sums, cols, lane)
                         : embed_row_narrow(token_row, time_row, to, sums, cols, lane);
    if (lane == 0) {
        args.rstd[row] = r;
    }
}

// Rows of a chunk, and columns of a piece of a row, which half a warp sums.
HOST constexpr u32 EMBED_CHUNK = 64;
constexpr u32 PIECE = 128;
constexpr u32 HALF = WARP / 2;
static_assert(PIECE == HALF * WIDE, "a lane of half a warp has 16 bytes of a piece");
static_assert(EMBED_CHUNK % WARP == 0 && EMBED_CHUNK <= THREADS, "a thread orders one row, whole warps do");

// Rows of one sequence that a block takes: chunk q of sequence b is number b·⌈T/64⌉ + q.
struct Chunk {
    size_t row; // the first
    u32 count;

    static DEVICE Chunk of(u32 number, u32 positions) {
        const u32 chunks = ceil_div(positions, EMBED_CHUNK);
        const u32 sequence = number / chunks, first = (number - sequence * chunks) * EMBED_CHUNK;
        return Chunk{size_t(sequence) * positions + first, min(EMBED_CHUNK, positions - first)};
    }
};

// What makes de of a chunk's rows.
struct Scales {
    float r[EMBED_CHUNK];
    float mean[EMBED_CHUNK]; // ⟨dx, x⟩/C

    // Fills them, a warp a row, for the block.
    template <bool Wide>
    DEVICE void fill(const store_t *dx, const store_t *x, const float *rstd, u32 count, u32 cols) {
        const u32 lane = threadIdx.x % WARP;
        for (u32 i = threadIdx.x / WARP; i < count; i += WARPS) {
            const store_t *a = dx + size_t(i) * cols, *b = x + size_t(i) * cols;
            float sum = 0.0f;
            if (Wide) {
                for (u32 c = lane * WIDE; c < cols; c += WARP * WIDE) {
                    const Eight da = load8(a + c), xb = load8(b + c);
#pragma unroll
                    for (u32 k = 0; k < WIDE; ++k) {
                        sum += da.at[k] * xb.at[k];
                    }
                }
            } else {
                for (u32 c = lane; c < cols; c += WARP) {
                    sum += widen(a[c]) * widen(b[c]);
                }
            }
            sum = group_sum(sum);
            if (lane == 0) {
                mean[i] = sum / float(cols);
                r[i] = rstd[i];
            }
        }
        __syncthreads();
    }

    DEVICE float gradient(u32 row, float dx, float x) const {
        return r[row] * (dx - x * mean[row]);
    }
};

// A symbol that does not occur in a chunk.
constexpr u32 ABSENT = 0xffffffffu;

// The rows of a chunk, put in order by symbol: symbols by their first row, rows of one symbol as they stand.
struct Order {
    u32 id[EMBED_CHUNK];
    u32 leader[EMBED_CHUNK];    // the first row with the same symbol
    u32 row[EMBED_CHUNK];       // the order
    u32 start[EMBED_CHUNK + 1]; // where each symbol's rows start in it
    Scales scales;
    u32 symbols;
};

// Fills `order` from the ids. 2·64 comparisons for each of 64 threads, all of them reads that a warp shares.
DEVICE void order_rows(Order &order, const u32 *ids, u32 count) {
    const u32 i = threadIdx.x;
    u32 id = 0, leader = i;
    if (i < count) {
        id = ids[i];
        order.id[i] = id;
    }
    __syncthreads();
    if (i < count) {
        for (u32 j = 0; j < i; ++j) {
            if (order.id[j] == id) {
                leader = j;
                break;
            }
        }
        order.leader[i] = leader;
    }
    __syncthreads();
    if (i < count) {
        // Where this row comes in the order, and how many symbols come before its own.
        u32 place = 0, before = 0;
        for (u32 j = 0; j < count; ++j) {
            const u32 other = order.leader[j];
            place += other < leader || (other == leader && j < i) ? 1 : 0;
            before += other == j && j < leader ? 1 : 0;
        }
        order.row[place] = i;
        if (leader == i) {
            order.start[before] = place;
        }
        if (i == count - 1) {
            u32 symbols = 0;
            for (u32 j = 0; j < count; ++j) {
                symbols += order.leader[j] == j ? 1 : 0;
            }
            order.symbols = symbols;
            order.start[symbols] = count;
        }
    }
    __syncthreads();
}

// A lane's eight numbers of a piece of which `left` columns exist: neighbours where rows are read 16 bytes at a time,
// else every 16th.
template <bool Wide> DEVICE Eight load_piece(const store_t *from, u32 lane, u32 left) {
    if constexpr (Wide) {
        return load8(from + lane * WIDE);
    } else {
        Eight v;
#pragma unroll
        for (u32 i = 0; i < WIDE; ++i) {
            const u32 c = lane + i * HALF;
            v.at[i] = c < left ? widen(from[c]) : 0.0f;
        }
        return v;
    }
}

template <bool Wide>
DEVICE void chunk_gradients(Order &order, const store_t *dx, const store_t *x, const float *rstd, float *partials,
                            float *total, u32 count, u32 cols) {
    order.scales.fill<Wide>(dx, x, rstd, count, cols);

    // A half warp takes a piece of a symbol's rows at a time.
    const u32 half = threadIdx.x / HALF, in_half = threadIdx.x % HALF;
    const u32 pieces = (cols + PIECE - 1) / PIECE;
    for (u32 item = half; item < order.symbols * pieces; item += THREADS / HALF) {
        const u32 symbol = item / pieces, first = (item - symbol * pieces) * PIECE;
        const u32 left = cols - first;
        if (Wide && in_half * WIDE >= left) {
            continue;
        }
        Eight sum = {};
#pragma unroll 2
        for (u32 place = order.start[symbol]; place < order.start[symbol + 1]; ++place) {
            const u32 i = order.row[place];
            const size_t at = size_t(i) * cols + first;
            const Eight da = load_piece<Wide>(dx + at, in_half, left), xb = load_piece<Wide>(x + at, in_half, left);
#pragma unroll
            for (u32 k = 0; k < WIDE; ++k) {
                sum.at[k] += order.scales.gradient(i, da.at[k], xb.at[k]);
            }
        }
        float *to = partials + size_t(symbol) * cols + first;
        if (Wide) {
            to += in_half * WIDE;
            store16(to, sum.at[0], sum.at[1], sum.at[2], sum.at[3]);
            store16(to + 4, sum.at[4], sum.at[5], sum.at[6], sum.at[7]);
        } else {
#pragma unroll
            for (u32 k = 0; k < WIDE; ++k) {
                const u32 c = in_half + k * HALF;
                if (c < left) {
                    to[c] = sum.at[k];
                }
            }
        }
    }
    if (total == nullptr) {
        return;
    }
    __syncthreads(); // the block reads its own partial rows
    for (u32 c = threadIdx.x; c < cols; c += THREADS) {
        float sum = 0.0f;
#pragma unroll 4
        for (u32 symbol = 0; symbol < order.symbols; ++symbol) {
            sum += partials[size_t(symbol) * cols + c];
        }
        total[c] = sum;
    }
}

// Sums of de by symbol within chunks of up to 64 rows. Any width; 16-byte accesses where C is a multiple of 8 and the bases
// are aligned to 16.
BLOCK_ROWS(embed_backward, EMBED_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
embed_backward(EmbedBackwardArgs args) {
    __shared__ Order order;
    const u32 cols = args.cols, symbols = args.symbols;
    const Chunk chunk = Chunk::of(blockIdx.x, args.positions);
    const u32 count = chunk.count;
    const size_t row = chunk.row;
    u32 *slot = args.slots + size_t(blockIdx.x) * symbols;
    for (u32 v = threadIdx.x; v < symbols; v += THREADS) {
        slot[v] = ABSENT;
    }
    order_rows(order, args.ids + row, count); // its barriers stand between ABSENT and what follows
    for (u32 symbol = threadIdx.x; symbol < order.symbols; symbol += THREADS) {
        slot[order.id[order.row[order.start[symbol]]]] = symbol;
    }
    const store_t *dx = args.dx + row * cols, *x = args.x + row * cols;
    float *partials = args.partials + size_t(blockIdx.x) * min(EMBED_CHUNK, symbols) * cols;
    float *total = args.totals == nullptr ? nullptr : args.totals + size_t(blockIdx.x) * cols;
    if (cols % WIDE == 0 && aligned16(args.dx, args.x, partials)) {
        chunk_gradients<true>(order, dx, x, args.rstd + row, partials, total, count, cols);
    } else {
        chunk_gradients<false>(order, dx, x, args.rstd + row, partials, total, count, cols);
    }
}

// Stores de of a chunk's rows and sums them up, a thread `Cols` neighbouring columns of all of them, in order.
template <u32 Cols>
DEVICE void chunk_rows(const Scales &scales, const store_t *dx, const store_t *x, store_t *de, float *total, u32 count,
                       u32 cols) {
    for (u32 c = threadIdx.x * Cols; c < cols; c += THREADS * Cols) {
        float sum[Cols] = {};
#pragma unroll 4
        for (u32 i = 0; i < count; ++i) {
            const size_t at = size_t(i) * cols + c;
            if constexpr (Cols == 2) {
                const float2 da = unpack(*reinterpret_cast<const store2_t *>(dx + at));
                const float2 xb = unpack(*reinterpret_cast<const store2_t *>(x + at));
                const float low = scales.gradient(i, da.x, xb.x), high = scales.gradient(i, da.y, xb.y);
                *reinterpret_cast<store2_t *>(de + at) = pack(low, high);
                sum[0] += low;
                sum[1] += high;
            } else {
                const float gradient = scales.gradient(i, widen(dx[at]), widen(x[at]));
                de[at] = narrow(gradient);
                sum[0] += gradient;
            }
        }
        if (total != nullptr) {
#pragma unroll
            for (u32 k = 0; k < Cols; ++k) {
                total[c + k] = sum[k];
            }
        }
    }
}

// de of chunks of up to 64 rows. Any width; 4-byte accesses where C is a multiple of 8 and the bases are aligned to 16.
BLOCK_ROWS(embed_rows_backward, EMBED_CHUNK);
extern "C" __global__ void __launch_bounds__(256, 4)
embed_rows_backward(EmbedRowsBackwardArgs args) {
    __shared__ Scales scales;
    const u32 cols = args.cols;
    const Chunk chunk = Chunk::of(blockIdx.x, args.positions);
    const store_t *dx = args.dx + chunk.row * cols, *x = args.x + chunk.row * cols;
    store_t *de = args.de + chunk.row * cols;
    float *total = args.totals == nullptr ? nullptr : args.totals + size_t(blockIdx.x) * cols;
    if (cols % WIDE == 0 && aligned16(args.dx, args.x, args.de)) {
        scales.fill<true>(dx, x, args.rstd + chunk.row, chunk.count, cols);
        chunk_rows<2>(scales, dx, x, de, total, chunk.count, cols);
    } else {
        scales.fill<false>(dx, x, args.rstd + chunk.row, chunk.count, cols);
        chunk_rows<1>(scales, dx, x, de, total, chunk.count, cols);
    }
}

// Columns of a block of the reduction: four a lane, every 32nd. And how many rows are read before the first is added.
constexpr u32 REDUCE_COLS = 128;
constexpr u32 LANE_COLS = REDUCE_COLS / WARP;
constexpr u32 AHEAD = 4;
static_assert(WARP % AHEAD == 0, "rows are taken from a warp's 32 units, four at a time");

// Adds up to four rows of partial sums, in order; row i is at[i], or nothing.
DEVICE void add_rows(float (&sum)[LANE_COLS], const float *const (&at)[AHEAD], u32 cols, u32 column) {
    float rows[AHEAD][LANE_COLS];
#pragma unroll
    for (u32 i = 0; i < AHEAD; ++i) {
#pragma unroll
        for (u32 k = 0; k < LANE_COLS; ++k) {
            const u32 c = column + k * WARP;
            rows[i][k] = at[i] != nullptr && c < cols ? at[i][c] : 0.0f;
        }
    }
#pragma unroll
    for (u32 i = 0; i < AHEAD; ++i) {
#pragma unroll
        for (u32 k = 0; k < LANE_COLS; ++k) {
            sum[k] += rows[i][k];
        }
    }
}

// dtoken[v] (+)= the partial rows of symbol v in the order of the chunks; dtime[τ] (+)= the totals of the sequences
// with t = τ. A block makes 128 columns of one row of either table: its 8 warps take an eighth of the chunks (or
// sequences) each, in order, and the eighths are added in order. Rows of accesses are 128 bytes, aligned or not.
BLOCK(embed_backward_reduce, 1, REDUCE_COLS, ROWS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 4)
embed_backward_reduce(EmbedBackwardArgs args) {
    __shared__ float eighths[WARPS][REDUCE_COLS];
    const u32 sequences = args.sequences, cols = args.cols, symbols = args.symbols;
    const u32 chunks = ceil_div(args.positions, EMBED_CHUNK);
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const u32 column = blockIdx.y * REDUCE_COLS + lane;
    const bool is_token = blockIdx.x < symbols;
    const u32 index = is_token ? blockIdx.x : blockIdx.x - symbols;
    const u32 units = is_token ? sequences * chunks : sequences;
    const u32 share = ceil_div(units, WARPS);
    const u32 end = min(units, (warp + 1) * share);
    const u32 kept = min(EMBED_CHUNK, symbols);
    float sum[LANE_COLS] = {};
    for (u32 first = warp * share; first < end; first += WARP) {
        const u32 unit = first + lane;
        const float *rows[AHEAD];
        if (is_token) {
            const u32 mine = unit < end ? args.slots[size_t(unit) * symbols + index] : ABSENT;
            const u32 present = __ballot_sync(FULL_MASK, mine != ABSENT);
#pragma unroll 1
            for (u32 at = 0; at < WARP; at += AHEAD) {
                if ((present >> at & ((1u << AHEAD) - 1)) == 0) {
                    continue;
                }
#pragma unroll
                for (u32 i = 0; i < AHEAD; ++i) {
                    const u32 slot = __shfl_sync(FULL_MASK, mine, at + i);
                    rows[i] = slot == ABSENT ? nullptr
                                             : args.partials + (size_t(first + at + i) * kept + slot) * cols;
                }
                add_rows(sum, rows, cols, column);
            }
        } else {
            const bool mine = unit < end && args.t[unit] == index;
            for (u32 present = __ballot_sync(FULL_MASK, mine); present != 0; present &= present - 1) {
                const float *row = args.totals + size_t(first + __ffs(present) - 1) * chunks * cols;
#pragma unroll 1
                for (u32 q = 0; q < chunks; q += AHEAD) {
#pragma unroll
                    for (u32 i = 0; i < AHEAD; ++i) {
                        rows[i] = q + i < chunks ? row + size_t(q + i) * cols : nullptr;
                    }
                    add_rows(sum, rows, cols, column);
                }
            }
        }
    }
#pragma unroll
    for (u32 i = 0; i < LANE_COLS; ++i) {
        eighths[warp][lane + i * WARP] = sum[i];
    }
    __syncthreads();
    const u32 c = blockIdx.y * REDUCE_COLS + threadIdx.x;
    if (threadIdx.x >= REDUCE_COLS || c >= cols) {
        return;
    }
    float total = 0.0f;
#pragma unroll
    for (u32 w = 0; w < WARPS; ++w) {
        total += eighths[w][threadIdx.x];
    }
    put((is_token ? args.dtoken : args.dtime)[size_t(index) * cols + c], total, args.accumulate);
}
