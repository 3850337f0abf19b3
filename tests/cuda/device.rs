//! The virtual GPU as the process's CUDA driver.

use std::sync::{Arc, OnceLock};
use tempest::backend::Device;
use tempest::backend::cuda::{Gpu, Options};
use vgpu::driver::Driver;

/// The virtual GPU's own view: findings and counters of every launch.
pub(crate) fn driver() -> &'static Driver {
    vgpu::driver::load().expect("the virtual GPU loads")
}

/// The GPU that all tests of a process share.
pub(crate) fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    Arc::clone(GPU.get_or_init(|| {
        driver();
        Gpu::open(0, Options::default()).expect("the virtual GPU is a GPU")
    }))
}

/// It as a device.
pub(crate) fn device() -> Device {
    Device::Cuda(gpu())
}
