//! The denoising transformer, as a writer of programs.
//!
//! `x = norm(token[x_t] + time[t])`; per block `x += attention(norm(x))`, `x += mlp(norm(x))`; `logits = norm(x) W_headᵀ`.
//! Norms have no weights, queries and keys are rotated and normed per head, the MLP is `relu(x W_fcᵀ)² W_projᵀ`, there
//! are no biases (the model of github.com/nathan-barry/tiny-diffusion).

mod backward;
mod forward;
mod params;

pub use forward::{Forward, Keep};
pub use params::{Param, Params};

use crate::config::ModelConfig;
use crate::program::{AttentionMask, DType, Mat, Persistence, Plan, RegionId, Storage};

/// A model and where its numbers live.
#[derive(Clone, Debug)]
pub struct Transformer {
    /// Dimensions.
    pub config: ModelConfig,
    /// Parameter tensors.
    pub params: Params,
    /// Who sees whom.
    pub mask: AttentionMask,
    /// Its memory.
    pub memory: Memory,
}

/// The regions of a model. Programs over it take their activations from the scratch regions.
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
    /// Gradients.
    pub grads: Mat,
    /// First moment.
    pub m: Mat,
    /// Second moment.
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

impl Transformer {
    /// Lays a model out in a plan, stored as a device wants it.
    pub fn new(plan: &mut Plan, config: &ModelConfig, mask: AttentionMask, storage: Storage, used: Use) -> Self {
        let params = Params::new(config);
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
        let memory = Memory {
            weights,
            stored,
            training,
            stream: plan.region("residual stream", storage.stream, Persistence::Scratch),
            acts: plan.region("activations", storage.acts, Persistence::Scratch),
            stats: plan.region("statistics", DType::F32, Persistence::Scratch),
            ids: plan.region("batch ids", DType::U32, Persistence::Scratch),
            kept: state,
            kept_ids: plan.region("token state", DType::U32, Persistence::Kept),
        };
        Transformer { config: config.clone(), params, mask, memory }
    }

    /// A parameter as the matmuls read it.
    fn weight(&self, name: &str) -> Mat {
        self.params.mat(self.memory.stored, name)
    }

    /// The time embedding's table within `all`, if the model has one.
    fn time_table(&self, all: Mat) -> Option<Mat> {
        (self.config.diffusion_steps > 0).then(|| self.params.mat(all, "time_emb.weight"))
    }
}
