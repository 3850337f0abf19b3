//! What the backend asks of the driver beside launches: where a card would take it amiss, or run slower.

use crate::device::{gpu, open};
use crate::gpu::is_real;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempest::backend::Backend;
use tempest::backend::cuda::Options;
use tempest::program::{Builder, DType, GradNorm, Mat, Persistence, Plan, Program, StepArgs};

/// A program, and a small result of it.
fn program() -> (Plan, Program, [Mat; 3]) {
    let mut plan = Plan::new();
    let floats = plan.region("floats", DType::F32, Persistence::Kept);
    let (grads, scale, metrics) = (plan.alloc(floats, 1, 512), plan.alloc(floats, 1, 2), plan.alloc(floats, 1, 4));
    let mut b = Builder::new(&mut plan, "a norm");
    b.push(GradNorm { grads, scale: Some(scale), metrics });
    let program = b.finish();
    (plan, program, [grads, scale, metrics])
}

#[test]
fn a_result_is_fetched_on_a_thread_that_has_no_context_yet() {
    let (plan, program, [grads, scale, metrics]) = program();
    let mut cuda = gpu().open_plan(Arc::new(plan)).unwrap();
    let backend: &mut dyn Backend = &mut cuda;
    backend.write_f32(grads, &[0.5; 512]).unwrap();
    backend.write_f32(scale, &[1.0, 0.0]).unwrap();
    cuda.run(&program, &StepArgs::default()).unwrap();
    // The room for the first result is made with a context; the second finds it there.
    assert_eq!(cuda.read_bytes(metrics).unwrap().len(), 16);
    let fetched = std::thread::spawn(move || cuda.fetch(metrics).and_then(|fetch| fetch.wait())).join().unwrap();
    assert_eq!(fetched.unwrap().len(), 16);
}

#[test]
fn a_backend_runs_and_goes_when_its_gpu_is_gone() {
    let gpu = open(Options::default());
    let (plan, program, [grads, scale, metrics]) = program();
    let mut cuda = gpu.open_plan(Arc::new(plan)).unwrap();
    drop(gpu);
    let backend: &mut dyn Backend = &mut cuda;
    backend.write_f32(grads, &[0.5; 512]).unwrap();
    backend.write_f32(scale, &[1.0, 0.0]).unwrap();
    backend.run(&program, &StepArgs::default()).unwrap();
    assert_eq!(backend.read_f32(metrics).unwrap()[2], 128.0_f32.sqrt());
}

#[test]
fn graphs_go_before_the_code_that_they_launch() {
    // The virtual GPU says on standard error where code goes first.
    let mut again = Command::new(std::env::current_exe().unwrap());
    let test = "driver_calls::a_backend_runs_and_goes_when_its_gpu_is_gone";
    let output = again.args(["--exact", test, "--nocapture"]).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("vgpu: "), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn that_the_driver_compiles_the_kernels_is_said_once() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    if is_real() {
        println!("a real GPU may have machine code");
        return;
    }
    let notice: fn(&str) = |text| SAID.lock().unwrap().push(text.to_owned());
    let gpu = open(Options { notice: Some(notice), ..Options::default() });
    assert_eq!(SAID.lock().unwrap()[..], [""; 0], "nothing is loaded before it is asked for");
    for dtype in [DType::F16, DType::Bf16, DType::F16] {
        assert!(gpu.image(dtype).unwrap().starts_with("PTX"));
    }
    let said = SAID.lock().unwrap();
    let [said] = &said[..] else { panic!("{said:?}") };
    assert!(said.contains("sm_80") && said.contains("compiles the kernels"), "{said}");
}
