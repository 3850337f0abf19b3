//! Whole programs in lockstep with the CPU.

use crate::device::{device, driver};
use std::sync::Arc;
use tempest::backend::{Backend, Cpu, lockstep};
use tempest::config::{LrSchedule, ModelConfig, Objective, OptimizerConfig, Schedule};
use tempest::data::{Corpus, Source, Unknown, VocabKind};
use tempest::model::{Transformer, Use};
use tempest::process::Masked;
use tempest::program::{Accumulate, AttentionMask, Builder, DType, Plan, StepArgs};

fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap())
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        lr: 1e-3,
        min_lr: 1e-3,
        schedule: LrSchedule::Constant,
        warmup: 0,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        clip: 1.0,
        ema: 0.9,
    }
}

/// A whole training step, op by op.
fn train_step(model: &ModelConfig, objective: Objective, dtype: DType, sequences: usize) {
    let device = device();
    let mut plan = Plan::new();
    let used = Use::Training { ema: true };
    let storage = device.storage(dtype);
    let process = Masked { model: Transformer::new(&mut plan, model, AttentionMask::Bidirectional, storage, used) };
    let metrics = plan.alloc(process.model.memory.kept, 4, 4);
    let mut b = Builder::new(&mut plan, "train step");
    let batch = process.batch(&mut b, sequences);
    process.corrupt(&mut b, batch, objective, corpus().train(), sequences);
    process.learn(&mut b, batch, objective, metrics, Accumulate::Overwrite);
    process.update(&mut b, metrics, &optimizer());
    let program = b.finish();

    let mut cpu: Box<dyn Backend> = Box::new(Cpu::new(Arc::new(plan.widened())));
    let mut gpu = device.open(Arc::new(plan)).unwrap();
    let memory = &process.model.memory;
    let training = memory.training.unwrap();
    let mut weights = process.model.params.init(3);
    let spread = weights.clone();
    // Tensors that training starts at zero get some of the others' numbers.
    for (i, w) in weights.iter_mut().enumerate() {
        if *w == 0.0 {
            *w = 0.3 * spread[(i * 7) % spread.len()];
        }
    }
    for backend in [&mut cpu, &mut gpu] {
        for mat in [memory.weights, memory.stored, training.ema.unwrap()] {
            backend.write_f32(mat, &weights).unwrap();
        }
        for mat in [training.m, training.v, metrics] {
            backend.write_f32(mat, &vec![0.0; mat.len()]).unwrap();
        }
        if let Some(scale) = training.scale {
            backend.write_f32(scale, &[1024.0, 0.0]).unwrap();
        }
        backend.bind_corpus(corpus()).unwrap();
    }
    let args = StepArgs { seed: 5, step: 2, lr: 1e-3, ema_decay: 0.9, bias1: 0.1, bias2: 0.01, ..StepArgs::default() };
    driver().clear_reports();
    let differences = lockstep(cpu.as_mut(), gpu.as_mut(), &program, &args).unwrap();
    let failed: Vec<_> = differences.iter().filter(|d| !d.passes()).collect();
    assert!(failed.is_empty(), "{model:?} {dtype:?}: {failed:#?}");
    assert!(driver().findings().is_empty(), "{:#?}", driver().findings());
    for d in &differences {
        println!(
            "{:3} {:24} {} {:9.2e} / {:9.2e}  {}",
            d.index,
            d.op,
            d.operand,
            d.relative_l2,
            d.tolerance(),
            d.broken
        );
    }
}

#[test]
fn a_training_step_is_in_lockstep() {
    let model = ModelConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 64,
        sequence_len: 32,
        vocab_size: 66,
        mask_token_id: 65,
        diffusion_steps: 16,
        context_len: 4,
    };
    train_step(&model, Objective::Seed, DType::F16, 3);
    train_step(&model, Objective::Nelbo { schedule: Schedule::Cosine }, DType::Bf16, 3);
}
