// Guidance of masked diffusion, the CPU's bit by bit (compiled with --fmad=false): `guidance.rs`.
//
//     x_both = x and x without what is given,  logits += W·(logits - unprompted)
// nvcc: --fmad=false
//
// Letters: B texts, T positions, N = B·T rows, V symbols.
//
// A number a thread: what both move is next to nothing beside the two passes of a model that they serve. Blocks of `guide` hold
// numbers of one text, whose W is the block's.
#include "shared/math.cuh"
#include "shared/texts.cuh"

constexpr u32 THREADS = 256;

// x_both and open [2B, T] of x, masked and committed_at [B, T].
struct UnpromptArgs {
    const u32 *x;
    const u32 *masked;
    const u32 *committed_at;
    u32 *x_both;
    u32 *open;
    u32 mask_id;
    u32 context; // positions from 0 that are no noise
    u32 positions;
    u32 count; // B·T
};

BLOCK_ROWS(unprompt, THREADS);
extern "C" __global__ void __launch_bounds__(256)
unprompt(UnpromptArgs args) {
    const u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= args.count) {
        return;
    }
    const size_t behind = size_t(args.count) + i;
    const u32 token = args.x[i];
    const bool is_open = args.masked[i] != 0, is_given = !is_open && args.committed_at[i] == GIVEN;
    args.x_both[i] = token;
    args.x_both[behind] = is_given ? args.mask_id : token;
    args.open[i] = is_open ? 1 : 0;
    args.open[behind] = is_open || (is_given && i % args.positions >= args.context) ? 1 : 0;
}

// logits [N, V], of which each text has `numbers`, unprompted [N, V] and params [B].
struct GuideArgs {
    const float *unprompted;
    const SamplingParams *params;
    float *logits;
    u32 numbers;
};

BLOCK_ROWS(guide, THREADS);
extern "C" __global__ void __launch_bounds__(256)
guide(GuideArgs args) {
    const u32 blocks = ceil_div(args.numbers, THREADS), text = blockIdx.x / blocks;
    const u32 i = (blockIdx.x - text * blocks) * THREADS + threadIdx.x;
    if (i >= args.numbers) {
        return;
    }
    const size_t at = size_t(text) * args.numbers + i;
    const float with = args.logits[at];
    args.logits[at] = with + args.params[text].guidance * (with - args.unprompted[at]);
}
