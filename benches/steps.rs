//! Whole steps: training the original's model (B=64, T=256) and the small one (B=32, T=128), and denoising 1 and 16 texts.

mod common;

use common::{Bench, denoise_step, seed_model, small_model, train_step};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use tempest::program::DType;

fn steps(c: &mut Criterion) {
    for dtype in [DType::F32, DType::Bf16] {
        let mut group = c.benchmark_group(format!("{dtype:?}").to_lowercase());
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
        let mut time = |name: &str, mut bench: Bench| {
            group.bench_function(name, |b| b.iter(|| bench.run()));
        };
        time("train seed model, B=64", train_step(&seed_model(), dtype, 64));
        time("train small model, B=32", train_step(&small_model(), dtype, 32));
        time("denoise seed model, B=1", denoise_step(&seed_model(), dtype, 1));
        time("denoise seed model, B=16", denoise_step(&seed_model(), dtype, 16));
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
