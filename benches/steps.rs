//! Whole steps: training the original's model (B=64, T=256) and the small one (B=32, T=128), and denoising 1 and 16 texts.
//! With `TEMPEST_DEVICE=cuda` on the first GPU, as graphs, the wait for their end included.

mod common;

use common::{Bench, bench, device, dtypes, original_model, small_model};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use tempest::workload::Step;

fn steps(c: &mut Criterion) {
    let device = device();
    for (name, dtype) in dtypes(&device) {
        let mut group = c.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
        let mut time = |name: &str, mut bench: Bench| {
            group.bench_function(name, |b| b.iter(|| bench.run()));
        };
        time("train original model, B=64", bench(&original_model(), Step::Train, dtype, 64, &device));
        time("train small model, B=32", bench(&small_model(), Step::Train, dtype, 32, &device));
        time("denoise original model, B=1", bench(&original_model(), Step::Denoise, dtype, 1, &device));
        time("denoise original model, B=16", bench(&original_model(), Step::Denoise, dtype, 16, &device));
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
