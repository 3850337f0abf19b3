// Muon's products, all matrices of all stacks in one launch: one matrix of 384 columns is nine tiles, a model's are enough
// for a GPU. A block finds its stack, its matrix and its tile by its number; the largest matrices come first.
//
// Of a symmetric product a block makes a tile of the lower half and writes it twice, turned the second time on its way
// through shared memory. Nothing else is transposed: tall matrices are read across where wide ones are read along.
//
// All kernels: 128 threads. Grid: (all tiles). Needs 16-byte rows of every matrix. Outputs overlap no inputs.
#include "mma/staging.cuh"
#include "shared/muon.cuh"

// x xᵀ as it is.
struct GramEpilogue {
    store_t *out;
    u32 cols;

    using Row = Nothing;
    DEVICE Nothing row(u32) const {
        return {};
    }

    using Ahead = Nothing;
    DEVICE Nothing load(u32, u32) const {
        return {};
    }

    template <class Spot> DEVICE void finish(const Spot &spot, Nothing, Nothing) const {
        if (spot.inside) {
            store8(out + size_t(spot.row) * cols + spot.column, spot.sums());
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
    DEVICE uint4 load(u32 row, u32 column) const {
        return read16(x + size_t(row) * cols + column);
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

// The block's tile of a stack's products, finished by the epilogue that `make(x, out, side)` makes. Tiles of the lower half
// are counted row after row of them.
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
    const auto epilogue = make(x, stack.out + size_t(matrix) * side * side, side);
    finish_tile<T>(sum, shared, bounds, Nothing{}, epilogue);
    if (mirrors) {
        finish_tile<Turned>(sum, shared, Bounds{side, side, bounds.first_col, bounds.first_row}, Nothing{}, epilogue);
    }
}

TILED(gram_mma, Large);
extern "C" __global__ void __launch_bounds__(128, gram_mma_tile::BLOCKS)
gram_mma(GramArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    gram_tile<ANY>(shared, args, [](const store_t *, store_t *out, u32 side) {
        return GramEpilogue{out, side};
    });
}

TILED(gram_mma_terms, Large);
extern "C" __global__ void __launch_bounds__(128, gram_mma_terms_tile::BLOCKS)
gram_mma_terms(GramArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    gram_tile<SQUARE>(shared, args, [&](const store_t *x, store_t *out, u32 side) {
        return CombinedEpilogue{x, out, side, args.linear, args.square};
    });
}

// Either way a product of two matrices as they lie, [rows, side] by [side, cols]: b stands on x's short side.
TILED(newton_schulz_mma, Large);
extern "C" __global__ void __launch_bounds__(128, newton_schulz_mma_tile::BLOCKS)
newton_schulz_mma(NewtonSchulzArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    using T = newton_schulz_mma_tile;
    NewtonSchulzStack stack;
    const u32 block = find_stack(stack, args.stack, [](const NewtonSchulzStack &of) {
        return of.tiles;
    });
    const u32 matrix = block / stack.tiles, tile = block % stack.tiles, across = ceil_div(stack.cols, T::COLS);
    const u32 side = min(stack.rows, stack.cols);
    const size_t begin = size_t(matrix) * stack.rows * stack.cols;
    const store_t *const x = stack.x + begin, *const b = stack.b + size_t(matrix) * side * side;
    const bool tall = stack.rows > stack.cols;
    const Bounds bounds = {stack.rows, stack.cols, tile / across * T::ROWS, tile % across * T::COLS};
    const u32 at = shared_address(shared);
    Along<LEFT, T::ROWS> left(tall ? x : b, side, bounds.first_row, bounds.rows, at, T::warp_row());
    Across<RIGHT, T::COLS> right(tall ? b : x, bounds.cols, bounds.first_col, at + T::LEFT_BYTES, T::warp_col());
    product_tile<T>(shared, left, right, bounds, side,
                    CombinedEpilogue{x, stack.out + begin, stack.cols, args.linear, 1.0f});
}
