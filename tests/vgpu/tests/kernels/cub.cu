// CUB's block and warp algorithms, as other people's kernels use them.
#include <cub/cub.cuh>
#include <cuda/std/functional>

constexpr int THREADS = 128, ITEMS = 4;

extern "C" __global__ void block_reduce(const float *x, float *out, int n) {
    using Reduce = cub::BlockReduce<float, THREADS>;
    __shared__ typename Reduce::TempStorage storage;
    float v = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) v += x[i];
    float sum = Reduce(storage).Sum(v);
    __syncthreads();
    float most = Reduce(storage).Reduce(v, [](float a, float b) { return a > b ? a : b; });
    if (threadIdx.x == 0) { out[0] = sum; out[1] = most; }
}

extern "C" __global__ void block_scan(const int *x, int *out) {
    using Load = cub::BlockLoad<int, THREADS, ITEMS, cub::BLOCK_LOAD_TRANSPOSE>;
    using Store = cub::BlockStore<int, THREADS, ITEMS, cub::BLOCK_STORE_WARP_TRANSPOSE>;
    using Scan = cub::BlockScan<int, THREADS, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ union {
        typename Load::TempStorage load;
        typename Store::TempStorage store;
        typename Scan::TempStorage scan;
    } storage;
    int items[ITEMS];
    x += blockIdx.x * THREADS * ITEMS;
    out += blockIdx.x * THREADS * ITEMS;
    Load(storage.load).Load(x, items);
    __syncthreads();
    Scan(storage.scan).InclusiveSum(items, items);
    __syncthreads();
    Store(storage.store).Store(out, items);
}

extern "C" __global__ void block_sort(const unsigned *keys, const unsigned *values, unsigned *out_keys, unsigned *out_values) {
    using Sort = cub::BlockRadixSort<unsigned, THREADS, ITEMS, unsigned>;
    __shared__ typename Sort::TempStorage storage;
    unsigned k[ITEMS], v[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        k[i] = keys[threadIdx.x * ITEMS + i];
        v[i] = values[threadIdx.x * ITEMS + i];
    }
    Sort(storage).Sort(k, v);
    for (int i = 0; i < ITEMS; i++) {
        out_keys[threadIdx.x * ITEMS + i] = k[i];
        out_values[threadIdx.x * ITEMS + i] = v[i];
    }
}

extern "C" __global__ void block_sort_floats_down(float *x) {
    using Sort = cub::BlockRadixSort<float, THREADS, ITEMS>;
    __shared__ typename Sort::TempStorage storage;
    float k[ITEMS];
    for (int i = 0; i < ITEMS; i++) k[i] = x[threadIdx.x * ITEMS + i];
    Sort(storage).SortDescendingBlockedToStriped(k);
    for (int i = 0; i < ITEMS; i++) x[i * THREADS + threadIdx.x] = k[i];
}

extern "C" __global__ void block_merge_sort(int *x) {
    using Sort = cub::BlockMergeSort<int, THREADS, ITEMS>;
    __shared__ typename Sort::TempStorage storage;
    int k[ITEMS];
    for (int i = 0; i < ITEMS; i++) k[i] = x[threadIdx.x * ITEMS + i];
    Sort(storage).Sort(k, [](int a, int b) { return a < b; });
    for (int i = 0; i < ITEMS; i++) x[threadIdx.x * ITEMS + i] = k[i];
}

extern "C" __global__ void warp_algorithms(const int *x, int *out) {
    using Reduce = cub::WarpReduce<int, 16>;
    using Scan = cub::WarpScan<int>;
    __shared__ typename Reduce::TempStorage reduce[THREADS / 16];
    __shared__ typename Scan::TempStorage scan[THREADS / 32];
    int v = x[threadIdx.x], exclusive, total;
    int sum = Reduce(reduce[threadIdx.x / 16]).Sum(v);
    Scan(scan[threadIdx.x / 32]).ExclusiveSum(v, exclusive, total);
    out[threadIdx.x] = threadIdx.x % 16 == 0 ? sum : -1;
    out[THREADS + threadIdx.x] = exclusive;
    out[2 * THREADS + threadIdx.x] = total;
}

extern "C" __global__ void histogram(const unsigned char *x, unsigned *out) {
    using Histogram = cub::BlockHistogram<unsigned char, THREADS, ITEMS, 64, cub::BLOCK_HISTO_SORT>;
    __shared__ typename Histogram::TempStorage storage;
    __shared__ unsigned bins[64];
    unsigned char items[ITEMS];
    for (int i = 0; i < ITEMS; i++) items[i] = x[threadIdx.x * ITEMS + i];
    Histogram(storage).Histogram(items, bins);
    __syncthreads();
    if (threadIdx.x < 64) out[threadIdx.x] = bins[threadIdx.x];
}

extern "C" __global__ void discontinuity(const int *x, int *heads) {
    using Heads = cub::BlockDiscontinuity<int, THREADS>;
    __shared__ typename Heads::TempStorage storage;
    int items[ITEMS], flags[ITEMS];
    for (int i = 0; i < ITEMS; i++) items[i] = x[threadIdx.x * ITEMS + i];
    Heads(storage).FlagHeads(flags, items, cuda::std::not_equal_to<>());
    for (int i = 0; i < ITEMS; i++) heads[threadIdx.x * ITEMS + i] = flags[i];
}
