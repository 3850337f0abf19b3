// Muon's products, all matrices of all stacks in one launch: one matrix of 384 columns is nine tiles, a model's are enough
// for a GPU. A block finds its stack, its matrix and its tile by its number; the largest matrices come first.
//
// Of a symmetric product a block makes a tile of the lower half and writes it twice, turned the second time on its way
// through shared memory. Nothing else is transposed: tall matrices are read across where wide ones are read along. What the
// first products are divided by, and where the last ones step, is looked up behind the main loop, where registers are free.
//
// All kernels: 128 threads. Grid: (all tiles). Needs 16-byte rows of every matrix but parameters. Outputs overlap no inputs.
#include "mma/staging.cuh"
#include "shared/muon.cuh"

// factor·x xᵀ.
struct GramEpilogue {
    store_t *out;
    u32 cols;
    float factor;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = Nothing;
    template <class Spot> DEVICE Nothing load(const Spot &) const {
        return {};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, Nothing) const {
        Eight y = spot.sums();
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            y.at[i] *= factor;
        }
        if (spot.inside) {
            store8(out + size_t(spot.row) * cols + spot.column, y);
        }
    }
};

// The sum of a matrix x and a product: linear·x + factor·y.
struct CombinedEpilogue {
    const store_t *x;
    store_t *out;
    u32 cols;
    float linear;
    float factor;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = uint4;
    template <class Spot> DEVICE uint4 load(const Spot &spot) const {
        return read16(x + size_t(spot.row) * cols + spot.column);
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const uint4 &ahead) const {
        Eight y = spot.sums();
        const Eight with = eight_of(ahead);
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            y.at[i] = linear * with.at[i] + factor * y.at[i];
        }
        if (spot.inside) {
            store8(out + size_t(spot.row) * cols + spot.column, y);
        }
    }
};

// Eight f32 of each of two neighbouring lanes. Of either's, the even lane moves the first four and the odd lane the others: an
// access of both is a whole sector. Where 16 bytes do not begin, numbers are moved one by one. All lanes come together.
struct TwoEights {
    u32 at[2];
    bool inside[2];
    bool odd;
    bool wide;

    DEVICE TwoEights(u32 own, bool own_inside, bool wide) : odd(threadIdx.x % 2), wide(wide) {
        const u32 other = __shfl_xor_sync(FULL_MASK, own, 1);
        const bool other_inside = __shfl_xor_sync(FULL_MASK, u32(own_inside), 1);
        at[0] = (odd ? other : own) + 4 * odd;
        at[1] = (odd ? own : other) + 4 * odd;
        inside[0] = odd ? other_inside : own_inside;
        inside[1] = odd ? own_inside : other_inside;
    }

    // What this lane moves: four of the even lane's, four of the odd one's.
    struct Halves {
        float4 of[2];
    };

    DEVICE Halves load(const float *from) const {
        Halves halves = {};
#pragma unroll
        for (u32 lane = 0; lane < 2; ++lane) {
            // Others may write what is not inside.
            if (inside[lane]) {
                halves.of[lane] = load_four(from + at[lane], 4, wide);
            }
        }
        return halves;
    }

    DEVICE void store(float *to, const Halves &halves) const {
#pragma unroll
        for (u32 lane = 0; lane < 2; ++lane) {
            if (inside[lane]) {
                store_four(to + at[lane], halves.of[lane], 4, wide);
            }
        }
    }

    DEVICE static float4 exchanged(const float4 &v) {
        return make_float4(__shfl_xor_sync(FULL_MASK, v.x, 1), __shfl_xor_sync(FULL_MASK, v.y, 1),
                           __shfl_xor_sync(FULL_MASK, v.z, 1), __shfl_xor_sync(FULL_MASK, v.w, 1));
    }

    // One of two, in registers: `?:` would take their addresses.
    DEVICE float4 if_odd(float4 yes, float4 no) const {
        return make_float4(odd ? yes.x : no.x, odd ? yes.y : no.y, odd ? yes.z : no.z, odd ? yes.w : no.w);
    }

    // This lane's eight, and back.
    DEVICE Eight own(const Halves &halves) const {
        const float4 got = exchanged(if_odd(halves.of[0], halves.of[1]));
        const float4 a = if_odd(got, halves.of[0]), b = if_odd(halves.of[1], got);
        return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
    }

    DEVICE Halves halves(const Eight &v) const {
        const float4 low = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
        const float4 high = make_float4(v.at[4], v.at[5], v.at[6], v.at[7]);
        const float4 got = exchanged(if_odd(low, high));
        return Halves{{if_odd(got, low), if_odd(high, got)}};
    }
};

// The step along linear·x + y, in place. Parameters lie where they may.
struct StepEpilogue : MuonMove {
    const store_t *x;
    u32 cols;
    bool wide;
    bool wide_stored;

    DEVICE StepEpilogue(const MuonMove &move, const store_t *x, u32 cols)
        : MuonMove(move), x(x), cols(cols), wide(aligned(move.params, 16)), wide_stored(aligned(move.stored, 16)) {}

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    struct Ahead {
        uint4 x;
        TwoEights::Halves p;
    };
    template <class Spot> DEVICE Ahead load(const Spot &spot) const {
        const u32 at = spot.row * cols + spot.column;
        return Ahead{read16(x + at), TwoEights(at, spot.inside, wide).load(params)};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, const Ahead &ahead) const {
        const u32 at = spot.row * cols + spot.column;
        const TwoEights two(at, spot.inside, wide);
        const Eight y = spot.sums(), with = eight_of(ahead.x);
        Eight p = two.own(ahead.p);
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            p.at[i] = moved(p.at[i], with.at[i], y.at[i]);
        }
        two.store(params, two.halves(p));
        if (stored == nullptr || !spot.inside) {
            return;
        }
        if (wide_stored) {
            store8(stored + at, p);
            return;
        }
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            stored[at + i] = narrow(p.at[i]);
        }
    }
};

// A tile with its rows and columns exchanged, the one on the other side of the diagonal: it is cut into warps as it was.
struct Turned : Large {};
static_assert(Large::ROWS == Large::COLS && Large::WARP_ROWS == Large::WARP_COLS, "a turned tile is a tile");

// Its sums: warps beside each other hold its rows. Two lanes meet a bank at a time.
template <> DEVICE void stage_sums<Turned>(const Sums<Turned> &sum, u8 *shared, u32 pass) {
    const u32 lane = threadIdx.x % WARP;
    const u32 row = threadIdx.x / WARP / Turned::WARPS_DOWN * 32 + lane % 4 * 2, column = Turned::warp_row() + lane / 4;
    const auto put = [&](u32 down, u32 across, float value) {
        const u32 at = Staged<Turned>::at(row + down, (column + across) / 4) + (column + across) % 4 * 4;
        *reinterpret_cast<float *>(shared + at) = value;
    };
#pragma unroll
    for (u32 i = 0; i < Turned::ROW_FRAGMENTS; ++i) {
#pragma unroll
        for (u32 j = 0; j < 4; ++j) {
            const float(&four)[4] = sum[i][4 * pass + j];
            put(j * 8, i * 16, four[0]);
            put(j * 8 + 1, i * 16, four[1]);
            put(j * 8, i * 16 + 8, four[2]);
            put(j * 8 + 1, i * 16 + 8, four[3]);
        }
    }
}

// An operand that a tile on the diagonal has in shared memory already, as the other side.
template <class Operand> struct Copied : Operand {
    bool copies;

    DEVICE Copied(const Operand &operand, bool copies) : Operand(operand), copies(copies) {}

    DEVICE void copy(u32 stage, u32 ahead) {
        if (copies) {
            Operand::copy(stage, ahead);
        }
    }

    DEVICE void copy_rest(u32 done, u32 rest) const {
        if (copies) {
            Operand::copy_rest(done, rest);
        }
    }
};

// What the matrices of a launch may be.
enum Shapes { ANY, SQUARE };

// The block's tile of a stack's products, finished by the epilogue that `make(stack, matrix, x)` makes. Tiles of the lower
// half are counted row after row of them.
template <Shapes SHAPES, class Make> DEVICE void gram_tile(u8 *shared, const GramArgs &args, Make make) {
    using T = Large;
    GramStack stack;
    const u32 block = find_stack(stack, args.stack, [](const GramStack &of) {
        return of.tiles;
    });
    const u32 matrix = block / stack.tiles, side = min(stack.rows, stack.cols);
    u32 down = 0, across = block % stack.tiles;
    for (; across > down; ++down) {
        across -= down + 1;
    }
    const store_t *const x = stack.x + size_t(matrix) * stack.rows * stack.cols;
    const Bounds bounds = {side, side, down * T::ROWS, across * T::COLS};
    const bool mirrors = down != across;
    const u32 at = shared_address(shared), right_at = at + (mirrors ? T::LEFT_BYTES : 0);
    Sums<T> sum;
    if (SHAPES == SQUARE || stack.rows <= stack.cols) {
        Along<LEFT, T::ROWS> left(x, stack.cols, bounds.first_row, side, at, T::warp_row());
        Copied right(Along<RIGHT, T::COLS>(x, stack.cols, bounds.first_col, side, right_at, T::warp_col()), mirrors);
        multiply<T>(sum, left, right, stack.cols, [] {});
    } else {
        Across<LEFT, T::ROWS> left(x, side, bounds.first_row, at, T::warp_row());
        Copied right(Across<RIGHT, T::COLS>(x, side, bounds.first_col, right_at, T::warp_col()), mirrors);
        multiply<T>(sum, left, right, stack.rows, [] {});
    }
    const auto epilogue = make(stack, matrix, x);
    finish_tile<T>(sum, shared, bounds, Nothing{}, epilogue);
    if (mirrors) {
        finish_tile<Turned>(sum, shared, Bounds{side, side, bounds.first_col, bounds.first_row}, Nothing{}, epilogue);
    }
}

TILED(gram_mma, Large);
extern "C" __global__ void __launch_bounds__(128, gram_mma_tile::BLOCKS)
gram_mma(GramArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    gram_tile<ANY>(shared, args, [&](const GramStack &of, u32 matrix, const store_t *) {
        const u32 side = min(of.rows, of.cols);
        const float inverse = inverse_length(of.sumsq, matrix, of.rows, of.cols, args.eps);
        return GramEpilogue{of.out + size_t(matrix) * side * side, side, inverse * inverse};
    });
}

TILED(gram_mma_terms, Large);
extern "C" __global__ void __launch_bounds__(128, gram_mma_terms_tile::BLOCKS)
gram_mma_terms(GramArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    gram_tile<SQUARE>(shared, args, [&](const GramStack &of, u32 matrix, const store_t *x) {
        const u32 side = min(of.rows, of.cols);
        return CombinedEpilogue{x, of.out + size_t(matrix) * side * side, side, args.linear, args.square};
    });
}

// A tile of a matrix as long as all of them, counted row after row.
template <class Stack> DEVICE Bounds tile_of(const Stack &stack, u32 tile) {
    const u32 across = ceil_div(stack.cols, Large::COLS);
    return Bounds{stack.rows, stack.cols, tile / across * Large::ROWS, tile % across * Large::COLS};
}

// The block's tile of b x or x b, finished by the epilogue that `make(stack, matrix, x)` makes. Either way it is a product of
// two matrices as they lie, [rows, side] by [side, cols]: b stands on x's short side.
template <class Stack, class Make> DEVICE void replaced_tile(u8 *shared, const Stack (&stacks)[STACKS], Make make) {
    using T = Large;
    const auto tiles = [](const Stack &of) {
        return of.tiles;
    };
    Sums<T> sum;
    {
        Stack stack;
        const u32 block = find_stack(stack, stacks, tiles), matrix = block / stack.tiles;
        const u32 side = min(stack.rows, stack.cols);
        const store_t *const x = stack.x + size_t(matrix) * stack.rows * stack.cols;
        const store_t *const b = stack.b + size_t(matrix) * side * side;
        const bool tall = stack.rows > stack.cols;
        const Bounds bounds = tile_of(stack, block % stack.tiles);
        const u32 at = shared_address(shared);
        Along<LEFT, T::ROWS> left(tall ? x : b, side, bounds.first_row, bounds.rows, at, T::warp_row());
        Across<RIGHT, T::COLS> right(tall ? b : x, bounds.cols, bounds.first_col, at + T::LEFT_BYTES, T::warp_col());
        multiply<T>(sum, left, right, side, [] {});
    }
    Stack stack;
    const u32 block = find_stack(stack, stacks, tiles), matrix = block / stack.tiles;
    const store_t *const x = stack.x + size_t(matrix) * stack.rows * stack.cols;
    finish_tile<T>(sum, shared, tile_of(stack, block % stack.tiles), Nothing{}, make(stack, matrix, x));
}

TILED(newton_schulz_mma, Large);
extern "C" __global__ void __launch_bounds__(128, newton_schulz_mma_tile::BLOCKS)
newton_schulz_mma(NewtonSchulzArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    replaced_tile(shared, args.stack, [&](const NewtonSchulzStack &of, u32 matrix, const store_t *x) {
        const float inverse = inverse_length(of.sumsq, matrix, of.rows, of.cols, args.eps);
        store_t *const out = of.out + size_t(matrix) * of.rows * of.cols;
        return CombinedEpilogue{x, out, of.cols, inverse * args.linear, inverse};
    });
}

TILED(newton_schulz_mma_step, Large);
extern "C" __global__ void __launch_bounds__(128, newton_schulz_mma_step_tile::BLOCKS)
newton_schulz_mma_step(MuonStepArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    if (!muon_steps(args)) {
        return;
    }
    replaced_tile(shared, args.stack, [&](const MuonStepStack &of, u32 matrix, const store_t *x) {
        return StepEpilogue(MuonMove(args, of, matrix), x, of.cols);
    });
}
