//! Every op on the CPU at the shapes of the original's model, B=16: the ops of a training step and of a denoising step, each
//! shape once.

mod common;

use common::{bench, dtypes, original_model};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::BTreeSet;
use std::time::Duration;
use tempest::backend::Device;
use tempest::workload::Step;

fn ops(c: &mut Criterion) {
    for (name, dtype) in dtypes(&Device::Cpu) {
        let mut group = c.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        let mut seen = BTreeSet::new();
        for step in [Step::Train, Step::Denoise] {
            let mut bench = bench(&original_model(), step, dtype, 16, &Device::Cpu);
            bench.run(); // Every op finds inputs as a step leaves them.
            let workload = &bench.workload;
            for op in &workload.program.ops {
                let shapes: Vec<String> =
                    op.operands().iter().map(|operand| format!("{}x{}", operand.mat.rows, operand.mat.cols)).collect();
                let name = format!("{} {}", op.name(), shapes.join(" "));
                if seen.insert(name.clone()) {
                    let backend = &mut bench.backend;
                    group.bench_function(name, |b| {
                        b.iter(|| backend.run_op(op, &workload.args).expect("every op runs on the CPU"));
                    });
                }
            }
        }
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
