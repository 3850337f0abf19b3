//! Fat binaries, as nvcc makes them: the driver finds the PTX in them, packed or not.

#![allow(unsafe_code, reason = "cudarc's launches are unsafe")]

mod common;

use common::{compile, device};
use cudarc::driver::{DriverError, LaunchConfig, PushKernelArg, sys::CUresult};
use cudarc::nvrtc::Ptx;

const SOURCE: &str = r#"
extern "C" __global__ void which(int *out) {
#if __CUDA_ARCH__ == 800
    out[threadIdx.x] = 80;
#elif __CUDA_ARCH__ == 750
    out[threadIdx.x] = 75;
#else
    out[threadIdx.x] = __CUDA_ARCH__;
#endif
}
"#;

/// The PTX that the device picked, by what the kernel wrote.
fn run(image: Vec<u8>) -> Result<i32, DriverError> {
    let (context, stream) = device();
    let module = context.load_module(Ptx::from_binary(image))?;
    let which = module.load_function("which")?;
    let mut out = stream.alloc_zeros::<i32>(32)?;
    let mut launch = stream.launch_builder(&which);
    let shape = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: one pointer to 32 integers, for 32 threads.
    unsafe { launch.arg(&mut out).launch(shape) }?;
    let out = stream.clone_dtoh(&out)?;
    assert!(out.iter().all(|&v| v == out[0]));
    Ok(out[0])
}

const FOR_75: &str = "arch=compute_75,code=[sm_75,compute_75]";
const FOR_80: &str = "arch=compute_80,code=[sm_80,compute_80]";
const FOR_90A: &str = "arch=compute_90a,code=[sm_90a,compute_90a]";

#[test]
fn every_way_of_packing_is_unpacked() {
    for mode in ["none", "speed", "balance", "size"] {
        let mode = format!("--compress-mode={mode}");
        let image = compile(SOURCE, &["--fatbin", &mode, "-gencode", FOR_80]);
        assert_eq!(run(image).unwrap(), 80, "{mode}");
    }
}

#[test]
fn the_newest_ptx_the_device_runs_is_picked() {
    let image = compile(SOURCE, &["--fatbin", "-gencode", FOR_75, "-gencode", FOR_80, "-gencode", FOR_90A]);
    assert_eq!(run(image).unwrap(), 80);
    let image = compile(SOURCE, &["--fatbin", "-gencode", FOR_75, "-gencode", FOR_90A]);
    assert_eq!(run(image).unwrap(), 75);
}

#[test]
fn machine_code_alone_is_refused() {
    let image = compile(SOURCE, &["--fatbin", "-gencode", "arch=compute_80,code=sm_80"]);
    assert_eq!(run(image).unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    let image = compile(SOURCE, &["--fatbin", "-gencode", FOR_90A]);
    assert_eq!(run(image).unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    let cubin = compile(SOURCE, &["--cubin", "-arch=sm_80"]);
    assert_eq!(run(cubin).unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}
