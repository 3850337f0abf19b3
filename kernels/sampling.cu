// One reverse step: the timestep, a candidate for each masked position, and which of them are committed: `sampling.rs`; or all
// of them drawn anew: `noised.rs`.
//
// From the same logits every device commits the same tokens: this file is compiled with --fmad=false, and what
// decides is computed as the CPU does, operation by operation. The exponential is its polynomial, fused where
// it fuses. Its 32 lanes of a sum are the 32 lanes of a warp, lane i adding elements i, i + 32, ...; its tree over
// them is the butterfly. A cumulative sum is added up element by element, by all lanes alike.
// nvcc: --fmad=false
//
// Letters: B sequences, T positions, N = B·T rows, V symbols.
//
// `predict` gives a row to a warp and computes an exponential anew wherever it is looked at, so any V needs no
// memory. The nucleus (Holtzman et al. 2020) is taken in descending order without sorting: each lane offers the best
// of its own symbols, the warp takes the best of 32, and the whole warp looks for the next one of the lane that gave
// it. A symbol costs about 100 + V/1024·60 instructions, and usually few are kept. `commit_tokens` gives a sequence
// to a block; the k most confident are found by counting, as `integers.cuh` says.
#include "shared/draws.cuh"
#include "shared/mixing.cuh"
#include "shared/texts.cuh"

constexpr u32 WARPS = 256 / WARP;

// `program::TimeOrder`.
HOST enum class TimeOrder : u32 { Original, Masked, Rate };

// `config::Score`.
HOST enum class Score : u32 { Max = 0, Margin = 1, Entropy = 2, Candidate = 3, Random = 4 };

// `program::QuotaKind`: how many of the most confident.
HOST enum class QuotaKind : u32 { Best = 0, Factor = 1, EntropyBound = 2 };

// t [B] of masked [B, T], 1 where masked, or of the step, or of its pair of rates [B, 2·steps].
struct SampleTimeArgs {
    const StepArgs *step;
    const u32 *masked;
    const u32 *rates; // of Rate
    u32 *t;
    TimeOrder order;
    u32 maskable; // of Masked
    u32 timesteps;
    u32 sequences;
    u32 positions;
    u32 steps; // of Rate
};

// A warp makes one sequence.
BLOCK_ROWS(sample_time, WARPS);
extern "C" __global__ void __launch_bounds__(256)
sample_time(SampleTimeArgs args) {
    const u32 b = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 positions = args.positions, timesteps = args.timesteps;
    const bool counts = args.order == TimeOrder::Masked;
    if (b >= args.sequences) {
        return;
    }
    u32 count = 0;
    if (counts) {
#pragma unroll 8
        for (u32 p = lane; p < positions; p += WARP) {
            count += args.masked[size_t(b) * positions + p];
        }
        count = __reduce_add_sync(FULL_MASK, count);
    }
    if (lane == 0) {
        u32 of = args.maskable;
        if (args.order == TimeOrder::Rate) {
            count = args.rates[2 * (args.steps * size_t(b) + args.step->step % args.steps)];
            of = UNIFORM_STEPS;
        }
        args.t[b] = args.order == TimeOrder::Original ? u32(min(args.step->step, u64(timesteps) - 1))
                                                      : timestep_above(count, of, timesteps);
    }
}

// A symbol with a positive weight; the weight's bits order as the weight does, and 0 stands for no symbol.
struct Candidate {
    u32 bits;
    u32 symbol;

    // Descending weight, the lower symbol first among equals.
    DEVICE bool before(const Candidate &other) const {
        return bits > other.bits || (bits == other.bits && symbol < other.symbol);
    }
};

DEVICE Candidate candidate_of(float weight, u32 v) {
    return Candidate{weight > 0.0f ? __float_as_uint(weight) : 0, v};
}

// The first of the 32 lanes' candidates.
DEVICE Candidate first_of_warp(Candidate mine) {
    const u32 bits = __reduce_max_sync(FULL_MASK, mine.bits);
    return Candidate{bits, __reduce_min_sync(FULL_MASK, mine.bits == bits ? mine.symbol : ~0u)};
}

// The symbols of positive weight in order, one after another. Lane i offers symbols i, i + 32, ...
struct Descent {
    const Weights &weights;
    u32 symbols;
    u32 lane;
    Candidate mine;

    DEVICE void start() {
        mine = Candidate{0, ~0u};
        for (u32 v = lane; v < symbols; v += WARP) {
            const Candidate other = candidate_of(weights.at(v), v);
            mine = other.before(mine) ? other : mine;
        }
    }

    // The next one; `bits` is 0 where there is none.
    DEVICE Candidate next() {
        const Candidate best = first_of_warp(mine);
        if (best.bits == 0) {
            return best;
        }
        const u32 owner = best.symbol % WARP;
        Candidate follows = {0, ~0u};
        for (u32 j = lane; owner + u64(j) * WARP < symbols; j += WARP) {
            const Candidate other = candidate_of(weights.at(owner + j * WARP), owner + j * WARP);
            follows = best.before(other) && other.before(follows) ? other : follows;
        }
        follows = first_of_warp(follows);
        mine = lane == owner ? follows : mine;
        return best;
    }
};

// Inverse distribution function at u of the nucleus: the fewest symbols, by descending weight, that hold `enough`, and no more
// than `most`.
DEVICE u32 draw_of_nucleus(const Weights &weights, u32 symbols, float enough, u32 most, float u, u32 lane) {
    Descent descent = {weights, symbols, lane, {0, 0}};
    float mass = 0.0f, mass_here = 0.0f; // lane i remembers the i-th symbol and the mass up to it
    u32 kept = 0, symbol_here = 0;
    descent.start();
    for (Candidate next = descent.next(); next.bits != 0; next = descent.next()) {
        mass += __uint_as_float(next.bits);
        mass_here = lane == kept ? mass : mass_here;
        symbol_here = lane == kept ? next.symbol : symbol_here;
        ++kept;
        if (mass >= enough || kept == most) {
            break;
        }
    }
    const float goal = u * mass;
    const u32 hits = __ballot_sync(FULL_MASK, lane < kept && goal < mass_here);
    if (hits != 0 || kept <= WARP) {
        const u32 last = kept == 0 ? 0 : kept - 1;
        return __shfl_sync(FULL_MASK, symbol_here, hits != 0 ? __ffs(hits) - 1 : last);
    }
    // It lies behind what the lanes remember.
    float below = 0.0f;
    u32 symbol = 0;
    descent.start();
    for (u32 i = 0; i < kept; ++i) {
        const Candidate next = descent.next();
        below += __uint_as_float(next.bits);
        symbol = next.symbol;
        if (goal < below) {
            break;
        }
    }
    return symbol;
}

// Of logits [N, V], masked [B, T], params [B] and remaining [B] the confidence [B, T], and the candidate [B, T], or, where
// target [B, T] is given, its cross_entropy [N].
struct PredictArgs {
    const StepArgs *step;
    const float *logits;
    const u32 *masked;
    const SamplingParams *params;
    const u32 *remaining;
    u32 *candidate;
    const u32 *target;
    float *cross_entropy;
    float *confidence;
    u32 rows;
    u32 positions;
    u32 symbols;
    u32 drop; // ~0 for none
};

// What the lowest lane writes of a row: what it is about.
DEVICE void put(const PredictArgs &args, u32 row, u32 symbol, float cost) {
    if (args.target != nullptr) {
        args.cross_entropy[row] = cost;
    } else {
        args.candidate[row] = symbol;
    }
}

// A row's distribution: Σ w, the first of the largest weights, which is 1, the largest of the others, Σ w ln w.
struct Summary {
    float sum;
    u32 best;
    float second;
    float moment;

    DEVICE void take(const Weights &weights, u32 symbols, u32 lane) {
        Candidate first = {0, ~0u};
        u32 next = 0;
        sum = moment = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            const float exponent = weights.exponent(v), weight = exp_below(exponent);
            const Candidate other = candidate_of(weight, v);
            sum += weight;
            moment += weight > 0.0f ? weight * exponent : 0.0f;
            next = max(next, min(other.bits, first.bits));
            first = other.before(first) ? other : first;
        }
        sum = group_sum(sum);
        moment = group_sum(moment);
        best = first_of_warp(first).symbol;
        second = __uint_as_float(__reduce_max_sync(FULL_MASK, first.symbol == best ? next : first.bits));
    }
};

// A candidate for each masked position, or what its target costs, and how confident the model is there; 0 for the others, whose
// confidence stays, not a number where logits are none. A warp makes a row, any V.
BLOCK_ROWS(predict, WARPS);
extern "C" __global__ void __launch_bounds__(256, 5)
predict(PredictArgs args) {
    const u32 row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= args.rows) {
        return;
    }
    if (args.masked[row] == 0) {
        if (lane == 0) {
            put(args, row, 0, 0.0f);
        }
        return;
    }
    const u32 symbols = args.symbols, b = row / args.positions;
    const SamplingParams *params = args.params;
    const float confidence_at = params[b].confidence_at;
    Weights weights = {args.logits + size_t(row) * symbols, confidence_at, args.drop, -INFINITE, 0.0f};
    float most = -INFINITE;
    for (u32 v = lane; v < symbols; v += WARP) {
        most = fmaxf(most, weights.logit(v));
    }
    weights.most = group_max(most);
    Summary whole;
    whole.take(weights, symbols, lane);
    if (whole.sum != whole.sum) {
        if (lane == 0) {
            const float none = __uint_as_float(0x7fc00000u);
            put(args, row, 0, none);
            args.confidence[row] = none;
        }
        return;
    }
    const uint4 random = reveal_words(args.step, b, row - b * args.positions);
    const Score score = Score(u32(params[b].score));
    float confidence;
    if (score == Score::Random) {
        confidence = float(uniform24(random.z)) * UNIFORM_STEP;
    } else if (score == Score::Entropy) {
        confidence = __fdiv_rn(whole.moment, whole.sum) - ln(whole.sum);
        confidence = confidence < 0.0f ? confidence : 0.0f;
    } else {
        confidence = __fdiv_rn(score == Score::Margin ? 1.0f - whole.second : 1.0f, whole.sum);
    }

    // The draw, or the target.
    const bool greedy = float(args.remaining[b]) <= params[b].greedy_tail, is_given = args.target != nullptr;
    const float temperature = greedy ? 0.0f : params[b].temperature;
    const bool draws = temperature > 0.0f;
    float sum = whole.sum;
    if (draws) {
        weights.temperature = temperature;
        weights.least = is_given ? 0.0f : params[b].min_p;
        if (temperature != confidence_at || weights.least > 0.0f) {
            sum = weights.sum(symbols, lane);
        }
    }
    u32 symbol = whole.best;
    if (is_given) {
        symbol = args.target[row];
    } else if (draws) {
        const float top_p = params[b].top_p, u = float(uniform24(random.y)) * UNIFORM_STEP;
        const float enough = top_p < 1.0f ? top_p * sum : INFINITE;
        const u32 most = u32(params[b].top_symbols);
        symbol = enough < INFINITE || most != 0 ? draw_of_nucleus(weights, symbols, enough, most, u, lane)
                                                : draw_of_all(weights, symbols, sum, u, lane);
    }
    if (lane == 0) {
        const float cost = draws                  ? ln(sum) - weights.exponent(symbol)
                           : symbol == whole.best ? 0.0f
                                                  : INFINITE;
        if (score == Score::Candidate) {
            weights.temperature = confidence_at;
            confidence = __fdiv_rn(exp_below(weights.exponent(symbol)), whole.sum);
        }
        put(args, row, symbol, cost);
        args.confidence[row] = confidence;
    }
}

// Of confidence [B, T], params [B], lots [B, R, 2] and candidate [B, T], or target [B, T], whose cross_entropy [N] adds to
// nll [B], what becomes of x, masked, committed_at [B, T] and remaining [B].
struct CommitArgs {
    const StepArgs *step;
    const float *confidence;
    const SamplingParams *params;
    const u32 *lots;
    const u32 *candidate;
    const u32 *target;
    const float *cross_entropy;
    float *nll;
    u32 *x;
    u32 *masked;
    u32 *committed_at;
    u32 *remaining;
    u32 positions;
    u32 steps; // R
    u32 mask_id;
};

// `kth_smallest` for k = 1.
template <class Open, class Word>
DEVICE Cut smallest(u32 end, Open open, Word word_of, u32 (&partial)[COUNT_WARPS]) {
    u32 word = ~0u, position = ~0u;
    for (u32 p = threadIdx.x; p < end; p += COUNT_THREADS) {
        word = open(p) ? min(word, word_of(p)) : word;
    }
    word = block_lowest(word, partial);
    for (u32 p = threadIdx.x; p < end; p += COUNT_THREADS) {
        position = open(p) && word_of(p) == word ? min(position, p) : position;
    }
    return Cut{word, block_lowest(position, partial)};
}

// Nats in whole steps, which have one sum in any order.
DEVICE u64 whole_steps(float nats) {
    return u64(fminf(fmaxf(nats * 65536.0f, 0.0f), 4294967296.0f));
}

// e to the power of what speaks against a token that was written with probability p, in whole steps: 2¹⁶ positions, the most of
// a window, add up to 2³¹.
DEVICE u32 whole_weight(float p) {
    return u32(exp_below(-p) * 32768.0f);
}

// How many of the `count` open positions a quota takes, which `before` orders by confidence. A thread asks for each of its
// positions what stands before it: T²/256 looks, which only these quotas cost.
template <class Open, class Before>
DEVICE u32 best_of(QuotaKind quota, float amount, u32 count, const float *confidence, u32 positions, Open open, Before before,
                   u32 (&partial)[COUNT_WARPS]) {
    if (quota == QuotaKind::Best) {
        return u32(amount);
    }
    u32 stops = count; // the fewest that stand before one that is too many
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        if (!open(p)) {
            continue;
        }
        u32 rank = 0;
        u64 spent = 0;
        for (u32 q = 0; q < positions; ++q) {
            if (open(q) && before(q, p)) {
                ++rank;
                spent += whole_steps(-confidence[q]);
            }
        }
        const bool fits = quota == QuotaKind::Factor
                              ? rank == 0 || confidence[p] >= 1.0f - __fdiv_rn(amount, float(rank + 2))
                              : spent <= whole_steps(amount);
        stops = fits ? stops : min(stops, rank);
    }
    return block_lowest(stops, partial);
}

// Commits some of the masked positions: writes their tokens, clears their mask, notes the step. The tokens are the
// candidates, or, where `target` is given, the true ones, whose cross-entropies are added to nll in ascending order.
// Nothing is committed, in this step and in all later ones, where an open position's confidence is not a number.
// A block makes one sequence.
BLOCK_ROWS(commit_tokens, 1);
extern "C" __global__ void __launch_bounds__(256, 6)
commit_tokens(CommitArgs args) {
    __shared__ u32 partial[COUNT_WARPS];
    const u32 positions = args.positions, b = blockIdx.x, lane = threadIdx.x % WARP;
    const size_t base = size_t(b) * positions;
    const float *confidence = args.confidence + base;
    u32 *masked = args.masked + base;
    const bool scores = args.target != nullptr;
    const StepArgs *step = args.step;
    const SamplingParams *params = args.params;
    u32 *remaining = args.remaining;

    // What of an open position decides: that it is sure enough, or its place among the sure, up to `cut`, or its lot.
    const float least = params[b].least;
    const u32 *lots = args.lots + 2 * (size_t(b) * args.steps + u32(step->step) % args.steps);
    const u32 commits = lots[0], masks = lots[1];
    const auto open = [=](u32 p) { return masked[p] != 0; };
    u32 broken = remaining[b] == BROKEN ? 1 : 0;
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        broken |= open(p) && confidence[p] != confidence[p] ? 1 : 0;
    }
    if (block_total(broken, partial) != 0) {
        if (threadIdx.x == 0) {
            remaining[b] = BROKEN;
        }
        return;
    }
    const auto rank = [=](u32 p) { return ~total_order(confidence[p]); };
    const auto before = [=](u32 q, u32 p) { return Cut{rank(p), p}.holds(rank(q), q) && q != p; };
    Cut cut = {0, 0}; // holds no number's rank
    u32 count = 0, sure = 0;
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        count += open(p) ? 1 : 0;
        sure += open(p) && confidence[p] >= least ? 1 : 0;
    }
    count = block_total(count, partial);
    const QuotaKind quota = QuotaKind(u32(params[b].quota));
    const u32 k = best_of(quota, params[b].amount, count, confidence, positions, open, before, partial);
    if (k != 0) {
        // Where k are sure enough, the k most confident are among them.
        if (block_total(sure, partial) < k) {
            cut = k >= count ? Cut{~0u, ~0u}
                : k == 1     ? smallest(positions, open, rank, partial)
                             : kth_smallest(k, 0, positions, open, rank, partial);
        }
    }
    const auto chosen = [=](u32 p) {
        return open(p) && (confidence[p] >= least || cut.holds(rank(p), p) ||
                           (commits != 0 && uniform24(reveal_words(step, b, p).x) < commits));
    };

    if (scores) {
        if (threadIdx.x < WARP) {
            float sum = args.nll[b];
            for (u32 first = 0; first < positions; first += WARP) {
                const u32 p = first + lane;
                const bool mine = p < positions && chosen(p);
                const float loss = mine ? args.cross_entropy[base + p] : 0.0f;
                for (u32 left = __ballot_sync(FULL_MASK, mine); left != 0; left &= left - 1) {
                    sum += __shfl_sync(FULL_MASK, loss, __ffs(left) - 1);
                }
            }
            if (lane == 0) {
                args.nll[b] = sum;
            }
        }
        __syncthreads(); // the masks are about to change
    }
    // What is masked again by shares of a probability, by how unsure the model was.
    const auto written = [=](u32 p) { return masked[p] == 0 && args.committed_at[base + p] != GIVEN; };
    const bool shares = masks != 0 && Score(u32(params[b].score)) == Score::Candidate;
    u32 all = 1;
    if (shares) {
        u32 sum = 0;
        for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
            sum += written(p) ? whole_weight(confidence[p]) : 0;
        }
        all = block_total(sum, partial);
    }
    u32 left = 0;
    for (u32 p = threadIdx.x; p < positions; p += COUNT_THREADS) {
        if (chosen(p)) {
            args.x[base + p] = (scores ? args.target : args.candidate)[base + p];
            masked[p] = 0;
            args.committed_at[base + p] = u32(step->step);
        } else if (masked[p] != 0) {
            ++left;
        } else if (masks != 0 && written(p) &&
                   u64(uniform24(reveal_words(step, b, p).x)) * all <
                       u64(masks) * (shares ? whole_weight(confidence[p]) : 1)) {
            args.x[base + p] = args.mask_id;
            masked[p] = 1;
            ++left;
        }
    }
    left = block_total(left, partial);
    if (threadIdx.x == 0) {
        remaining[b] = left;
    }
}

// Of logits [N, V], params [B], rates [B, R, 2] and truth [B, T], what becomes of x, masked, committed_at [B, T] and remaining [B].
struct RenoiseArgs {
    const StepArgs *step;
    const float *logits;
    const SamplingParams *params;
    const u32 *rates;
    const u32 *truth;
    u32 *x;
    u32 *masked;
    u32 *committed_at;
    u32 *remaining;
    u32 positions;
    u32 symbols; // V
    u32 steps;   // R
    Mixing mixing;
};

// What the next token of a position is drawn by, before division by a sum: way(j)·(α_s·R(j) + b_s(j)).
struct Reverse {
    Weights weights;
    float sum;
    u32 z;
    Mixing mixing;
    Marginal to;
    Transition step;

    DEVICE float at(u32 v) const {
        const float moves = step.moves.of(z, mixing), way = v == z ? moves + step.stays : moves;
        return way * (to.keep * weights.at(v) + to.noise.of(v, mixing) * sum);
    }
};

// Draws every open position anew, from noise rate μ_t to μ_s, and gives known ones noise of the latter: `Renoise`. Nothing
// changes, in this step and in all later ones, where a logit of an open position is not a number: all are looked at first.
// A block makes one sequence, a warp a position.
BLOCK_ROWS(renoise, 1);
extern "C" __global__ void __launch_bounds__(256)
renoise(RenoiseArgs args) {
    __shared__ u32 partial[COUNT_WARPS];
    const u32 positions = args.positions, symbols = args.symbols, b = blockIdx.x;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const size_t base = size_t(b) * positions;
    const StepArgs *step = args.step;
    const u32 *pair = args.rates + 2 * (args.steps * size_t(b) + step->step % args.steps);
    const SamplingParams *params = args.params + b;
    const u32 from = pair[0], to = min(pair[1], from);
    const Marginal reached = marginal_at(args.mixing, to);
    const Transition way = transition_of(args.mixing, from, to);
    const u32 masks = masks_at(args.mixing, to);
    const float tempered = params->temperature;
    const bool greedy =
        tempered == 0.0f || float(from) * UNIFORM_STEP * float(positions) <= params->greedy_tail;
    const float temperature = greedy ? 1.0f : tempered;

    const auto weights_of = [=](u32 p) {
        Weights weights = {args.logits + (base + p) * symbols, temperature, args.mixing.mask, -INFINITE, 0.0f};
        float most = -INFINITE;
        for (u32 v = lane; v < symbols; v += WARP) {
            most = fmaxf(most, weights.logit(v));
        }
        weights.most = group_max(most);
        return weights;
    };
    u32 broken = args.remaining[b] == BROKEN ? 1u : 0u;
    for (u32 p = warp; p < positions && broken == 0; p += COUNT_WARPS) {
        if (args.masked[base + p] != 0) {
            const float sum = weights_of(p).sum(symbols, lane);
            broken = sum != sum ? 1 : 0;
        }
    }
    if (block_total(broken, partial) != 0) {
        if (threadIdx.x == 0) {
            args.remaining[b] = BROKEN;
        }
        return;
    }

    for (u32 p = warp; p < positions; p += COUNT_WARPS) {
        const u32 z = args.x[base + p];
        const uint4 random = reveal_words(step, b, p);
        const bool open = args.masked[base + p] != 0;
        u32 next;
        if (!open) {
            next = uniform24(random.x) < to ? mixed(args.mixing, random.y, random.z, masks) : args.truth[base + p];
        } else {
            const Weights weights = weights_of(p);
            const Reverse reverse = {weights, weights.sum(symbols, lane), z, args.mixing, reached, way};
            if (greedy) {
                Candidate best = {0, ~0u};
                for (u32 v = lane; v < symbols; v += WARP) {
                    const Candidate other = candidate_of(reverse.at(v), v);
                    best = other.before(best) ? other : best;
                }
                next = first_of_warp(best).symbol;
            } else {
                float whole = 0.0f;
                for (u32 v = lane; v < symbols; v += WARP) {
                    whole += reverse.at(v);
                }
                next = draw_of_all(reverse, symbols, group_sum(whole), float(uniform24(random.y)) * UNIFORM_STEP, lane);
            }
        }
        if (lane == 0) {
            if (open && (next != z || args.committed_at[base + p] == GIVEN)) {
                args.committed_at[base + p] = u32(step->step);
            }
            args.x[base + p] = next;
            args.masked[base + p] = to == 0 ? 0 : args.masked[base + p];
        }
    }
    if (threadIdx.x == 0 && to == 0) {
        args.remaining[b] = 0;
    }
}
