//! The driver itself: is there one, what does it lack, what did it say.

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{DriverError, result};
use std::ffi::c_void;
use std::fmt;
use std::path::Path;

/// What the driver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(super) CUresult);

impl Fault {
    /// The device has no room.
    pub(crate) fn is_out_of_memory(self) -> bool {
        self.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
    }

    /// The library that was loaded is the one of a toolkit that programs are linked against, and no driver.
    pub(crate) fn is_stub(self) -> bool {
        self.0 == CUresult::CUDA_ERROR_STUB_LIBRARY
    }

    /// The image holds no code for this device, or code that this driver cannot read.
    pub(crate) fn is_wrong_image(self) -> bool {
        use CUresult::*;
        matches!(
            self.0,
            CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_INVALID_IMAGE
                | CUDA_ERROR_UNSUPPORTED_PTX_VERSION
                | CUDA_ERROR_INVALID_SOURCE
                | CUDA_ERROR_INVALID_PTX
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = DriverError(self.0);
        match (error.error_name(), error.error_string()) {
            (Ok(name), Ok(text)) => write!(f, "{} ({})", text.to_string_lossy(), name.to_string_lossy()),
            _ => write!(f, "CUDA error {}", self.0 as u32),
        }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        Fault(error.0)
    }
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// Why there is no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// No driver library on this machine.
    NoDriver,
    /// The library named by the user cannot be loaded.
    NotLoaded(String),
    /// The driver refuses to start.
    Refused(Fault),
    /// The driver knows no device.
    NoDevice,
    /// The library lacks this function: it is no driver, or too old.
    Lacks(&'static str),
}

/// Every function of the driver that is called, here or by cudarc, which panics where one is missing.
const FUNCTIONS: [&str; 44] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetAttribute",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuFuncSetAttribute",
    "cuFuncGetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuEventDestroy_v2",
];

/// Opens a driver library by its path before anybody looks for one by name. It stays open.
pub(crate) fn preload(path: &Path) -> Result<(), Absence> {
    // SAFETY: the user names a CUDA driver; loading one runs its own start-up code, as finding it by name would.
    match unsafe { libloading::Library::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(Absence::NotLoaded(error.to_string())),
    }
}

/// Number of devices, and the driver's version as 12040 for 12.4.
pub(crate) fn probe() -> Result<(usize, i32), Absence> {
    // SAFETY: looks whether a library can be opened.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absence::NoDriver);
    }
    // SAFETY: a driver library is there, so that it is found again; it stays open.
    let library = unsafe { sys::culib() };
    // SAFETY: symbols are looked up, not called.
    let lacks = |name: &str| unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_err();
    if let Some(name) = FUNCTIONS.into_iter().find(|name| lacks(name)) {
        return Err(Absence::Lacks(name));
    }
    match result::init().map_err(Fault::from) {
        Err(Fault(CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(Absence::NoDevice),
        Err(fault) => return Err(Absence::Refused(fault)),
        Ok(()) => {}
    }
    let mut version = 0;
    // SAFETY: one integer to write.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    let count = asked.and_then(|()| result::device::get_count()).map_err(|e| Absence::Refused(e.into()))?;
    if count == 0 { Err(Absence::NoDevice) } else { Ok((count as usize, version)) }
}
