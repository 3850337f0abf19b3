//! Playing other devices, and older drivers: each in a process of its own, for a process
//! sees one set of devices.

mod common;

use common::driver;
use cudarc::driver::{
    CudaContext, result,
    sys::{CUdevice_attribute as Device, CUresult},
};
use cudarc::nvrtc::Ptx;

/// Runs this file's test of that name in a child with these variables set.
fn child(test: &str, variables: &[(&str, &str)]) {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("VGPU_DEVICES_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{output}{}", String::from_utf8_lossy(&run.stderr));
    assert!(output.contains("1 passed"), "{output}");
}

fn in_child() -> bool {
    std::env::var_os("VGPU_DEVICES_CHILD").is_some()
}

#[test]
fn two_devices_each_with_its_own_limits_and_memory() {
    if !in_child() {
        return child("two_devices_each_with_its_own_limits_and_memory", &[("VGPU_PROFILE", "h100,rtx4090")]);
    }
    driver();
    assert_eq!(CudaContext::device_count().unwrap(), 2);
    let hopper = CudaContext::new(0).unwrap();
    let ada = CudaContext::new(1).unwrap();
    assert_eq!(hopper.compute_capability().unwrap(), (9, 0));
    assert_eq!(ada.compute_capability().unwrap(), (8, 9));
    for (context, shared, threads, sms) in [(&hopper, 232_448, 2048, 132), (&ada, 101_376, 1536, 128)] {
        let read = |attribute| context.attribute(attribute).unwrap();
        assert_eq!(read(Device::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), shared);
        assert_eq!(read(Device::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR), threads);
        assert_eq!(read(Device::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), sms);
    }
    assert_ne!(hopper.uuid().unwrap().bytes, ada.uuid().unwrap().bytes);
    let (on_hopper, on_ada) = (hopper.default_stream(), ada.default_stream());
    let x = on_hopper.clone_htod(&[1u32, 2, 3]).unwrap();
    let mut y = on_ada.alloc_zeros::<u32>(3).unwrap();
    on_ada.memcpy_dtod(&x, &mut y).unwrap();
    assert_eq!(on_ada.clone_dtoh(&y).unwrap(), [1, 2, 3]);

    let for_hopper = ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k() { ret; }\n";
    hopper.load_module(Ptx::from_src(for_hopper)).unwrap();
    let refused = ada.load_module(Ptx::from_src(for_hopper)).map(drop);
    assert_eq!(refused.unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}

#[test]
fn an_older_driver_refuses_newer_ptx() {
    if !in_child() {
        return child("an_older_driver_refuses_newer_ptx", &[("VGPU_DRIVER", "12040")]);
    }
    driver();
    let context = CudaContext::new(0).unwrap();
    let load = |version: &str| {
        let text = format!(".version {version}\n.target sm_80\n.address_size 64\n.visible .entry k() {{ ret; }}\n");
        context.load_module(Ptx::from_src(text)).map(drop)
    };
    load("7.4").unwrap();
    load("8.4").unwrap();
    for newer in ["8.5", "9.0"] {
        assert_eq!(load(newer).unwrap_err().0, CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    }
}

#[test]
fn no_device_is_an_error_of_its_own() {
    if !in_child() {
        return child("no_device_is_an_error_of_its_own", &[("VGPU_PROFILE", "")]);
    }
    driver();
    assert_eq!(result::init().unwrap_err().0, CUresult::CUDA_ERROR_NO_DEVICE);
}
