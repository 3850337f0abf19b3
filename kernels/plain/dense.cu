// Matrix products with biases, GELU and their backwards, for every shape and alignment: see product.cuh.
#include "plain/product.cuh"
#include "shared/args.cuh"
#include "shared/gelu.cuh"

// The block's tile of a product whose sides begin at `a` and `b`, every number of it finished by f: see each_inside.
template <class Args, class F> DEVICE void finished_product(const Args &args, const Side &a, const Side &b, F f) {
    const u32 first_row = blockIdx.x * TILE_ROWS, first_col = blockIdx.y * TILE_COLS;
    const Tile y = product(a.from(first_row), b.from(first_col), args.inner);
    each_inside(y, first_row, args.rows, first_col, args.cols, f);
}

// y = [residual +] x Wᵀ [+ bias] [N, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_plain(LinearArgs args) {
    const Side a = rows_of(args.x, args.rows, args.inner), b = rows_of(args.w, args.cols, args.inner);
    finished_product(args, a, b, [&](size_t at, u32 col, float y) {
        const float bias = args.bias != nullptr ? widen(args.bias[col]) : 0.0f;
        const float around = args.residual != nullptr ? widen(args.residual[at]) : 0.0f;
        args.y[at] = narrow(y + bias + around);
    });
}
BLOCK(linear_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// u = x Wᵀ [+ bias], h = gelu(u) [N, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_gelu_plain(LinearGeluArgs args) {
    const Side a = rows_of(args.x, args.rows, args.inner), b = rows_of(args.w, args.cols, args.inner);
    finished_product(args, a, b, [&](size_t at, u32 col, float y) {
        const float u = y + (args.bias != nullptr ? widen(args.bias[col]) : 0.0f);
        args.u[at] = narrow(u);
        args.h[at] = narrow(gelu(u));
    });
}
BLOCK(linear_gelu_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// dx = dy W [N, cols]; dy [N, inner], W [inner, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
linear_backward_plain(LinearBackwardArgs args) {
    const Side a = rows_of(args.dy, args.rows, args.inner), b = columns_of(args.w, args.cols);
    finished_product(args, a, b, [&](size_t at, u32, float y) {
        args.dx[at] = narrow(y);
    });
}
BLOCK(linear_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);

// du = (dx W)·gelu'(u) [N, cols = F]; dx [N, inner = C], W [inner, cols].
extern "C" __global__ void __launch_bounds__(256, 4)
gelu_backward_plain(GeluBackwardArgs args) {
    const Side a = rows_of(args.dx, args.rows, args.inner), b = columns_of(args.w, args.cols);
    finished_product(args, a, b, [&](size_t at, u32, float dh) {
        args.du[at] = narrow(dh * gelu_slope(widen(args.u[at])));
    });
}
BLOCK(gelu_backward_plain, TILE_ROWS, TILE_COLS, ROWS_FIRST);
