// What follows the matrix products, on their f32 sums before anything is rounded: one struct an op. The main loop and
// where its sums lie are the business of the rung, which hands them over as spots.
//
// `row(r)` is made once for each row of a tile. `load(spot)` is what a spot needs from memory, of which the rung has
// several under way. `finish(spot, row, ahead)` gets both, with all lanes of a warp together; neighbouring lanes have
// neighbouring columns of one row, as far as the tile goes.
//
// A spot is eight columns of a row of the product, from `column` on: `eight` of EIGHTS of the tile's row. Row and column are
// clamped to the matrix; `inside` says whether they were not. `sums()` are the sums there, `sums(e)` those of another eight
// of the tile's row. Rows are read and written 16 bytes at a time.
#pragma once
#include "shared/args.cuh"
#include "shared/reductions.cuh"

// Rows and columns of a product, and where in it the block's tile begins.
struct Bounds {
    u32 rows;
    u32 cols;
    u32 first_row;
    u32 first_col;
};

// Sum of groups of `lanes` neighbouring lanes, a power of two that the whole warp agrees on.
DEVICE float lanes_sum(float value, u32 lanes) {
    for (u32 offset = lanes / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(FULL_MASK, value, offset);
    }
    return value;
}

// What a row or a spot needs, where that is nothing.
struct Nothing {};

// head_dim is 16, 32, 64 or 128 and divides width, so that a head lies within a tile: its lanes sum its squares, and the
// column that one is rotated with is in the spot's row.
struct QkvEpilogue {
    const QkvArgs &args;
    u32 cols, normed;
    u32 half, half_eights, heads_shift;
    u32 first_row, first_position;
    // Whether the tile has columns of q and k.
    bool rotates;
    float share;

    DEVICE QkvEpilogue(const QkvArgs &args, const Bounds &bounds)
        : args(args), cols(3 * args.width), normed(2 * args.width), half(args.head_dim / 2),
          half_eights(args.head_dim / 16), heads_shift(31 - __clz(args.head_dim)), first_row(bounds.first_row),
          first_position(bounds.first_row % args.positions), rotates(bounds.first_col < normed),
          share(1.0f / float(args.head_dim)) {}

    using Row = float;
    DEVICE float row(u32 row) const {
        return row_rstd(args.sumsq, row, args.width);
    }

    struct Ahead {
        float4 two[4];
    };
    template <class Spot> DEVICE Ahead load(const Spot &spot) const {
        if (!rotates) {
            return Ahead{};
        }
        u32 position = first_position + spot.row - first_row;
        while (position >= args.positions) {
            position -= args.positions;
        }
        const float4 *from =
            reinterpret_cast<const float4 *>(args.rope + size_t(position) * half + (spot.column & (half - 1)));
        return Ahead{{__ldg(from), __ldg(from + 1), __ldg(from + 2), __ldg(from + 3)}};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, float factor, const Ahead &angle) const {
        static_assert(Spot::EIGHTS == 16, "a head of 128 columns lies within a tile");
        Eight y = spot.sums();
        const bool rotated = spot.column < normed;
        if (rotates) {
            // Half split: columns below `half` are x₁ cos + x₂ sin, those above x₂ cos - x₁ sin.
            const Eight other = spot.sums(spot.eight ^ half_eights);
            const float sign = spot.eight & half_eights ? -1.0f : 1.0f;
            Eight turned;
            float squares = 0.0f;
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                const float4 two = angle.two[i];
                turned.at[2 * i] = factor * (y.at[2 * i] * two.x + sign * other.at[2 * i] * two.y);
                turned.at[2 * i + 1] = factor * (y.at[2 * i + 1] * two.z + sign * other.at[2 * i + 1] * two.w);
                squares += turned.at[2 * i] * turned.at[2 * i] + turned.at[2 * i + 1] * turned.at[2 * i + 1];
            }
            const float rstd = rsqrtf(lanes_sum(squares, args.head_dim / 8) * share + NORM_EPS);
#pragma unroll
            for (u32 i = 0; i < 8; ++i) {
                y.at[i] = rotated ? turned.at[i] * rstd : y.at[i] * factor;
            }
            if (spot.inside && rotated && (spot.column & (args.head_dim - 1)) == 0) {
                args.qk_rstd[size_t(spot.row) * (normed >> heads_shift) + (spot.column >> heads_shift)] = rstd;
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < 8; ++i) {
                y.at[i] *= factor;
            }
        }
        if (spot.inside) {
            store8(args.qkv + size_t(spot.row) * cols + spot.column, y);
        }
    }
};

struct ResidualEpilogue {
    const LinearResidualArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16(args.residual + size_t(spot.row) * args.cols + spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const uint4 &ahead) const {
        static_assert(Spot::EIGHTS == 16, "a row of the tile is one partial sum of squares");
        const Eight y = spot.sums(), around = eight_of(ahead);
        store2_t stored[4];
        float squares = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            stored[i] = pack(y.at[2 * i] + around.at[2 * i], y.at[2 * i + 1] + around.at[2 * i + 1]);
            const float2 two = unpack(stored[i]);
            squares += two.x * two.x + two.y * two.y;
        }
        squares = group_sum<16>(spot.inside ? squares : 0.0f);
        if (spot.inside) {
            store_t *const to = args.out + size_t(spot.row) * args.cols + spot.column;
            *reinterpret_cast<uint4 *>(to) = make_uint4(stored[0], stored[1], stored[2], stored[3]);
            if (spot.eight == 0) {
                args.sumsq[size_t(spot.row) * sumsq_slots(args.cols) + spot.column / SUMSQ_COLS] = squares;
            }
        }
    }
};

struct Relu2Epilogue {
    const LinearRelu2Args &args;

    using Row = float;
    DEVICE float row(u32 row) const {
        return row_rstd(args.sumsq, row, args.inner);
    }

    using Ahead = Nothing;
    template <class Spot> DEVICE Nothing load(const Spot &) const {
        return {};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, float factor, Nothing) const {
        Eight y = spot.sums();
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            // 0·u, not 0: what is not a number must stay so, for the loss scale to see it.
            const float u = factor * y.at[i], rectified = u > 0.0f ? u : 0.0f * u;
            y.at[i] = rectified * rectified;
        }
        if (spot.inside) {
            store8(args.h + size_t(spot.row) * args.cols + spot.column, y);
        }
    }
};

struct NormBackwardEpilogue {
    const NormLinearBackwardArgs &args;

    // What x is pulled by: r²·Σs/C.
    using Row = float;
    DEVICE float row(u32 row) const {
        const float r = row_rstd(args.sumsq, row, args.cols);
        const float *s = args.s + size_t(row) * args.parts;
        float total = 0.0f;
        for (u32 part = 0; part < args.parts; ++part) {
            total += s[part];
        }
        return r * r * total / float(args.cols);
    }

    struct Ahead {
        uint4 x;
        uint4 residual;
    };
    template <class Spot> DEVICE Ahead load(const Spot &spot) const {
        const size_t at = size_t(spot.row) * args.cols + spot.column;
        return Ahead{read16(args.x + at), args.residual != nullptr ? read16(args.residual + at) : uint4{}};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, float pull, const Ahead &ahead) const {
        const Eight y = spot.sums(), stream = eight_of(ahead.x), around = eight_of(ahead.residual);
        Eight gradient;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = y.at[i] - stream.at[i] * pull + around.at[i];
        }
        if (spot.inside) {
            store8(args.dx + size_t(spot.row) * args.cols + spot.column, gradient);
        }
    }
};

struct Relu2BackwardEpilogue {
    const Relu2BackwardArgs &args;

    // 2·r.
    using Row = float;
    DEVICE float row(u32 row) const {
        return 2.0f * row_rstd(args.sumsq, row, args.inner);
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16(args.h + size_t(spot.row) * args.cols + spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, float twice_r, const uint4 &ahead) const {
        static_assert(Spot::EIGHTS == 16, "a row of the tile is one part of s");
        const Eight dh = spot.sums(), squares = eight_of(ahead);
        Eight gradient;
        float share = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            gradient.at[i] = twice_r * dh.at[i] * sqrt_fast(squares.at[i]);
            share += dh.at[i] * squares.at[i];
        }
        share = group_sum<16>(spot.inside ? share : 0.0f);
        if (spot.inside) {
            store8(args.dy + size_t(spot.row) * args.cols + spot.column, gradient);
            if (spot.eight == 0) {
                args.s[size_t(spot.row) * sumsq_slots(args.cols) + spot.column / SUMSQ_COLS] = 2.0f * share;
            }
        }
    }
};

// head_dim is 16, 32, 64 or 128 and divides cols: a head lies within a tile.
struct ProjectionBackwardEpilogue {
    const ProjectionBackwardArgs &args;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16(args.o + size_t(spot.row) * args.cols + spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const uint4 &ahead) const {
        static_assert(Spot::EIGHTS == 16, "a head of 128 columns lies within a tile");
        const u32 heads_shift = 31 - __clz(args.head_dim);
        const Eight y = spot.sums(), out = eight_of(ahead);
        float product = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            product += y.at[i] * out.at[i];
        }
        product = lanes_sum(product, args.head_dim / 8);
        if (spot.inside) {
            store8(args.d_o + size_t(spot.row) * args.cols + spot.column, y);
            if ((spot.column & (args.head_dim - 1)) == 0) {
                args.dot[size_t(spot.row) * (args.cols >> heads_shift) + (spot.column >> heads_shift)] = product;
            }
        }
    }
};
