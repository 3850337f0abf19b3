// Atomics of every type and space, and libcu++'s on top of them.
#include <cuda/atomic>

struct Totals {
    int add, sub, least, most, both, either, differ, ring_up, ring_down, last;
    unsigned umost;
    unsigned long long wide_add, wide_most;
    long long wide_least;
    float real;
    double exact;
};

extern "C" __global__ void totals(const int *x, Totals *t, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i];
    atomicAdd(&t->add, v);
    atomicSub(&t->sub, v);
    atomicMin(&t->least, v);
    atomicMax(&t->most, v);
    atomicAnd(&t->both, v | 0x0f0);
    atomicOr(&t->either, v & 0xff);
    atomicXor(&t->differ, v);
    atomicInc((unsigned *)&t->ring_up, 10);
    atomicDec((unsigned *)&t->ring_down, 10);
    atomicExch(&t->last, 5);
    atomicMax(&t->umost, (unsigned)v);
    atomicAdd(&t->wide_add, (unsigned long long)(long long)v);
    atomicMax(&t->wide_most, (unsigned long long)(v & 0xffff) << 20);
    atomicMin(&t->wide_least, (long long)v << 24);
    atomicAdd(&t->real, (float)v);
    atomicAdd_system(&t->exact, (double)v * 0.5);
}

// A histogram in shared memory, then in global
extern "C" __global__ void shared_histogram(const unsigned char *x, unsigned *bins, int n) {
    __shared__ unsigned own[32];
    if (threadIdx.x < 32) own[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd_block(&own[x[i] & 31], 1u);
    __syncthreads();
    if (threadIdx.x < 32) atomicAdd(&bins[threadIdx.x], own[threadIdx.x]);
}

// A maximum of floats by compare-and-swap
extern "C" __global__ void float_max(const float *x, float *most, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int *word = (int *)most, old = *(volatile int *)word;
    while (x[i] > __int_as_float(old)) {
        int seen = atomicCAS(word, old, __float_as_int(x[i]));
        if (seen == old) break;
        old = seen;
    }
}

// The block that arrives last sums what the others left.
extern "C" __global__ void last_block(const float *x, float *partial, unsigned *arrived, float *out) {
    __shared__ float sums[64];
    __shared__ bool last;
    sums[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    for (int s = 32; s > 0; s /= 2) {
        if (threadIdx.x < s) sums[threadIdx.x] += sums[threadIdx.x + s];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sums[0];
        cuda::atomic_ref<unsigned, cuda::thread_scope_device> count(*arrived);
        last = count.fetch_add(1, cuda::memory_order_acq_rel) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float sum = 0;
        for (int b = 0; b < gridDim.x; b++) sum += __ldcg(&partial[b]);
        *out = sum;
    }
}

// One thread hands a value to another block through a flag.
extern "C" __global__ void hand_over(int *box, int *flag, int *out) {
    cuda::atomic_ref<int, cuda::thread_scope_device> ready(*flag);
    if (blockIdx.x == 0) {
        *box = 42;
        ready.store(1, cuda::memory_order_release);
    } else {
        while (ready.load(cuda::memory_order_acquire) == 0) __nanosleep(100);
        *out = *box;
    }
}

// A sum by compare-and-swap as the programming guide has it: opened by a plain read.
extern "C" __global__ void cas_sum(const float *x, float *sum, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int *word = (int *)sum, old = *word, assumed;
    do {
        assumed = old;
        old = atomicCAS(word, assumed, __float_as_int(x[i] + __int_as_float(assumed)));
    } while (assumed != old);
}

// A true race: some blocks look at a count that others are still raising.
extern "C" __global__ void peek(int *count, int *seen) {
    if (threadIdx.x == 0) atomicAdd(count, 1);
    if (threadIdx.x == 32) seen[blockIdx.x] = *count;
}
