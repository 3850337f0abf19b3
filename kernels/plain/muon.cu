// Muon's matrix products for every shape and alignment: see product.cuh, and mma/muon.cu for how blocks find their matrices.
#include "plain/product.cuh"
#include "shared/muon.cuh"

// The block's tile of the lower half, finished by `finish(x, row, column, sum)` and written to either side of the diagonal.
template <class Finish> DEVICE void gram_tile(const GramArgs &args, Finish finish) {
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
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < side && col <= row) {
                const store_t value = narrow(finish(x, size_t(row) * side + col, y.at[r][c]));
                out[size_t(row) * side + col] = value;
                out[size_t(col) * side + row] = value;
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
gram_plain(GramArgs args) {
    gram_tile(args, [](const store_t *, size_t, float sum) {
        return sum;
    });
}
BLOCK(gram_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(256, 2)
gram_plain_terms(GramArgs args) {
    gram_tile(args, [&](const store_t *x, size_t at, float sum) {
        return args.linear * widen(x[at]) + args.square * sum;
    });
}
BLOCK(gram_plain_terms, TILE_ROWS, TILE_COLS, ROWS_FIRST);

extern "C" __global__ void __launch_bounds__(256, 4)
newton_schulz_plain(NewtonSchulzArgs args) {
    NewtonSchulzStack stack;
    const u32 block = find_stack(stack, args.stack, [](const NewtonSchulzStack &of) {
        return of.tiles;
    });
    const u32 matrix = block / stack.tiles, tile = block % stack.tiles, side = min(stack.rows, stack.cols);
    const u32 across = ceil_div(stack.cols, TILE_COLS);
    const u32 first_row = tile / across * TILE_ROWS, first_col = tile % across * TILE_COLS;
    const size_t begin = size_t(matrix) * stack.rows * stack.cols;
    const store_t *const x = stack.x + begin, *const b = stack.b + size_t(matrix) * side * side;
    const bool tall = stack.rows > stack.cols;
    const Side left = rows_of(tall ? x : b, stack.rows, side), right = columns_of(tall ? b : x, stack.cols);
    const Tile y = product(left.from(first_row), right.from(first_col), side);
#pragma unroll
    for (u32 r = 0; r < WARP_ROWS; ++r) {
        const u32 row = first_row + tile_row(r);
#pragma unroll
        for (u32 c = 0; c < LANE_COLS; ++c) {
            const u32 col = first_col + tile_col(c);
            if (row < stack.rows && col < stack.cols) {
                const size_t at = size_t(row) * stack.cols + col;
                stack.out[begin + at] = narrow(args.linear * widen(x[at]) + y.at[r][c]);
            }
        }
    }
}
BLOCK(newton_schulz_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);
