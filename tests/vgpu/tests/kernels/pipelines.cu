// Asynchronous copies: the primitives, cuda::pipeline, cuda::barrier, named barriers.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cuda_pipeline.h>
namespace cg = cooperative_groups;

constexpr int TILE = 128;

// out[i] = 2·x[i], tile by tile, the next tile on its way while one is worked on
extern "C" __global__ void primitives(const float4 *x, float4 *out, int tiles) {
    __shared__ float4 stage[2][TILE];
    int t = threadIdx.x;
    __pipeline_memcpy_async(&stage[0][t], &x[t], sizeof(float4));
    __pipeline_commit();
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) __pipeline_memcpy_async(&stage[(tile + 1) % 2][t], &x[(tile + 1) * TILE + t], sizeof(float4));
        __pipeline_commit();
        __pipeline_wait_prior(1);
        __syncthreads();
        float4 v = stage[tile % 2][TILE - 1 - t];
        out[tile * TILE + TILE - 1 - t] = make_float4(v.x * 2, v.y * 2, v.z * 2, v.w * 2);
        __syncthreads();
    }
}

extern "C" __global__ void block_pipeline(const int *x, int *out, int tiles) {
    __shared__ int stage[2][TILE];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto block = cg::this_thread_block();
    auto pipe = cuda::make_pipeline(block, &state);
    int fetch = 0;
    for (int tile = 0; tile < tiles; tile++) {
        for (; fetch < tiles && fetch < tile + 2; fetch++) {
            pipe.producer_acquire();
            cuda::memcpy_async(block, stage[fetch % 2], x + fetch * TILE, sizeof(int) * TILE, pipe);
            pipe.producer_commit();
        }
        pipe.consumer_wait();
        out[tile * TILE + threadIdx.x] = stage[tile % 2][(threadIdx.x + 1) % TILE] + 1;
        pipe.consumer_release();
    }
}

extern "C" __global__ void barrier_phases(const int *x, int *out) {
    __shared__ int stage[TILE];
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    auto block = cg::this_thread_block();
    if (block.thread_rank() == 0) init(&bar, block.size());
    block.sync();
    int sum = 0;
    for (int round = 0; round < 3; round++) {
        cuda::memcpy_async(block, stage, x + round * TILE, sizeof(int) * TILE, bar);
        bar.arrive_and_wait();
        sum += stage[(threadIdx.x * 5 + round) % TILE];
        auto token = bar.arrive();
        sum += round;
        bar.wait(std::move(token));
    }
    out[threadIdx.x] = sum;
}

extern "C" __global__ void group_copy(const int *x, int *out) {
    __shared__ int stage[TILE];
    auto block = cg::this_thread_block();
    cg::memcpy_async(block, stage, x, sizeof(int) * TILE);
    cg::wait(block);
    out[threadIdx.x] = stage[TILE - 1 - threadIdx.x];
}

// Warps 0 and 1 produce, warps 2 and 3 consume; barriers 1 and 2 pass the buffer along.
extern "C" __global__ void producer_consumer(const int *x, int *out, int rounds) {
    __shared__ int box[64];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 64;
    for (int round = 0; round < rounds; round++) {
        if (warp < 2) {
            if (round > 0) asm volatile("bar.sync 2, 128;" ::: "memory");
            box[lane] = x[round * 64 + lane];
            asm volatile("bar.arrive 1, 128;" ::: "memory");
        } else {
            asm volatile("bar.sync 1, 128;" ::: "memory");
            out[round * 64 + lane] = box[63 - lane] * 3;
            if (round + 1 < rounds) asm volatile("bar.arrive 2, 128;" ::: "memory");
        }
    }
}

// Counting barriers: how many threads say yes, whether all, whether any
extern "C" __global__ void counting(const int *x, int *out) {
    int yes = x[threadIdx.x] > 10;
    out[threadIdx.x] = __syncthreads_count(yes) | __syncthreads_and(yes) << 16 | __syncthreads_or(yes) << 17;
}

// All threads write, then all but the first warp leave: the barrier waits for their exit.
extern "C" __global__ void early_leavers(const int *x, int *out) {
    __shared__ int sums[32];
    if (threadIdx.x < 32) sums[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&sums[threadIdx.x % 32], x[threadIdx.x]);
    if (threadIdx.x >= 16) return;
    __syncthreads();
    out[threadIdx.x] = sums[threadIdx.x] + sums[threadIdx.x + 16];
}
