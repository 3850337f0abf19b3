// Numbers and functions that the compiler's own would make slower or less exact, each with the section of the PTX ISA (9.0)
// that it implements.
#pragma once
#include "shared/types.cuh"

constexpr float INFINITE = __builtin_huge_valf();
constexpr float LOG2_E = 1.44269504088896340736f;

// ⌈a/b⌉ and the smaller one: for counts.
DEVICE constexpr u32 ceil_div(u32 a, u32 b) {
    return (a + b - 1) / b;
}
DEVICE constexpr u32 smaller(u32 a, u32 b) {
    return a < b ? a : b;
}

// √x within a relative 2^-23 (9.7.3.15 sqrt): MUFU.
DEVICE float sqrt_fast(float x) {
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 2^x within 2 ulp (9.7.3.21 ex2): MUFU.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
