//! Kernels as their callers see them.

use super::handles::Handle;
use crate::gpu::Kernel;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// A kernel with the attributes a caller may set.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) handle: Handle,
    /// The context it is in.
    pub(super) context: Handle,
    pub(super) kernel: Arc<Kernel>,
    pub(super) name: CString,
    /// The module it is in.
    pub(super) module: Handle,
    /// Dynamic shared memory a launch may ask for, in bytes.
    pub(super) dynamic_limit: AtomicU32,
    pub(super) carveout: AtomicI32,
    pub(super) larger_clusters: AtomicI32,
}

impl Function {
    /// The preferred share of shared memory in percent; -1 by default.
    pub(super) fn carveout(&self) -> i32 {
        self.carveout.load(Ordering::SeqCst)
    }

    /// Shared memory of a block without the dynamic part, in bytes.
    pub(super) fn static_shared(&self) -> u32 {
        self.kernel.static_shared
    }
}
