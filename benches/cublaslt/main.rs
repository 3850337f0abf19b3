//! Our matrix products beside cuBLASLt's, for every product of the original's training step (B=64, T=256) in f16: time of one
//! launch by events, over matrices in turn that together no cache holds. Ours do more in the same launch (norms, rotations,
//! activations, residuals); cuBLASLt does the bare product.

mod blas;
#[path = "../common/mod.rs"]
mod common;
mod find;

use blas::Blas;
use common::{original_model, workload};
use std::collections::BTreeSet;
use std::sync::Arc;
use tempest::backend::cuda::virtual_gpu::Counters;
use tempest::backend::cuda::{Gpu, Options};
use tempest::backend::{Backend, Device};
use tempest::program::DType;
use tempest::workload::Step;

const BATCH: usize = 64;
const RUNS: usize = 20;

fn main() {
    // `cargo test --benches` only asks whether it starts.
    let gpu = match Gpu::open(0, Options::default()) {
        Ok(gpu) if Counters::of_driver().is_none() => gpu,
        Ok(_) => return println!("nothing to compare: this GPU is a virtual one, which has no times"),
        Err(why) => return println!("nothing to compare: {why}"),
    };
    let blas = match Blas::open() {
        Ok(blas) => blas,
        Err(why) => return println!("nothing to compare with: {why}"),
    };
    let device = Device::Cuda(Arc::clone(&gpu));
    let workload = workload(&original_model(), Step::Train, DType::F16, BATCH, &device);
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone())).expect("the GPU has room");
    workload.fill(&mut cuda).expect("memory of the plan");
    cuda.run(&workload.program, &workload.args).expect("every op runs");

    let rates = gpu.rates(DType::F16).expect("the GPU is there");
    let (clock, library) = (1e3 * rates.clock_ghz, &blas.from);
    println!("{}, {}, f16, {clock:.0} MHz after a loop of products, {library}\n", workload.describe(), gpu.describe());
    let bytes = 2 * gpu.l2_bytes();
    println!("{:<38} {:>9}  {:>11}  {:>16}", "op", "ours µs", "cuBLASLt µs", "ours of cuBLASLt");
    let mut seen = BTreeSet::new();
    for op in &workload.program.ops {
        // Those of stored matrices: an attention's are made on chip.
        let mut products = op.contract().products;
        products.retain(|product| !product.factors.is_empty());
        let name = format!("{:<21} {}", op.name(), op.detail());
        if products.is_empty() || !seen.insert(name.clone()) {
            continue;
        }
        let mut rotation = cuda.rotate(op, &workload.args, bytes).expect("it ran before");
        let mut ours: Vec<f64> = (0..2 * RUNS).map(|_| 1e3 * rotation.time_ms().expect("it ran before")).collect();
        // The first half warms up.
        let ours = &mut ours[RUNS..];
        ours.sort_by(f64::total_cmp);
        let ours = ours[RUNS / 2];
        let theirs = products.iter().map(|p| blas.time_us(p.rows, p.inner, p.cols, bytes)).sum::<Result<f64, String>>();
        match theirs {
            Ok(theirs) => println!("{name:<38} {ours:>9.1}  {theirs:>11.1}  {:>14.0} %", 100.0 * theirs / ours),
            Err(why) => println!("{name:<38} {ours:>9.1}  {why}"),
        }
    }
}
