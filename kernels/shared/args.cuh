// What the kernels of an op take, whatever their rung: the op's operands, then its sizes, one struct an op.
//
// Letters: N rows, of sequences of T positions; C width, D head dimension, C = heads·D, F inner width of the MLP, V
// symbols. Matrices are row-major. `sumsq` [N, ⌈C/128⌉] are partial sums of squares of the rows of x, whose factor r they
// give. Outputs overlap no inputs.
#pragma once
#include "shared/types.cuh"

// qkv [rows, 3·width] = r·(x Wᵀ), q and k then rotated by rope [positions, head_dim/2] (cos, sin) and normed per head;
// qk_rstd [rows, 2·width/head_dim] are the factors of that norm.
struct QkvArgs {
    const store_t *x;
    const float *sumsq;
    const store_t *w;
    const float2 *rope;
    store_t *qkv;
    float *qk_rstd;
    u32 rows;
    u32 width;
    u32 positions;
    u32 head_dim;
};

// out [rows, cols] = residual + a Wᵀ; sumsq [rows, ⌈cols/128⌉] of `out` as it is stored.
struct LinearResidualArgs {
    const store_t *a;
    const store_t *w;
    const store_t *residual;
    store_t *out;
    float *sumsq;
    u32 rows;
    u32 inner;
    u32 cols;
};

// h [rows, cols] = relu(r·(x Wᵀ))².
struct LinearRelu2Args {
    const store_t *x;
    const float *sumsq;
    const store_t *w;
    store_t *h;
    u32 rows;
    u32 inner;
    u32 cols;
};

// y [rows, cols] = [residual +] x Wᵀ [+ bias]; residual and bias [cols] may be null.
struct LinearArgs {
    const store_t *x;
    const store_t *w;
    const store_t *bias;
    const store_t *residual;
    store_t *y;
    u32 rows;
    u32 inner;
    u32 cols;
};

// u [rows, cols] = x Wᵀ [+ bias], h = gelu(u); bias [cols] may be null.
struct LinearGeluArgs {
    const store_t *x;
    const store_t *w;
    const store_t *bias;
    store_t *u;
    store_t *h;
    u32 rows;
    u32 inner;
    u32 cols;
};

// dx [rows, cols] = dy W.
struct LinearBackwardArgs {
    const store_t *dy;
    const store_t *w;
    store_t *dx;
    u32 rows;
    u32 inner;
    u32 cols;
};

// du [rows, cols] = (dx W)·gelu'(u).
struct GeluBackwardArgs {
    const store_t *dx;
    const store_t *w;
    const store_t *u;
    store_t *du;
    u32 rows;
    u32 inner;
    u32 cols;
};

// dx [rows, cols] = [residual +] dy W - x·(r²·Σs/C), C = cols; s [rows, parts]. `residual` may be null.
struct NormLinearBackwardArgs {
    const store_t *dy;
    const store_t *w;
    const store_t *x;
    const float *sumsq;
    const float *s;
    const store_t *residual;
    store_t *dx;
    u32 rows;
    u32 inner;
    u32 cols;
    u32 parts;
};

// dh = dx W, dy [rows, cols] = r·dh·2√h, s [rows, ⌈cols/128⌉] = Σ 2·dh·h per 128 columns. r is of the x [rows, inner]
// that h was made from.
struct Relu2BackwardArgs {
    const store_t *dx;
    const store_t *w;
    const store_t *h;
    const float *sumsq;
    store_t *dy;
    float *s;
    u32 rows;
    u32 inner;
    u32 cols;
};

// d_o [rows, cols] = dx W, dot [rows, cols/head_dim] = Σ d_o·o per head, of d_o before it is rounded.
struct ProjectionBackwardArgs {
    const store_t *dx;
    const store_t *w;
    const store_t *o;
    store_t *d_o;
    float *dot;
    u32 rows;
    u32 inner;
    u32 cols;
    u32 head_dim;
};

// Matrices of one launch of weight gradients.
HOST constexpr u32 GRAD_GROUP = 4;

// One of them: dy [rows, out], x [rows, in], dw [out, in]; `partial` is its first float in a slice of the workspace.
struct WeightGrad {
    const store_t *dy;
    const store_t *x;
    float *dw;
    u64 partial;
    u32 out;
    u32 in;
};

// dw (+)= dyᵀ x of `count` matrices; rows are cut into `slices`, of `slice_floats` partial sums each.
struct WeightGradGroup {
    WeightGrad grad[GRAD_GROUP];
    u32 count;
    u32 rows;
    u32 slices;
    Accumulate accumulate;
    u64 slice_floats;
};

// logits [rows, cols] = r·(x Wᵀ) in f32, cols any number. For the `_free` kernels r = 1 and sumsq is not read; so too in HeadLossArgs.
struct HeadLogitsArgs {
    const store_t *x;
    const float *sumsq;
    const store_t *w;
    float *logits;
    u32 rows;
    u32 inner;
    u32 cols;
};

// cross_entropy = -ln p[target] of p = softmax(r·(x Wᵀ)) without symbol `drop` (0xffffffff for none), and its backward:
// d = weight·scale·(p - onehot(target)), dlogits [rows, symbols] = r·d, s = ⟨d, logits⟩. `scale` [1] may be null: 1.
struct HeadLossArgs {
    const store_t *x;
    const float *sumsq;
    const store_t *w;
    const u32 *target;
    const float *weight;
    const float *scale;
    float *cross_entropy;
    store_t *dlogits;
    float *s;
    u32 rows;
    u32 inner;
    u32 symbols;
    u32 drop;
};

// o [N, C] = softmax(q kᵀ/√D) v per head of qkv [N, 3C], lse [N, heads] = ln Σ exp(q kᵀ/√D).
struct AttentionArgs {
    const store_t *qkv;
    store_t *o;
    float *lse;
    u32 positions;
    u32 heads;
    u32 head_dim;
    u32 causal;
    u32 block; // positions of a block of block diffusion, 0 for none
    u32 half;  // rows of the texts with noise, behind which those without lie
};

// dqkv [N, 3C] of d_o [N, C] and dot [N, heads] = ⟨d_o, o⟩, back through rotation, head norm and the norm before, and its
// s [N, heads]; qk_rstd [N, 2·heads], lse [N, heads], rope [positions, D/2] (cos, sin). The `_free` kernels, behind which no
// norms and no rotation stand, do not touch qk_rstd, sumsq, rope and s.
struct AttentionBackwardArgs {
    const store_t *qkv;
    const float *qk_rstd;
    const float *lse;
    const store_t *d_o;
    const float *dot;
    const float *sumsq;
    const float2 *rope;
    store_t *dqkv;
    float *s;
    u32 positions;
    u32 heads;
    u32 head_dim;
    u32 causal;
    u32 block; // positions of a block of block diffusion, 0 for none
    u32 half;  // rows of the texts with noise, behind which those without lie
};
