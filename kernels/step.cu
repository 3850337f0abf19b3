// The arguments of a step, put where all other kernels read them.
//
// They travel as a kernel's own argument, which the driver copies when the kernel is given to it: no host memory that has
// to stay as it is, no copy that waits. A graph of several steps takes them one by one from a queue.
#include "shared/types.cuh"

// As many steps as one graph runs: enough to hide the host, few enough that a display stays alive.
HOST constexpr u32 QUEUE = 8;

struct StepQueue {
    StepArgs step[QUEUE];
};

// queue[i] = steps.step[i], i < QUEUE. Grid: (1).
extern "C" __global__ void __launch_bounds__(32) queue_steps(StepArgs *queue, StepQueue steps) {
#pragma unroll
    for (u32 i = 0; i < QUEUE; ++i) {
        if (threadIdx.x == i) {
            queue[i] = steps.step[i];
        }
    }
}

// args = queue[index]: the graph's next step. Grid: (1).
extern "C" __global__ void __launch_bounds__(32) next_step(const StepArgs *queue, StepArgs *args, u32 index) {
    if (threadIdx.x == 0) {
        *args = queue[index];
    }
}
