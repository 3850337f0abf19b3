// Cooperative groups and warp intrinsics: what a warp's lanes tell one another.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;

// out[i] = sum over the tile of 8 that i is in
extern "C" __global__ void tile_sum(const int *x, int *out) {
    auto tile = cg::tiled_partition<8>(cg::this_thread_block());
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int sum = x[i];
    for (int offset = tile.size() / 2; offset > 0; offset /= 2) sum += tile.shfl_xor(sum, offset);
    out[i] = sum;
}

// out[i] = running maximum inside the warp; out[n + i] = exclusive running sum
extern "C" __global__ void warp_scans(const int *x, int *out, int n) {
    auto warp = cg::tiled_partition<32>(cg::this_thread_block());
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = cg::inclusive_scan(warp, x[i], cg::greater<int>());
    out[n + i] = cg::exclusive_scan(warp, x[i]);
}

// Every odd element takes a place in a compacted list: one atomic a warp.
extern "C" __global__ void compact_odd(const int *x, int *list, unsigned *count, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && (x[i] & 1)) {
        auto active = cg::coalesced_threads();
        unsigned start = 0;
        if (active.thread_rank() == 0) start = atomicAdd(count, active.size());
        start = active.shfl(start, 0);
        list[start + active.thread_rank()] = x[i];
    }
}

// Sums by key, for keys 0 to 7, inside each warp: groups of equal keys work side by side.
extern "C" __global__ void sum_by_key(const int *key, const int *x, int *out) {
    auto warp = cg::tiled_partition<32>(cg::this_thread_block());
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    auto group = cg::labeled_partition(warp, key[i]);
    int sum = cg::reduce(group, x[i], cg::plus<int>());
    out[i] = sum;
}

// Votes, matches and reductions by intrinsic; one word of each a lane.
extern "C" __global__ void intrinsics(const unsigned *x, unsigned *out) {
    unsigned lane = threadIdx.x, v = x[lane], *o = out + lane * 12;
    o[0] = __ballot_sync(~0u, v & 1);
    o[1] = __any_sync(~0u, v == x[3]) | __all_sync(~0u, v < 1000) << 1;
    o[2] = __match_any_sync(~0u, v % 5);
    int same = 0;
    o[3] = __match_all_sync(~0u, v / 1000, &same) + same;
    o[4] = __reduce_add_sync(~0u, v);
    o[5] = __reduce_min_sync(~0u, v) << 16 | __reduce_max_sync(~0u, v);
    o[6] = __reduce_xor_sync(~0u, v);
    o[7] = __shfl_up_sync(~0u, v, 3, 16);
    o[8] = __shfl_down_sync(~0u, v, 5, 8);
    o[9] = __shfl_sync(~0u, v, lane * 7, 32);
    unsigned part = 0;
    if (lane % 3 == 0) part = __activemask();
    o[10] = part;
    if (lane < 20) o[11] = __reduce_or_sync(0xfffff, 1u << (v % 32));
    else o[11] = __shfl_xor_sync(0xfff00000, v, 1);
}

// Lanes of one warp take a lock in turn: needs progress of diverged lanes.
extern "C" __global__ void lane_lock(int *lock, int *counter) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            volatile int *shared_counter = counter;
            *shared_counter = *shared_counter + 1;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        } else {
            __nanosleep(20);
        }
    }
}
