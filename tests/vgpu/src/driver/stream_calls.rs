//! What callers do with streams: create and destroy them, wait for them, capture them.

use super::abi::{HostFunction, HostMemory, Out, exports};
use super::capture::{self, Capture, Membership, RELAXED};
use super::context;
use super::error::{Answer, Code};
use super::graph::Graph;
use super::handles::{self, Handle, lock};
use super::run;
use super::stream::{GREATEST_PRIORITY, Kind, Stream};
use super::work::Work;
use std::collections::BTreeSet;
use std::sync::Arc;

/// `CU_STREAM_NON_BLOCKING`: no implicit order with the legacy stream.
const NON_BLOCKING: u32 = 1;

/// `CUstreamCaptureStatus`.
const STATUS_NONE: u32 = 0;
const STATUS_ACTIVE: u32 = 1;
const STATUS_INVALIDATED: u32 = 2;

fn create(out: Out<Handle>, flags: u32, priority: i32) -> Answer {
    let context = context::current()?;
    if out.is_null() || flags > NON_BLOCKING {
        return Err(Code::InvalidValue);
    }
    let kind = if flags == NON_BLOCKING { Kind::NonBlocking } else { Kind::Blocking };
    let stream = handles::insert(|handle| {
        Arc::new(Stream {
            priority: priority.clamp(GREATEST_PRIORITY, 0),
            ..Stream::of_kind(handle, kind, context.handle)
        })
    });
    out.set(stream.handle)
}

fn begin(stream: &Stream, mode: u32) -> Answer {
    if mode > RELAXED {
        return Err(Code::InvalidValue);
    }
    if stream.kind == Kind::Legacy {
        return Err(Code::StreamCaptureUnsupported);
    }
    let mut member = lock(&stream.capture);
    if member.is_some() {
        return Err(Code::IllegalState);
    }
    let capture = Capture::begin(stream.context, stream.handle, mode, stream.kind == Kind::Blocking);
    *member = Some(Membership { capture, after: BTreeSet::new() });
    Ok(())
}

/// Ends a capture: its streams run again.
fn leave(capture: &Capture) {
    capture.end();
    for stream in handles::all::<Stream>() {
        let mut member = lock(&stream.capture);
        if member.as_ref().is_some_and(|member| member.capture.id == capture.id) {
            *member = None;
        }
    }
}

fn end(stream: &Stream, graph: Out<Handle>) -> Answer {
    let member = lock(&stream.capture).clone().ok_or(Code::IllegalState)?;
    let capture = &member.capture;
    if capture.origin != stream.handle {
        capture.invalidate();
        return Err(Code::StreamCaptureUnmatched);
    }
    if capture.mode != RELAXED && capture.thread != std::thread::current().id() {
        return Err(Code::StreamCaptureWrongThread);
    }
    leave(capture);
    *lock(&stream.capture) = None; // a per-thread stream is in no table
    graph.set(0)?;
    if !capture.is_valid() {
        return Err(Code::StreamCaptureInvalidated);
    }
    let nodes = capture.take_nodes();
    if member.after.len() < nodes.len() {
        return Err(Code::StreamCaptureUnjoined);
    }
    graph.set(Graph::create(capture.context, nodes).handle)
}

fn status(stream: &Stream) -> (u32, u64) {
    match stream.capture() {
        None => (STATUS_NONE, 0),
        Some(capture) if capture.is_valid() => (STATUS_ACTIVE, capture.id),
        Some(capture) => (STATUS_INVALIDATED, capture.id),
    }
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
        let stream = context::stream(stream)?;
        stream.forbid_in_capture()?;
        context::of(&stream)?.check()
    }

    /// Whether a stream's work is done: always, for work runs when it is submitted.
    fn cuStreamQuery(stream: Handle) {
        let stream = context::stream(stream)?;
        stream.forbid_in_capture()?;
        context::of(&stream)?.check()
    }

    /// Calls a function on the host, after the stream's work.
    fn cuLaunchHostFunc(stream: Handle, function: HostFunction, argument: HostMemory) {
        let stream = context::stream(stream)?;
        if function.is_null() {
            return Err(Code::InvalidValue);
        }
        run::submit(&stream, Work::Host { function, argument })
    }

    /// Attaches managed memory to a stream; without effect here.
    fn cuStreamAttachMemAsync(stream: Handle, _address: u64, _bytes: usize, _flags: u32) {
        context::stream(stream)?;
        Ok(())
    }

    /// The context a stream was made in.
    fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) {
        context.set(context::of(&*context::stream(stream)?)?.handle)
    }

    /// A stream's flags.
    fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) {
        flags.set(context::stream(stream)?.flags)
    }

    /// A stream's priority.
    fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) {
        priority.set(context::stream(stream)?.priority)
    }

    /// A number that no other stream has.
    fn cuStreamGetId(stream: Handle, id: Out<u64>) {
        id.set(context::stream(stream)?.handle as u64)
    }

    /// The device a stream runs on.
    fn cuStreamGetDevice(stream: Handle, device: Out<i32>) {
        device.set(context::of(&*context::stream(stream)?)?.ordinal)
    }

    /// Begins a capture on a stream.
    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        begin(&*context::stream(stream)?, mode)
    }

    /// Ends the capture that began on this stream, and hands out its graph.
    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        if graph.is_null() {
            return Err(Code::InvalidValue);
        }
        end(&*context::stream(stream)?, graph)
    }

    /// Whether a stream is being captured.
    fn cuStreamIsCapturing(stream: Handle, out: Out<u32>) {
        let stream = context::stream(stream)?;
        out.set(status(&stream).0)
    }

    /// A stream's capture, its number, and nothing of its graph while it is being built.
    fn cuStreamGetCaptureInfo_v2(
        stream: Handle,
        out: Out<u32>,
        id: Out<u64>,
        graph: Out<Handle>,
        dependencies: Out<Handle>,
        count: Out<usize>,
    ) {
        let (state, number) = status(&*context::stream(stream)?);
        out.set(state)?;
        id.set_if_wanted(number);
        graph.set_if_wanted(0);
        dependencies.set_if_wanted(0);
        count.set_if_wanted(0);
        Ok(())
    }

    /// Exchanges the calling thread's attitude to calls that may synchronise.
    fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) {
        let wanted = mode.get()?;
        if wanted > RELAXED {
            return Err(Code::InvalidValue);
        }
        mode.set(capture::exchange_mode(wanted))
    }
}
