//! Files that a run leaves behind, each written so that a killed process or a full disk never leaves a broken one.
//!
//! - [`atomic`]: a file appears whole under its name, or not at all;
//! - [`tensors`]: safetensors, for checkpoints and for exchange;
//! - [`metrics`]: `metrics.jsonl`, one line a record;
//! - [`tensorboard`]: the same figures for TensorBoard.

pub mod atomic;
pub mod metrics;
pub mod tensorboard;
pub mod tensors;
