// Stacks of matrices of equal shapes, those of one launch: a model has three.
#pragma once
#include "shared/types.cuh"

HOST constexpr u32 STACKS = 4;

// The stack that a block is for, where `blocks(stack)` of them make one matrix; returns the block's number in the stack.
template <class Stack, class Blocks> DEVICE u32 find_stack(Stack &stack, const Stack (&stacks)[STACKS], Blocks blocks) {
    stack = stacks[0];
    u32 block = blockIdx.x;
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

// Matrices x [rows, cols] with side = min(rows, cols), and their products out [side, side]; `tiles` of each are made.
struct GramStack {
    const store_t *x;
    store_t *out;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 tiles;
};

// out = x xᵀ, or xᵀ x where rows > cols; with terms, out = linear·x + square·x xᵀ of symmetric x.
struct GramArgs {
    GramStack stack[STACKS];
    float linear;
    float square;
};

// Matrices x and out [rows, cols], symmetric b [side, side].
struct NewtonSchulzStack {
    const store_t *x;
    const store_t *b;
    store_t *out;
    u32 matrices;
    u32 rows;
    u32 cols;
    u32 tiles;
};

// out = linear·x + b x, or linear·x + x b where rows > cols.
struct NewtonSchulzArgs {
    NewtonSchulzStack stack[STACKS];
    float linear;
};
