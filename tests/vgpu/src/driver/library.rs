//! Opening the virtual GPU as the CUDA driver of this process.

use serde_json::Value;
use std::ffi::{CStr, c_char};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The name by which programs ask the system for the driver first.
const SONAME: &str = "libcuda.so";
const FILE: &str = "libvgpu.so";

/// Why the virtual GPU did not become this process's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadFailure {
    /// No library file: the folders that were searched.
    NotBuilt(Vec<PathBuf>),
    /// The system's loader refused it.
    Refused(String),
    /// A CUDA driver was loaded before: too late to be first.
    AnotherDriver,
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadFailure::NotBuilt(folders) => {
                write!(f, "no {FILE} in {folders:?}; build it with cargo build -p vgpu, or name it in VGPU_LIBRARY")
            }
            LoadFailure::Refused(why) => write!(f, "cannot load {FILE}: {why}"),
            LoadFailure::AnotherDriver => {
                write!(f, "another CUDA driver is loaded already; load the virtual GPU before the first CUDA call")
            }
        }
    }
}

impl std::error::Error for LoadFailure {}

/// Where the shared library is: `VGPU_LIBRARY`, or beside the running program, where cargo
/// builds it.
pub fn library_path() -> Result<PathBuf, LoadFailure> {
    if let Some(path) = std::env::var_os("VGPU_LIBRARY") {
        return Ok(path.into());
    }
    let program = std::env::current_exe().unwrap_or_default();
    let folders: Vec<PathBuf> =
        program.ancestors().skip(1).take(2).flat_map(|folder| [folder.to_path_buf(), folder.join("deps")]).collect();
    folders.iter().map(|folder| folder.join(FILE)).find(|path| path.is_file()).ok_or(LoadFailure::NotBuilt(folders))
}

/// The virtual GPU, loaded as this process's CUDA driver.
#[derive(Debug)]
pub struct Driver {
    library: libloading::Library,
    path: PathBuf,
}

/// Loads the virtual GPU, once for the process; from then on whoever asks the system for
/// the CUDA driver gets it. Call this before the first CUDA call.
pub fn load() -> Result<&'static Driver, LoadFailure> {
    static LOADED: OnceLock<Result<Driver, LoadFailure>> = OnceLock::new();
    LOADED.get_or_init(|| open(&library_path()?)).as_ref().map_err(Clone::clone)
}

fn open(path: &Path) -> Result<Driver, LoadFailure> {
    let refused = |error: libloading::Error| LoadFailure::Refused(error.to_string());
    let path = path.canonicalize().map_err(|error| LoadFailure::Refused(error.to_string()))?;
    // SAFETY: the library is ours; loading it runs nothing but Rust's own start-up.
    let library = unsafe { libloading::Library::new(&path) }.map_err(refused)?;
    // What would another part of this process get? Ours, found by its SONAME, unless a
    // real driver came first. Nothing is searched on disk if the name is already loaded.
    // SAFETY: as above; a real driver may be loaded anyway by whoever asks for it.
    let seen = unsafe { libloading::Library::new(SONAME) }.map_err(refused)?;
    // SAFETY: the symbol is only looked up, not called.
    let ours = unsafe { seen.get::<extern "C" fn() -> *const c_char>(b"vgpu_about\0") }.is_ok();
    if !ours {
        return Err(LoadFailure::AnotherDriver);
    }
    Ok(Driver { library, path })
}

impl Driver {
    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The reports of all launches since the last clearing: an array of objects with
    /// `kernel`, `grid`, `block`, `carveout`, `findings`, `counters`, `stdout`, `trap` and `seconds`.
    pub fn reports(&self) -> Vec<Value> {
        // SAFETY: the library exports the function with this signature.
        let text = unsafe {
            let reports = self.library.get::<extern "C" fn() -> *const c_char>(b"vgpu_reports_json\0");
            reports.map(|reports| CStr::from_ptr(reports()).to_string_lossy().into_owned())
        };
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Every finding of every launch since the last clearing.
    pub fn findings(&self) -> Vec<Value> {
        self.reports().iter().filter_map(|report| report["findings"].as_array().cloned()).flatten().collect()
    }

    /// Forgets all reports.
    pub fn clear_reports(&self) {
        // SAFETY: the library exports the function with this signature.
        unsafe {
            if let Ok(clear) = self.library.get::<extern "C" fn()>(b"vgpu_reports_clear\0") {
                clear();
            }
        }
    }

    /// Whether any finding fails its launch from now on, as `VGPU_STRICT=1` says.
    pub fn set_strict(&self, strict: bool) {
        // SAFETY: the library exports the function with this signature.
        unsafe {
            if let Ok(set) = self.library.get::<extern "C" fn(bool)>(b"vgpu_set_strict\0") {
                set(strict);
            }
        }
    }
}
