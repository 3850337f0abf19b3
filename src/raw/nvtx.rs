//! NVTX: names for stretches of time, which NVIDIA's profilers show above the kernels.
//!
//! The library is NVIDIA's `libnvToolsExt`; it passes the names on to the profiler that `NVTX_INJECTION64_PATH` leads to, and
//! does nothing where none watches.

use libloading::Library;
use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;

type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

#[cfg(windows)]
const NAMES: [&str; 1] = ["nvToolsExt64_1.dll"];
#[cfg(not(windows))]
const NAMES: [&str; 2] = ["libnvToolsExt.so.1", "libnvToolsExt.so"];

/// The library.
#[derive(Debug)]
pub(crate) struct Nvtx {
    push: Push,
    pop: Pop,
    /// Keeps the functions there.
    _library: Library,
}

/// A stretch of time that ends when this is dropped, on the thread that began it.
pub(crate) struct Range<'a>(&'a Nvtx, PhantomData<*const ()>);

impl Nvtx {
    /// Finds it, or says why not.
    pub(crate) fn open() -> Result<Self, String> {
        let mut why = String::new();
        for name in NAMES {
            // SAFETY: the library is NVIDIA's; loading it runs its start-up code, as linking to it would.
            match unsafe { Library::new(name) } {
                // SAFETY: `nvtxRangePushA` takes a text and `nvtxRangePop` nothing, both return an int (nvToolsExt.h).
                Ok(library) => unsafe {
                    let push = library.get::<Push>(b"nvtxRangePushA\0").map(|f| *f);
                    let pop = library.get::<Pop>(b"nvtxRangePop\0").map(|f| *f);
                    match (push, pop) {
                        (Ok(push), Ok(pop)) => return Ok(Nvtx { push, pop, _library: library }),
                        (Err(e), _) | (_, Err(e)) => why = e.to_string(),
                    }
                },
                Err(e) => why = e.to_string(),
            }
        }
        Err(why)
    }

    /// Begins a stretch.
    pub(crate) fn range(&self, name: &str) -> Range<'_> {
        let text = CString::new(name).unwrap_or_default();
        // SAFETY: the library is loaded, and copies the text.
        unsafe { (self.push)(text.as_ptr()) };
        Range(self, PhantomData)
    }
}

impl Drop for Range<'_> {
    fn drop(&mut self) {
        // SAFETY: the library is loaded; this thread began the range, and ranges end in the reverse order.
        unsafe { (self.0.pop)() };
    }
}
