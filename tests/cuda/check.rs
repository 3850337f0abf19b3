//! The check that users run finds a kernel that is wrong.

use crate::device::driver;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::backend::cuda::{Gpu, Options};
use tempest::check::in_lockstep;
use tempest::config::{LrSchedule, ModelConfig, Objective, OptimizerConfig, Schedule};
use tempest::data::{Corpus, Source, Unknown, VocabKind};
use tempest::program::DType;
use tempest::workload::{Step, Subject, Workload};

#[test]
fn a_kernel_that_computes_something_else_is_named() {
    driver();
    let ptx = Path::new(env!("TEMPEST_KERNEL_DIR")).join("attention.f16.ptx");
    let right = std::fs::read_to_string(&ptx).unwrap();
    // Logarithms where there should be exponentials.
    let wrong = right.replace("ex2.approx.ftz.f32", "lg2.approx.ftz.f32");
    assert_ne!(right, wrong, "the attention takes exponentials");
    let replaced = BTreeMap::from([("attention".to_owned(), wrong)]);
    let device = Device::Cuda(Gpu::open(0, Options { replaced, ..Options::default() }).unwrap());

    let optimizer = OptimizerConfig {
        lr: 1e-3,
        min_lr: 1e-3,
        schedule: LrSchedule::Constant,
        warmup: 0,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        clip: 1.0,
        ema: 0.0,
    };
    let subject = Subject {
        name: "a small model".into(),
        model: ModelConfig {
            n_layer: 1,
            n_head: 2,
            n_embd: 64,
            sequence_len: 32,
            vocab_size: 66,
            mask_token_id: 65,
            diffusion_steps: 0,
            context_len: 0,
        },
        weights: None,
        objective: Objective::Simple { schedule: Schedule::Linear },
        optimizer,
        corpus: Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap()),
    };
    let workload = Workload::new(&subject, Step::Train, device.storage(DType::F16), 2).unwrap();
    let mut seen = 0;
    let found = in_lockstep(&workload, &device, &mut |found| {
        seen += found.len();
        Ok(())
    });
    let found = found.unwrap();
    assert_eq!(seen, found.len());
    // Every op starts from the reference's inputs: the fault does not spread.
    let failed: Vec<&str> = found.iter().filter(|a| !a.difference.passes()).map(|a| a.difference.op).collect();
    assert!(!failed.is_empty() && failed.iter().all(|op| *op == "attention"), "{failed:?}");
}
