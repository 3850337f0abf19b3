//! What the tests of the driver share: the device, and a compiler for their kernels.

#![allow(dead_code, reason = "each test file uses its part")]

use cudarc::driver::{CudaContext, CudaStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use vgpu::driver::Driver;

/// The virtual GPU, loaded before anything else touches CUDA.
pub(crate) fn driver() -> &'static Driver {
    vgpu::driver::load().expect("the virtual GPU loads")
}

/// The device's primary context.
pub(crate) fn context() -> Arc<CudaContext> {
    driver();
    CudaContext::new(0).expect("device 0")
}

/// A context and its default stream.
pub(crate) fn device() -> (Arc<CudaContext>, Arc<CudaStream>) {
    let context = context();
    let stream = context.default_stream();
    (context, stream)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// nvcc: `NVCC`, else the one on PATH, else the one that `./setup-cuda` installs.
pub(crate) fn nvcc() -> &'static Path {
    static NVCC: OnceLock<PathBuf> = OnceLock::new();
    NVCC.get_or_init(|| {
        if let Some(path) = std::env::var_os("NVCC") {
            return path.into();
        }
        let runs = |path: &str| Command::new(path).arg("--version").output().is_ok();
        if runs("nvcc") {
            return "nvcc".into();
        }
        let setup = Command::new(root().join("setup-cuda")).output().expect("./setup-cuda runs");
        assert!(setup.status.success(), "no nvcc: {}", String::from_utf8_lossy(&setup.stderr));
        let printed = String::from_utf8(setup.stdout).expect("a path");
        printed.lines().last().expect("nvcc's path").into()
    })
}

/// What nvcc makes of CUDA C++, with further arguments; kept by source and arguments.
pub(crate) fn compile(source: &str, arguments: &[&str]) -> Vec<u8> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    (source, arguments, nvcc()).hash(&mut hash);
    let name = format!("{:016x}", hash.finish());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = folder.join(format!("{name}.out"));
    if let Ok(bytes) = std::fs::read(&output) {
        return bytes;
    }
    // Two tests may compile the same: each in its own files, the last one renames.
    let own = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
    let (input, fresh) = (folder.join(format!("{own}.cu")), folder.join(format!("{own}.out")));
    std::fs::write(&input, source).expect("a scratch file");
    let run = Command::new(nvcc())
        .args(arguments)
        .arg("-std=c++17")
        .args([&input, Path::new("-o"), &fresh])
        .output()
        .expect("nvcc runs");
    assert!(
        run.status.success(),
        "nvcc {arguments:?}: {}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    let _ = std::fs::remove_file(&input);
    std::fs::rename(&fresh, &output).expect("a scratch file");
    std::fs::read(&output).expect("nvcc's output")
}

/// PTX of CUDA C++ for an `sm_` number, with line numbers.
pub(crate) fn ptx(source: &str, arch: &str) -> String {
    let arch = format!("-arch={arch}");
    String::from_utf8(compile(source, &["--ptx", "-lineinfo", &arch])).expect("PTX is text")
}
