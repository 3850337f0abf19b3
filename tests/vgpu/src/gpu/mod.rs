//! The device: memory, modules, launches. Everything above (the driver API, the runner) goes
//! through [`Gpu`].

mod options;

use std::sync::Arc;

pub use crate::profile::Profile;
pub use options::{Landing, Options};

use crate::check::Finding;
use crate::count::Counters;

/// The device has no room for an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A host-side access that is not inside one allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress {
    /// First byte of the access.
    pub address: u64,
    /// Bytes of it.
    pub bytes: u64,
}

/// PTX that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Line of the PTX text, from 1; 0 if no line is at fault.
    pub line: u32,
    /// Function in which it stands, if in one.
    pub kernel: Option<String>,
    /// What is wrong; names the instruction.
    pub message: String,
}

/// A launch that the device refuses. Nothing ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// A dimension of grid or block is zero or beyond the device's or the kernel's limit.
    BadDimensions,
    /// More shared memory than the device has for a block.
    SharedMemory,
    /// The parameter buffer is shorter than the kernel's parameters.
    Parameters,
}

/// Why a launch ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// `assert` failed.
    Assert,
    /// `trap` or `brkpt`.
    Trap,
    /// The launch ran longer than [`Options::instruction_limit`].
    Timeout,
}

/// Shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub dynamic_shared: u32,
    /// All blocks are resident at once.
    pub cooperative: bool,
    /// Blocks of a cluster.
    pub cluster: [u32; 3],
}

/// What a launch did.
#[derive(Clone, Debug, Default)]
pub struct LaunchReport {
    /// Faults, sorted by kind and line.
    pub findings: Vec<Finding>,
    /// Counters.
    pub counters: Counters,
    /// Lines that the kernel printed, in the order of the schedule.
    pub stdout: Vec<String>,
    /// Set when the kernel did not run to its end.
    pub trap: Option<Trap>,
    /// Wall-clock time.
    pub seconds: f64,
}

/// A parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Where it starts in the parameter buffer.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
    /// Its alignment.
    pub align: u32,
}

/// A kernel of a loaded module.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name as in the PTX.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Static shared memory.
    pub static_shared: u32,
    /// Local memory of a thread.
    pub local_bytes: u32,
    /// `.maxntid` or `.reqntid`, as a number of threads; the device's limit otherwise.
    pub max_threads: u32,
    /// `.reqntid`, if the kernel has it.
    pub required_block: Option<[u32; 3]>,
    /// Estimate of 32-bit registers per thread, from liveness, no more than `.maxnreg`.
    pub registers: u32,
    /// Target architecture of the module: 80 for `sm_80`.
    pub target: u32,
}

/// A loaded module.
#[derive(Debug)]
pub struct Module {}

impl Module {
    /// The kernel of this name.
    pub fn kernel(&self, _name: &str) -> Option<Arc<Kernel>> {
        None
    }

    /// Address and bytes of a module variable.
    pub fn global(&self, _name: &str) -> Option<(u64, u64)> {
        None
    }

    /// All kernels, in the order of the PTX.
    pub fn kernels(&self) -> &[Arc<Kernel>] {
        &[]
    }

    /// PTX version of the module: (8, 5).
    pub fn ptx_version(&self) -> (u32, u32) {
        (0, 0)
    }
}

/// A virtual GPU.
#[derive(Debug)]
pub struct Gpu {
    profile: Profile,
    options: Options,
}

impl Gpu {
    /// A device with empty memory.
    pub fn new(profile: Profile, options: Options) -> Gpu {
        Gpu { profile, options }
    }

    /// The device it plays.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Its settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Allocates uninitialised memory, 256-byte aligned, with red zones around it.
    pub fn alloc(&self, _bytes: u64) -> Result<u64, OutOfMemory> {
        Err(OutOfMemory)
    }

    /// Frees an allocation; its address is not used again.
    pub fn free(&self, address: u64) -> Result<(), BadAddress> {
        Err(BadAddress { address, bytes: 0 })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        0
    }

    /// Start and bytes of the live allocation that holds this address.
    pub fn allocation(&self, _address: u64) -> Option<(u64, u64)> {
        None
    }

    /// Copies from the host; the bytes become initialised.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        Err(BadAddress { address, bytes: bytes.len() as u64 })
    }

    /// Copies to the host.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), BadAddress> {
        Err(BadAddress { address, bytes: bytes.len() as u64 })
    }

    /// Sets `count` elements of `size` bytes (1, 2 or 4) to the low bytes of `value`.
    pub fn fill(&self, address: u64, _value: u32, size: u32, count: u64) -> Result<(), BadAddress> {
        Err(BadAddress { address, bytes: count * u64::from(size) })
    }

    /// Copies inside the device; what was uninitialised stays so.
    pub fn copy(&self, to: u64, _from: u64, bytes: u64) -> Result<(), BadAddress> {
        Err(BadAddress { address: to, bytes })
    }

    /// Parses, decodes and places a module; its variables get addresses and initial values.
    pub fn load(&self, _ptx: &str) -> Result<Arc<Module>, LoadError> {
        Err(LoadError { line: 0, kernel: None, message: "not implemented".into() })
    }

    /// Frees the variables of a module.
    pub fn unload(&self, _module: &Module) {}

    /// Runs a kernel to its end.
    pub fn launch(
        &self,
        _kernel: &Kernel,
        _config: &LaunchConfig,
        _params: &[u8],
    ) -> Result<LaunchReport, LaunchError> {
        Err(LaunchError::BadDimensions)
    }
}
