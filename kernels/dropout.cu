// Dropout.
//
//     y = [residual +] x·k/(1 - rate),  k = 0 or 1 by a lot of each number
//
// Letters: N rows, of sequences of T positions; C columns.
//
// Bound by the bytes of x, residual and y; a draw for four numbers, some 60 integer instructions, hides behind them. A warp has
// a row, a lane four neighbouring columns of each 128, which make one partial sum of squares. Where 8 bytes cannot be moved at
// once, numbers go one by one, each with a draw of its own.
#include "shared/dropout.cuh"
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 FOUR = 4;
static_assert(FOUR * WARP == SUMSQ_COLS, "a warp's columns are one partial sum of squares");

// x, residual (may be null) and y [N, C], sumsq [N, ⌈C/128⌉] (may be null) of y as it is stored. Rows beyond `sequences` of
// `positions` belong to the same sequences once more.
struct DropoutArgs {
    Lots lots[1];
    const store_t *x;
    const store_t *residual;
    store_t *y;
    float *sumsq;
    u32 rows;
    u32 cols;
    u32 positions;
    u32 sequences;
};

DEVICE float4 load_four(const store_t *from) {
    const uint2 words = *reinterpret_cast<const uint2 *>(from);
    const float2 a = unpack(words.x), b = unpack(words.y);
    return make_float4(a.x, a.y, b.x, b.y);
}

// The four numbers at `at`, the sequence's from `number` on; returns the sum of their squares.
DEVICE float drop_four(const DropoutArgs &args, const Draws &draws, size_t at, u32 number) {
    const float4 x = load_four(args.x + at);
    const float4 around = args.residual == nullptr ? float4{} : load_four(args.residual + at);
    const uint4 words = draws.four(number / FOUR);
    const u32 low = pack(around.x + x.x * draws.factor(words.x), around.y + x.y * draws.factor(words.y));
    const u32 high = pack(around.z + x.z * draws.factor(words.z), around.w + x.w * draws.factor(words.w));
    *reinterpret_cast<uint2 *>(args.y + at) = make_uint2(low, high);
    const float2 a = unpack(low), b = unpack(high);
    return a.x * a.x + a.y * a.y + (b.x * b.x + b.y * b.y);
}

// The same of one number.
DEVICE float drop_one(const DropoutArgs &args, const Draws &draws, size_t at, u32 number) {
    const float around = args.residual == nullptr ? 0.0f : widen(args.residual[at]);
    const store_t y = narrow(around + widen(args.x[at]) * draws.factor_of(number));
    args.y[at] = y;
    return widen(y) * widen(y);
}

// Any width.
BLOCK_ROWS(dropout, WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
dropout(DropoutArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, cols = args.cols;
    if (row >= args.rows) {
        return;
    }
    const u32 run = row / args.positions, copy = run / args.sequences;
    const Draws draws(args.lots[0], run - copy * args.sequences);
    const u32 before = (row - run * args.positions + copy * args.positions) * cols;
    const size_t bases = reinterpret_cast<size_t>(args.x) | reinterpret_cast<size_t>(args.residual) |
                         reinterpret_cast<size_t>(args.y);
    const bool wide = cols % FOUR == 0 && bases % (FOUR * sizeof(store_t)) == 0;
    for (u32 first = 0; first < cols; first += SUMSQ_COLS) {
        const u32 from = first + lane * FOUR, end = min(from + FOUR, cols);
        const size_t at = size_t(row) * cols;
        float squares = 0.0f;
        if (wide && from < end) {
            squares = drop_four(args, draws, at + from, before + from);
        } else {
            for (u32 c = from; c < end; ++c) {
                squares += drop_one(args, draws, at + c, before + c);
            }
        }
        if (args.sumsq != nullptr) {
            squares = group_sum(squares);
            if (lane == 0) {
                args.sumsq[size_t(row) * sumsq_slots(cols) + first / SUMSQ_COLS] = squares;
            }
        }
    }
}
