// The mathematical library, one result a function and argument pair, in both precisions.
#include <math.h>

template <class T>
__device__ void functions(T x, T y, T *o, int stride) {
    int at = 0;
    auto put = [&](T v) { o[at++ * stride] = v; };
    put(sin(x)); put(cos(x)); put(tan(x)); put(asin(x / 8)); put(acos(x / 8)); put(atan(x));
    put(sinh(x)); put(cosh(x)); put(tanh(x)); put(exp(x)); put(exp2(x)); put(expm1(x));
    put(log(y)); put(log2(y)); put(log10(y)); put(log1p(y)); put(sqrt(y)); put(cbrt(x));
    put(pow(y, x)); put(atan2(x, y)); put(hypot(x, y)); put(fmod(x, y)); put(remainder(x, y));
    put(floor(x)); put(ceil(x)); put(trunc(x)); put(round(x)); put(rint(x)); put(fabs(x));
    put(fmax(x, y)); put(fmin(x, y)); put(copysign(y, x)); put(fdim(x, y)); put(fma(x, y, x));
    put(ldexp(x, 5)); put(x / y); put(1 / y); put(rsqrt(y)); put(sin(x * 100000)); put(cos(x * 100000));
}

extern "C" __global__ void floats(const float *x, const float *y, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) functions(x[i], y[i], out + i, n);
}
extern "C" __global__ void doubles(const double *x, const double *y, double *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) functions(x[i], y[i], out + i, n);
}

// Rounding in each direction, flushing nothing
extern "C" __global__ void roundings(const float *x, const float *y, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a = x[i], b = y[i];
    float r[12] = {__fadd_rz(a, b), __fadd_ru(a, b), __fadd_rd(a, b), __fmul_rz(a, b), __fmul_ru(a, b), __fmul_rd(a, b),
                   __fdiv_rz(a, b), __fdiv_ru(a, b), __fdiv_rd(a, b), __fsqrt_rd(fabsf(a)), __fsqrt_ru(fabsf(a)), __fmaf_rz(a, b, a)};
    for (int k = 0; k < 12; k++) out[i * 12 + k] = r[k];
}

// Integer intrinsics on (a, b)
extern "C" __global__ void integers(const unsigned *x, const unsigned *y, unsigned *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned a = x[i], b = y[i], *o = out + i * 24;
    unsigned long long w = (unsigned long long)a << 32 | b, v = w * 0x9e3779b97f4a7c15ull;
    o[0] = __brev(a); o[1] = __clz(a); o[2] = __popc(a); o[3] = __ffs(a);
    o[4] = __byte_perm(a, b, 0x3614); o[5] = __funnelshift_l(a, b, a); o[6] = __funnelshift_rc(a, b, b % 40);
    o[7] = __mulhi((int)a, (int)b); o[8] = __umulhi(a, b); o[9] = __umul64hi(w, v) >> 32;
    o[10] = __sad((int)a, (int)b, 7); o[11] = __usad(a, b, 9); o[12] = __dp4a((int)a, (int)b, 11);
    o[13] = __dp4a(a, b, 12u); o[14] = __umul24(a, b); o[15] = __hadd((int)a, (int)b); o[16] = __urhadd(a, b);
    o[17] = (int)a / ((int)b | 1); o[18] = (int)a % ((int)b | 1); o[19] = a / (b | 1) + a % (b | 1);
    o[20] = (unsigned)(w / (v >> 40 | 1)); o[21] = (unsigned)((long long)w % ((long long)v >> 33 | 1));
    o[22] = __clzll(v >> (a & 31)); o[23] = __vaddus4(a, b) ^ __vmaxs2(a, b) ^ __vabsdiffu4(a, b);
}
