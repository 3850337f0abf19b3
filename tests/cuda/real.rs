//! These tests where there is a real card, rehearsed: a copy of this program without the sources, in whose library path the
//! virtual GPU lies under the name of NVIDIA's driver.

#![cfg(target_os = "linux")]

use crate::files;
use crate::gpu::is_real;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Tests that read everything that is to be read, of every sort: op by op, through graphs, with a kernel replaced.
const TESTS: [&str; 3] = [
    "insight::a_kernel_that_computes_something_else_is_named",
    "runs::five_steps_equal_the_originals",
    "runs::a_kernel_that_fails_is_named_with_its_op",
];

/// Runs some tests of a copy in `folder` as on a real card.
fn copy(folder: &Path, tests: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(folder.join("cuda"));
    command.args(["--exact", "--nocapture"]).args(tests).current_dir(folder).env("TEMPEST_TEST_GPU", "real");
    // Nothing of the build, and findings fail their launch.
    command.env("TEMPEST_TEST_ROOT", folder).env("TEMPEST_TEST_KERNELS", folder.join("ptx")).env("VGPU_STRICT", "1");
    command.env_remove("VGPU_LIBRARY").env_remove("TEMPEST_CUDA_DRIVER").env_remove("LD_LIBRARY_PATH");
    command.envs(variables.iter().copied()).output().expect("the copy runs")
}

#[track_caller]
fn fails(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} is not in: {said}"));
}

#[test]
fn a_copy_without_the_sources_tests_the_machines_own_gpu() {
    if is_real() {
        println!("this is no rehearsal");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, folder.join(to)).unwrap();
    fs::copy(std::env::current_exe().unwrap(), folder.join("cuda")).unwrap();
    fs::create_dir_all(folder.join("tests/data")).unwrap();
    link(&files::root().join("tests/data/golden"), "tests/data/golden");
    link(&files::kernels(), "ptx");
    fs::create_dir(folder.join("driver")).unwrap();
    let driver = folder.join("driver");
    link(&vgpu::driver::library_path().unwrap(), "driver/libcuda.so");

    let output = copy(folder, &TESTS, &[("LD_LIBRARY_PATH", &driver)]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("{} passed", TESTS.len())), "{said}");

    let nowhere = folder.join("nowhere");
    let without = copy(folder, &TESTS[..1], &[("TEMPEST_CUDA_DRIVER", &nowhere)]);
    fails(&without, &["TEMPEST_TEST_GPU=real", "cannot load that CUDA driver"]);
    for variable in ["TEMPEST_TEST_KERNELS", "TEMPEST_TEST_ROOT"] {
        let without = copy(folder, &TESTS[..2], &[("LD_LIBRARY_PATH", &driver), (variable, &nowhere)]);
        fails(&without, &[&nowhere.display().to_string()]);
    }
}
