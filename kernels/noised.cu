// What predictions of noised tokens cost, from stored logits, and their gradient: `noised.rs`.
//
// At noise rate μ, α = 1 - μ: q(j) = α·1[j=x] + b(j), q̂(j) = α·R(j) + b(j) of R = softmax(logits) without the mask.
//
//     CrossEntropy  -ln P(x), P(v) ~ R(v)·q(z|v)
//     Bound         λ(z)/q(z) · (Σ_j q(j)·φ(q̂(j)/q(j)) + φ(q(z)/q̂(z))),  φ(r) = r - 1 - ln r
//     Step          KL of the step from μ to a lower rate μ_s: Σ_j w(j)·φ(ŵ(j)/w(j)), w(j) = Q(j)·q_s(j)/q(z), ŵ likewise
//
// Letters: B sequences, T positions, N = B·T rows, V symbols.
//
// A row to a warp, any V. The logits are read three times, for the maximum, the sum and the terms, and where there is a
// gradient once more; behind the first time they lie in L1. A term needs the sum, and the gradient the mean of all slopes, so
// that the head's own loss, which goes over a product's tiles twice, has no room for either: the logits are stored.
#include "shared/mixing.cuh"
#include "shared/reductions.cuh"

// `program::NoisedCost`.
HOST enum class NoisedCost : u32 { CrossEntropy, Bound, Step };

// Of logits [N, V], target, z [N] and rates [B, 2] the loss [N]; and where dlogits [N, V] is given, with the loss's weight [N],
// d = scale·weight·∂loss/∂logits, dlogits = r·d and s [N] = ⟨d, logits⟩.
struct NoisedLossArgs {
    const float *logits;
    const u32 *target;
    const u32 *z;
    const u32 *rates;
    float *loss;
    const float *sumsq; // of rows `width` wide, null for r = 1
    const float *weight;
    const float *scale;
    store_t *dlogits;
    float *s;
    u32 rows;
    u32 positions; // T
    u32 symbols;   // V
    u32 width;
    Mixing mixing;
    NoisedCost cost;
};

// Two probabilities, q and the model's, and how far the second is above the first.
struct Ratio {
    float q;
    float model;
    float apart;

    // q·φ(q̂/q) = q ln(q/q̂) + q̂ - q; near 1 by the series of d - ln(1+d).
    DEVICE float term() const {
        if (q == 0.0f) {
            return apart;
        }
        const float d = apart / q;
        if (fabsf(d) < 0.03125f) {
            return q * d * d * (0.5f - d * (1.0f / 3.0f - d * (0.25f - d * (0.2f - d / 6.0f))));
        }
        return apart - q * logf(model / q);
    }

    // ∂(q·φ)/∂q̂ = 1 - q/q̂.
    DEVICE float slope() const {
        return model > 0.0f ? apart / model : 0.0f;
    }
};

// A token x of one noise rate.
struct Law {
    Mixing mixing;
    Marginal marginal;
    u32 x;

    // q(v), and q̂ where v is predicted with probability r.
    DEVICE Ratio of(u32 v, float r) const {
        const float base = marginal.noise.of(v, mixing), keep = marginal.keep, is_x = v == x ? 1.0f : 0.0f;
        return Ratio{base + keep * is_x, base + keep * r, keep * (r - is_x)};
    }
};

constexpr u32 ROW_WARPS = 8;

BLOCK_ROWS(noised_loss, ROW_WARPS);
extern "C" __global__ void __launch_bounds__(256)
noised_loss(NoisedLossArgs args) {
    const u32 row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const Mixing mixing = args.mixing;
    const u32 symbols = args.symbols, mask = mixing.mask;
    if (row >= args.rows) {
        return;
    }
    const float *y = args.logits + size_t(row) * symbols;
    const u32 x = args.target[row], z = args.z[row], *rates = args.rates + 2 * size_t(row / args.positions);
    const u32 later = min(max(rates[0], 1u), UNIFORM_STEPS - 1), earlier = min(rates[1], later);
    const Law from = {mixing, marginal_at(mixing, later), x};

    float most = -INFINITE;
    for (u32 v = lane; v < symbols; v += WARP) {
        most = fmaxf(most, v == mask ? -INFINITE : y[v]);
    }
    most = group_max(most);
    const auto weight_of = [=](u32 v) { return v == mask ? 0.0f : expf(y[v] - most); };
    float sum = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        sum += weight_of(v);
    }
    sum = group_sum(sum);
    const float of_z = z < symbols ? weight_of(z) : 0.0f, keep = from.marginal.keep;

    // What z says of the token itself, by which the posterior favours it; the mask says nothing.
    const float noise_z = from.marginal.noise.of(z, mixing), favour = z == mask ? 1.0f : (noise_z + keep) / noise_z;
    const float whole = (sum - of_z) / favour + of_z;
    const Ratio at_z = from.of(z, of_z / sum);
    const float factor = jumps_at(mixing, later).of(z, mixing) / at_z.q;
    float loss, mean = 0.0f;
    if (args.cost == NoisedCost::CrossEntropy) {
        loss = (z == x ? logf(whole) : logf(sum - of_z + of_z * favour)) - (y[x] - most);
    } else {
        const bool is_bound = args.cost == NoisedCost::Bound;
        const Law to = {mixing, marginal_at(mixing, earlier), x};
        const Transition step = transition_of(mixing, later, earlier);
        const float moves = step.moves.of(z, mixing);
        loss = 0.0f;
        for (u32 v = lane; v < symbols; v += WARP) {
            const float r = weight_of(v) / sum;
            if (is_bound) {
                const Ratio of = from.of(v, r);
                const float slope = of.slope();
                loss += of.term();
                mean += r * (v == z ? slope + slope / of.model : slope);
            } else {
                const Ratio of = to.of(v, r);
                const float way = v == z ? step.stays + moves : moves;
                const float apart = way * (of.apart * at_z.q - of.q * at_z.apart) / (at_z.q * at_z.model);
                loss += Ratio{way * of.q / at_z.q, way * of.model / at_z.model, apart}.term();
            }
        }
        loss = group_sum(loss);
        mean = group_sum(mean);
        if (is_bound) {
            const float turned = Ratio{at_z.model, at_z.q, -at_z.apart}.term() / at_z.model;
            loss = factor / keep * (loss + turned);
        }
    }
    if (lane == 0) {
        args.loss[row] = loss;
    }
    if (args.dlogits == nullptr) {
        return;
    }
    const float gain = args.weight[row] * (args.scale != nullptr ? args.scale[0] : 1.0f);
    const float r_row = args.sumsq != nullptr ? row_rstd(args.sumsq, row, args.width) : 1.0f;
    float s = 0.0f;
    for (u32 v = lane; v < symbols; v += WARP) {
        float d;
        if (args.cost == NoisedCost::CrossEntropy) {
            d = weight_of(v) / (favour * whole) * (v == z ? favour : 1.0f) - (v == x ? 1.0f : 0.0f);
        } else {
            const float r = weight_of(v) / sum;
            const Ratio of = from.of(v, r);
            const float slope = of.slope();
            d = factor * r * ((v == z ? slope + slope / of.model : slope) - mean);
        }
        d = v == mask ? 0.0f : gain * d;
        s += d * y[v];
        args.dlogits[size_t(row) * symbols + v] = narrow(r_row * d);
    }
    s = group_sum(s);
    if (lane == 0) {
        args.s[row] = s;
    }
}
