// What a model makes of vectors with Gaussian noise: x̂, what it costs, what it costs to read tokens off, one reverse step:
// `vectors.rs`.
//
//     p = softmax(logits + κ·⟨z, E[v]⟩) without `drop`,  x̂ = Σ p[v]·E[v]
//
// From the same logits every device takes the same step: this file is compiled with --fmad=false, and what decides is computed as the
// CPU does, operation by operation. The 32 lanes of its sums are those of a warp, and its tree over them is the butterfly.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, N = B·T rows, V symbols, d numbers of a vector, R steps of a text.
//
// A row to a warp, any V and d. Two products with the vectors E [V, d] are in every kernel. With a row's vector, one number a symbol:
// lanes hold columns, 32 symbols at a time, and a butterfly that halves the symbols as it folds the columns leaves to each lane
// one of them (`products`): 31 shuffles instead of 160. With a row's numbers of all symbols, one vector: lanes hold columns,
// and go over the symbols (`sum_vectors`). E stays in L1: 8 KB at V = 66 and d = 32.
//
// These products are no work for tensor cores: with V = 66 and d = 32 they are V·d = 2112 multiplications a row each, where the
// network of preset nano has a million; and they have f32's 24 bits, of which errors x̂ - x at little noise, and the bound with
// them, need more than the 11 of f16. A row takes about 3,300 instructions of a warp (a virtual GPU's count, V = 66 and d = 32).
// With tens of thousands of symbols they would be the largest part of a step.
//
// Logits with what the vector adds to them are kept in the workspace, `kept` [N, V]: they are looked at up to four times, each lane
// at those that it has written itself, out of the cache. So no kernel needs shared memory or a barrier for them, and V has no limit.
#include "shared/largest.cuh"
#include "shared/normals.cuh"
#include "shared/reductions.cuh"
#include "shared/texts.cuh"
#include "shared/vectors.cuh"

constexpr u32 THREADS = 256;
constexpr u32 ROW_WARPS = THREADS / WARP;
static_assert(ROW_WARPS == COUNT_WARPS, "blocks count together");

// Lane i gets the sum of sums[i] over the warp, in sums[0], by a butterfly from lanes 2·Half apart on: a lane keeps the numbers
// whose place has its own bit, and gives the others away.
template <u32 Half> DEVICE void fold(float (&sums)[WARP], u32 lane) {
    const bool upper = (lane & Half) != 0;
#pragma unroll
    for (u32 i = 0; i < Half; ++i) {
        const float kept = upper ? sums[i + Half] : sums[i], given = upper ? sums[i] : sums[i + Half];
        sums[i] = kept + __shfl_xor_sync(FULL_MASK, given, Half);
    }
    if constexpr (Half > 1) {
        fold<Half / 2>(sums, lane);
    }
}

// The vectors E.
struct Vectors {
    const float *units; // [V, d]
    u32 symbols;
    u32 dims;
    u32 lane;

    // ⟨x, E[v] - from⟩ of v = first + lane; `from` may be null: 0. Of a symbol beyond the last it is the last's.
    DEVICE float products(const float *x, const float *from, u32 first) const {
        float sums[WARP] = {};
        for (u32 c = lane; c < dims; c += WARP) {
            const float mine = x[c], origin = from == nullptr ? 0.0f : from[c];
            // From row to row, and no further than the last: 32 addresses at once would not fit into registers.
            const u32 last = (symbols - 1) * dims + c;
            u32 at = first * dims + c;
#pragma unroll
            for (u32 i = 0; i < WARP; ++i) {
                sums[i] += mine * (units[at] - origin);
                at = min(at + dims, last);
            }
        }
        fold<WARP / 2>(sums, lane);
        return sums[0];
    }

    // to(c, Σ w[v]·(E[v][c] - from[c])) of the columns from `base` on, one of every 32 a lane, w[v] = weights(v).
    template <u32 Pieces, class Weights, class To>
    DEVICE void sum_columns(u32 base, const float *from, Weights weights, To to) const {
        float sums[Pieces] = {}, origin[Pieces] = {};
#pragma unroll
        for (u32 k = 0; k < Pieces; ++k) {
            const u32 c = base + k * WARP + lane;
            origin[k] = from != nullptr && c < dims ? from[c] : 0.0f;
        }
        for (u32 first = 0; first < symbols; first += WARP) {
            const float weight = first + lane < symbols ? weights(first + lane) : 0.0f;
            const u32 count = min(WARP, symbols - first);
#pragma unroll 4
            for (u32 i = 0; i < count; ++i) {
                const float w = __shfl_sync(FULL_MASK, weight, i);
                const float *unit = units + size_t(first + i) * dims;
#pragma unroll
                for (u32 k = 0; k < Pieces; ++k) {
                    const u32 c = base + k * WARP + lane;
                    sums[k] += w * ((c < dims ? unit[c] : 0.0f) - origin[k]);
                }
            }
        }
#pragma unroll
        for (u32 k = 0; k < Pieces; ++k) {
            const u32 c = base + k * WARP + lane;
            if (c < dims) {
                to(c, sums[k]);
            }
        }
    }

    // The same of all columns.
    template <class Weights, class To> DEVICE void sum_vectors(const float *from, Weights weights, To to) const {
        constexpr u32 PIECES = 2;
        for (u32 base = 0; base < dims; base += PIECES * WARP) {
            if (dims - base <= WARP) {
                sum_columns<1>(base, from, weights, to);
            } else {
                sum_columns<PIECES>(base, from, weights, to);
            }
        }
    }
};

// softmax((logits + κ·⟨z, E[v]⟩)/temperature) of one row without `drop`.
struct Posterior {
    float *kept; // [V]
    u32 symbols;
    float temperature; // 1 of a model's own law
    Largest largest;
    float sum;

    // Keeps the logits, which are 0 where there are none, with what z says.
    DEVICE void look(const Vectors &vectors, const float *logits, const float *z, float sharpness, u32 drop) {
        largest = Largest::none();
        for (u32 first = 0; first < symbols; first += WARP) {
            const float along = sharpness * vectors.products(z, nullptr, first);
            const u32 v = first + vectors.lane;
            if (v < symbols) {
                const float logit = (logits == nullptr ? 0.0f : logits[v]) + along;
                kept[v] = v == drop ? -INFINITE : logit;
                largest.meet(kept[v], v);
            }
        }
        largest = largest.of_warp();
    }

    // A symbol's weight, of which the largest is 1.
    DEVICE float weight(u32 v) const {
        return exp_below(__fdiv_rn(kept[v] - largest.most, temperature));
    }

    // Adds up all weights.
    DEVICE void add_up(u32 lane) {
        float mine = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            mine += weight(v);
        }
        sum = group_sum(mine);
    }

    // 0 beyond the last symbol.
    DEVICE float probability(u32 v) const {
        return v < symbols ? __fdiv_rn(weight(v), sum) : 0.0f;
    }

    // -ln of it, of a symbol whose logit a lane has kept, at a temperature of 1; the same in all lanes.
    DEVICE float cross_entropy(u32 symbol, u32 lane) const {
        const float logit = lane == symbol % WARP ? kept[symbol] : 0.0f;
        return logf(sum) - (__shfl_sync(FULL_MASK, logit, symbol % WARP) - largest.most);
    }
};

// denoised [N, d] of logits [N, V], z [N, d], units [V, d] and steps [B, R].
struct DenoiseArgs {
    const StepArgs *step;
    const float *logits;
    const float *z;
    const float *units;
    const VectorStep *steps;
    float *kept; // [N, V]
    float *denoised;
    u32 rows;
    u32 positions;
    u32 row_steps; // R
    u32 symbols;
    u32 dims;
    u32 drop;
};

// x̂ of every row.
BLOCK_ROWS(denoise, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
denoise(DenoiseArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.rows) {
        return;
    }
    const VectorStep &step = step_of(args.steps, row / args.positions, args.row_steps, args.step);
    const Vectors vectors = {args.units, args.symbols, args.dims, lane};
    const size_t base = size_t(row) * args.symbols;
    Posterior posterior = {args.kept + base, args.symbols, 1.0f};
    posterior.look(vectors, args.logits + base, args.z + size_t(row) * args.dims, sharpness_of(step), args.drop);
    posterior.add_up(lane);
    float *to = args.denoised + size_t(row) * args.dims;
    vectors.sum_vectors(nullptr, [=](u32 v) { return posterior.probability(v); }, [=](u32 c, float sum) { to[c] = sum; });
}

// `program::VectorCost`.
HOST enum class VectorCost : u32 { SquaredError, CrossEntropy };

// Of logits [N, V], target [B, T], z [N, d], units [V, d] and steps [B, R] the loss [N]; and where dlogits [N, V] is given, with
// the loss's weight [N], d = scale·weight·∂loss/∂logits, dlogits = r·d, s [N] = ⟨d, logits⟩, own [N, d], and q [K·N, V] and g
// [K·N, d] of the products that are left.
struct VectorLossArgs {
    const StepArgs *step;
    const float *logits;
    const u32 *target;
    const float *z;
    const float *units;
    const VectorStep *steps;
    float *loss;
    const float *sumsq; // of rows `width` wide, null for r = 1
    const float *weight;
    const float *scale;
    float *kept; // [N, V]
    store_t *dlogits;
    float *s;
    store_t *q;
    store_t *g;
    float *own;
    u32 rows;
    u32 positions;
    u32 row_steps; // R
    u32 symbols;
    u32 dims;
    u32 width;
    u32 drop;
    VectorCost cost;
};

// The slope of a squared error along a symbol's probability is ⟨g, E[v] - x̂⟩ of its gradient g by x̂: taken as ⟨g, E[v] - x⟩ less
// its mean ⟨g, x̂ - x⟩, which both stay small where x̂ is near x.
BLOCK_ROWS(vector_loss, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 3)
vector_loss(VectorLossArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 symbols = args.symbols, dims = args.dims;
    if (row >= args.rows) {
        return;
    }
    const VectorStep &step = step_of(args.steps, row / args.positions, args.row_steps, args.step);
    const Vectors vectors = {args.units, symbols, dims, lane};
    const size_t base = size_t(row) * symbols, base_of_vector = size_t(row) * dims;
    const float *z = args.z + base_of_vector;
    const float sharpness = sharpness_of(step);
    const bool squares = args.cost == VectorCost::SquaredError, learns = args.dlogits != nullptr;
    const u32 x = args.target[row];
    const float *of_x = args.units + size_t(x) * dims;
    Posterior posterior = {args.kept + base, symbols, 1.0f};
    posterior.look(vectors, args.logits + base, z, sharpness, args.drop);
    posterior.add_up(lane);
    const float gain = learns ? args.weight[row] * (args.scale != nullptr ? args.scale[0] : 1.0f) : 0.0f;
    const float slope = 2.0f * gain * step.cost; // of a squared error, by x̂ - x
    float *own = learns ? args.own + base_of_vector : nullptr;
    float loss, mean = 0.0f;
    if (squares) {
        store_t *g = learns ? args.g + (size_t(args.rows) * dims + base_of_vector) : nullptr;
        float error = 0.0f;
        vectors.sum_vectors(of_x, [=](u32 v) { return posterior.probability(v); },
                            [&](u32 c, float off) {
                                error += off * off;
                                if (learns) {
                                    own[c] = slope * off; // until its own comes
                                    g[c] = narrow(slope * off);
                                }
                            });
        error = group_sum(error);
        loss = step.cost * error;
        mean = slope * error;
    } else {
        loss = posterior.cross_entropy(x, lane);
    }
    if (lane == 0) {
        args.loss[row] = loss;
    }
    if (!learns) {
        return;
    }
    const float r = args.sumsq != nullptr ? row_rstd(args.sumsq, row, args.width) : 1.0f;
    float s = 0.0f;
    for (u32 first = 0; first < symbols; first += WARP) {
        const u32 v = first + lane;
        const float along = squares ? vectors.products(own, of_x, first) - mean : 0.0f;
        if (v < symbols) {
            const float p = posterior.probability(v);
            const float d = squares ? p * along : gain * p - (v == x ? gain : 0.0f);
            s += d * args.logits[base + v];
            args.dlogits[base + v] = narrow(r * d);
            args.q[base + v] = narrow(d);
            if (squares) {
                args.q[size_t(args.rows) * symbols + base + v] = narrow(v == x ? p - 1.0f : p);
            }
            posterior.kept[v] = d; // the logit is not looked at again
        }
    }
    s = group_sum(s);
    if (lane == 0) {
        args.s[row] = s;
    }
    for (u32 c = lane; c < dims; c += WARP) {
        args.g[base_of_vector + c] = narrow(sharpness * z[c]);
    }
    const float by_z = step.alpha * sharpness;
    vectors.sum_vectors(nullptr, [=](u32 v) { return posterior.kept[v]; }, [=](u32 c, float sum) { own[c] = sum * by_z; });
}

// loss [N] (+)= of target [B, T] and units [V, d]; and where q [N, V] is given, it, g [N, d] and what is added to own [N, d].
struct ReadOffArgs {
    const StepArgs *step;
    const u32 *target;
    const float *units;
    float *loss;
    const float *weight;
    const float *scale;
    float *kept;   // [N, V]
    float *noised; // [N, d]
    store_t *q;
    store_t *g;
    float *own;
    float alpha; // α₀
    float sigma; // σ₀
    u32 rows;
    u32 positions;
    u32 symbols;
    u32 dims;
    u32 drop;
    Accumulate accumulate;
};

// -ln softmax(κ₀·⟨z₀, E[v]⟩)[target].
BLOCK_ROWS(read_off, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256, 4)
read_off(ReadOffArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 symbols = args.symbols, dims = args.dims;
    if (row >= args.rows) {
        return;
    }
    const u32 b = row / args.positions, p = row - b * args.positions, x = args.target[row];
    const size_t base = size_t(row) * symbols, base_of_vector = size_t(row) * dims;
    float *z = args.noised + base_of_vector;
    for (u32 c = lane; c < dims; c += WARP) {
        const float normal = normal_at(args.step, Stream::Decode, b, p * dims + c);
        z[c] = args.alpha * args.units[size_t(x) * dims + c] + args.sigma * normal;
    }
    const Vectors vectors = {args.units, symbols, dims, lane};
    const float sharpness = __fdiv_rn(args.alpha, args.sigma * args.sigma);
    Posterior posterior = {args.kept + base, symbols, 1.0f};
    posterior.look(vectors, nullptr, z, sharpness, args.drop);
    posterior.add_up(lane);
    const float loss = posterior.cross_entropy(x, lane);
    if (lane == 0) {
        put(args.loss[row], loss, args.accumulate);
    }
    if (args.q == nullptr) {
        return;
    }
    const float gain = args.weight[row] * (args.scale != nullptr ? args.scale[0] : 1.0f);
    const auto derivative = [=](u32 v) { return gain * posterior.probability(v) - (v == x ? gain : 0.0f); };
    for (u32 v = lane; v < symbols; v += WARP) {
        args.q[base + v] = narrow(derivative(v));
    }
    for (u32 c = lane; c < dims; c += WARP) {
        args.g[base_of_vector + c] = narrow(sharpness * z[c]);
    }
    const float by_z = args.alpha * sharpness;
    float *own = args.own + base_of_vector;
    vectors.sum_vectors(nullptr, derivative, [=](u32 c, float sum) { own[c] += by_z * sum; });
}

// Of logits [N, V], params [B], steps [B, R], units [V, d] and truth [B, T], what becomes of z and denoised [N, d], of x, masked and
// committed_at [B, T], and of remaining [B].
struct RenoiseVectorsArgs {
    const StepArgs *step;
    const float *logits;
    const SamplingParams *params;
    const VectorStep *steps;
    const float *units;
    const u32 *truth;
    float *kept; // [N, V]
    float *z;
    float *denoised;
    u32 *x;
    u32 *masked;
    u32 *committed_at;
    u32 *remaining;
    u32 positions;
    u32 row_steps; // R
    u32 symbols;
    u32 dims;
    u32 drop;
};

// The token whose vector is nearest: they have one length, and so the one of the largest product.
DEVICE u32 nearest(const Vectors &vectors, const float *x, u32 drop) {
    Largest largest = Largest::none();
    for (u32 first = 0; first < vectors.symbols; first += WARP) {
        const float product = vectors.products(x, nullptr, first);
        const u32 v = first + vectors.lane;
        if (v < vectors.symbols && v != drop) {
            largest.meet(product, v);
        }
    }
    return largest.of_warp().symbol;
}

// One reverse step of all vectors of a text: `RenoiseVectors`. Nothing changes, in this step and in all later ones, where a logit is not
// a number: all are looked at first. A block makes one text, a warp a position.
BLOCK_ROWS(renoise_vectors, 1);
extern "C" __global__ void __launch_bounds__(256, 2)
renoise_vectors(RenoiseVectorsArgs args) {
    __shared__ u32 partial[COUNT_WARPS];
    const u32 positions = args.positions, symbols = args.symbols, dims = args.dims, b = blockIdx.x;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const size_t base = size_t(b) * positions;
    const u32 remaining = args.remaining[b];
    if (remaining == 0 || remaining == BROKEN) {
        return;
    }
    u32 broken = 0;
    for (size_t i = threadIdx.x; i < size_t(positions) * symbols; i += THREADS) {
        const float logit = args.logits[base * symbols + i];
        broken |= logit != logit ? 1 : 0;
    }
    if (block_total(broken, partial) != 0) {
        if (threadIdx.x == 0) {
            args.remaining[b] = BROKEN;
        }
        return;
    }
    const VectorStep step = step_of(args.steps, b, args.row_steps, args.step);
    const float temperature = args.params[b].temperature;
    const Vectors vectors = {args.units, symbols, dims, lane};
    for (u32 p = warp; p < positions; p += ROW_WARPS) {
        const size_t row = base + p;
        float *z = args.z + row * dims, *denoised = args.denoised + row * dims;
        const auto normal = [&](u32 c) { return normal_at(args.step, Stream::Noise, b, p * dims + c); };
        const auto set = [&](u32 token) {
            for (u32 c = lane; c < dims; c += WARP) {
                denoised[c] = args.units[size_t(token) * dims + c];
            }
        };
        if (args.masked[row] == 0) {
            set(args.truth[row]);
            for (u32 c = lane; c < dims; c += WARP) {
                z[c] = step.alpha_to * denoised[c] + step.sigma_to * normal(c);
            }
            continue;
        }
        Posterior posterior = {args.kept + row * symbols, symbols, temperature};
        posterior.look(vectors, args.logits + row * symbols, z, sharpness_of(step), args.drop);
        u32 next = posterior.largest.symbol;
        if (temperature == 0.0f) {
            set(next);
        } else {
            posterior.add_up(lane);
            vectors.sum_vectors(nullptr, [=](u32 v) { return posterior.probability(v); },
                                [=](u32 c, float sum) { denoised[c] = sum; });
        }
        if (step.clamps != 0.0f) {
            set(nearest(vectors, denoised, args.drop));
        }
        for (u32 c = lane; c < dims; c += WARP) {
            z[c] = step.of_denoised * denoised[c] + step.of_noisy * z[c] + step.of_noise * normal(c);
        }
        if (step.ends != 0.0f) {
            next = nearest(vectors, z, args.drop);
        }
        if (lane == 0) {
            if (args.x[row] != next || args.committed_at[row] == GIVEN) {
                args.committed_at[row] = u32(args.step->step);
            }
            args.x[row] = next;
            args.masked[row] = step.ends != 0.0f ? 0 : args.masked[row];
        }
    }
    if (threadIdx.x == 0 && step.ends != 0.0f) {
        args.remaining[b] = 0;
    }
}
