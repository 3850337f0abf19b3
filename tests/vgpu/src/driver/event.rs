//! Events: points in a stream, with the wall-clock time at which work passed them.

use super::abi::{Answer, Out, exports};
use super::capture::{self, Snapshot};
use super::context::{self, Context};
use super::error::Code;
use super::handles::{self, Handle, lock};
use super::stream;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_EVENT_RECORD_EXTERNAL`: in a capture, the record itself becomes a node.
const RECORD_EXTERNAL: u32 = 1;

/// An event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) handle: Handle,
    pub(super) context: Weak<Context>,
    timed: bool,
    pub(super) recorded: Mutex<Recorded>,
}

/// Where an event was recorded last.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    /// Nowhere yet: counts as complete.
    Never,
    /// In work that ran; it passed then.
    At(Instant),
    /// In a capture.
    Captured(Snapshot),
}

impl Event {
    /// Marks the event as passed now.
    pub(super) fn pass(&self) {
        *lock(&self.recorded) = Recorded::At(Instant::now());
    }

    fn when(&self) -> Answer<Instant> {
        match &*lock(&self.recorded) {
            Recorded::Captured(_) => Err(Code::CapturedEvent),
            Recorded::At(when) if self.timed => Ok(*when),
            _ => Err(Code::InvalidHandle),
        }
    }
}

fn find(handle: Handle) -> Answer<Arc<Event>> {
    let event = handles::get::<Event>(handle)?;
    event.context.upgrade().ok_or(Code::ContextIsDestroyed)?.check()?;
    Ok(event)
}

fn record(event: Handle, stream: Handle, flags: u32) -> Answer {
    let stream = stream::find(stream)?;
    let event = find(event)?;
    if !std::ptr::eq(event.context.as_ptr(), Arc::as_ptr(&stream.context()?)) {
        return Err(Code::InvalidHandle);
    }
    capture::record(&stream, &event, flags & RECORD_EXTERNAL != 0)
}

/// All work has run when the call that submitted it returned, so every event that was
/// recorded outside a capture is complete.
fn require_uncaptured(event: Handle) -> Answer {
    context::current()?;
    match &*lock(&find(event)?.recorded) {
        Recorded::Captured(_) => Err(Code::CapturedEvent),
        Recorded::Never | Recorded::At(_) => Ok(()),
    }
}

fn elapsed(out: Out<f32>, start: Handle, end: Handle) -> Answer {
    context::current()?;
    let (start, end) = (find(start)?.when()?, find(end)?.when()?);
    let seconds = match end.checked_duration_since(start) {
        Some(forward) => forward.as_secs_f64(),
        None => -(start - end).as_secs_f64(),
    };
    out.set((seconds * 1e3) as f32)
}

exports! {
    /// Creates an event.
    fn cuEventCreate(event: Out<Handle>, flags: u32) {
        let context = context::current()?;
        if event.is_null() || flags > 7 {
            return Err(Code::InvalidValue);
        }
        let made = handles::insert(|handle| {
            Arc::new(Event {
                handle,
                context: Arc::downgrade(&context),
                timed: flags & DISABLE_TIMING == 0,
                recorded: Mutex::new(Recorded::Never),
            })
        });
        event.set(made.handle)
    }

    /// Destroys an event.
    fn cuEventDestroy_v2(event: Handle) {
        context::current_even_faulted()?;
        handles::remove::<Event>(event)?;
        Ok(())
    }

    /// Marks the point that a stream has reached.
    fn cuEventRecord(event: Handle, stream: Handle) {
        record(event, stream, 0)
    }

    /// Marks the point that a stream has reached.
    fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) {
        record(event, stream, flags)
    }

    /// Whether the work before an event is done.
    fn cuEventQuery(event: Handle) {
        require_uncaptured(event)
    }

    /// Waits for the work before an event.
    fn cuEventSynchronize(event: Handle) {
        require_uncaptured(event)
    }

    /// Milliseconds between two recorded events: the time the virtual GPU took.
    fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) {
        elapsed(milliseconds, start, end)
    }

    /// Milliseconds between two recorded events.
    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) {
        elapsed(milliseconds, start, end)
    }
}
