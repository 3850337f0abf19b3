// The convolution over neighbouring positions, a depthwise one around which the stream flows on, and its backward.
//
//     out_t = x_t + Σ_j w_j ⊙ x_{t+j},        j from -R on within a sequence, one a tap
//     dx_t = dout_t + Σ_j w_j ⊙ dout_{t-j},   dw_j (+)= Σ_t dout_t ⊙ x_{t+j}
//
// Letters: N rows, of sequences of T positions; C columns; K taps, R of them before.
//
// Bound by the bytes of x and out, or of dout, x and dx. Half a warp makes a strip of rows, 128 columns of them, a lane
// eight: those of one partial sum of squares. It goes through the taps one by one, with the strip's sums in registers, so
// that a tap's weights are read once and any number of taps will do; the rows that a strip and its neighbours need come from
// L1 after the first time. A block's strips follow each other, and are cut without regard to sequences.
//
// What a strip adds to dw_j is summed in registers too; a block adds its strips up in order and leaves one partial row a tap,
// and `short_conv_backward_reduce` adds the blocks' in order.
//
// 16-byte accesses where C is a multiple of 8 and all bases are aligned to 16; else the same code moves number by number.
#include "shared/reductions.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 HALF = WARP / 2;
constexpr u32 STRIPS = THREADS / HALF;
// Stored numbers of a lane, and of half a warp.
constexpr u32 WIDE = 8;
constexpr u32 PIECE = HALF * WIDE;
static_assert(PIECE == SUMSQ_COLS, "half a warp has the columns of one partial sum of squares");
// Rows of a block, and of a strip.
HOST constexpr u32 CONV_ROWS = 64;
constexpr u32 STRIP = CONV_ROWS / STRIPS;

// Of x [N, C] and w [K, C] out [N, C] and the sums of squares of its rows, sumsq [N, ⌈C/128⌉].
struct ShortConvArgs {
    const store_t *x;
    const store_t *w;
    store_t *out;
    float *sumsq;
    u32 rows;
    u32 positions;
    u32 cols;
    u32 taps;
    u32 before;
};

// Of dout, x [N, C] and w [K, C] the gradients dx [N, C] and dw [K, C]; partials [⌈N/64⌉, K, C] of dw.
struct ShortConvBackwardArgs {
    const store_t *dout;
    const store_t *x;
    const store_t *w;
    store_t *dx;
    float *partials;
    float *dw;
    u32 rows;
    u32 positions;
    u32 cols;
    u32 taps;
    u32 before;
    Accumulate accumulate;
};

// Where half a warp is: its columns, of which `left` exist, and its strip.
template <bool Wide> struct Place {
    u32 rows;
    u32 positions;
    u32 cols;
    u32 lane;
    u32 first_col;
    u32 left;
    u32 first_row;
    // Of each row of the strip within its sequence.
    u32 position[STRIP];

    DEVICE Place(u32 rows, u32 positions, u32 cols)
        : rows(rows), positions(positions), cols(cols), lane(threadIdx.x % HALF), first_col(blockIdx.y * PIECE),
          left(cols - blockIdx.y * PIECE), first_row(blockIdx.x * CONV_ROWS + threadIdx.x / HALF * STRIP) {
        position[0] = first_row % positions;
#pragma unroll
        for (u32 i = 1; i < STRIP; ++i) {
            position[i] = position[i - 1] + 1 == positions ? 0 : position[i - 1] + 1;
        }
    }

    // Column of the lane's i-th number within the piece: neighbours where 16 bytes are moved at once, else every 16th.
    DEVICE static u32 column(u32 lane, u32 i) {
        return Wide ? lane * WIDE + i : lane + i * HALF;
    }

    // The lane's numbers of a row; zeros beyond its end.
    DEVICE Eight load(const store_t *matrix, u32 row) const {
        const store_t *from = matrix + size_t(row) * cols + first_col;
        if constexpr (Wide) {
            return lane * WIDE < left ? load8(from + lane * WIDE) : Eight{};
        } else {
            Eight v;
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                const u32 c = column(lane, i);
                v.at[i] = c < left ? widen(from[c]) : 0.0f;
            }
            return v;
        }
    }

    // Stores them; returns them as they will be read back.
    DEVICE Eight store(store_t *matrix, u32 row, const Eight &v) const {
        const uint4 words =
            make_uint4(pack(v.at[0], v.at[1]), pack(v.at[2], v.at[3]), pack(v.at[4], v.at[5]), pack(v.at[6], v.at[7]));
        const Eight stored = eight_of(words);
        store_t *to = matrix + size_t(row) * cols + first_col;
        if constexpr (Wide) {
            if (lane * WIDE < left) {
                store16(to + lane * WIDE, words);
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < WIDE; ++i) {
                const u32 c = column(lane, i);
                if (c < left) {
                    to[c] = narrow(stored.at[i]);
                }
            }
        }
        return stored;
    }

    DEVICE bool has_row(u32 i) const {
        return first_row + i < rows;
    }

    // Row i of the strip; zeros behind the last.
    DEVICE Eight own(const store_t *matrix, u32 i) const {
        return has_row(i) ? load(matrix, first_row + i) : Eight{};
    }

    // What stands `behind - before` positions behind row i; zeros where its sequence has no such position.
    DEVICE Eight neighbour(const store_t *matrix, u32 i, u32 behind, u32 before) const {
        const u32 at = position[i] + behind;
        return has_row(i) && at >= before && at - before < positions ? load(matrix, first_row + i + behind - before)
                                                                     : Eight{};
    }
};

DEVICE void add_products(Eight &sum, const Eight &a, const Eight &b) {
#pragma unroll
    for (u32 k = 0; k < WIDE; ++k) {
        sum.at[k] += a.at[k] * b.at[k];
    }
}

// The strip's rows, and to each its neighbours by their weights: the first weight is that of the row R before, or with
// `Back` that of the row R behind, to which it was the one before.
template <bool Back, bool Wide>
DEVICE void mix(Eight (&sum)[STRIP], const Place<Wide> &place, const store_t *matrix, const store_t *w, u32 taps,
                u32 before) {
#pragma unroll
    for (u32 i = 0; i < STRIP; ++i) {
        sum[i] = place.own(matrix, i);
    }
    for (u32 tap = 0; tap < taps; ++tap) {
        const Eight weights = place.load(w, tap);
#pragma unroll
        for (u32 i = 0; i < STRIP; ++i) {
            add_products(sum[i], weights, Back ? place.neighbour(matrix, i, before, tap)
                                               : place.neighbour(matrix, i, tap, before));
        }
    }
}

template <bool Wide> DEVICE void conv_rows(const ShortConvArgs &args) {
    const Place<Wide> place(args.rows, args.positions, args.cols);
    Eight sum[STRIP];
    mix<false>(sum, place, args.x, args.w, args.taps, args.before);
#pragma unroll
    for (u32 i = 0; i < STRIP; ++i) {
        float squares = 0.0f;
        if (place.has_row(i)) {
            const Eight stored = place.store(args.out, place.first_row + i, sum[i]);
#pragma unroll
            for (u32 k = 0; k < WIDE; ++k) {
                squares += stored.at[k] * stored.at[k];
            }
        }
        squares = group_sum<HALF>(squares);
        if (place.has_row(i) && place.lane == 0) {
            args.sumsq[size_t(place.first_row + i) * sumsq_slots(args.cols) + blockIdx.y] = squares;
        }
    }
}

// out and the sums of squares of its rows as they are stored.
BLOCK(short_conv, CONV_ROWS, PIECE, ROWS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 3)
short_conv(ShortConvArgs args) {
    if (args.cols % WIDE == 0 && aligned16(args.x, args.w, args.out, args.out)) {
        conv_rows<true>(args);
    } else {
        conv_rows<false>(args);
    }
}

template <bool Wide>
DEVICE void conv_backward_rows(float (&sums)[STRIPS][PIECE], const ShortConvBackwardArgs &args) {
    const Place<Wide> place(args.rows, args.positions, args.cols);
    Eight rows[STRIP];
    mix<true>(rows, place, args.dout, args.w, args.taps, args.before);
#pragma unroll
    for (u32 i = 0; i < STRIP; ++i) {
        if (place.has_row(i)) {
            place.store(args.dx, place.first_row + i, rows[i]);
        }
    }
#pragma unroll
    for (u32 i = 0; i < STRIP; ++i) {
        rows[i] = place.own(args.dout, i);
    }
    for (u32 tap = 0; tap < args.taps; ++tap) {
        Eight dw = {};
#pragma unroll
        for (u32 i = 0; i < STRIP; ++i) {
            add_products(dw, rows[i], place.neighbour(args.x, i, tap, args.before));
        }
        __syncthreads(); // the tap before has been read
        // A lane's numbers lie a half warp apart: neighbouring lanes in neighbouring banks.
#pragma unroll
        for (u32 k = 0; k < WIDE; ++k) {
            sums[threadIdx.x / HALF][place.lane + k * HALF] = dw.at[k];
        }
        __syncthreads();
        const u32 of = threadIdx.x, c = place.column(of % HALF, of / HALF);
        if (of < PIECE && c < place.left) {
            float total = 0.0f;
#pragma unroll
            for (u32 strip = 0; strip < STRIPS; ++strip) {
                total += sums[strip][of];
            }
            args.partials[(size_t(blockIdx.x) * args.taps + tap) * args.cols + place.first_col + c] = total;
        }
    }
}

// dx and partials of dw.
BLOCK(short_conv_backward, CONV_ROWS, PIECE, ROWS_FIRST);
extern "C" __global__ void __launch_bounds__(256, 2)
short_conv_backward(ShortConvBackwardArgs args) {
    __shared__ float sums[STRIPS][PIECE];
    if (args.cols % WIDE == 0 && aligned16(args.dout, args.x, args.w, args.dx)) {
        conv_backward_rows<true>(sums, args);
    } else {
        conv_backward_rows<false>(sums, args);
    }
}

// dw (+)= Σ partials over the blocks: a row of the grid for each tap. A block makes 32 columns; each of its 8 warps adds an
// eighth of the partial rows in order, and the eighths are added in order.
BLOCK(short_conv_backward_reduce, 1, WARP, COLS_FIRST);
extern "C" __global__ void __launch_bounds__(256)
short_conv_backward_reduce(ShortConvBackwardArgs args) {
    __shared__ float eighths[WARPS][WARP];
    const u32 blocks = ceil_div(args.rows, CONV_ROWS), cols = args.cols;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 c = blockIdx.x * WARP + lane;
    const size_t stride = size_t(args.taps) * cols, at = size_t(blockIdx.y) * cols + c;
    const u32 share = ceil_div(blocks, WARPS);
    float sum = 0.0f;
    if (c < cols) {
#pragma unroll 8
        for (u32 block = warp * share; block < smaller(blocks, (warp + 1) * share); ++block) {
            sum += args.partials[block * stride + at];
        }
    }
    eighths[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && c < cols) {
        float total = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) {
            total += eighths[w][lane];
        }
        put(args.dw[at], total, args.accumulate);
    }
}
