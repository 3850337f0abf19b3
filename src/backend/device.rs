//! Which device: chosen once a command, then asked for backends.

use super::cuda::Gpu;
use super::{Backend, Cpu};
use crate::error::{Error, Result};
use crate::program::{DType, Plan, Storage};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where programs run.
#[derive(Clone, Debug)]
pub enum Device {
    /// This machine's CPU.
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

    /// The dtype of a command that does not ask for one.
    pub fn preferred_dtype(&self) -> DType {
        match self {
            Device::Cpu => DType::F32,
            Device::Cuda(_) => DType::F16,
        }
    }

    /// The dtype of a run that does not ask for one: what the device is fastest in.
    pub fn training_dtype(&self) -> DType {
        match self {
            Device::Cpu if Cpu::multiplies_bf16() => DType::Bf16,
            _ => self.preferred_dtype(),
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

    /// Bytes of memory that are free on it; none where that is not known.
    pub fn free_bytes(&self) -> Result<Option<usize>> {
        match self {
            Device::Cpu => Ok(Cpu::free_bytes()),
            Device::Cuda(gpu) => gpu.free_bytes().map(Some),
        }
    }

    /// Refuses, before anything is made, a batch that needs more memory than is free, and names the largest that does not.
    /// `need` says how many bytes a batch takes; it grows with the batch.
    pub fn check_room(&self, what: &str, batch: usize, need: &dyn Fn(usize) -> usize) -> Result<()> {
        match self.free_bytes()? {
            Some(free) => fits(what, batch, need, free),
            None => Ok(()),
        }
    }

    /// Allocates a plan's memory.
    pub fn open(&self, plan: Arc<Plan>) -> Result<Box<dyn Backend>> {
        // A GPU's driver says itself that there is no room, of sizes that are numbers.
        let free = if matches!(self, Device::Cpu) { Cpu::free_bytes() } else { None };
        let free = free.unwrap_or(isize::MAX as usize);
        if plan.bytes() > free {
            return Err(Error::input(format!(
                "this needs {}, and {} are free; make it smaller, or close what else takes memory\n{}",
                gigabytes(plan.bytes()),
                gigabytes(free),
                plan.table()
            )));
        }
        Ok(match self {
            Device::Cpu => Box::new(Cpu::new(plan)),
            Device::Cuda(gpu) => Box::new(gpu.open_plan(plan)?),
        })
    }
}

fn fits(what: &str, batch: usize, need: &dyn Fn(usize) -> usize, free: usize) -> Result<()> {
    if need(batch) <= free {
        return Ok(());
    }
    // None fits at `low`, or the largest that does; `high` does not.
    let (mut low, mut high) = (0, batch);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if need(middle) <= free { low = middle } else { high = middle }
    }
    let cure = match low {
        0 => format!(
            "a batch of 1 needs {}; make the model smaller, or close what else takes memory",
            gigabytes(need(1))
        ),
        fits => format!("--batch {fits} fits"),
    };
    Err(Error::input(format!(
        "{what} of a batch of {batch} needs {}, and {} are free; {cure}",
        gigabytes(need(batch)),
        gigabytes(free)
    )))
}

/// `1.50 GB` (10⁹ bytes).
fn gigabytes(bytes: usize) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_batch_that_fits_is_named() {
        let need = |batch: usize| 500 + 10 * batch;
        let said = |batch, free| fits("a step", batch, &need, free).map_err(|e| e.to_string());
        assert_eq!(said(50, 1000), Ok(()));
        assert!(said(51, 1000).unwrap_err().ends_with("; --batch 50 fits"));
        assert!(said(1 << 40, 1000).unwrap_err().ends_with("; --batch 50 fits"));
        assert!(said(3, 509).unwrap_err().contains("a batch of 1 needs 0.00 GB; make the model smaller"));
        let huge = fits("a step", 2, &|_| usize::MAX, 1000).unwrap_err().to_string();
        assert!(huge.contains("18446744073.71 GB"), "{huge}");
    }
}
