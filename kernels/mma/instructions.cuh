// Tensor-core and asynchronous-copy instructions, each with the section of the PTX ISA (9.0) that it implements.
#pragma once
#include "shared/types.cuh"

// Address of shared memory in its own window, as ldmatrix and cp.async take it.
DEVICE u32 shared_address(const void *pointer) {
    return u32(__cvta_generic_to_shared(pointer));
}

// 9.7.9.25.3.1 cp.async: 16 bytes from global to shared memory, past L1, 128 bytes into L2. Aligned to 16.
DEVICE void copy16(u32 to, const void *from) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

// The same; of the 16 bytes only the first `bytes` are read, the others become zero.
DEVICE void copy16_zero_fill(u32 to, const void *from, u32 bytes) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// 4 bytes, for rows that are not multiples of 16 bytes; all or nothing of them is read.
DEVICE void copy4_zero_fill(u32 to, const void *from, u32 bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// 9.7.9.25.3.2 cp.async.commit_group: what this thread has issued since the last one is a group.
DEVICE void copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// 9.7.9.25.3.3 cp.async.wait_group: all but the newest `Pending` groups of this thread have landed.
template <int Pending> DEVICE void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// 9.7.14.5.15 ldmatrix: four 8×8 matrices of 16-bit numbers; lane i gives the address of row i % 8 of matrix i / 8.
DEVICE void load_matrices(u32 (&fragment)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(address)
                 : "memory");
}

// The same, each matrix transposed.
DEVICE void load_matrices_transposed(u32 (&fragment)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                 : "r"(address)
                 : "memory");
}

// 9.7.14.5.8 mma.m16n8k16: sum += a·b. a [16, 16] row-major, b [16, 8] column-major (b0: k < 8, b1: k ≥ 8), sums in f32:
// lane i holds rows i / 4 (sum[0..2]) and i / 4 + 8 (sum[2..4]), columns 2·(i % 4) and the next.
DEVICE void multiply_add(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if defined(STORE_BF16)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
#endif
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same, with the sums starting from others: sum = start + a·b.
DEVICE void multiply_add_to(float (&sum)[4], const float (&start)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if defined(STORE_BF16)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
#endif
                 "{%10, %11, %12, %13};"
                 : "=f"(sum[0]), "=f"(sum[1]), "=f"(sum[2]), "=f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(start[0]), "f"(start[1]),
                   "f"(start[2]), "f"(start[3]));
}

// A value that stays in its register. ptxas makes what is cheap anew wherever it is used, in the loop too; what a shuffle
// gave it cannot make. The whole warp calls this.
DEVICE u32 kept(u32 value) {
    return __shfl_sync(FULL_MASK, value, threadIdx.x % WARP);
}
