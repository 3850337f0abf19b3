// What follows the products of models with biases: epilogues as in epilogues.cuh, that need nothing of their rows.
#pragma once
#include "shared/epilogues.cuh"
#include "shared/gelu.cuh"

// y + bias, where there is one.
DEVICE Eight biased(Eight y, const uint4 &bias) {
    const Eight b = eight_of(bias);
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        y.at[i] += b.at[i];
    }
    return y;
}

DEVICE uint4 read16_or_zero(const store_t *from, size_t at) {
    return from != nullptr ? read16(from + at) : uint4{};
}

struct LinearEpilogue {
    const LinearArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    struct Ahead {
        uint4 bias;
        uint4 residual;
    };
    template <class Spot> DEVICE Ahead load(const Spot &spot) const {
        return Ahead{read16_or_zero(args.bias, spot.column), read16_or_zero(args.residual, size_t(spot.row) * args.cols + spot.column)};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const Ahead &ahead) const {
        const Eight y = biased(biased(spot.sums(), ahead.bias), ahead.residual);
        if (spot.inside) {
            store8(args.y + size_t(spot.row) * args.cols + spot.column, y);
        }
    }
};

struct LinearGeluEpilogue {
    const LinearGeluArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16_or_zero(args.bias, spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const uint4 &bias) const {
        const Eight u = biased(spot.sums(), bias);
        Eight h;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            h.at[i] = gelu(u.at[i]);
        }
        if (spot.inside) {
            const size_t at = size_t(spot.row) * args.cols + spot.column;
            store8(args.u + at, u);
            store8(args.h + at, h);
        }
    }
};

struct LinearBackwardEpilogue {
    const LinearBackwardArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = Nothing;
    template <class Spot> DEVICE Nothing load(const Spot &) const {
        return {};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, Nothing) const {
        if (spot.inside) {
            store8(args.dx + size_t(spot.row) * args.cols + spot.column, spot.sums());
        }
    }
};

struct GeluBackwardEpilogue {
    const GeluBackwardArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16(args.u + size_t(spot.row) * args.cols + spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const uint4 &ahead) const {
        const Eight dh = spot.sums(), u = eight_of(ahead);
        Eight du;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            du.at[i] = dh.at[i] * gelu_slope(u.at[i]);
        }
        if (spot.inside) {
            store8(args.du + size_t(spot.row) * args.cols + spot.column, du);
        }
    }
};
