//! Whether the gradients of a whole step of training are the slopes of its loss.

use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{DType, RunConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::model::Use;
use tempest::process::Process;
use tempest::program::{Accumulate, Builder, Plan, StepArgs, StepMetrics, Storage};

pub(crate) fn shakespeare() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap())
}

/// Checks a step of one of a run's parts at some weights. Along the gradient of a tensor the loss has its length as slope: one that points elsewhere
/// is shorter there. Where the gradient leaves something out on purpose, only that there is one is checked. A second micro-batch of
/// the same rows doubles every gradient.
pub(crate) fn check(
    config: &RunConfig,
    corpus: &Arc<Corpus>,
    part: usize,
    start: &[f32],
    args: &StepArgs,
    has_slopes: bool,
) {
    let mut plan = Plan::new();
    let used = Use::training(&config.optimizer);
    let process = Process::new(&mut plan, &config.process, &config.model, Storage::wide_stream(DType::F32), used);
    let learning = process.parts()[part].generative();
    let metrics = plan.alloc(process.model().memory.kept, 1, StepMetrics::COLS);
    let programs = [Accumulate::Overwrite, Accumulate::Add].map(|accumulate| {
        let mut b = Builder::new(&mut plan, "step");
        let batch = learning.batch(&mut b, 4);
        learning.corrupt(&mut b, batch, config.objective, corpus.train(), 4);
        learning.learn(&mut b, batch, config.objective, metrics, accumulate);
        b.finish()
    });
    let mut cpu = Cpu::new(Arc::new(plan));
    let cpu: &mut dyn Backend = &mut cpu;
    cpu.bind_corpus(Arc::clone(corpus)).unwrap();
    let memory = &process.model().memory;
    let grads = memory.training.as_ref().unwrap().grads;
    let mut loss = |weights: &[f32]| {
        cpu.write_f32(memory.weights, weights).unwrap();
        cpu.write_f32(metrics, &[0.0; StepMetrics::COLS]).unwrap();
        cpu.run(&programs[0], args).unwrap();
        (f64::from(cpu.read_f32(metrics).unwrap()[0]), cpu.read_f32(grads).unwrap())
    };
    let (_, gradient) = loss(start);
    for param in process.model().params.iter().filter(|param| !param.is_frozen) {
        let along = &gradient[param.range()];
        let length = along.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(length > 1e-4, "{} learns nothing", param.name);
        if !has_slopes {
            continue;
        }
        let mut moved = |by: f64| {
            let mut weights = start.to_vec();
            let to = weights[param.range()].iter_mut().zip(along);
            to.for_each(|(w, g)| *w += (by * f64::from(*g) / length) as f32);
            loss(&weights).0
        };
        // The loss, of a few nats, is an f32: 2⁻²² of it twice over the step and the slope, and the step's square.
        let h = 2e-2_f64.min(2e-3 / length).max(2e-3);
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        let error = (slope / length - 1.0).abs();
        assert!(error < 0.02 + 1e-6 / h / length, "{}: slope {slope}, length {length}", param.name);
    }
    loss(start);
    cpu.run(&programs[1], args).unwrap();
    for (twice, once) in cpu.read_f32(grads).unwrap().iter().zip(&gradient) {
        assert!((twice - 2.0 * once).abs() <= 1e-5 * once.abs().max(1e-3), "{once} became {twice}");
    }
}
