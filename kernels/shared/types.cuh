// What every kernel file shares: the stored number type, accesses of 16 bytes, the arguments of a step.
//
// Header-free on purpose: no CUDA header is included, so that nvcc needs nothing beside itself, and every conversion is an
// instruction that is named here. Each file is compiled once per stored type: -DSTORE_F16 or -DSTORE_BF16.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEVICE __device__ __forceinline__

// Dynamic shared memory of a kernel in bytes, for the host: read from the compiled PTX, so that it is written down once.
#define SHARED_BYTES(kernel, bytes) extern "C" __device__ u32 kernel##_shared_bytes = (bytes)

// What a block makes of a kernel's result, for the host: so many rows and columns of it. The grid's x counts columns and y
// rows, or the other way round.
enum BlockOrder : u32 { ROWS_FIRST, COLS_FIRST };
#define BLOCK(kernel, rows, cols, order)                                                                               \
    extern "C" __device__ u32 kernel##_block_rows = (rows);                                                            \
    extern "C" __device__ u32 kernel##_block_cols = (cols);                                                            \
    extern "C" __device__ u32 kernel##_block_cols_first = (order)
#define BLOCK_ROWS(kernel, rows) BLOCK(kernel, rows, 1, ROWS_FIRST)

// Marks constants and codes that the host reads too: the build writes them as Rust.
#define HOST

// What becomes of an output: `program::Accumulate`.
HOST enum class Accumulate : u32 { Overwrite, Add };

// `to`, overwritten or added to.
DEVICE void put(float &to, float value, Accumulate how) {
    to = how == Accumulate::Add ? to + value : value;
}

// A number as activations, the residual stream and the matmuls' weights are stored: IEEE half or bfloat16.
struct store_t {
    u16 bits;
};

// Two of them as the tensor cores read them, the first in the low half.
typedef u32 store2_t;

// ε of every norm (the machine epsilon of f32) and the columns that one partial sum of squares covers.
constexpr float NORM_EPS = 1.1920929e-7f;
HOST constexpr u32 SUMSQ_COLS = 128;
constexpr u32 WARP = 32;
constexpr u32 FULL_MASK = 0xffffffffu;

// What a training step says of itself: `program::StepMetrics`. A row of a ring [ring]; a step's is step mod ring.
struct StepMetrics {
    float loss;
    float tokens;
    float grad_norm;
    float loss_scale;
};

// All that changes from one step to the next: `program::StepArgs`.
struct StepArgs {
    u64 seed;
    u64 step;
    u32 sequence;
    u32 uniform_share;
    float lr;
    float ema_warmup;
    float bias1;
    float bias2;
};

// This step's row of a ring.
template <class Row> DEVICE Row &row_of(const StepArgs *step, Row *ring, u32 rows) {
    return ring[step->step % rows];
}

// Conversions. PTX ISA 9.7.9.21 (cvt): round to nearest even on the way in, exact on the way out.
#if defined(STORE_BF16)
DEVICE store2_t pack(float low, float high) {
    store2_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
DEVICE float2 unpack(store2_t packed) {
    return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xffff0000u));
}
DEVICE store_t narrow(float value) {
    store_t stored;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(stored.bits) : "f"(value));
    return stored;
}
DEVICE float widen(store_t stored) {
    return __uint_as_float(u32(stored.bits) << 16);
}
#elif defined(STORE_F16)
DEVICE store2_t pack(float low, float high) {
    store2_t packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
DEVICE float widen(store_t stored) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(stored.bits));
    return value;
}
DEVICE float2 unpack(store2_t packed) {
    return make_float2(widen(store_t{u16(packed)}), widen(store_t{u16(packed >> 16)}));
}
DEVICE store_t narrow(float value) {
    store_t stored;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(stored.bits) : "f"(value));
    return stored;
}
#else
#error "compile with -DSTORE_F16 or -DSTORE_BF16"
#endif

// Eight stored numbers, the 16 bytes that one access moves.
struct Eight {
    float at[8];
};

DEVICE Eight eight_of(uint4 words) {
    const float2 a = unpack(words.x), b = unpack(words.y), c = unpack(words.z), d = unpack(words.w);
    return Eight{{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}

DEVICE Eight load8(const store_t *from) {
    return eight_of(*reinterpret_cast<const uint4 *>(from));
}

// From global memory that the kernel does not write (9.7.9.10 ld.global.nc): may be read ahead of what is written before.
DEVICE uint4 read16(const store_t *from) {
    return __ldg(reinterpret_cast<const uint4 *>(from));
}

DEVICE Eight read8(const store_t *from) {
    return eight_of(read16(from));
}

DEVICE void store8(store_t *to, const Eight &v) {
    *reinterpret_cast<uint4 *>(to) = make_uint4(pack(v.at[0], v.at[1]), pack(v.at[2], v.at[3]), pack(v.at[4], v.at[5]),
                                                pack(v.at[6], v.at[7]));
}

// Whether 16 bytes may be moved at once from and to all of these.
DEVICE bool aligned16(const void *a, const void *b = nullptr, const void *c = nullptr, const void *d = nullptr) {
    return ((reinterpret_cast<size_t>(a) | reinterpret_cast<size_t>(b) | reinterpret_cast<size_t>(c) |
             reinterpret_cast<size_t>(d)) &
            15) == 0;
}

// The first `left` of four numbers: at once where that is `wide`, which it is where four are left and the address is
// aligned to 16, else one by one.
DEVICE float4 load_four(const float *from, u64 left, bool wide) {
    if (wide) {
        return *reinterpret_cast<const float4 *>(from);
    }
    return make_float4(from[0], left > 1 ? from[1] : 0.0f, left > 2 ? from[2] : 0.0f, left > 3 ? from[3] : 0.0f);
}

DEVICE void store_four(float *to, float4 v, u64 left, bool wide) {
    if (wide) {
        *reinterpret_cast<float4 *>(to) = v;
        return;
    }
    const float numbers[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        if (i < left) {
            to[i] = numbers[i];
        }
    }
}

// 16 bytes of global memory at once (9.7.9.12 st): written out where the compiler would split an assignment into four.
DEVICE void store16(void *to, uint4 words) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.x), "r"(words.y), "r"(words.z),
                 "r"(words.w)
                 : "memory");
}

DEVICE void store16(void *to, float a, float b, float c, float d) {
    store16(to, make_uint4(__float_as_uint(a), __float_as_uint(b), __float_as_uint(c), __float_as_uint(d)));
}
