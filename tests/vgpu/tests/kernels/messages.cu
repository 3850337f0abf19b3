// What kernels print, and how they stop.
#include <assert.h>
#include <stdio.h>

extern "C" __global__ void print_kinds(int i, double d, const char *unused) {
    if (threadIdx.x == 0) {
        printf("int %d hex %08x char %c percent %%\n", i, i, 'A');
        printf("float %f %.3e %g width [%8.2f]\n", d, d, d, d);
        printf("long %lld unsigned %u text %s\n", (long long)i << 33, (unsigned)-i, "inside");
    }
    if (threadIdx.x < 3) printf("thread %d of block %d\n", threadIdx.x, blockIdx.x);
}

extern "C" __global__ void checked(const int *x, int *out, int limit) {
    int i = threadIdx.x;
    assert(x[i] < limit);
    out[i] = x[i];
}
