//! The gradient's norm, AdamW's step and the loss scale.

use super::Kind::{F32, Numbers};
use super::{Access, Contract, Describe, Mat};

/// Steps with finite gradients after which the loss scale is doubled, as PyTorch's `GradScaler` does.
pub const SCALE_GROWTH_STEPS: f32 = 2000.0;

/// The largest loss scale: gradients of a mean over a large batch are small, but not that small.
pub const MAX_LOSS_SCALE: f32 = 16_777_216.0;

/// Constants of AdamW (Loshchilov & Hutter 2019), as PyTorch has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled: p shrinks by lr·weight_decay.
    pub weight_decay: f32,
    /// The gradient is scaled down to this global norm; `f32::INFINITY` for never.
    pub clip: f32,
}

/// `metrics[step mod rows].{grad_norm, loss_scale} = √Σ(g/scale)², scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNorm {
    pub grads: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    pub metrics: Mat,
}

impl Describe for GradNorm {
    fn describe(&self, contract: &mut Contract) {
        contract.read("grads", self.grads, self.grads.shape(), F32);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.metrics(Access::Update, self.metrics, 2);
        contract.are_scalars = true;
    }
}

/// The dynamic loss scale of half-precision gradients (Micikevicius et al., "Mixed Precision Training", 2018):
/// `scale = [S, age]`. After a step whose gradient norm is finite, age += 1, and at [`SCALE_GROWTH_STEPS`]
/// `[min(2S, MAX_LOSS_SCALE), 0]`; after a step whose gradients are not finite, `[max(S/2, 1), 0]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    /// `[1, 2]` f32, updated.
    pub scale: Mat,
}

impl Describe for LossScale {
    fn describe(&self, contract: &mut Contract) {
        contract.metrics(Access::Read, self.metrics, 1);
        contract.update("scale", self.scale, [1, 2], F32);
        contract.is_exact = true;
        contract.are_scalars = true;
    }
}

/// One AdamW step on all parameters, with the gradient divided by `scale` and multiplied by
/// `min(1, clip/(norm + 10⁻⁶))`, as PyTorch does; then `stored` = p in the activations' dtype. Where the norm is not finite, all
/// stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    pub grads: Mat,
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    pub adamw: AdamW,
    /// `[1, params]` f32 parameters.
    pub params: Mat,
    /// `[1, params]` f32 first moment.
    pub m: Mat,
    /// `[1, params]` f32 second moment.
    pub v: Mat,
    /// `[1, params]` copy for the matmuls, where they read another dtype.
    pub stored: Option<Mat>,
}

impl Describe for AdamWStep {
    fn describe(&self, contract: &mut Contract) {
        let shape = self.grads.shape();
        contract.read("grads", self.grads, shape, F32);
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.update("params", self.params, shape, F32);
        contract.update("m", self.m, shape, F32);
        contract.update("v", self.v, shape, F32);
        contract.write("stored", self.stored, shape, Numbers);
    }
}
