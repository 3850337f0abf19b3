//! Every op of the original's training step (B=64, T=256) on the first GPU, each kind once: time by events around its
//! kernels, and how near that is to the roofline of the card. Without a GPU the virtual one counts what the kernels do in a
//! step of one sequence.

mod common;

use common::{seed_model, workload};
use criterion::{Criterion, criterion_group, criterion_main};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tempest::backend::cuda::virtual_gpu::{self, Counters};
use tempest::backend::cuda::{Gpu, Options};
use tempest::backend::{Backend, Device};
use tempest::profile::{self, Roofline};
use tempest::program::{Builder, DType, Op, Program};
use tempest::workload::{Step, Workload};

const BATCH: usize = 64;

fn kernels(c: &mut Criterion) {
    let real = Gpu::open(0, Options::default());
    let gpu = match real {
        Ok(gpu) => gpu,
        Err(why) => {
            println!("no GPU to time: {why}");
            match virtual_gpu::load().and_then(|()| Gpu::open(0, Options::default())) {
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
    let workload = workload(&seed_model(), Step::Train, DType::F16, 1, &device);
    println!("counts of a virtual GPU, no times: {}, f16, {}\n", workload.describe(), gpu.describe());
    let counts = profile::count(&workload, gpu, counters, &mut |_| {}).expect("every op runs");
    println!("{}", profile::counts_table(&workload, &counts));
}

fn time(c: &mut Criterion, gpu: &Arc<Gpu>, dtype: DType) {
    let device = Device::Cuda(Arc::clone(gpu));
    let workload = workload(&seed_model(), Step::Train, dtype, BATCH, &device);
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone())).expect("the GPU has room");
    workload.fill(&mut cuda).expect("memory of the plan");
    cuda.run(&workload.program, &workload.args).expect("every op runs");
    let roofline = Roofline::by_clocks(gpu).expect("clocks");
    println!("{}, {:.0} TFLOP/s, {:.0} GB/s", gpu.describe(), roofline.tflops, roofline.bandwidth_gb);
    let mut group = c.benchmark_group(format!("{dtype:?}, B={BATCH}").to_lowercase());
    group.sample_size(20).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
    let mut seen = BTreeSet::new();
    for op in &workload.program.ops {
        let name = format!("{} {}", op.name(), profile::detail(op)).trim_end().to_owned();
        if !seen.insert(name.clone()) {
            continue;
        }
        let alone = alone(&workload, op);
        let (best_ms, args) = (Cell::new(f64::INFINITY), workload.args);
        group.bench_function(&name, |b| {
            b.iter_custom(|runs| {
                let mut sum_ms = 0.0;
                for _ in 0..runs {
                    let launches = cuda.time(&alone, &args).expect("it ran before");
                    sum_ms += launches.last().map_or(0.0, |last| f64::from(last.span_ms[1]));
                }
                best_ms.set(best_ms.get().min(sum_ms / runs as f64));
                Duration::from_secs_f64(sum_ms / 1e3)
            });
        });
        let least = roofline.least_ms(op.work(&workload.plan));
        if best_ms.get().is_finite() {
            println!("{name}: {:.1} % of the roofline's {:.1} µs", 100.0 * least / best_ms.get(), 1e3 * least);
        }
    }
}

/// A program of one op.
fn alone(workload: &Workload, op: &Op) -> Program {
    let mut plan = workload.plan.clone();
    let mut b = Builder::new(&mut plan, op.name());
    b.push(op.clone());
    b.finish()
}

criterion_group!(benches, kernels);
criterion_main!(benches);
