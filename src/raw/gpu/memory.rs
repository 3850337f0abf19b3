//! Device memory, and page-locked memory of the host that small results land in.

use super::driver::Outcome;
use cudarc::driver::{CudaContext, CudaEvent, DriverError, result};
use std::sync::{Arc, Mutex};

/// Device memory.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) address: u64,
    pub(super) bytes: usize,
    pub(super) context: Arc<CudaContext>,
}

impl Memory {
    /// Where it begins on the device: a multiple of 256.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    #[track_caller]
    pub(super) fn locate(&self, offset: usize, len: usize) -> u64 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.bytes),
            "{offset} + {len} of {} bytes",
            self.bytes
        );
        self.address + offset as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `alloc`, freed here alone; freeing waits for work that uses it.
        let freed = self.context.bind_to_thread().and_then(|()| unsafe { result::free_sync(self.address) });
        self.context.record_err(freed);
    }
}

/// Largest result that comes back without the host waiting for it.
pub(crate) const SMALL_BYTES: usize = 4096;

/// Page-locked host memory, so that the device copies into it by itself.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut u8,
    context: Arc<CudaContext>,
}

// SAFETY: the memory is owned, and belongs to no thread.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: a context is bound; freed once, in `drop`.
        let start = unsafe { result::malloc_host(SMALL_BYTES, 0) }?;
        // SAFETY: the allocation is that long, and made of bytes.
        unsafe { start.cast::<u8>().write_bytes(0, SMALL_BYTES) };
        Ok(Pinned { start: start.cast(), context: Arc::clone(context) })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: allocated that long and filled in `new`, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start, SMALL_BYTES) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, SMALL_BYTES) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed here alone.
        let freed = self.context.bind_to_thread().and_then(|()| unsafe { result::free_host(self.start.cast()) });
        self.context.record_err(freed);
    }
}

/// A small result on its way.
pub(crate) struct Arriving {
    pub(super) landing: Option<Pinned>,
    pub(super) len: usize,
    pub(super) done: CudaEvent,
    pub(super) spare: Arc<Mutex<Vec<Pinned>>>,
}

impl Arriving {
    /// Whether it is there (or will never be: then waiting says why).
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.done.try_is_complete(), Ok(false))
    }

    /// Its bytes, as soon as they are there.
    pub(crate) fn wait(mut self) -> Outcome<Vec<u8>> {
        self.done.synchronize()?;
        let landing = self.landing.take().expect("taken once");
        let bytes = landing.bytes()[..self.len].to_vec();
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(landing);
        }
        Ok(bytes)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.landing.is_some() {
            // The device may still be writing: the memory must not go before it is done. An error means that it is.
            let _ = self.done.synchronize();
        }
    }
}
