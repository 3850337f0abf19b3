// Calls and jumps that compilers do not flatten: virtual functions, recursion, tables of
// functions, switches, loops with several ways out, arrays indexed at run time.
struct Shape {
    __device__ virtual int area() const = 0;
};
struct Square : Shape {
    int side;
    __device__ Square(int s) : side(s) {}
    __device__ int area() const override { return side * side; }
};
struct Strip : Shape {
    int length;
    __device__ Strip(int l) : length(l) {}
    __device__ int area() const override { return length * 3; }
};

extern "C" __global__ void virtual_calls(const int *x, int *out) {
    int i = threadIdx.x;
    Square square(x[i]);
    Strip strip(x[i]);
    const Shape *shape = x[i] & 1 ? (const Shape *)&square : (const Shape *)&strip;
    out[i] = shape->area();
}

__device__ __noinline__ unsigned ackermann(unsigned m, unsigned n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}
extern "C" __global__ void recursion(unsigned *out) { out[threadIdx.x] = ackermann(2, threadIdx.x % 4); }

__device__ __noinline__ int twice(int v) { return v * 2; }
__device__ __noinline__ int square(int v) { return v * v; }
__device__ __noinline__ int negate(int v) { return -v; }
__device__ int (*const table[3])(int) = {twice, square, negate};
extern "C" __global__ void function_table(const int *x, int *out) {
    int i = threadIdx.x;
    out[i] = table[x[i] % 3](x[i]);
}

extern "C" __global__ void switches(const int *x, int *out) {
    int i = threadIdx.x, v = x[i], r = 0;
    switch (v % 9) {
        case 0: r = 10; break;
        case 1: r = v * 3; // falls through
        case 2: r += 7; break;
        case 3: r = v ^ 0x55; break;
        case 4: for (int k = 0; k < v; k++) r += k * k; break;
        case 5: r = -v; break;
        case 6: return;
        case 7: r = v << 2; break;
        default: r = 99;
    }
    out[i] = r;
}

// Steps of the Collatz walk, with a budget
extern "C" __global__ void collatz(int *out, int budget) {
    unsigned long long v = blockIdx.x * blockDim.x + threadIdx.x + 1;
    int steps = 0;
    while (true) {
        if (v == 1) break;
        if (steps == budget) { steps = -1; break; }
        if (v % 2) v = 3 * v + 1; else v /= 2;
        steps++;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = steps;
}

struct Parameters {
    int count;
    float factor[5];
    long long offset;
    char tag;
};
extern "C" __global__ void by_value(const __grid_constant__ Parameters p, double *out) {
    int i = threadIdx.x;
    out[i] = p.factor[i % p.count] * i + p.offset + p.tag; // indexed in parameter space
}

// An insertion sort in local memory
extern "C" __global__ void local_sort(const short *x, short *out) {
    short v[16];
    for (int i = 0; i < 16; i++) v[i] = x[threadIdx.x * 16 + i];
    for (int i = 1; i < 16; i++) {
        short key = v[i];
        int j = i;
        while (j > 0 && v[j - 1] > key) { v[j] = v[j - 1]; j--; }
        v[j] = key;
    }
    for (int i = 0; i < 16; i++) out[threadIdx.x * 16 + i] = v[i];
}

__constant__ int weights[4] = {1, -2, 3, -4};
__device__ int offsets[2] = {100, 200};
__device__ int *chosen = &offsets[1];
extern "C" __global__ void variables(int *out) {
    int i = threadIdx.x;
    out[i] = weights[i % 4] * i + *chosen;
    if (i == 0) offsets[0] = 7;
}
