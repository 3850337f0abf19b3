// Muon's matrix products for every shape and alignment: see product.cuh, and mma/muon.cu for how blocks find their matrices.
#include "plain/product.cuh"
#include "shared/muon.cuh"

// The block's tile of the lower half, finished by what `make(stack, matrix, x)` makes, `finish(at, sum)`, and written to either side of the diagonal.
template <class Make> DEVICE void gram_tile(const GramArgs &args, Make make) {
    GramStack stack;
    const u32 block = find_stack(stack, args.stack, [](const GramStack &of) {
        return of.tiles;
    });
    const u32 matrix = block / stack.tiles, tile = block % stack.tiles, side = min(stack.rows, stack.cols);
    const u32 across = ceil_div(side, TILE_COLS);
    const u32 first_row = tile / across * TILE_ROWS, first_col = tile % across * TILE_COLS;
    if (first_col >= first_row + TILE_ROWS) {
        return;
    }
    const store_t *const x = stack.x + size_t(matrix) * stack.rows * stack.cols;
    store_t *const out = stack.out + size_t(matrix) * side * side;
    const bool tall = stack.rows > stack.cols;
    const u32 inner = tall ? stack.rows : stack.cols;
    const Side vectors = tall ? columns_of(x, side) : rows_of(x, side, inner);
    const Tile y = product(vectors.from(first_row), vectors.from(first_col), inner);
    const auto finish = make(stack, matrix, x);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < side && col <= row) {
                const store_t value = narrow(finish(size_t(row) * side + col, y.at[r][c]));
                out[size_t(row) * side + col] = value;
                out[size_t(col) * side + row] = value;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
gram_plain(GramArgs args) {
    gram_tile(args, [&](const GramStack &of, u32 matrix, const store_t *) {
        const float inverse = inverse_length(of.sumsq, matrix, of.rows, of.cols, args.eps);
        return [=](size_t, float sum) {
            return inverse * inverse * sum;
        };
    });
}
BLOCK(gram_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(256, 2)
gram_plain_terms(GramArgs args) {
    gram_tile(args, [&](const GramStack &, u32, const store_t *x) {
        return [&args, x](size_t at, float sum) {
            return args.linear * widen(x[at]) + args.square * sum;
        };
    });
}
BLOCK(gram_plain_terms, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// The block's tile of b x or x b, finished by what `make(stack, matrix, x)` makes, `finish(at, sum)`.
template <class Stack, class Make> DEVICE void replaced_tile(const Stack (&stacks)[STACKS], Make make) {
    Stack stack;
    const u32 block = find_stack(stack, stacks, [](const Stack &of) {
        return of.tiles;
    });
    const u32 matrix = block / stack.tiles, tile = block % stack.tiles, side = min(stack.rows, stack.cols);
    const u32 across = ceil_div(stack.cols, TILE_COLS);
    const u32 first_row = tile / across * TILE_ROWS, first_col = tile % across * TILE_COLS;
    const store_t *const x = stack.x + size_t(matrix) * stack.rows * stack.cols;
    const store_t *const b = stack.b + size_t(matrix) * side * side;
    const bool tall = stack.rows > stack.cols;
    const Side left = rows_of(tall ? x : b, stack.rows, side), right = columns_of(tall ? b : x, stack.cols);
    const Tile y = product(left.from(first_row), right.from(first_col), side);
    const auto finish = make(stack, matrix, x);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < stack.rows && col < stack.cols) {
                finish(size_t(row) * stack.cols + col, y.at[r][c]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
newton_schulz_plain(NewtonSchulzArgs args) {
    replaced_tile(args.stack, [&](const NewtonSchulzStack &of, u32 matrix, const store_t *x) {
        const float inverse = inverse_length(of.sumsq, matrix, of.rows, of.cols, args.eps);
        const float linear = inverse * args.linear;
        store_t *const out = of.out + size_t(matrix) * of.rows * of.cols;
        return [=](size_t at, float sum) {
            out[at] = narrow(linear * widen(x[at]) + inverse * sum);
        };
    });
}
BLOCK(newton_schulz_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(256, 4)
newton_schulz_plain_step(MuonStepArgs args) {
    if (!muon_steps(args)) {
        return;
    }
    replaced_tile(args.stack, [&](const MuonStepStack &of, u32 matrix, const store_t *x) {
        const MuonMove move(args, of, matrix);
        return [=](size_t at, float sum) {
            const float p = move.moved(move.params[at], widen(x[at]), sum);
            move.params[at] = p;
            if (move.stored != nullptr) {
                move.stored[at] = narrow(p);
            }
        };
    });
}
BLOCK(newton_schulz_plain_step, TILE_ROWS, TILE_COLS, ROWS_FIRST);
