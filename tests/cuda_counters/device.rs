//! The virtual GPU as the process's CUDA driver: only it counts.

use std::sync::OnceLock;
use tempest::backend::Device;
use tempest::backend::cuda::{Gpu, Options};
use vgpu::driver::Driver;

/// Its own view: counters of every launch.
pub(crate) fn driver() -> &'static Driver {
    vgpu::driver::load().expect("the virtual GPU loads")
}

/// The GPU that all tests share.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        driver();
        Device::Cuda(Gpu::open(0, Options::default()).expect("the virtual GPU is a GPU"))
    };
    DEVICE.get_or_init(open).clone()
}
