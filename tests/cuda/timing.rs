//! What times are taken with: that it runs and reaches the right memory. The virtual GPU has no times itself.

use crate::device::gpu;
use crate::gpu::is_real;
use crate::insight::subject;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use tempest::backend::{Backend, Device};
use tempest::program::{DType, Operand};
use tempest::workload::{Step, Workload};

#[test]
fn the_card_is_measured() {
    for dtype in [DType::F16, DType::Bf16] {
        let rates = gpu().rates(dtype).unwrap();
        let all = [rates.tflops, rates.bandwidth_gb, rates.clock_ghz];
        assert!(all.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{rates:?}");
    }
}

#[test]
fn the_loop_of_products_does_as_many_as_it_is_taken_for() {
    if is_real() {
        println!("a real GPU does not count");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "timing::the_card_is_measured"]).env("VGPU_REPORT", &reports);
    assert!(again.output().expect("this program runs").status.success());
    let text = std::fs::read_to_string(reports).unwrap();
    let launches: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kernel: &str| launches.iter().filter(move |launch| launch["kernel"] == kernel).collect::<Vec<_>>();
    let products = of("product_rate");
    assert!(products.len() > 2 && of("clock_rate").len() == 2, "{} launches", launches.len());
    for launch in products {
        // Two blocks for each of an A100's 108 multiprocessors; 8 warps, 2 rounds, 8 sums, 16·8·16 multiply-adds.
        assert_eq!(launch["grid"][0], 216);
        assert_eq!(launch["counters"]["mma_flops"], 216 * 8 * 2 * 8 * 2 * 16 * 8 * 16);
    }
    assert!(launches.iter().all(|launch| launch["findings"].as_array().is_some_and(Vec::is_empty)));
}

/// Every op of a training step, over copies: each reads what the step left, and nothing of the plan's memory is touched.
#[test]
fn an_op_rotates_over_copies_of_its_operands() {
    let gpu = gpu();
    let device = Device::Cuda(Arc::clone(&gpu));
    let workload = Workload::new(&subject(), Step::Train, device.storage(DType::F16), 2).unwrap();
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone())).unwrap();
    workload.fill(&mut cuda).unwrap();
    cuda.run(&workload.program, &workload.args).unwrap();
    for op in &workload.program.ops {
        let bytes = |cuda: &mut dyn Backend| -> Vec<Vec<u8>> {
            op.operands().iter().map(|operand| cuda.read_bytes(operand.mat).unwrap()).collect()
        };
        let before = bytes(&mut cuda);
        let mut mats: Vec<_> = op.operands().into_iter().map(|operand| operand.mat).collect();
        mats.sort_by_key(|mat| (mat.region.index(), mat.offset, mat.rows, mat.cols));
        mats.dedup();
        let touched: usize = mats.iter().map(|mat| mat.len() * workload.plan.dtype(*mat).bytes()).sum();
        let mut rotation = cuda.rotate(op, &workload.args, 2 * touched).unwrap();
        // Between two runs over one copy, two others.
        assert_eq!(rotation.copies(), 3, "{}", op.name());
        assert!(rotation.time_ms().unwrap() > 0.0);
        drop(rotation);
        let writes = op.operands().iter().any(Operand::is_output);
        assert!(writes && before == bytes(&mut cuda), "{}", op.name());
    }
}
