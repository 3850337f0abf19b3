// The two products of linear layers, A Wᵀ forward and dY W backward, for whatever epilogue follows.
#pragma once
#include "mma/staging.cuh"

// The block's operands of a Wᵀ.
template <class T> struct LinearOperands {
    Along<LEFT, T::ROWS> left;
    Along<RIGHT, T::COLS> right;

    DEVICE LinearOperands(u8 *shared, const store_t *a, const store_t *w, const Bounds &bounds, u32 inner)
        : left(a, inner, bounds.first_row, bounds.rows, shared_address(shared), T::warp_row()),
          right(w, inner, bounds.first_col, bounds.cols, shared_address(shared) + T::LEFT_BYTES, T::warp_col()) {}
};

// The block's tile of dY W, finished.
template <class T, class Left = Along<LEFT, T::ROWS>, class Args, class Epilogue>
DEVICE void linear_backward(u8 *shared, const store_t *dy, const store_t *w, const Args &args,
                            const Epilogue &epilogue) {
    const Bounds bounds = T::bounds(args.rows, args.cols);
    const u32 at = shared_address(shared);
    Left left(dy, args.inner, bounds.first_row, bounds.rows, at, T::warp_row());
    Across<RIGHT, T::COLS> right(w, bounds.cols, bounds.first_col, at + T::LEFT_BYTES, T::warp_col());
    product_tile<T>(shared, left, right, bounds, args.inner, epilogue);
}
