// Matrix products of models with biases, whose norms stand alone, forward and backward: as linear.cu and linear_backward.cu,
// with the epilogues of shared/dense_epilogues.cuh.
//
// All kernels: 128 threads. Grid: (tiles across, tiles down). Outputs overlap no inputs. All need 16-byte rows of every
// operand but those that they name: the base is 16-byte aligned and the row length a multiple of 8 numbers.
#include "mma/products.cuh"
#include "shared/dense_epilogues.cuh"

// The block's tile of x Wᵀ, finished.
template <class T, class Args, class Epilogue> DEVICE void linear_tile(u8 *shared, const Args &args, const Epilogue &epilogue) {
    const Bounds bounds = T::bounds(args.rows, args.cols);
    LinearOperands<T> of(shared, args.x, args.w, bounds, args.inner);
    product_tile<T>(shared, of.left, of.right, bounds, args.inner, epilogue);
}

TILED(linear_mma, Large);
extern "C" __global__ void __launch_bounds__(128, linear_mma_tile::BLOCKS)
linear_mma(LinearArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_tile<linear_mma_tile>(shared, args, LinearEpilogue{args});
}

TILED(linear_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, linear_mma_small_tile::BLOCKS)
linear_mma_small(LinearArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_tile<linear_mma_small_tile>(shared, args, LinearEpilogue{args});
}

TILED(linear_gelu_mma, Large);
extern "C" __global__ void __launch_bounds__(128, linear_gelu_mma_tile::BLOCKS)
linear_gelu_mma(LinearGeluArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_tile<linear_gelu_mma_tile>(shared, args, LinearGeluEpilogue{args});
}

TILED(linear_gelu_mma_small, Small);
extern "C" __global__ void __launch_bounds__(128, linear_gelu_mma_small_tile::BLOCKS)
linear_gelu_mma_small(LinearGeluArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_tile<linear_gelu_mma_small_tile>(shared, args, LinearGeluEpilogue{args});
}

TILED(linear_backward_mma, Large);
extern "C" __global__ void __launch_bounds__(128, linear_backward_mma_tile::BLOCKS)
linear_backward_mma(LinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_backward<linear_backward_mma_tile>(shared, args.dy, args.w, args, LinearBackwardEpilogue{args});
}

// Of dy it needs 4-byte alignment and an even inner: the head's, [rows, 66] with 66 symbols.
TILED(linear_backward_mma_narrow, Large);
extern "C" __global__ void __launch_bounds__(128, linear_backward_mma_narrow_tile::BLOCKS)
linear_backward_mma_narrow(LinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    using T = linear_backward_mma_narrow_tile;
    linear_backward<T, AlongNarrow>(shared, args.dy, args.w, args, LinearBackwardEpilogue{args});
}

TILED(gelu_backward_mma, Large);
extern "C" __global__ void __launch_bounds__(128, gelu_backward_mma_tile::BLOCKS)
gelu_backward_mma(GeluBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_backward<gelu_backward_mma_tile>(shared, args.dx, args.w, args, GeluBackwardEpilogue{args});
}
