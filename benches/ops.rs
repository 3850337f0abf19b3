//! Every op at the shapes of the original's model, B=16: the ops of a training step and of a denoising step, each shape
//! once.

mod common;

use common::{denoise_step, seed_model, train_step};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::BTreeSet;
use std::time::Duration;
use tempest::program::DType;

fn ops(c: &mut Criterion) {
    for dtype in [DType::F32, DType::Bf16] {
        let mut group = c.benchmark_group(format!("{dtype:?}").to_lowercase());
        group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
        let mut seen = BTreeSet::new();
        for mut bench in [train_step(&seed_model(), dtype, 16), denoise_step(&seed_model(), dtype, 16)] {
            bench.run(); // Every op finds inputs as a step leaves them.
            for op in &bench.program.ops {
                let shapes: Vec<String> =
                    op.operands().iter().map(|(mat, _)| format!("{}x{}", mat.rows, mat.cols)).collect();
                let name = format!("{} {}", op.name(), shapes.join(" "));
                if seen.insert(name.clone()) {
                    let backend = &mut bench.backend;
                    group.bench_function(name, |b| {
                        b.iter(|| backend.run_op(op, &bench.args).expect("every op runs on the CPU"));
                    });
                }
            }
        }
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
