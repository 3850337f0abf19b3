//! What there is to compute, written down once: memory ([`Plan`], [`Mat`]) and operations ([`Op`], [`Program`]).
//!
//! A model does not compute. It writes a [`Program`]: a list of coarse fused [`Op`]s over [`Mat`]s, which are names of
//! memory. A backend replays it. An op is a contract one fused kernel wide: formula, shapes and dtypes stand in its doc
//! comment, and a backend may use one launch or three. An op never allocates, uploads or synchronises, and whatever
//! changes from step to step reaches it through [`StepArgs`] alone, so a whole program can be captured and replayed.

mod build;
mod contract;
mod mat;
mod mixing;
pub mod op;
mod plan;
mod work;

pub use crate::config::DType;
pub use build::Builder;
pub use contract::{Access, Contract, Kind, Operand, Product};
pub use mat::{Mat, RegionId};
pub use mixing::{Marginal, Mixing, Transition};
pub(crate) use op::dispatch;
pub use op::*;
pub use plan::{Persistence, Plan, Region, Storage};
pub use work::Work;

use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells programs apart: no two that were written in this process have the same, so that a backend can keep what it made
/// of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(u64);

impl ProgramId {
    fn next() -> Self {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        ProgramId(WRITTEN.fetch_add(1, Ordering::Relaxed))
    }
}

/// A named list of ops over the memory of one [`Plan`].
#[derive(Clone, Debug)]
pub struct Program {
    /// Different for every program of this process.
    pub id: ProgramId,
    /// What it does, for listings and error messages: `train step`.
    pub name: String,
    /// In the order in which they run.
    pub ops: Vec<Op>,
}

/// All that changes from one replay of a program to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepArgs {
    /// Key of every random number.
    pub seed: u64,
    /// Training step from 0; or evaluation pass; or denoising step.
    pub step: u64,
    /// Index of the first sequence: micro-batch·B in training, window·B in evaluation, first text in sampling.
    pub sequence: u32,
    /// Share of a training step's sequences whose noise level is uniform whatever the density, in units of 2⁻²⁴.
    pub uniform_share: u32,
    /// Learning rate of this step.
    pub lr: f32,
    /// Most that an average of the weights keeps of itself in this step, whatever its decay.
    pub ema_warmup: f32,
    /// AdamW's 1 - β₁ᵗ.
    pub bias1: f32,
    /// AdamW's 1 - β₂ᵗ.
    pub bias2: f32,
}

/// What a training step says of itself: a row of a ring in device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepMetrics {
    /// Σ weight·cross-entropy.
    pub loss: f32,
    /// Tokens that weigh.
    pub tokens: f32,
    /// Norm of the gradient.
    pub grad_norm: f32,
    /// The loss scale that was in the gradient, 1 where there is none.
    pub loss_scale: f32,
}

impl StepMetrics {
    /// How many numbers they are.
    pub const COLS: usize = size_of::<StepMetrics>() / size_of::<f32>();

    /// Which row of a ring of so many is a step's.
    pub fn row(step: u64, ring: usize) -> usize {
        (step % ring as u64) as usize
    }
}
