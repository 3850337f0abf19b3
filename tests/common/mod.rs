//! Running the built command.

#![allow(dead_code, reason = "each test binary uses some of it")]

pub(crate) mod gpu;

use std::path::Path;
use std::process::{Command, Output};

/// `tempest` with some arguments.
pub(crate) fn tempest<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tempest"));
    // Wherever the tests run, with a GPU or without: on the reference, unless a test says otherwise.
    command.args(args).env("TEMPEST_DEVICE", "cpu").env_remove("TEMPEST_CUDA_DRIVER");
    command
}

/// `tempest` on the virtual GPU, where any finding fails its launch.
#[cfg(all(unix, kernels))]
pub(crate) fn on_virtual_gpu<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = tempest(args);
    let library = vgpu::driver::library_path().expect("built as a dependency of the tests");
    command.env("TEMPEST_CUDA_DRIVER", library).env("TEMPEST_DEVICE", "cuda").env("VGPU_STRICT", "1");
    command
}

/// Arguments of a run so small that a step takes a millisecond.
pub(crate) fn tiny_run(out: &Path, steps: u32) -> Vec<String> {
    let text = format!(
        "train --layers 1 --heads 2 --width 16 --positions 16 --batch 4 --accumulate 2 --steps {steps} --warmup 10 \
         --checkpoint-every 20 --eval-every 50 --eval-windows 8 --sample-every 50 --out"
    );
    text.split_whitespace().map(String::from).chain([out.display().to_string()]).collect()
}

/// Lets signals end the programs that this test starts, also where the tests themselves were started to ignore them, as what a
/// script begins with `&` ignores SIGINT: a handler does not outlive the start of another program, and to ignore does.
#[cfg(unix)]
pub(crate) fn let_signals_end_children() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let always = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, always.clone()).expect("a handler can be set");
    }
}

/// Steps that a run has recorded.
pub(crate) fn recorded(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Waits until a run has recorded so many steps, or has ended. It leaves the cores to the run.
pub(crate) fn wait_for_steps(run: &mut std::process::Child, folder: &Path, steps: usize) {
    while recorded(folder) < steps && run.try_wait().expect("the run can be asked").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// What a run recorded, without how long it took: the same in every run of one configuration.
pub(crate) fn figures(folder: &Path) -> String {
    let path = folder.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.split_inclusive('\n').filter(|line| !line.contains("\"seconds\"")).collect()
}

/// The output of a run that must succeed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What a run that must fail with this exit code says on standard error.
#[track_caller]
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("the command starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}
