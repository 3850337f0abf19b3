//! Every op of the original's training step (B=64, T=256) on the first GPU, each kind once, over copies of its operands in turn
//! that together no cache holds: time by events, and how near that is to what the card was measured to do. Without a GPU the
//! virtual one counts what the kernels do in a step of one sequence.
//!
//! `TEMPEST_CARVEOUT=always` and `never` time the other ways of dividing the L1 cache and shared memory, `TEMPEST_RUNG=plain` the
//! kernels without tensor cores.

mod common;

use common::{original_model, workload};
use criterion::{Criterion, criterion_group, criterion_main};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tempest::backend::cuda::virtual_gpu::{self, Counters};
use tempest::backend::cuda::{Carveout, Gpu, Options, Rung};
use tempest::backend::{Backend, Device};
use tempest::profile::{self, Roofline};
use tempest::program::DType;
use tempest::workload::Step;

const BATCH: usize = 64;

fn kernels(c: &mut Criterion) {
    let gpu = match Gpu::open(0, options()) {
        Ok(gpu) => gpu,
        Err(why) => {
            println!("no GPU to time: {why}");
            match virtual_gpu::load().and_then(|()| Gpu::open(0, options())) {
                Ok(gpu) => gpu,
                Err(why) => return println!("and none to count on: {why}"),
            }
        }
    };
    match Counters::of_driver() {
        Some(counters) => count(&gpu, &counters),
        None => [DType::F16, DType::Bf16].into_iter().for_each(|dtype| time(c, &gpu, dtype)),
    }
}

fn count(gpu: &Arc<Gpu>, counters: &Counters) {
    let device = Device::Cuda(Arc::clone(gpu));
    let workload = workload(&original_model(), Step::Train, DType::F16, 1, &device);
    println!("counts of a virtual GPU, no times: {}, f16, {}\n", workload.describe(), gpu.describe());
    let counts = profile::count(&workload, gpu, counters, &mut |_| {}).expect("every op runs");
    println!("{}", profile::counts_table(&workload, &counts));
}

fn options() -> Options {
    let carveout = match std::env::var("TEMPEST_CARVEOUT").as_deref() {
        Ok("always") => Carveout::Always,
        Ok("never") => Carveout::Never,
        Ok("where-shared") | Err(_) => Carveout::WhereShared,
        Ok(other) => panic!("TEMPEST_CARVEOUT is {other:?}; where-shared, always and never are known"),
    };
    let rung = std::env::var("TEMPEST_RUNG")
        .map_or(Rung::default(), |name| name.parse().unwrap_or_else(|why| panic!("{why}")));
    Options { carveout, rung, ..Options::default() }
}

fn time(c: &mut Criterion, gpu: &Arc<Gpu>, dtype: DType) {
    let device = Device::Cuda(Arc::clone(gpu));
    let workload = workload(&original_model(), Step::Train, dtype, BATCH, &device);
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone())).expect("the GPU has room");
    workload.fill(&mut cuda).expect("memory of the plan");
    cuda.run(&workload.program, &workload.args).expect("every op runs");
    let rates = gpu.rates(dtype).expect("the GPU is there");
    let roofline = Roofline::from(rates);
    let (limits, clock) =
        (format!("{:.0} TFLOP/s, {:.0} GB/s", roofline.tflops, roofline.bandwidth_gb), rates.clock_ghz);
    println!("{}, measured: {limits}; {:.0} MHz after a loop of products", gpu.describe(), 1e3 * clock);
    let mut group = c.benchmark_group(format!("{dtype:?}, B={BATCH}").to_lowercase());
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_millis(500));
    let mut seen = BTreeSet::new();
    for op in &workload.program.ops {
        let name = format!("{} {}", op.name(), op.detail()).trim_end().to_owned();
        if !seen.insert(name.clone()) {
            continue;
        }
        let mut rotation = cuda.rotate(op, &workload.args, 2 * gpu.l2_bytes()).expect("it ran before");
        let best_ms = Cell::new(f64::INFINITY);
        group.bench_function(&name, |b| {
            b.iter_custom(|runs| {
                let replays = runs.div_ceil(rotation.copies() as u64);
                let sum_ms: f64 = (0..replays).map(|_| rotation.time_ms().expect("it ran before")).sum();
                let ms = sum_ms / replays as f64;
                best_ms.set(best_ms.get().min(ms));
                Duration::from_secs_f64(runs as f64 * ms / 1e3)
            });
        });
        let least = roofline.least_ms(op.work(&workload.plan));
        if best_ms.get().is_finite() {
            println!("{name}: {:.1} % of the roofline's {:.1} µs", 100.0 * least / best_ms.get(), 1e3 * least);
        }
    }
    let clock = cuda.time_steps(&workload.program, &workload.args, 1).expect("it ran before").clock_ghz;
    println!("{:.0} MHz in the end", 1e3 * clock);
}

criterion_group!(benches, kernels);
criterion_main!(benches);
