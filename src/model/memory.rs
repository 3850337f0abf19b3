//! Where a model's numbers live, and the optimizer over them.

use super::Params;
use crate::config::OptimizerConfig;
use crate::program::{
    AdamW, AdamWStep, Builder, DType, GradNorm, LossScale, Mat, Persistence, Plan, RegionId, Storage,
};

/// The regions of a model, or of several modules that learn together: their weights are one vector, so that one step of
/// the optimizer covers them all. Programs take their activations from the scratch regions.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `[1, params]` f32.
    pub weights: Mat,
    /// `[1, params]` in the matmuls' dtype; the weights themselves when that is f32.
    pub stored: Mat,
    /// What training adds.
    pub training: Option<TrainingMemory>,
    /// Residual stream and its gradient.
    pub stream: RegionId,
    /// Activations in the run's dtype.
    pub acts: RegionId,
    /// f32 statistics of rows.
    pub stats: RegionId,
    /// Token ids of a batch.
    pub ids: RegionId,
    /// What outlives a program: token state, metrics.
    pub kept: RegionId,
    /// The same for ids.
    pub kept_ids: RegionId,
}

/// Gradients and optimizer state, each `[1, params]` f32.
#[derive(Clone, Copy, Debug)]
pub struct TrainingMemory {
    /// The gradient of every parameter, in the layout of the weights.
    pub grads: Mat,
    /// First moment of every gradient.
    pub m: Mat,
    /// Second moment of every gradient.
    pub v: Mat,
    /// Average of the weights.
    pub ema: Option<Mat>,
    /// `[1, 2]` loss scale and its age, where the activations need one.
    pub scale: Option<Mat>,
}

/// What a model is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Forward passes only.
    Inference,
    /// Gradients and AdamW.
    Training {
        /// Whether an average of the weights is kept.
        ema: bool,
    },
}

impl Memory {
    /// Lays out memory for some parameters, stored as a device wants it.
    pub fn lay_out(plan: &mut Plan, params: &Params, storage: Storage, used: Use) -> Self {
        let n = params.len();
        let mut kept = |name, dtype| {
            let region = plan.region(name, dtype, Persistence::Kept);
            plan.alloc(region, 1, n)
        };
        let weights = kept("weights", DType::F32);
        let stored = if storage.acts == DType::F32 { weights } else { kept("stored weights", storage.acts) };
        let training = match used {
            Use::Inference => None,
            Use::Training { ema } => Some(TrainingMemory {
                grads: kept("gradients", DType::F32),
                m: kept("first moment", DType::F32),
                v: kept("second moment", DType::F32),
                ema: ema.then(|| kept("weight average", DType::F32)),
                scale: None,
            }),
        };
        let state = plan.region("state", DType::F32, Persistence::Kept);
        let training = training.map(|memory| {
            let scale = storage.needs_loss_scale().then(|| plan.alloc(state, 1, 2));
            TrainingMemory { scale, ..memory }
        });
        Memory {
            weights,
            stored,
            training,
            stream: plan.region("residual stream", storage.stream, Persistence::Scratch),
            acts: plan.region("activations", storage.acts, Persistence::Scratch),
            stats: plan.region("statistics", DType::F32, Persistence::Scratch),
            ids: plan.region("batch ids", DType::U32, Persistence::Scratch),
            kept: state,
            kept_ids: plan.region("token state", DType::U32, Persistence::Kept),
        }
    }

    /// Appends the optimizer step over all parameters.
    pub fn update(&self, b: &mut Builder<'_>, metrics: Mat, optimizer: &OptimizerConfig) {
        let training = self.training.expect("the model was laid out for training");
        b.push(GradNorm { grads: training.grads, scale: training.scale, metrics });
        b.push(AdamWStep {
            grads: training.grads,
            metrics,
            scale: training.scale,
            adamw: AdamW {
                beta1: optimizer.beta1,
                beta2: optimizer.beta2,
                eps: optimizer.eps,
                weight_decay: optimizer.weight_decay,
                clip: if optimizer.clip > 0.0 { optimizer.clip } else { f32::INFINITY },
            },
            params: self.weights,
            m: training.m,
            v: training.v,
            ema: training.ema,
            stored: (self.stored != self.weights).then_some(self.stored),
        });
        if let Some(scale) = training.scale {
            b.push(LossScale { metrics, scale });
        }
    }
}
