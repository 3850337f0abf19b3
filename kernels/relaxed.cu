// Tokens relaxed to distributions over symbols, what predictions made of them cost, and the way back: `relaxed.rs`.
//
//     q = (1-μ)·p + b,  soft = softmax((ln q + g)/τ)
//     P = softmax(logits + c·soft) without the mask,  c = ln(1 + (1-μ)/b)
//
// Soft tokens are the CPU's to the bit: this file is compiled with --fmad=false, and what decides is computed as the CPU does,
// operation by operation. The 32 lanes of its sums are those of a warp, and its tree over them is the butterfly.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, N = B·T rows, V symbols.
//
// A row to a warp, any V, a symbol to a lane. What logits and soft tokens predict is made anew wherever it is looked at: two loads
// out of L1 and an exponential, where memory for it would cost as much. Scores ln q + g are kept in the workspace, [N, V], each lane
// looking at those that it has written itself: a Gumbel number is 10 rounds of Philox and two logarithms. Of a counter's four words
// a lane takes one, so that three quarters of what Philox gives are not looked at; with words passed from lane to lane one pass
// would do for 128 symbols, which small vocabularies do not have.
#include "shared/exact.cuh"
#include "shared/integers.cuh"
#include "shared/largest.cuh"
#include "shared/mixing.cuh"

constexpr u32 THREADS = 256;
constexpr u32 ROW_WARPS = THREADS / WARP;

// τ from its first value to its last over so many steps: `config::Temperatures`.
struct Temperatures {
    float first;
    float last;
    u32 steps;
};

DEVICE float temperature_at(const Temperatures &of, u64 step) {
    const float done = fminf(__fdiv_rn(float(step), float(of.steps)), 1.0f);
    if (of.steps == 0 || done == 1.0f) {
        return of.last;
    }
    return of.first * exp_exact(ln(__fdiv_rn(of.last, of.first)) * done);
}

// `config::Relaxation`.
HOST enum class Relaxation : u32 { Soft, StraightThrough };

// Noise of one sequence's rate.
struct Law {
    Mixing mixing;
    Marginal marginal;

    // Of a rate in units of 2⁻²⁴, which is kept away from its ends.
    static DEVICE Law at(u32 rate, const Mixing &mixing) {
        return Law{mixing, marginal_at(mixing, min(max(rate, 1u), UNIFORM_STEPS - 1))};
    }

    // q of a symbol that is predicted with probability p.
    DEVICE float noised(float p, u32 v) const {
        return marginal.keep * p + marginal.noise.of(v, mixing);
    }

    // c, how much likelier a symbol is that stands there than it would be as another.
    DEVICE float favour() const {
        return ln(1.0f + __fdiv_rn(marginal.keep, marginal.noise.other));
    }
};

// P of a row.
struct Predicted {
    const float *logits; // [V]
    const store_t *soft; // [V]
    u32 symbols;
    u32 mask;
    float favour;
    float most;
    float sum;

    DEVICE float kept(u32 v) const {
        return v == mask ? -INFINITE : logits[v] + favour * widen(soft[v]);
    }

    // A symbol's weight, of which the largest is 1.
    DEVICE float weight(u32 v) const {
        return exp_below(kept(v) - most);
    }

    DEVICE void look(u32 lane) {
        most = -INFINITE;
        for (u32 v = lane; v < symbols; v += WARP) {
            most = fmaxf(most, kept(v));
        }
        most = group_max(most);
        float mine = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            mine += weight(v);
        }
        sum = group_sum(mine);
    }

    DEVICE float probability(u32 v) const {
        return __fdiv_rn(weight(v), sum);
    }
};

// Number `element` of a sequence's Gumbel numbers: number element mod 4 of `rng::gumbels` at (step·2³² + sequence, ⌊element/4⌋).
DEVICE float gumbel_at(const StepArgs *step, Stream stream, u32 b, u64 element) {
    const uint4 words = philox(step->seed, stream, step->step << 32 | (step->sequence + b), u32(element / 4));
    const u32 which = u32(element) % 4;
    const u32 word = which < 2 ? (which == 0 ? words.x : words.y) : (which == 2 ? words.z : words.w);
    const float u = float(max(uniform24(word), 1u)) * UNIFORM_STEP;
    return -ln(-ln(u));
}

// Scores ln q + g of a row, and their softmax at a temperature.
struct Scores {
    float *kept; // [V]
    u32 symbols;
    Largest largest;
    float scale; // 1/τ
    float sum;

    // Draws them, q = q(v); what cannot be is not drawn. `first` is the row's first Gumbel number.
    template <class Q>
    DEVICE void draw(const StepArgs *step, Stream stream, u32 b, u64 first, u32 lane, Q q) {
        largest = Largest::none();
        for (u32 v = lane; v < symbols; v += WARP) {
            const float of = q(v);
            kept[v] = of > 0.0f ? ln(of) + gumbel_at(step, stream, b, first + v) : -INFINITE;
            largest.meet(kept[v], v);
        }
        largest = largest.of_warp();
    }

    DEVICE float weight(u32 v) const {
        return exp_below(__fmaf_rn(scale, kept[v], -(scale * largest.most)));
    }

    DEVICE void soften(float temperature, u32 lane) {
        scale = __fdiv_rn(1.0f, temperature);
        float mine = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            mine += weight(v);
        }
        sum = group_sum(mine);
    }

    DEVICE float probability(u32 v) const {
        return __fdiv_rn(weight(v), sum);
    }
};

// soft [N, V] of tokens [B, T], or where those are null of what logits and before [N, V] predict; rates [B, 2].
struct SoftTokensArgs {
    const StepArgs *step;
    const u32 *tokens;
    const float *logits;
    const store_t *before;
    const u32 *rates;
    float *scores; // [N, V]
    store_t *soft;
    Temperatures temperatures;
    Relaxation relaxation;
    u32 rows;
    u32 positions; // T
    u32 symbols;   // V
    Mixing mixing;
};

// Noise over what p says of a row, relaxed.
template <class P>
DEVICE void soften_row(const SoftTokensArgs &args, const Law &law, u32 row, u32 lane, Stream stream, P p) {
    const u32 symbols = args.symbols, b = row / args.positions;
    const size_t base = size_t(row) * symbols;
    const u64 first = u64(row - b * args.positions) * symbols;
    Scores scores = {args.scores + base, symbols};
    scores.draw(args.step, stream, b, first, lane, [=](u32 v) { return law.noised(p(v), v); });
    store_t *soft = args.soft + base;
    if (args.relaxation == Relaxation::StraightThrough) {
        for (u32 v = lane; v < symbols; v += WARP) {
            soft[v] = narrow(v == scores.largest.symbol ? 1.0f : 0.0f);
        }
        return;
    }
    scores.soften(temperature_at(args.temperatures, args.step->step), lane);
    for (u32 v = lane; v < symbols; v += WARP) {
        soft[v] = narrow(scores.probability(v));
    }
}

BLOCK_ROWS(soft_tokens, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
soft_tokens(SoftTokensArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.rows) {
        return;
    }
    const u32 rate = args.rates[2 * size_t(row / args.positions)];
    const Law law = Law::at(rate, args.mixing);
    if (args.tokens != nullptr) {
        const u32 x = args.tokens[row];
        soften_row(args, law, row, lane, Stream::Gumbel, [=](u32 v) { return v == x ? 1.0f : 0.0f; });
        return;
    }
    const size_t base = size_t(row) * args.symbols;
    Predicted predicted = {args.logits + base, args.before + base, args.symbols, args.mixing.mask, law.favour()};
    predicted.look(lane);
    soften_row(args, law, row, lane, Stream::GumbelAgain, [=](u32 v) { return predicted.probability(v); });
}

// Of logits and soft [N, V], target [N] and rates [B, 2] the loss [N]; with the loss's weight [N], d = scale·weight·∂loss/∂logits,
// dlogits = r·d, s [N] = ⟨d, logits⟩, and where it is wanted dsoft [N, V] = c·d.
struct RelaxedLossArgs {
    const float *logits;
    const u32 *target;
    const store_t *soft;
    const u32 *rates;
    float *loss;
    const float *sumsq; // of rows `width` wide, null for r = 1
    const float *weight;
    const float *scale;
    store_t *dlogits;
    float *s;
    float *dsoft;
    u32 rows;
    u32 positions;
    u32 symbols;
    u32 width;
    Mixing mixing;
};

BLOCK_ROWS(relaxed_loss, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
relaxed_loss(RelaxedLossArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, symbols = args.symbols;
    if (row >= args.rows) {
        return;
    }
    const u32 x = args.target[row], rate = args.rates[2 * size_t(row / args.positions)];
    const Law law = Law::at(rate, args.mixing);
    const size_t base = size_t(row) * symbols;
    Predicted predicted = {args.logits + base, args.soft + base, symbols, args.mixing.mask, law.favour()};
    predicted.look(lane);
    const float gain = (args.scale != nullptr ? args.scale[0] : 1.0f) * args.weight[row];
    const float r = args.sumsq != nullptr ? row_rstd(args.sumsq, row, args.width) : 1.0f;
    float s = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        const float p = predicted.probability(v), d = (v == x ? p - 1.0f : p) * gain;
        s += d * predicted.logits[v];
        args.dlogits[base + v] = narrow(r * d);
        if (args.dsoft != nullptr) {
            args.dsoft[base + v] = predicted.favour * d;
        }
    }
    s = group_sum(s);
    if (lane == 0) {
        args.loss[row] = logf(predicted.sum) - (predicted.kept(x) - predicted.most);
        args.s[row] = s;
    }
}

// What is added to dlogits [N, V] and s [N] for the gradients by_input and by_rule [N, V] of what was drawn of logits and before.
struct SoftTokensBackwardArgs {
    const StepArgs *step;
    const float *logits;
    const store_t *before;
    const u32 *rates;
    const float *by_input;
    const float *by_rule;
    const float *sumsq; // of rows `width` wide, null for r = 1
    float *scores;      // [N, V]
    store_t *dlogits;
    float *s;
    Temperatures temperatures;
    u32 rows;
    u32 positions;
    u32 symbols;
    u32 width;
    Mixing mixing;
};

// A softmax has the gradient y·(d - ⟨y, d⟩): of soft tokens, whose gradient by P takes the place of their scores, and of P.
BLOCK_ROWS(soft_tokens_backward, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
soft_tokens_backward(SoftTokensBackwardArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, symbols = args.symbols;
    if (row >= args.rows) {
        return;
    }
    const u32 b = row / args.positions;
    const Law law = Law::at(args.rates[2 * size_t(b)], args.mixing);
    const size_t base = size_t(row) * symbols;
    const u64 first = u64(row - b * args.positions) * symbols;
    const float temperature = temperature_at(args.temperatures, args.step->step);
    Predicted predicted = {args.logits + base, args.before + base, symbols, args.mixing.mask, law.favour()};
    predicted.look(lane);
    Scores scores = {args.scores + base, symbols};
    scores.draw(args.step, Stream::GumbelAgain, b, first, lane,
                [=](u32 v) { return law.noised(predicted.probability(v), v); });
    scores.soften(temperature, lane);
    const auto given = [=](u32 v) { return args.by_input[base + v] + args.by_rule[base + v]; };
    float mean = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        mean += scores.probability(v) * given(v);
    }
    mean = group_sum(mean);
    float mean_by_p = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        const float p = predicted.probability(v), q = law.noised(p, v);
        const float by_score = scores.probability(v) * (given(v) - mean);
        const float by_p = q > 0.0f ? __fdiv_rn(__fdiv_rn(by_score, temperature) * law.marginal.keep, q) : 0.0f;
        scores.kept[v] = by_p; // the score is not looked at again
        mean_by_p += p * by_p;
    }
    mean_by_p = group_sum(mean_by_p);
    const float r = args.sumsq != nullptr ? row_rstd(args.sumsq, row, args.width) : 1.0f;
    float s = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        const float d = predicted.probability(v) * (scores.kept[v] - mean_by_p);
        s += d * predicted.logits[v];
        args.dlogits[base + v] = narrow(widen(args.dlogits[base + v]) + r * d);
    }
    s = group_sum(s);
    if (lane == 0) {
        args.s[row] += s;
    }
}
