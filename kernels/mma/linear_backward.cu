// Gradients of the matrix products' inputs, with what precedes them: dY [rows, inner] times W [inner, cols], both
// row-major.
//
// W is as the forward stored it, [out, in]: here its rows run along the summed dimension's other side, and
// ldmatrix.trans turns them. Gradients dY are row-scaled by r where a norm stood before the product, so that only x's
// share of the norm is left to subtract, whose sum s = ⟨dY, Y⟩ is known beforehand (shared/epilogues.cuh); see the op,
// main_loop.cuh, and tiles.cuh for the tiles' sizes.
//
// All kernels: 128 threads. Grid: (tiles across, tiles down), so that rows are at most 65535 tiles. Outputs overlap no
// inputs. What must be aligned stands at each; "16-byte rows" means the base is 16-byte aligned and the row
// length a multiple of 8 numbers.
#include "mma/products.cuh"

// Needs 16-byte rows of dy, w, x, residual and dx (inner and cols multiples of 8); sumsq and s 4-byte aligned.
TILED(norm_linear_backward_mma, Large);
extern "C" __global__ void __launch_bounds__(128, norm_linear_backward_mma_tile::BLOCKS)
norm_linear_backward_mma(NormLinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_backward<norm_linear_backward_mma_tile>(shared, args.dy, args.w, args, NormBackwardEpilogue{args});
}

// The same for dy whose rows are not multiples of 16 bytes: the head's, [rows, 66] with 66 symbols. Needs dy 4-byte
// aligned and inner even; 16-byte rows of w, x, residual and dx (cols a multiple of 8); sumsq and s 4-byte aligned.
TILED(norm_linear_backward_mma_narrow, Large);
extern "C" __global__ void __launch_bounds__(128, norm_linear_backward_mma_narrow_tile::BLOCKS)
norm_linear_backward_mma_narrow(NormLinearBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    using T = norm_linear_backward_mma_narrow_tile;
    linear_backward<T, AlongNarrow>(shared, args.dy, args.w, args, NormBackwardEpilogue{args});
}

// Needs 16-byte rows of dx, w, h and dy (inner and cols multiples of 8); sumsq and s 4-byte aligned.
TILED(relu2_backward_mma, Large);
extern "C" __global__ void __launch_bounds__(128, relu2_backward_mma_tile::BLOCKS)
relu2_backward_mma(Relu2BackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_backward<relu2_backward_mma_tile>(shared, args.dx, args.w, args, Relu2BackwardEpilogue{args});
}

// Needs 16-byte rows of dx, w, o and d_o (inner and cols multiples of 8); dot 4-byte aligned; of heads what the epilogue
// does.
TILED(projection_backward_mma, Large);
extern "C" __global__ void __launch_bounds__(128, projection_backward_mma_tile::BLOCKS)
projection_backward_mma(ProjectionBackwardArgs args) {
    extern __shared__ __align__(128) u8 shared[];
    linear_backward<projection_backward_mma_tile>(shared, args.dx, args.w, args, ProjectionBackwardEpilogue{args});
}
