//! Code on the device: modules, kernels, the parameters of a launch, recorded work.

use super::driver::Outcome;
use cudarc::driver::sys::{self, CUfunction_attribute};
use cudarc::driver::{CudaContext, CudaGraph, result};
use std::ffi::CString;
use std::sync::Arc;

/// Which kernels leave the L1 cache no more than it must have of the memory that it shares with shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carveout {
    /// Those that use shared memory: without it fewer blocks may be resident than fit. The others keep a large L1.
    #[default]
    WhereShared,
    /// Every kernel.
    Always,
    /// None: the driver chooses.
    Never,
}

/// Code on the device.
#[derive(Debug)]
pub(crate) struct Module {
    pub(super) handle: sys::CUmodule,
    pub(super) context: Arc<CudaContext>,
}

// SAFETY: module handles may be used from any thread to which their context is bound.
unsafe impl Send for Module {}
// SAFETY: as above; looking up functions is synchronised by the driver.
unsafe impl Sync for Module {}

impl Module {
    /// A kernel, with the dynamic shared memory that it is launched with. Asking for the attributes loads it for good, so that
    /// nothing is loaded while a stream is captured.
    pub(crate) fn function(self: &Arc<Self>, name: &str, shared_bytes: u32, carveout: Carveout) -> Outcome<Function> {
        let name = CString::new(name).expect("a kernel's name holds no NUL");
        self.context.bind_to_thread()?;
        // SAFETY: the module is alive, and `Function` keeps it so.
        let handle = unsafe { result::module::get_function(self.handle, name) }?;
        let set = |attribute, value| {
            // SAFETY: a handle of a live module.
            unsafe { result::function::set_function_attribute(handle, attribute, value) }
        };
        set(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes as i32)?;
        // SAFETY: as above.
        let fixed = unsafe {
            result::function::get_function_attribute(handle, CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
        }?;
        let all = match carveout {
            Carveout::WhereShared => shared_bytes > 0 || fixed > 0,
            Carveout::Always => true,
            Carveout::Never => false,
        };
        if all {
            set(CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100)?;
        }
        Ok(Function { handle, shared_bytes, module: Arc::clone(self) })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, unloaded here alone, when no function of it is left.
        let unloaded = self.context.bind_to_thread().and_then(|()| unsafe { result::module::unload(self.handle) });
        self.context.record_err(unloaded);
    }
}

/// A kernel.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(super) handle: sys::CUfunction,
    pub(super) shared_bytes: u32,
    #[allow(dead_code, reason = "keeps the code loaded")]
    module: Arc<Module>,
}

// SAFETY: function handles may be used from any thread to which their context is bound.
unsafe impl Send for Function {}
// SAFETY: as above; launches do not change them.
unsafe impl Sync for Function {}

impl Function {
    /// Registers of a thread and blocks of `threads` that one multiprocessor holds.
    pub(crate) fn occupancy(&self, threads: u32) -> Outcome<(i32, i32)> {
        self.module.context.bind_to_thread()?;
        // SAFETY: a handle of a live module.
        unsafe {
            let registers = result::function::get_function_attribute(
                self.handle,
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS,
            )?;
            let blocks = result::occupancy::max_active_block_per_multiprocessor(
                self.handle,
                threads as i32,
                self.shared_bytes as usize,
            )?;
            Ok((registers, blocks))
        }
    }
}

/// The parameters of a launch, each aligned as the kernel declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(super) bytes: Vec<u8>,
    pub(super) starts: Vec<usize>,
}

impl Params {
    /// Appends one parameter.
    pub(crate) fn push(&mut self, bytes: &[u8], align: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}

/// Work that was recorded from a stream.
pub(crate) struct Graph(pub(super) CudaGraph);

// SAFETY: a graph may be used from any thread, by one at a time; it is only reached through `&mut` of its owner.
unsafe impl Send for Graph {}

impl Graph {
    /// Gives the recorded work to the stream that it was recorded from.
    pub(crate) fn replay(&mut self) -> Outcome<()> {
        Ok(self.0.launch()?)
    }
}
