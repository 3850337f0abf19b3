//! NVTX 3: names for stretches of time, which NVIDIA's profilers show above the kernels.
//!
//! It is a protocol and no library, since CUDA 13 the only one: a profiler names its own library in `NVTX_INJECTION64_PATH`;
//! who has names to give loads it and calls its `InitializeInjectionNvtx2` with a function that hands out tables of places, into
//! which the profiler writes its functions (`nvtx3/nvtxDetail/nvtxTypes.h` of NVIDIA's NVTX).

use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{from_ref, null};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Names the profiler's library.
pub(crate) const VARIABLE: &str = "NVTX_INJECTION64_PATH";

type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;
type ExportTable = extern "C" fn(u32) -> *const c_void;
type Initialize = unsafe extern "C" fn(ExportTable) -> c_int;

/// Places of each module of callbacks, `NvtxCallbackModule`: core, CUDA, OpenCL, CUDA runtime, core with domains, sync. The
/// first place of each is none.
const PLACES: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
const MOST_PLACES: usize = 16;
/// `NVTX_CB_MODULE_CORE`, and in it `NVTX_CBID_CORE_RangePushA` and `NVTX_CBID_CORE_RangePop`.
const CORE: usize = 1;
const PUSH: usize = 9;
const POP: usize = 11;
/// `NvtxExportTableID`.
const CALLBACKS: u32 = 1;
const VERSION: u32 = 3;

/// What a profiler wrote; null where it is not interested.
static FUNCTIONS: [[AtomicPtr<c_void>; MOST_PLACES]; PLACES.len()] =
    [const { [const { AtomicPtr::new(std::ptr::null_mut()) }; MOST_PLACES] }; PLACES.len()];

/// `NvtxExportTableCallbacks`.
#[repr(C)]
struct Callbacks {
    bytes: usize,
    table: extern "C" fn(u32, *mut *const usize, *mut u32) -> c_int,
}

/// `NvtxExportTableVersionInfo`.
#[repr(C)]
struct Version {
    bytes: usize,
    version: u32,
    reserved: u32,
    tell: extern "C" fn(u32),
}

extern "C" fn export_table(id: u32) -> *const c_void {
    static TABLE: Callbacks = Callbacks { bytes: size_of::<Callbacks>(), table: module_table };
    static OURS: Version = Version { bytes: size_of::<Version>(), version: 3, reserved: 0, tell };
    match id {
        CALLBACKS => from_ref(&TABLE).cast(),
        VERSION => from_ref(&OURS).cast(),
        _ => null(),
    }
}

/// A profiler tells its own version.
extern "C" fn tell(_version: u32) {}

/// Addresses of a module's places, and how many there are.
extern "C" fn module_table(module: u32, table: *mut *const usize, places: *mut u32) -> c_int {
    static TABLES: OnceLock<Vec<Vec<usize>>> = OnceLock::new();
    let address = |place: &AtomicPtr<c_void>| from_ref(place).expose_provenance();
    let tables = TABLES.get_or_init(|| {
        let modules = FUNCTIONS.iter().zip(PLACES);
        modules
            .map(|(functions, places)| {
                let mut table: Vec<usize> = functions[..places].iter().map(address).collect();
                if let Some(none) = table.first_mut() {
                    *none = 0;
                }
                table.push(0); // Ends it.
                table
            })
            .collect()
    });
    let known = PLACES.get(module as usize).filter(|places| **places > 0);
    let Some(&count) = known else { return 0 };
    // SAFETY: the profiler gives places for both results, or null where it wants none; the table lives as long as the process.
    unsafe {
        if !table.is_null() {
            *table = tables[module as usize].as_ptr();
        }
        if !places.is_null() {
            *places = count as u32;
        }
    }
    1
}

/// The profiler that watches.
#[derive(Debug)]
pub(crate) struct Nvtx(());

/// A stretch of time that ends when this is dropped, on the thread that began it.
pub(crate) struct Range<'a>(&'a Nvtx, PhantomData<*const ()>);

impl Nvtx {
    /// Finds it, once a process, or says why not.
    pub(crate) fn open() -> Result<Self, String> {
        static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
        FOUND.get_or_init(find).clone().map(Nvtx)
    }

    /// Begins a stretch.
    pub(crate) fn range(&self, name: &str) -> Range<'_> {
        let text = CString::new(name).unwrap_or_default();
        let push = FUNCTIONS[CORE][PUSH].load(Ordering::Acquire);
        if !push.is_null() {
            // SAFETY: the profiler has put its function for `nvtxRangePushA` there; it copies the text.
            unsafe { std::mem::transmute::<*mut c_void, Push>(push)(text.as_ptr()) };
        }
        Range(self, PhantomData)
    }
}

impl Drop for Range<'_> {
    fn drop(&mut self) {
        let _watched = self.0;
        let pop = FUNCTIONS[CORE][POP].load(Ordering::Acquire);
        if !pop.is_null() {
            // SAFETY: the profiler has put its function for `nvtxRangePop` there; this thread began the range, and ranges end in
            // the reverse order.
            unsafe { std::mem::transmute::<*mut c_void, Pop>(pop)() };
        }
    }
}

fn find() -> Result<(), String> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| format!("no profiler watches: {VARIABLE} is not set"))?;
    let shown = path.display().to_string();
    // SAFETY: the profiler wants its library loaded, and has it run in this process anyway.
    let library = unsafe { Library::new(&path) }.map_err(|e| format!("{VARIABLE}: {shown} cannot be loaded: {e}"))?;
    // SAFETY: the signature is NVTX's; what it is called with lives as long as the process.
    let started = unsafe {
        let start = library.get::<Initialize>(b"InitializeInjectionNvtx2\0");
        start.map(|start| start(export_table)).map_err(|e| format!("{VARIABLE}: {shown} takes no names: {e}"))?
    };
    if started == 0 {
        return Err(format!("{VARIABLE}: {shown} does not start"));
    }
    // Its functions stay.
    std::mem::forget(library);
    Ok(())
}
