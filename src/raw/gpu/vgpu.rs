//! What the virtual GPU counted, where it is this process's CUDA driver.

use libloading::Library;
use std::ffi::{CStr, c_char};

/// The name by which programs ask for the CUDA driver; the virtual GPU bears it inside.
const DRIVER: &str = "libcuda.so";

/// Reports of its launches, kept until they are taken.
#[derive(Debug)]
pub(crate) struct Reports(Library);

impl Reports {
    /// Of the driver that was loaded, if that is the virtual GPU. To be asked after a device has been found.
    pub(crate) fn of_driver() -> Option<Self> {
        // SAFETY: a driver is loaded by now, so that this name leads to it; opening it again runs nothing.
        let library = unsafe { Library::new(DRIVER) }.ok()?;
        // SAFETY: the symbol is looked up, not called.
        let ours = unsafe { library.get::<extern "C" fn() -> *const c_char>(b"vgpu_about\0") }.is_ok();
        ours.then_some(Reports(library))
    }

    /// All reports since the last time, as a JSON array.
    pub(crate) fn take(&self) -> String {
        // SAFETY: the virtual GPU exports both with these signatures; the text ends in NUL and lives until the next call of
        // the first, by when it has been copied.
        unsafe {
            let json = self.0.get::<extern "C" fn() -> *const c_char>(b"vgpu_reports_json\0");
            let text = json.map_or_else(|_| "[]".into(), |json| CStr::from_ptr(json()).to_string_lossy().into_owned());
            if let Ok(clear) = self.0.get::<extern "C" fn()>(b"vgpu_reports_clear\0") {
                clear();
            }
            text
        }
    }
}
