//! Where a model's numbers live.

use super::Params;
use crate::config::{Optimizer, OptimizerConfig};
use crate::program::{DType, Mat, Persistence, Plan, RegionId, Storage};

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
    /// Keys and values of texts that are being written, as activations are stored.
    pub cache: RegionId,
}

/// Gradients and optimizer state, each `[1, params]` f32 unless said otherwise.
#[derive(Clone, Debug)]
pub struct TrainingMemory {
    /// The gradient of every parameter, in the layout of the weights.
    pub grads: Mat,
    /// First moment of every gradient; the momentum of what [`Optimizer::Muon`] updates.
    pub m: Mat,
    /// Second moment of the gradients of what AdamW updates, one run after another.
    pub v: Mat,
    /// Averages of the weights, of as many lengths.
    pub averages: Vec<Mat>,
    /// `[1, 2]` loss scale and its age, where the activations need one.
    pub scale: Option<Mat>,
}

/// What a model is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    /// Forward passes only.
    Inference,
    /// Gradients and the optimizer's state.
    Training {
        /// How many averages of the weights are kept.
        averages: usize,
        /// What updates the parameters.
        optimizer: Optimizer,
        /// Probability of a number to be dropped in a pass that is learned from.
        dropout: f32,
    },
}

impl Use {
    /// Training as it is configured.
    pub fn training(o: &OptimizerConfig) -> Self {
        Use::Training { averages: o.ema.len(), optimizer: o.kind(), dropout: o.dropout }
    }

    /// Probability of a number to be dropped.
    pub(super) fn dropout(self) -> f32 {
        match self {
            Use::Inference => 0.0,
            Use::Training { dropout, .. } => dropout,
        }
    }
}

impl Memory {
    /// Lays out memory for some parameters, stored as a device wants it.
    pub fn lay_out(plan: &mut Plan, params: &Params, storage: Storage, used: Use) -> Self {
        let n = params.len();
        let mut kept = |n, name, dtype| {
            let region = plan.region(name, dtype, Persistence::Kept);
            plan.alloc(region, 1, n)
        };
        let weights = kept(n, "weights", DType::F32);
        let stored = if storage.acts == DType::F32 { weights } else { kept(n, "stored weights", storage.acts) };
        let training = match used {
            Use::Inference => None,
            Use::Training { averages, optimizer, .. } => Some(TrainingMemory {
                grads: kept(n, "gradients", DType::F32),
                m: kept(n, "first moment", DType::F32),
                v: kept(params.second_moments(optimizer), "second moment", DType::F32),
                averages: (0..averages).map(|_| kept(n, "weight average", DType::F32)).collect(),
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
            cache: plan.region("keys and values", storage.acts, Persistence::Kept),
        }
    }
}
