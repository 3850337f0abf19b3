//! The GPU that is tested: the virtual one as the process's CUDA driver, or the machine's own (`TEMPEST_TEST_GPU=real`).

use crate::gpu::is_real;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tempest::backend::Device;
use tempest::backend::cuda::{Gpu, Options};
use vgpu::driver::Driver;

/// The virtual GPU's own view of every launch, before anything else asks for a driver; a real card has none.
fn driver() -> Option<&'static Driver> {
    (!is_real()).then(|| vgpu::driver::load().expect("the virtual GPU loads"))
}

/// What the virtual GPU reports of the launches since the last time.
pub(crate) fn take_reports() -> Vec<Value> {
    let Some(driver) = driver() else { return Vec::new() };
    let reports = driver.reports();
    driver.clear_reports();
    reports
}

/// That the virtual GPU has found nothing.
#[track_caller]
pub(crate) fn nothing_found() {
    let found = driver().map_or_else(Vec::new, Driver::findings);
    assert!(found.is_empty(), "{found:#?}");
}

/// Opens the GPU.
#[track_caller]
pub(crate) fn open(options: Options) -> Arc<Gpu> {
    driver();
    Gpu::open(0, options).unwrap_or_else(|why| match is_real() {
        true => panic!("TEMPEST_TEST_GPU=real: {why}"),
        false => panic!("the virtual GPU is a GPU: {why}"),
    })
}

/// The GPU that all tests of a process share.
#[track_caller]
pub(crate) fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    Arc::clone(GPU.get_or_init(|| open(Options::default())))
}

/// It as a device.
#[track_caller]
pub(crate) fn device() -> Device {
    Device::Cuda(gpu())
}
