// GELU by the normal distribution Φ, and its derivative (Hendrycks & Gimpel 2016).
#pragma once
#include "shared/math.cuh"

// Φ(u).
DEVICE float normal_cdf(float u) {
    return 0.5f + 0.5f * erff(u * 0.70710678118654752440f);
}

// u·Φ(u).
DEVICE float gelu(float u) {
    return u * normal_cdf(u);
}

// Φ(u) + u·φ(u), φ(u) = e^(-u²/2)/√(2π).
DEVICE float gelu_slope(float u) {
    return normal_cdf(u) + u * 0.39894228040143267794f * exp2_fast(-0.5f * LOG2_E * u * u);
}
