//! What users run to look into a step: the check finds a kernel that is wrong, the profile has a time for every launch.

use crate::device::{self, device};
use crate::files;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempest::backend::Device;
use tempest::backend::cuda::Options;
use tempest::check::Trial;
use tempest::config::{
    Averages, LrSchedule, ModelConfig, Objective, OptimizerConfig, ProcessConfig, Schedule, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source};
use tempest::files::atomic::Existing;
use tempest::profile::{self, Effort};
use tempest::program::DType;
use tempest::workload::{Step, Subject, Workload};

pub(crate) fn subject() -> Subject {
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
        dropout: 0.0,
        ema: Averages::default(),
        muon: None,
    };
    Subject {
        name: "a small model".into(),
        model: ModelConfig {
            n_layer: 1,
            n_head: 2,
            n_embd: 64,
            sequence_len: 32,
            vocab_size: 66,
            diffusion_steps: 0,
            vector_dims: 0,
            autoencoder: None,
            short_conv: 0,
            architecture: Default::default(),
        },
        process: ProcessConfig::Masked { mask_token_id: 65, context_len: 0, prompt_drop: 0.0 },
        part: tempest::config::Family::Masked,
        weights: None,
        objective: Objective::simple(Schedule::Linear),
        optimizer,
        corpus: Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap()),
    }
}

#[test]
fn a_kernel_that_computes_something_else_is_named() {
    let right = files::ptx("mma_attention");
    // Logarithms where there should be exponentials.
    let wrong = right.replace("ex2.approx.ftz.f32", "lg2.approx.ftz.f32");
    assert_ne!(right, wrong, "the attention takes exponentials");
    let replaced = BTreeMap::from([("mma_attention".to_owned(), wrong)]);
    let device = Device::Cuda(device::open(Options { replaced, ..Options::default() }));

    let workload = Workload::new(&subject(), Step::Train, device.storage(DType::F16), 2).unwrap();
    let mut seen = 0;
    let found = Trial::from(workload).in_lockstep(&device, &mut |found| {
        seen += found.outputs.len();
        Ok(())
    });
    let found = found.unwrap();
    let found: Vec<_> = found.into_iter().flat_map(|op| op.outputs).collect();
    assert_eq!(seen, found.len());
    // Every op starts from the reference's inputs: the fault does not spread.
    let failed: Vec<&str> = found.iter().filter(|a| !a.difference.passes()).map(|a| a.difference.op).collect();
    assert!(!failed.is_empty() && failed.iter().all(|op| *op == "attention"), "{failed:?}");
}

/// The virtual GPU's events tell its own time, which says nothing of a card's; but the whole way is the same.
#[test]
fn every_launch_of_a_step_is_timed() {
    let device = device();
    let folder = tempfile::tempdir().unwrap();
    for step in [Step::Train, Step::Denoise] {
        let workload = Workload::new(&subject(), step, device.storage(DType::F16), 2).unwrap();
        let times = profile::time(&workload, &device, Effort { warm_up: Duration::ZERO, steps: Some(3) }).unwrap();
        assert_eq!(times.ops.len(), workload.program.ops.len());
        assert!(times.step_ms > 0.0 && times.clock_ghz.is_some_and(|ghz| ghz > 0.0) && times.empty_ms >= 0.0);
        let mut before = 0.0;
        for (op, time) in workload.program.ops.iter().zip(&times.ops) {
            assert!(!time.kernels.is_empty() && time.ms > 0.0, "{}", op.name());
            for kernel in &time.kernels {
                assert!(kernel.span_ms[0] >= before && kernel.span_ms[1] >= kernel.span_ms[0], "{}", kernel.name);
                assert!(kernel.resources.registers > 0 && kernel.resources.blocks > 0, "{}", kernel.name);
                before = kernel.span_ms[1];
            }
        }
        let table = profile::times_table(&workload, &times);
        println!("{table}");
        let widths: Vec<usize> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|&width| width <= 120), "{table}");
        assert!(table.contains("of roofline") && table.contains("blocks/SM"), "{table}");
        let path = folder.path().join("trace.json");
        profile::write_trace(&path, Existing::Replace, &workload, &times, "a virtual GPU").unwrap();
        let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let spans = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").count();
        let launches: usize = times.ops.iter().map(|op| op.kernels.len()).sum();
        assert_eq!(spans, times.ops.len() + launches);
    }
}
