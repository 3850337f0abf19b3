//! Streams. Work runs to its end when it is submitted, so streams keep no queue; what
//! they keep is the rules: which stream belongs to which context, and stream capture.

use super::abi::{Answer, HostFunction, HostMemory, Out, exports};
use super::capture::{self, Capture};
use super::context::{self, Context};
use super::error::Code;
use super::handles::{self, Handle, lock};
use super::work::{self, Work};
use std::sync::{Arc, Mutex, Weak};

/// `CU_STREAM_NON_BLOCKING`: no implicit order with the legacy stream.
const NON_BLOCKING: u32 = 1;
/// Priorities run from 0 down to this.
pub(super) const GREATEST_PRIORITY: i32 = -5;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) handle: Handle,
    pub(super) kind: Kind,
    context: Weak<Context>,
    flags: u32,
    priority: i32,
    /// The capture it takes part in.
    pub(super) capture: Mutex<Option<capture::Membership>>,
}

/// What a stream is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The null stream: ordered with every blocking stream, never captured.
    Legacy,
    /// Ordered with the legacy stream.
    Blocking,
    /// On its own.
    NonBlocking,
}

impl Stream {
    fn of_kind(handle: Handle, kind: Kind, context: Weak<Context>) -> Stream {
        Stream {
            handle,
            kind,
            context,
            flags: u32::from(kind == Kind::NonBlocking),
            priority: 0,
            capture: Mutex::default(),
        }
    }

    pub(super) fn legacy(context: Weak<Context>) -> Stream {
        Stream::of_kind(0, Kind::Legacy, context)
    }

    pub(super) fn per_thread(context: Weak<Context>) -> Stream {
        Stream::of_kind(2, Kind::Blocking, context)
    }

    pub(super) fn context(&self) -> Answer<Arc<Context>> {
        self.context.upgrade().ok_or(Code::ContextIsDestroyed)
    }

    pub(super) fn belongs_to(&self, context: &Arc<Context>) -> bool {
        std::ptr::eq(self.context.as_ptr(), Arc::as_ptr(context))
    }

    /// The capture this stream takes part in, valid or not.
    pub(super) fn capture(&self) -> Option<Arc<Capture>> {
        lock(&self.capture).as_ref().map(|member| member.capture.clone())
    }
}

/// The stream of a handle, in a context that is alive and has not faulted.
pub(super) fn find(handle: Handle) -> Answer<Arc<Stream>> {
    let current = context::current()?;
    let stream = current.stream(handle)?;
    stream.context()?.check()?;
    Ok(stream)
}

fn create(out: Out<Handle>, flags: u32, priority: i32) -> Answer {
    let context = context::current()?;
    if out.is_null() || flags > NON_BLOCKING {
        return Err(Code::InvalidValue);
    }
    let kind = if flags == NON_BLOCKING { Kind::NonBlocking } else { Kind::Blocking };
    let stream = handles::insert(|handle| {
        Arc::new(Stream {
            priority: priority.clamp(GREATEST_PRIORITY, 0),
            ..Stream::of_kind(handle, kind, Arc::downgrade(&context))
        })
    });
    out.set(stream.handle)
}

exports! {
    /// Creates a stream.
    fn cuStreamCreate(stream: Out<Handle>, flags: u32) {
        create(stream, flags, 0)
    }

    /// Creates a stream of a priority, clamped to the range there is.
    fn cuStreamCreateWithPriority(stream: Out<Handle>, flags: u32, priority: i32) {
        create(stream, flags, priority)
    }

    /// Destroys a stream; a capture it takes part in is invalidated.
    fn cuStreamDestroy_v2(stream: Handle) {
        context::current_even_faulted()?;
        if stream <= 2 {
            return Err(Code::InvalidHandle);
        }
        let stream = handles::remove::<Stream>(stream)?;
        if let Some(capture) = stream.capture() {
            capture.invalidate();
        }
        Ok(())
    }

    /// Waits for a stream's work.
    fn cuStreamSynchronize(stream: Handle) {
        let stream = find(stream)?;
        capture::forbid_in_capture(&stream)?;
        stream.context()?.check()
    }

    /// Whether a stream's work is done: always, for work runs when it is submitted.
    fn cuStreamQuery(stream: Handle) {
        let stream = find(stream)?;
        capture::forbid_in_capture(&stream)?;
        stream.context()?.check()
    }

    /// Orders a stream after an event; in a capture this adds a dependency.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) {
        let stream = find(stream)?;
        let event = handles::get(event)?;
        capture::wait(&stream, &event)
    }

    /// Calls a function on the host, after the stream's work.
    fn cuLaunchHostFunc(stream: Handle, function: HostFunction, argument: HostMemory) {
        let stream = find(stream)?;
        if function.is_null() {
            return Err(Code::InvalidValue);
        }
        work::submit(&stream, Work::Host { function, argument })
    }

    /// Attaches managed memory to a stream; without effect here.
    fn cuStreamAttachMemAsync(stream: Handle, _address: u64, _bytes: usize, _flags: u32) {
        find(stream)?;
        Ok(())
    }

    /// The context a stream was made in.
    fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) {
        context.set(find(stream)?.context()?.handle)
    }

    /// A stream's flags.
    fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) {
        flags.set(find(stream)?.flags)
    }

    /// A stream's priority.
    fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) {
        priority.set(find(stream)?.priority)
    }

    /// A number that no other stream has.
    fn cuStreamGetId(stream: Handle, id: Out<u64>) {
        id.set(find(stream)?.handle as u64)
    }

    /// The device a stream runs on.
    fn cuStreamGetDevice(stream: Handle, device: Out<i32>) {
        device.set(find(stream)?.context()?.ordinal)
    }
}
