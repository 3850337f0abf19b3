//! Which device: chosen once a command, then asked for backends.

use super::cuda::Gpu;
use super::{Backend, Cpu};
use crate::error::Result;
use crate::program::{DType, Plan, Storage};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where programs run.
#[derive(Clone, Debug)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda(Arc<Gpu>),
}

impl Device {
    /// How it stores the numbers of a run of this dtype. The CPU computes f16 runs in f32, a GPU f32 runs in f16: weights,
    /// moments and sums are f32 everywhere, so that a run can go on elsewhere.
    pub fn storage(&self, dtype: DType) -> Storage {
        match (self, dtype) {
            (Device::Cpu, DType::Bf16) => Storage::wide_stream(DType::Bf16),
            (Device::Cpu, _) => Storage::wide_stream(DType::F32),
            (Device::Cuda(_), DType::Bf16) => Storage::uniform(DType::Bf16),
            (Device::Cuda(_), _) => Storage::uniform(DType::F16),
        }
    }

    /// The dtype of a run that does not ask for one.
    pub fn preferred_dtype(&self) -> DType {
        match self {
            Device::Cpu => DType::F32,
            Device::Cuda(_) => DType::F16,
        }
    }

    /// It as JSON, for programs that make pages of what was found on it; what a CPU has no answer for is null.
    pub fn record(&self, described: &str) -> Value {
        let gpu = match self {
            Device::Cpu => None,
            Device::Cuda(gpu) => Some(gpu),
        };
        json!({
            "kind": match gpu { None => "cpu", Some(gpu) if gpu.is_virtual() => "virtual", Some(_) => "cuda" },
            "described": described,
            "name": gpu.map(|gpu| gpu.name()),
            "sm": gpu.map(|gpu| gpu.sm()),
            "driver": gpu.map(|gpu| gpu.driver()),
            "multiprocessors": gpu.map(|gpu| gpu.multiprocessors()),
            "l2_bytes": gpu.map(|gpu| gpu.l2_bytes()),
            "memory_bytes": gpu.map(|gpu| gpu.memory_bytes()),
        })
    }

    /// Allocates a plan's memory.
    pub fn open(&self, plan: Arc<Plan>) -> Result<Box<dyn Backend>> {
        Ok(match self {
            Device::Cpu => Box::new(Cpu::new(plan)),
            Device::Cuda(gpu) => Box::new(gpu.open_plan(plan)?),
        })
    }
}
