// Texts from left to right: what an autoregressive model reads, and how a text grows by a token: `decode.rs`.
//
// Letters: B texts, T positions, C width. Of a text's T positions the last `remaining` are open.
//
// All of it but the attention is a few hundred bytes a text: latency counts. A thread makes a token, a block a row.
#include "shared/integers.cuh"
#include "shared/types.cuh"

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

// Where a text's next token goes; T where nothing is open, or the text is broken.
DEVICE u32 next_position(u32 remaining, u32 positions) {
    return remaining <= positions ? positions - remaining : positions;
}

// out [B, C] and out_sumsq [B, slots] of x [B·T, C] and sumsq [B·T, slots].
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

// What `remaining` says of a text whose model predicts what is not a number.
constexpr u32 BROKEN = ~0u;

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
