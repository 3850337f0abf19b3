//! Programs to be timed: a training step, and one denoising step of half-masked texts.
#![allow(unreachable_pub, reason = "shared by benches, each of which sees it as private")]
#![allow(dead_code, reason = "each bench uses some of it")]

use std::sync::Arc;
use tempest::backend::cuda::{Gpu, Options};
use tempest::backend::{Backend, Device};
use tempest::config::{Averages, LrSchedule, ModelConfig, Objective, OptimizerConfig, Preset, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::program::DType;
use tempest::workload::{Step, Subject, Workload};

/// A program, the memory it runs over, and arguments for it.
pub struct Bench {
    /// Holds the memory.
    pub backend: Box<dyn Backend>,
    /// What is timed.
    pub workload: Workload,
}

/// The device that `TEMPEST_DEVICE` names: the CPU, or with `cuda` the first GPU.
pub fn device() -> Device {
    match std::env::var("TEMPEST_DEVICE").as_deref() {
        Ok("cuda") => Device::Cuda(Gpu::open(0, Options::default()).unwrap_or_else(|why| panic!("{why}"))),
        Ok("cpu") | Err(_) => Device::Cpu,
        Ok(other) => panic!("TEMPEST_DEVICE is {other:?}; benches take cpu or cuda"),
    }
}

/// The dtypes that the device has kernels for, with their names.
pub fn dtypes(device: &Device) -> [(&'static str, DType); 2] {
    match device {
        Device::Cpu => [("f32", DType::F32), ("bf16", DType::Bf16)],
        Device::Cuda(_) => [("f16 on the GPU", DType::F16), ("bf16 on the GPU", DType::Bf16)],
    }
}

/// The original's model: 10.8 M parameters, 256 positions.
pub fn original_model() -> ModelConfig {
    Preset::Original.model(128)
}

/// The original's shape at 0.64 M parameters: 3 layers, 4 heads, 128 wide, 128 positions.
pub fn small_model() -> ModelConfig {
    ModelConfig { n_layer: 3, n_head: 4, n_embd: 128, sequence_len: 128, ..original_model() }
}

/// A step of a model, as the device stores it.
pub fn workload(model: &ModelConfig, step: Step, dtype: DType, sequences: usize, device: &Device) -> Workload {
    let corpus = Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).expect("built in");
    let subject = Subject {
        name: "the bench's model".into(),
        model: model.clone(),
        process: Preset::Original.process(0),
        part: tempest::config::Family::Masked,
        weights: None,
        objective: Objective::Original,
        optimizer: optimizer(),
        corpus: Arc::new(corpus),
    };
    Workload::new(&subject, step, device.storage(dtype), sequences).expect("a model")
}

/// It in the device's memory.
pub fn bench(model: &ModelConfig, step: Step, dtype: DType, sequences: usize, device: &Device) -> Bench {
    let workload = workload(model, step, dtype, sequences, device);
    let mut backend = device.open(Arc::new(workload.plan.clone())).expect("the device has room");
    workload.fill(backend.as_mut()).expect("memory of the plan");
    Bench { backend, workload }
}

impl Bench {
    /// Runs the program once, and waits for it.
    pub fn run(&mut self) {
        self.backend.run(&self.workload.program, &self.workload.args).expect("every op runs");
        self.backend.read_bytes(self.workload.last).expect("memory of the plan");
    }
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        lr: 1e-5,
        min_lr: 1e-5,
        schedule: LrSchedule::Constant,
        warmup: 0,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        clip: 1.0,
        dropout: 0.0,
        ema: Averages::default(),
        muon: None,
    }
}
