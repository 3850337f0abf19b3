//! Stream capture: work is written down instead of run, under the rules of the hardware's
//! driver. A rule that is broken invalidates the capture, and ending it then answers an
//! error and no graph.
//!
//! - The legacy stream is never captured; work on it while a blocking stream is being
//!   captured would order it after captured work, and is refused.
//! - A stream joins by waiting for an event recorded in the capture, and must be joined
//!   back into the origin before the end.
//! - A capturing stream must not wait for anything outside its capture.
//! - Synchronising with captured work, and calls that may synchronise (allocation, freeing,
//!   plain copies, loading modules), fail: in every thread for a global capture, in the
//!   capturing thread for a thread-local one, nowhere for a relaxed one.

use super::abi::{Answer, Out, exports};
use super::context::Context;
use super::error::Code;
use super::event::{Event, Recorded};
use super::graph::Graph;
use super::handles::{self, Handle, lock};
use super::stream::{self, Kind, Stream};
use super::work::Work;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// `CUstreamCaptureMode`.
const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;

/// `CUstreamCaptureStatus`.
const STATUS_NONE: u32 = 0;
const STATUS_ACTIVE: u32 = 1;
const STATUS_INVALIDATED: u32 = 2;

/// One capture in progress.
#[derive(Debug)]
pub(super) struct Capture {
    id: u64,
    context: Handle,
    origin: Handle,
    mode: u32,
    thread: ThreadId,
    /// Whether work on the legacy stream would be ordered after captured work.
    blocking: AtomicBool,
    valid: AtomicBool,
    nodes: Mutex<Vec<Work>>,
}

/// A stream's part in a capture: the nodes that its next one comes after.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) capture: Arc<Capture>,
    after: BTreeSet<usize>,
}

/// What an event recorded in a capture stands for.
pub(super) type Snapshot = Membership;

static ACTIVE: Mutex<Vec<Arc<Capture>>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// What `cuThreadExchangeStreamCaptureMode` set.
    static THREAD_MODE: Cell<u32> = const { Cell::new(GLOBAL) };
}

impl Capture {
    pub(super) fn invalidate(&self) {
        self.valid.store(false, Ordering::SeqCst);
    }

    fn is_valid(&self) -> bool {
        self.valid.load(Ordering::SeqCst)
    }

    /// Whether this capture allocated that memory.
    pub(super) fn allocated(&self, wanted: u64) -> bool {
        lock(&self.nodes).iter().any(|work| matches!(work, Work::Allocate { address } if *address == wanted))
    }

    /// Ends its being in progress: its streams run again.
    fn leave(&self) {
        lock(&ACTIVE).retain(|other| other.id != self.id);
        for stream in handles::all::<Stream>() {
            let mut member = lock(&stream.capture);
            if member.as_ref().is_some_and(|m| m.capture.id == self.id) {
                *member = None;
            }
        }
    }

    fn add(&self, work: Work) -> usize {
        let mut nodes = lock(&self.nodes);
        nodes.push(work);
        nodes.len() - 1
    }
}

fn active() -> Vec<Arc<Capture>> {
    lock(&ACTIVE).clone()
}

/// Writes the work down if the stream is being captured. Gives it back, to be run, if not.
pub(super) fn take(stream: &Stream, work: Work) -> Answer<Option<Work>> {
    if let Some(member) = &mut *lock(&stream.capture) {
        if !member.capture.is_valid() {
            return Err(Code::StreamCaptureInvalidated);
        }
        let node = member.capture.add(work);
        member.after.insert(node);
        return Ok(None);
    }
    if stream.kind == Kind::Legacy {
        let context = stream.context()?.handle;
        forbid(
            |capture| capture.context == context && capture.blocking.load(Ordering::SeqCst),
            Code::StreamCaptureImplicit,
        )?;
    }
    Ok(Some(work))
}

fn forbid(concerned: impl Fn(&Capture) -> bool, code: Code) -> Answer {
    let mut answer = Ok(());
    for capture in active().iter().filter(|capture| concerned(capture)) {
        capture.invalidate();
        answer = Err(code);
    }
    answer
}

/// A call that waits for the stream's work, or asks after it.
pub(super) fn forbid_in_capture(stream: &Stream) -> Answer {
    match stream.capture() {
        Some(capture) => {
            capture.invalidate();
            Err(Code::StreamCaptureUnsupported)
        }
        None if stream.kind == Kind::Legacy => {
            let context = stream.context()?.handle;
            forbid(
                |capture| capture.context == context && capture.blocking.load(Ordering::SeqCst),
                Code::StreamCaptureImplicit,
            )
        }
        None => Ok(()),
    }
}

/// A call that waits for all work of the context.
pub(super) fn forbid_synchronisation(context: &Context) -> Answer {
    forbid(|capture| capture.context == context.handle, Code::StreamCaptureUnsupported)
}

/// A call that may synchronise behind the caller's back.
pub(super) fn forbid_unsafe_call() -> Answer {
    let thread = std::thread::current().id();
    let thread_mode = THREAD_MODE.get();
    if thread_mode == RELAXED {
        return Ok(());
    }
    forbid(
        |capture| match capture.mode {
            GLOBAL => capture.thread == thread || thread_mode == GLOBAL,
            THREAD_LOCAL => capture.thread == thread,
            _ => false,
        },
        Code::StreamCaptureUnsupported,
    )
}

/// Records an event on a stream.
pub(super) fn record(stream: &Stream, event: &Arc<Event>, external: bool) -> Answer {
    if external && stream.capture().is_some() {
        take(stream, Work::Record(event.clone()))?;
        return Ok(());
    }
    let member = lock(&stream.capture).clone();
    match member {
        Some(member) if !member.capture.is_valid() => Err(Code::StreamCaptureInvalidated),
        Some(member) => {
            *lock(&event.recorded) = Recorded::Captured(member);
            Ok(())
        }
        None => {
            if let Some(work) = take(stream, Work::Nothing)? {
                drop(work);
            }
            event.pass();
            Ok(())
        }
    }
}

/// Orders a stream after an event.
pub(super) fn wait(stream: &Stream, event: &Event) -> Answer {
    let recorded = lock(&event.recorded).clone();
    let mut own = lock(&stream.capture);
    match (&mut *own, recorded) {
        (None, Recorded::Never | Recorded::At(_)) => Ok(()),
        (Some(own), _) if !own.capture.is_valid() => Err(Code::StreamCaptureInvalidated),
        (Some(_), Recorded::Never) => Ok(()), // nothing to wait for
        (Some(own), Recorded::At(_)) => {
            own.capture.invalidate();
            Err(Code::StreamCaptureIsolation)
        }
        (Some(own), Recorded::Captured(theirs)) => {
            if own.capture.id != theirs.capture.id {
                own.capture.invalidate();
                theirs.capture.invalidate();
                return Err(Code::StreamCaptureMerge);
            }
            own.after.extend(theirs.after);
            Ok(())
        }
        (None, Recorded::Captured(theirs)) => {
            let in_progress = active().iter().any(|capture| capture.id == theirs.capture.id);
            if !in_progress || !theirs.capture.is_valid() {
                return Err(Code::StreamCaptureInvalidated);
            }
            if stream.kind == Kind::Legacy {
                theirs.capture.invalidate();
                return Err(Code::StreamCaptureImplicit);
            }
            if stream.kind == Kind::Blocking {
                theirs.capture.blocking.store(true, Ordering::SeqCst);
            }
            *own = Some(theirs);
            Ok(())
        }
    }
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
    let capture = Arc::new(Capture {
        id: NEXT_ID.fetch_add(1, Ordering::SeqCst),
        context: stream.context()?.handle,
        origin: stream.handle,
        mode,
        thread: std::thread::current().id(),
        blocking: AtomicBool::new(stream.kind == Kind::Blocking),
        valid: AtomicBool::new(true),
        nodes: Mutex::default(),
    });
    lock(&ACTIVE).push(capture.clone());
    *member = Some(Membership { capture, after: BTreeSet::new() });
    Ok(())
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
    capture.leave();
    *lock(&stream.capture) = None; // a per-thread stream is in no table
    graph.set(0)?;
    if !capture.is_valid() {
        return Err(Code::StreamCaptureInvalidated);
    }
    let nodes = std::mem::take(&mut *lock(&capture.nodes));
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
    /// Begins a capture on a stream.
    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        begin(&*stream::find(stream)?, mode)
    }

    /// Ends the capture that began on this stream, and hands out its graph.
    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        if graph.is_null() {
            return Err(Code::InvalidValue);
        }
        end(&*stream::find(stream)?, graph)
    }

    /// Whether a stream is being captured.
    fn cuStreamIsCapturing(stream: Handle, out: Out<u32>) {
        let stream = stream::find(stream)?;
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
        let (state, number) = status(&*stream::find(stream)?);
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
        mode.set(THREAD_MODE.replace(wanted))
    }
}
