// Tensor cores through nvcuda::wmma: one warp, one product of 16-wide tiles.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

// c = a·b + c with a [16, K] row-major, b [K, 16] as BLayout says, c [16, 16] row-major
template <class In, class Out, class Frag, int K, class BLayout>
__device__ void product(const In *a, const In *b, Out *c, int depth, int ldb) {
    wmma::fragment<wmma::matrix_a, 16, 16, K, Frag, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, K, Frag, BLayout> fb;
    wmma::fragment<wmma::accumulator, 16, 16, K, Out> fc;
    wmma::load_matrix_sync(fc, c, 16, wmma::mem_row_major);
    for (int k = 0; k < depth; k += K) {
        wmma::load_matrix_sync(fa, a + k, depth);
        wmma::load_matrix_sync(fb, std::is_same<BLayout, wmma::row_major>::value ? b + k * ldb : b + k, ldb);
        wmma::mma_sync(fc, fa, fb, fc);
    }
    for (int i = 0; i < fc.num_elements; i++) fc.x[i] *= Out(2);
    wmma::store_matrix_sync(c, fc, 16, wmma::mem_row_major);
}

extern "C" __global__ void wmma_half(const __half *a, const __half *b, float *c, int depth) {
    product<__half, float, __half, 16, wmma::col_major>(a, b, c, depth, depth);
}
extern "C" __global__ void wmma_half_half(const __half *a, const __half *b, __half *c, int depth) {
    product<__half, __half, __half, 16, wmma::row_major>(a, b, c, depth, 16);
}
extern "C" __global__ void wmma_bfloat(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int depth) {
    product<__nv_bfloat16, float, __nv_bfloat16, 16, wmma::col_major>(a, b, c, depth, depth);
}
extern "C" __global__ void wmma_bytes(const signed char *a, const signed char *b, int *c, int depth) {
    product<signed char, int, signed char, 16, wmma::row_major>(a, b, c, depth, 16);
}
extern "C" __global__ void wmma_tf32(const float *a, const float *b, float *c, int depth) {
    product<float, float, wmma::precision::tf32, 8, wmma::row_major>(a, b, c, depth, 16);
}
extern "C" __global__ void wmma_double(const double *a, const double *b, double *c) {
    wmma::fragment<wmma::matrix_a, 8, 8, 4, double, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 8, 8, 4, double, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 8, 8, 4, double> fc;
    wmma::fill_fragment(fc, 1.0);
    wmma::load_matrix_sync(fa, a, 4);
    wmma::load_matrix_sync(fb, b, 4);
    wmma::mma_sync(fc, fa, fb, fc);
    wmma::store_matrix_sync(c, fc, 8, wmma::mem_col_major);
}
