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
//!
//! A capture owns the work that was written down; streams and events own shares of it.

use super::error::{Answer, Code};
use super::handles::{Handle, lock};
use super::work::Work;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// `CUstreamCaptureMode`.
const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
pub(super) const RELAXED: u32 = 2;

/// One capture in progress.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) id: u64,
    pub(super) context: Handle,
    pub(super) origin: Handle,
    pub(super) mode: u32,
    pub(super) thread: ThreadId,
    /// Whether work on the legacy stream would be ordered after captured work.
    pub(super) blocking: AtomicBool,
    valid: AtomicBool,
    nodes: Mutex<Vec<Work>>,
}

/// A stream's part in a capture: the nodes that its next one comes after.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    pub(super) capture: Arc<Capture>,
    pub(super) after: BTreeSet<usize>,
}

static ACTIVE: Mutex<Vec<Arc<Capture>>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// What `cuThreadExchangeStreamCaptureMode` set.
    static THREAD_MODE: Cell<u32> = const { Cell::new(GLOBAL) };
}

impl Capture {
    /// Begins one on a stream of a context.
    pub(super) fn begin(context: Handle, origin: Handle, mode: u32, blocking: bool) -> Arc<Capture> {
        let capture = Arc::new(Capture {
            id: NEXT_ID.fetch_add(1, Ordering::SeqCst),
            context,
            origin,
            mode,
            thread: std::thread::current().id(),
            blocking: AtomicBool::new(blocking),
            valid: AtomicBool::new(true),
            nodes: Mutex::default(),
        });
        lock(&ACTIVE).push(capture.clone());
        capture
    }

    /// Ends its being in progress.
    pub(super) fn end(&self) {
        lock(&ACTIVE).retain(|other| other.id != self.id);
    }

    /// Writes work down, and says which node it is.
    pub(super) fn add(&self, work: Work) -> usize {
        let mut nodes = lock(&self.nodes);
        nodes.push(work);
        nodes.len() - 1
    }

    /// Everything that was written down; nothing is left.
    pub(super) fn take_nodes(&self) -> Vec<Work> {
        std::mem::take(&mut *lock(&self.nodes))
    }

    pub(super) fn invalidate(&self) {
        self.valid.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_valid(&self) -> bool {
        self.valid.load(Ordering::SeqCst)
    }

    /// Whether this capture allocated that memory.
    pub(super) fn allocated(&self, wanted: u64) -> bool {
        lock(&self.nodes).iter().any(|work| matches!(work, Work::Allocate { address } if *address == wanted))
    }
}

/// Captures in progress.
pub(super) fn active() -> Vec<Arc<Capture>> {
    lock(&ACTIVE).clone()
}

fn forbid(concerned: impl Fn(&Capture) -> bool, code: Code) -> Answer {
    let mut answer = Ok(());
    for capture in active().iter().filter(|capture| concerned(capture)) {
        capture.invalidate();
        answer = Err(code);
    }
    answer
}

/// Work on a context's legacy stream, while a blocking stream is being captured.
pub(super) fn forbid_legacy(context: Handle) -> Answer {
    forbid(|capture| capture.context == context && capture.blocking.load(Ordering::SeqCst), Code::StreamCaptureImplicit)
}

/// A call that waits for all work of the context.
pub(super) fn forbid_synchronisation(context: Handle) -> Answer {
    forbid(|capture| capture.context == context, Code::StreamCaptureUnsupported)
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

/// Exchanges the calling thread's attitude to calls that may synchronise, and answers what it was.
pub(super) fn exchange_mode(mode: u32) -> u32 {
    THREAD_MODE.replace(mode)
}
