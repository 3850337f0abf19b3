//! The device: memory, modules, launches. Everything above (the driver API, the runner) goes
//! through [`Gpu`].

mod launch;
mod module;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

pub use crate::exec::{Landing, Options, TensorSums, Trap};
pub use crate::profile::Profile;
pub use module::{Kernel, Module};

use crate::check::Finding;
use crate::count::Counters;
use crate::memory::{Allocation, Arena};

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
    /// Blocks of a cluster would work together, which is not executed here.
    Clusters,
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

/// A virtual GPU.
#[derive(Debug)]
pub struct Gpu {
    profile: Profile,
    options: Options,
    arena: Arena,
    launches: AtomicU32,
}

impl Gpu {
    /// A device with empty memory.
    pub fn new(profile: Profile, options: Options) -> Gpu {
        let arena = Arena::new(profile.memory_bytes);
        Gpu { profile, options, arena, launches: AtomicU32::new(0) }
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
    pub fn alloc(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        self.arena.alloc(bytes, 256).ok_or(OutOfMemory)
    }

    /// Frees an allocation; its address is not used again.
    pub fn free(&self, address: u64) -> Result<(), BadAddress> {
        if self.arena.free(address) { Ok(()) } else { Err(BadAddress { address, bytes: 0 }) }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.arena.used()
    }

    /// Start and bytes of the live allocation that holds this address.
    pub fn allocation(&self, address: u64) -> Option<(u64, u64)> {
        self.arena.holding(address, 0).map(|a| (a.base, a.bytes))
    }

    /// Whether a kernel stored anything to the allocation that holds this address.
    pub fn stored_to(&self, address: u64) -> bool {
        self.arena.holding(address, 0).is_some_and(|a| a.stored.load(Relaxed))
    }

    fn holding(&self, address: u64, bytes: u64) -> Result<(Arc<Allocation>, usize), BadAddress> {
        let found = self.arena.holding(address, bytes).ok_or(BadAddress { address, bytes })?;
        let offset = (address - found.base) as usize;
        Ok((found, offset))
    }

    /// Copies from the host; the bytes become initialised.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (allocation, at) = self.holding(address, bytes.len() as u64)?;
        allocation.data.write(at, bytes);
        allocation.defined.fill(at, bytes.len(), 1);
        Ok(())
    }

    /// Copies to the host.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), BadAddress> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (allocation, at) = self.holding(address, bytes.len() as u64)?;
        allocation.data.read(at, bytes);
        Ok(())
    }

    /// Sets `count` elements of `size` bytes (1, 2 or 4) to the low bytes of `value`.
    pub fn fill(&self, address: u64, value: u32, size: u32, count: u64) -> Result<(), BadAddress> {
        let bytes = count * u64::from(size);
        if bytes == 0 {
            return Ok(());
        }
        let (allocation, at) = self.holding(address, bytes)?;
        let pattern = &value.to_le_bytes()[..size.min(4) as usize];
        let block: Vec<u8> = pattern.iter().copied().cycle().take(4096.min(bytes as usize)).collect();
        let mut done = 0;
        while done < bytes as usize {
            let n = block.len().min(bytes as usize - done);
            allocation.data.write(at + done, &block[..n]);
            done += n;
        }
        allocation.defined.fill(at, bytes as usize, 1);
        Ok(())
    }

    /// Copies inside the device; what was uninitialised stays so.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<(), BadAddress> {
        if bytes == 0 {
            return Ok(());
        }
        let (source, at) = self.holding(from, bytes)?;
        let (target, place) = self.holding(to, bytes)?;
        let mut buffer = vec![0; bytes as usize];
        source.data.read(at, &mut buffer);
        target.data.write(place, &buffer);
        source.defined.read(at, &mut buffer);
        target.defined.write(place, &buffer);
        Ok(())
    }

    /// Frees the variables of a module.
    pub fn unload(&self, module: &Module) {
        for address in &module.owned {
            self.arena.free(*address);
        }
    }
}
