// Half and bfloat16 arithmetic through the intrinsics of cuda_fp16.h and cuda_bf16.h.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// 16 results for each pair (x, y), as bits
extern "C" __global__ void half_scalars(const unsigned short *x, const unsigned short *y, unsigned short *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half a = __ushort_as_half(x[i]), b = __ushort_as_half(y[i]);
    unsigned short *o = out + i * 16;
    auto put = [&](int at, __half v) { o[at] = __half_as_ushort(v); };
    put(0, __hadd(a, b));
    put(1, __hsub(a, b));
    put(2, __hmul(a, b));
    put(3, __hfma(a, b, __float2half(1.0f)));
    put(4, __hdiv(a, b));
    put(5, __hmax(a, b));
    put(6, __hmin_nan(a, b));
    put(7, __hadd_sat(a, b));
    put(8, __hfma_relu(a, b, a));
    put(9, __hneg(__habs(a)));
    put(10, __int2half_rn((int)x[i] - 32768));
    put(11, htrunc(a));
    o[12] = __hlt(a, b) | __hge(a, b) << 1 | __heq(a, b) << 2 | __hneu(a, b) << 3 | __hisnan(a) << 4;
    o[13] = (unsigned short)__half2int_rz(a);
    put(14, hsqrt(__habs(a)));
    put(15, __float2half_rz(__half2float(a) * 1.0001f));
}

extern "C" __global__ void half_pairs(const __half2 *x, const __half2 *y, __half2 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half2 a = x[i], b = y[i], *o = out + i * 8;
    o[0] = __hadd2(a, b);
    o[1] = __hfma2(a, b, b);
    o[2] = __hmul2(a, b);
    o[3] = __hmax2(a, b);
    o[4] = __lowhigh2highlow(a);
    o[5] = __hgt2(a, b);
    o[6] = __hsub2(a, b);
    o[7] = __floats2half2_rn(__low2float(a), __high2float(b));
}

extern "C" __global__ void bfloats(const __nv_bfloat162 *x, const __nv_bfloat162 *y, __nv_bfloat162 *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __nv_bfloat162 a = x[i], b = y[i], *o = out + i * 6;
    o[0] = __hadd2(a, b);
    o[1] = __hmul2(a, b);
    o[2] = __hfma2(a, b, a);
    o[3] = __hmax2(a, b);
    o[4] = __floats2bfloat162_rn(__low2float(a) * 3.0f, __high2float(b) / 3.0f);
    o[5] = __hneg2(__hmin2(a, b));
}

extern "C" __global__ void half_atomics(__half2 *sum, __half *one, __nv_bfloat162 *bsum) {
    atomicAdd(sum, __floats2half2_rn(1.0f, 0.5f));
    atomicAdd(one, __float2half(0.25f));
    atomicAdd(bsum, __floats2bfloat162_rn(1.0f, 2.0f));
}
