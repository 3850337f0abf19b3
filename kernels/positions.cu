// Tokens with learned positions, and the gradients of both tables.
//
//     x = token[ids] + position[p]
//     dtoken[v] (+)= Σ dx over the rows with id v,  dposition[p] (+)= Σ dx over those at p
//
// Letters: B sequences, T positions, N = B·T rows, C columns, V symbols.
//
// The forward gives a row to a warp. In the backward a block makes 128 columns of one row of either table: its 8 warps take
// an eighth of the rows that may count each, in order, and the eighths are added in order. It reads the ids once for each
// symbol and 128 columns, N·V·C/128 of them: for characters as many bytes as dx has. No atomics, no sorting, no partial rows.
#include "shared/reductions.cuh"
#include "shared/texts.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 WIDE = 8;

// ids [B, T], open [B] or null, token [V, C], position [., C], x [N, C]. With `open` the one row of a text stands at the first
// of its open positions, of `of`.
struct EmbedPositionsArgs {
    const u32 *ids;
    const u32 *open;
    const store_t *token;
    const store_t *position;
    store_t *x;
    u32 of;
    u32 rows;
    u32 positions;
    u32 cols;
};

// A row a warp. Any width; 16-byte accesses where C is a multiple of 8 and the bases are aligned to 16.
BLOCK_ROWS(embed_positions, WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
embed_positions(EmbedPositionsArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const u32 place = args.open == nullptr ? row % args.positions
                                           : min(next_position(args.open[row], args.of), args.of - 1);
    const store_t *token = args.token + size_t(args.ids[row]) * cols, *position = args.position + size_t(place) * cols;
    store_t *to = args.x + size_t(row) * cols;
    if (cols % WIDE == 0 && aligned16(args.token, args.position, args.x)) {
        for (u32 c = lane * WIDE; c < cols; c += WARP * WIDE) {
            const Eight a = load8(token + c), b = load8(position + c);
            Eight sum;
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                sum.at[i] = a.at[i] + b.at[i];
            }
            store8(to + c, sum);
        }
    } else {
        for (u32 c = lane; c < cols; c += WARP) {
            to[c] = narrow(widen(token[c]) + widen(position[c]));
        }
    }
}

// Of dx [N, C] and ids [B, T] the gradients dtoken [V, C] and dposition [table, C].
struct EmbedPositionsBackwardArgs {
    const u32 *ids;
    const store_t *dx;
    float *dtoken;
    float *dposition;
    u32 sequences;
    u32 positions;
    u32 cols;
    u32 symbols;
    Accumulate accumulate;
};

// Columns of a block: four a lane, every 32nd.
constexpr u32 SUM_COLS = 128;
constexpr u32 LANE_COLS = SUM_COLS / WARP;

BLOCK(embed_positions_backward, 1, SUM_COLS, ROWS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 4)
embed_positions_backward(EmbedPositionsBackwardArgs args) {
    __shared__ float eighths[WARPS][SUM_COLS];
    const u32 cols = args.cols, positions = args.positions;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, column = blockIdx.y * SUM_COLS + lane;
    const bool is_token = blockIdx.x < args.symbols;
    const u32 index = is_token ? blockIdx.x : blockIdx.x - args.symbols;
    // Rows that may count: all of them, or one of each sequence.
    const u32 units = is_token ? args.sequences * positions : index < positions ? args.sequences : 0;
    const u32 share = ceil_div(units, WARPS), end = min(units, (warp + 1) * share);
    float sum[LANE_COLS] = {};
    for (u32 first = warp * share; first < end; first += WARP) {
        const u32 unit = first + lane;
        const bool counts = unit < end && (!is_token || args.ids[unit] == index);
        for (u32 present = __ballot_sync(FULL_MASK, counts); present != 0; present &= present - 1) {
            const u32 found = first + __ffs(present) - 1;
            const store_t *row = args.dx + size_t(is_token ? found : found * positions + index) * cols;
#pragma unroll
            for (u32 k = 0; k < LANE_COLS; ++k) {
                const u32 c = column + k * WARP;
                sum[k] += c < cols ? widen(row[c]) : 0.0f;
            }
        }
    }
#pragma unroll
    for (u32 k = 0; k < LANE_COLS; ++k) {
        eighths[warp][lane + k * WARP] = sum[k];
    }
    __syncthreads();
    const u32 c = blockIdx.y * SUM_COLS + threadIdx.x;
    if (threadIdx.x >= SUM_COLS || c >= cols) {
        return;
    }
    float total = 0.0f;
#pragma unroll
    for (u32 w = 0; w < WARPS; ++w) {
        total += eighths[w][threadIdx.x];
    }
    put((is_token ? args.dtoken : args.dposition)[size_t(index) * cols + c], total, args.accumulate);
}
