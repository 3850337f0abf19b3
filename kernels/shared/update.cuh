// What the optimizers' steps have in common.
#pragma once
#include "shared/math.cuh"

DEVICE bool aligned(const void *pointer, size_t bytes) {
    return reinterpret_cast<size_t>(pointer) % bytes == 0;
}

// Added to the norm before dividing by it, as PyTorch's `clip_grad_norm_` does.
constexpr float CLIP_EPS = 1e-6f;

// What gradients of this norm are multiplied by: `scale` [2] (nullable) is the loss scale that is in them.
DEVICE float gradient_scale(float norm, float clip, const float *scale) {
    const float factor = fminf(clip / (norm + CLIP_EPS), 1.0f);
    return scale == nullptr ? factor : factor / scale[0];
}
