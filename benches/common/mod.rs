//! Programs to be timed: a training step on a corrupted batch, and one denoising step of half-masked texts.
#![allow(unreachable_pub, reason = "shared by two benches, each of which sees it as private")]

use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{LrSchedule, ModelConfig, Objective, OptimizerConfig};
use tempest::model::{Transformer, Use};
use tempest::process::{Masked, ReverseStep};
use tempest::program::{
    Accumulate, AttentionMask, Builder, Choice, DType, Mat, Plan, Policy, Program, StepArgs, Storage,
};

/// A program, the memory it runs over, and arguments for it.
pub struct Bench {
    /// Holds the memory.
    pub backend: Box<dyn Backend>,
    /// What is timed.
    pub program: Program,
    /// One step's.
    pub args: StepArgs,
}

/// The original's model: 10.8 M parameters, 256 positions.
pub fn seed_model() -> ModelConfig {
    ModelConfig::preset("seed", 128, 0).expect("a preset")
}

/// The original's shape at 0.64 M parameters: 3 layers, 4 heads, 128 wide, 128 positions.
#[allow(dead_code, reason = "one of the two benches uses it")]
pub fn small_model() -> ModelConfig {
    ModelConfig { n_layer: 3, n_head: 4, n_embd: 128, sequence_len: 128, ..seed_model() }
}

/// Forward, loss, backward and AdamW of a batch.
pub fn train_step(config: &ModelConfig, dtype: DType, sequences: usize) -> Bench {
    let mut plan = Plan::new();
    let process = process(&mut plan, config, dtype, Use::Training { ema: false });
    let metrics = plan.alloc(process.model.memory.kept, 1, 4);
    let mut b = Builder::new(&mut plan, "train step");
    let batch = process.batch(&mut b, sequences);
    process.learn(&mut b, batch, Objective::Seed, metrics, Accumulate::Overwrite);
    process.update(&mut b, metrics, &optimizer());
    let program = b.finish();
    let mut backend = backend(plan, &process);
    fill_ids(&mut *backend, batch.x0, letter);
    fill_ids(&mut *backend, batch.xt, |i| if i % 2 == 0 { letter(i) } else { config.mask_token_id });
    fill_ids(&mut *backend, batch.t, |i| i as u32 % 128);
    let weight: Vec<f32> = (0..batch.weight.len()).map(|i| (i % 2) as f32 * 2.0 / batch.weight.len() as f32).collect();
    backend.write_f32(batch.weight, &weight).expect("memory of the plan");
    Bench { backend, program, args: args() }
}

/// One reverse step of texts of which half is masked, with the most confident positions committed.
pub fn denoise_step(config: &ModelConfig, dtype: DType, sequences: usize) -> Bench {
    let mut plan = Plan::new();
    let process = process(&mut plan, config, dtype, Use::Inference);
    let mut b = Builder::new(&mut plan, "denoise step");
    let state = process.sample_state(&mut b, sequences);
    let step = ReverseStep {
        order: process.time_order(config.sequence_len),
        drop: Some(process.mask_id()),
        temperature: 1.0,
        choice: Choice::Greedy,
        policy: Policy::Threshold(2.0),
    };
    process.reverse_step(&mut b, state, step);
    let program = b.finish();
    let mut backend = backend(plan, &process);
    fill_ids(&mut *backend, state.x, |i| if i % 2 == 0 { letter(i) } else { config.mask_token_id });
    fill_ids(&mut *backend, state.masked, |i| i as u32 % 2);
    Bench { backend, program, args: args() }
}

impl Bench {
    /// Runs the program once.
    pub fn run(&mut self) {
        self.backend.run(&self.program, &self.args).expect("every op runs on the CPU");
    }
}

fn process(plan: &mut Plan, config: &ModelConfig, dtype: DType, used: Use) -> Masked {
    Masked { model: Transformer::new(plan, config, AttentionMask::Bidirectional, Storage::wide_stream(dtype), used) }
}

/// A backend with weights of about the size that training gives them.
fn backend(plan: Plan, process: &Masked) -> Box<dyn Backend> {
    let memory = &process.model.memory;
    let mut backend: Box<dyn Backend> = Box::new(Cpu::new(Arc::new(plan)));
    let weights: Vec<f32> = (0..memory.weights.len() as u64).map(|i| (hash(i) % 2001) as f32 * 1e-4 - 0.1).collect();
    for mat in [memory.weights, memory.stored] {
        backend.write_f32(mat, &weights).expect("memory of the plan");
    }
    backend
}

fn fill_ids(backend: &mut dyn Backend, mat: Mat, id: impl Fn(usize) -> u32) {
    let ids: Vec<u32> = (0..mat.len()).map(id).collect();
    backend.write_u32(mat, &ids).expect("memory of the plan");
}

fn letter(i: usize) -> u32 {
    1 + (hash(i as u64) % 127) as u32
}

fn hash(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

fn args() -> StepArgs {
    StepArgs { lr: 1e-5, bias1: 0.1, bias2: 0.001, ..StepArgs::default() }
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
        ema: 0.0,
    }
}
