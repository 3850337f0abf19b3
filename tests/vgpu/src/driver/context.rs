//! Contexts: one address space with its streams, its limits and, after a fault, the error
//! that every later call answers.

use super::abi::{Array, Out, exports};
use super::capture;
use super::device::{self, Device};
use super::error::{Answer, Code};
use super::handles::{self, Handle, lock};
use super::stream::{self, Stream};
use crate::gpu::Gpu;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// A context.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) ordinal: i32,
    pub(super) gpu: Gpu,
    /// Held while work runs: the device does one thing at a time.
    pub(super) executing: Mutex<()>,
    legacy: Arc<Stream>,
    per_thread: Mutex<HashMap<ThreadId, Arc<Stream>>>,
    fault: AtomicU32,
    limits: Mutex<HashMap<u32, usize>>,
    cache_config: AtomicU32,
    flags: AtomicU32,
    owner: Owner,
}

/// Who ends a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Who created it.
    Caller,
    /// Its device, whose primary context it is.
    Device,
}

/// `CUlimit` numbers with the values a fresh context has.
const LIMITS: [(u32, usize); 7] = [
    (0, 1024),            // stack of a thread
    (1, 1024 * 1024),     // printf buffer
    (2, 8 * 1024 * 1024), // device-side malloc
    (3, 2),               // depth of device-side synchronisation
    (4, 2048),            // pending device-side launches
    (5, 64),              // fetch granularity of L2
    (6, 0),               // persisting L2
];

thread_local! {
    /// The contexts a thread has pushed; the last one is current.
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

impl Context {
    pub(super) fn create(device: &Device, flags: u32, owner: Owner) -> Arc<Context> {
        handles::insert(|handle| {
            Arc::new(Context {
                handle,
                ordinal: device.ordinal,
                gpu: Gpu::new(device.profile.clone(), crate::gpu::Options::from_environment()),
                executing: Mutex::new(()),
                legacy: Arc::new(Stream::legacy(handle)),
                per_thread: Mutex::default(),
                fault: AtomicU32::new(0),
                limits: Mutex::new(LIMITS.into_iter().collect()),
                cache_config: AtomicU32::new(0),
                flags: AtomicU32::new(flags),
                owner,
            })
        })
    }

    /// The error that a fault left behind, if there was one.
    pub(super) fn check(&self) -> Answer {
        match Code::from_number(self.fault.load(Ordering::SeqCst)) {
            Some(code) => Err(code),
            None => Ok(()),
        }
    }

    /// From now on every call answers this code: the context is lost, as on hardware.
    pub(super) fn set_fault(&self, code: Code) {
        let _ = self.fault.compare_exchange(0, code as u32, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The context of a handle.
pub(super) fn find(handle: Handle) -> Answer<Arc<Context>> {
    handles::get(handle).map_err(|_| Code::InvalidContext)
}

/// The calling thread's context, faulted or not.
pub(super) fn current_even_faulted() -> Answer<Arc<Context>> {
    device::require_init()?;
    let handle = STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0));
    if handle == 0 {
        return Err(Code::InvalidContext);
    }
    handles::get(handle).map_err(|_| Code::ContextIsDestroyed)
}

/// The calling thread's context, which must not have faulted.
pub(super) fn current() -> Answer<Arc<Context>> {
    let context = current_even_faulted()?;
    context.check()?;
    Ok(context)
}

/// The context that an object was made in.
pub(super) fn alive(handle: Handle) -> Answer<Arc<Context>> {
    handles::get(handle).map_err(|_| Code::ContextIsDestroyed)
}

/// The context of a stream, which must not have faulted.
pub(super) fn of(stream: &Stream) -> Answer<Arc<Context>> {
    let context = alive(stream.context)?;
    context.check()?;
    Ok(context)
}

/// The stream of a handle, in a context that is alive and has not faulted: 0 and 1 are the current context's legacy stream, 2
/// is the calling thread's in it.
pub(super) fn stream(handle: Handle) -> Answer<Arc<Stream>> {
    let current = current()?;
    let stream = match handle {
        0 | 1 => current.legacy.clone(),
        2 => lock(&current.per_thread)
            .entry(std::thread::current().id())
            .or_insert_with(|| Arc::new(Stream::per_thread(current.handle)))
            .clone(),
        _ => handles::get(handle)?,
    };
    of(&stream)?;
    Ok(stream)
}

fn set_current(handle: Handle) {
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        if handle != 0 {
            stack.push(handle);
        }
    });
}

fn create(out: Out<Handle>, flags: u32, ordinal: i32) -> Answer {
    if out.is_null() {
        return Err(Code::InvalidValue);
    }
    let context = Context::create(device::find(ordinal)?, flags, Owner::Caller);
    STACK.with_borrow_mut(|stack| stack.push(context.handle));
    out.set(context.handle)
}

/// Ends a context with everything in it.
pub(super) fn destroy(handle: Handle) -> Answer {
    let context = find(handle)?;
    for stream in handles::all::<Stream>() {
        if stream.context == context.handle {
            let _ = handles::remove::<Stream>(stream.handle);
        }
    }
    handles::remove::<Context>(handle).map_err(|_| Code::InvalidContext)?;
    STACK.with_borrow_mut(|stack| {
        if stack.last() == Some(&handle) {
            stack.pop();
        }
    });
    Ok(())
}

exports! {
    /// Creates a context and makes it current.
    fn cuCtxCreate_v2(context: Out<Handle>, flags: u32, device: i32) {
        create(context, flags, device)
    }

    /// Creates a context; execution affinities are ignored.
    fn cuCtxCreate_v3(context: Out<Handle>, _affinity: Array<u8>, _count: i32, flags: u32, device: i32) {
        create(context, flags, device)
    }

    /// Creates a context; its parameters must be null.
    fn cuCtxCreate_v4(context: Out<Handle>, parameters: Array<u8>, flags: u32, device: i32) {
        if !parameters.is_null() {
            return Err(Code::NotSupported);
        }
        create(context, flags, device)
    }

    /// Destroys a context that was created, not retained.
    fn cuCtxDestroy_v2(context: Handle) {
        device::require_init()?;
        if find(context)?.owner == Owner::Device {
            return Err(Code::InvalidContext);
        }
        destroy(context)
    }

    /// The calling thread's context, null if it has none.
    fn cuCtxGetCurrent(context: Out<Handle>) {
        device::require_init()?;
        context.set(STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0)))
    }

    /// Makes a context current; null takes the current one away.
    fn cuCtxSetCurrent(context: Handle) {
        device::require_init()?;
        if context != 0 {
            find(context)?;
        }
        set_current(context);
        Ok(())
    }

    /// Pushes a context on the calling thread's stack.
    fn cuCtxPushCurrent_v2(context: Handle) {
        device::require_init()?;
        find(context)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    /// Pops the current context.
    fn cuCtxPopCurrent_v2(context: Out<Handle>) {
        device::require_init()?;
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(Code::InvalidContext)?;
        context.set_if_wanted(popped);
        Ok(())
    }

    /// The device of the current context.
    fn cuCtxGetDevice(device: Out<i32>) {
        device.set(current_even_faulted()?.ordinal)
    }

    /// Waits for all work of the current context.
    fn cuCtxSynchronize() {
        let context = current()?;
        capture::forbid_synchronisation(context.handle)?;
        context.check()
    }

    /// Flags of the current context.
    fn cuCtxGetFlags(flags: Out<u32>) {
        flags.set(current()?.flags.load(Ordering::SeqCst))
    }

    /// Changes how the host waits; remembered, without effect here.
    fn cuCtxSetFlags(flags: u32) {
        current()?.flags.store(flags, Ordering::SeqCst);
        Ok(())
    }

    /// A limit of the current context.
    fn cuCtxGetLimit(value: Out<usize>, limit: u32) {
        let context = current()?;
        let found = lock(&context.limits).get(&limit).copied();
        value.set(found.ok_or(Code::UnsupportedLimit)?)
    }

    /// Sets a limit; remembered, without effect here.
    fn cuCtxSetLimit(limit: u32, value: usize) {
        let context = current()?;
        *lock(&context.limits).get_mut(&limit).ok_or(Code::UnsupportedLimit)? = value;
        Ok(())
    }

    /// Preferred split between L1 and shared memory.
    fn cuCtxGetCacheConfig(config: Out<u32>) {
        config.set(current()?.cache_config.load(Ordering::SeqCst))
    }

    /// Sets the preferred split between L1 and shared memory.
    fn cuCtxSetCacheConfig(config: u32) {
        let context = current()?;
        if config > 3 {
            return Err(Code::InvalidValue);
        }
        context.cache_config.store(config, Ordering::SeqCst);
        Ok(())
    }

    /// Bank width of shared memory: fixed at 4 bytes.
    fn cuCtxGetSharedMemConfig(config: Out<u32>) {
        current()?;
        config.set(1)
    }

    /// Has no effect on any device with a fixed bank width.
    fn cuCtxSetSharedMemConfig(_config: u32) {
        current()?;
        Ok(())
    }

    /// Least and greatest priority of a stream.
    fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        current()?;
        least.set_if_wanted(0);
        greatest.set_if_wanted(stream::GREATEST_PRIORITY);
        Ok(())
    }

    /// Newest API the context speaks.
    fn cuCtxGetApiVersion(context: Handle, version: Out<u32>) {
        if context == 0 {
            current_even_faulted()?;
        } else {
            find(context)?;
        }
        version.set(3020)
    }

    /// A number that no other context has.
    fn cuCtxGetId(context: Handle, id: Out<u64>) {
        let context = if context == 0 { current_even_faulted()? } else { find(context)? };
        id.set(context.handle as u64)
    }

    /// Forgets persisting L2 lines; there are none.
    fn cuCtxResetPersistingL2Cache() {
        current()?;
        Ok(())
    }

    /// Starts profiling: counters are always on.
    fn cuProfilerStart() {
        current()?;
        Ok(())
    }

    /// Ends profiling.
    fn cuProfilerStop() {
        current()?;
        Ok(())
    }
}
