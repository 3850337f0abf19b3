// Stacks of matrices of equal shapes, those of one launch: a model has three.
#pragma once
#include "shared/reductions.cuh"
#include "shared/update.cuh"

HOST constexpr u32 STACKS = 4;

// Numbers of a matrix whose squares are summed together.
HOST constexpr u32 MUON_CHUNK = 4096;

// How many of them a matrix has.
DEVICE u32 muon_chunks(u32 rows, u32 cols) {
    return ceil_div(rows * cols, MUON_CHUNK);
}

// The stack that a block is for, where `blocks(stack)` of them make one matrix; returns the block's number in the stack.
template <class Stack, class Blocks> DEVICE u32 find_stack(Stack &stack, const Stack (&stacks)[STACKS], Blocks blocks) {
    stack = stacks[0];
    // Asked for twice, it is looked up twice, and not kept in registers.
    u32 block = blockIdx.x;
    asm volatile("" : "+r"(block));
#pragma unroll
    for (u32 i = 0; i + 1 < STACKS; ++i) {
        const u32 passed = stack.matrices * blocks(stack);
        if (block < passed) {
            break;
        }
        block -= passed;
        stack = stacks[i + 1];
    }
    return block;
}

// What brings a matrix [rows, cols] to length 1, of its chunks' sums of squares; 1 without them. Every warp adds them up.
DEVICE float inverse_length(const float *sumsq, u32 matrix, u32 rows, u32 cols, float eps) {
    if (sumsq == nullptr) {
        return 1.0f;
    }
    const u32 chunks = muon_chunks(rows, cols);
    const float *const own = sumsq + size_t(matrix) * chunks;
    float sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < chunks; i += WARP) {
        sum += own[i];
    }
    return 1.0f / (sqrtf(group_sum(sum)) + eps);
}

// Matrices x [rows, cols] with side = min(rows, cols), their sums of squares, which may be null, and their products out
// [side, side]; `tiles` of each are made.
struct GramStack {
    const store_t *x;
    const float *sumsq;
    store_t *out;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 tiles;
};

// out = x xᵀ, or xᵀ x where rows > cols, of x/(‖x‖ + ε) where it has sumsq; with terms, out = linear·x + square·x xᵀ of
// symmetric x as it is.
struct GramArgs {
    GramStack stack[STACKS];
    float linear;
    float square;
    float eps;
};

// Matrices x and out [rows, cols], sums of squares of x, which may be null, symmetric b [side, side].
struct NewtonSchulzStack {
    const store_t *x;
    const float *sumsq;
    const store_t *b;
    store_t *out;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 tiles;
};

// out = linear·x + b x, or linear·x + x b where rows > cols, of x/(‖x‖ + ε) where it has sumsq.
struct NewtonSchulzArgs {
    NewtonSchulzStack stack[STACKS];
    float linear;
    float eps;
};

// Matrices x [rows, cols], which begin among the parameters where places[first + i] says, and symmetric b [side, side].
struct MuonStepStack {
    const store_t *x;
    const store_t *b;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 tiles;
    u32 first;
};

// Parameters, and the matmuls' copy of them, which may be null; both [params].
struct MuonStepArgs {
    MuonStepStack stack[STACKS];
    const StepArgs *step;
    const StepMetrics *metrics;
    const u32 *places;
    float *params;
    store_t *stored;
    float linear;
    float rate;
    float weight_decay;
    u32 ring;
};

// Where a step moves a matrix: p = shrink·p - size·d, d = linear·x + b x; then stored = p, rounded.
struct MuonMove {
    float *params;
    store_t *stored;
    float linear;
    float shrink;
    float size;

    DEVICE MuonMove(const MuonStepArgs &args, const MuonStepStack &stack, u32 matrix)
        : linear(args.linear), shrink(1.0f - args.step->lr * args.weight_decay),
          size(args.step->lr * args.rate * sqrtf(fmaxf(float(stack.rows) / float(stack.cols), 1.0f))) {
        const u32 place = args.places[stack.first + matrix];
        params = args.params + place;
        stored = args.stored == nullptr ? nullptr : args.stored + place;
    }

    DEVICE float moved(float p, float x, float y) const {
        return p * shrink - size * (linear * x + y);
    }
};

// Whether there is a step: nothing moves where the norm of all gradients is not finite.
DEVICE bool muon_steps(const MuonStepArgs &args) {
    return fabsf(row_of(args.step, args.metrics, args.ring).grad_norm) < INFINITE;
}
