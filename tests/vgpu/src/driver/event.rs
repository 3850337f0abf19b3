//! Events: points in a stream, with the wall-clock time at which work passed them.

use super::abi::{Out, exports};
use super::capture::{self, Membership};
use super::context;
use super::error::{Answer, Code};
use super::handles::{self, Handle, lock};
use super::stream::{Kind, Stream};
use super::work::Work;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_EVENT_RECORD_EXTERNAL`: in a capture, the record itself becomes a node.
const RECORD_EXTERNAL: u32 = 1;

/// An event.
#[derive(Debug)]
pub(super) struct Event {
    handle: Handle,
    context: Handle,
    timed: bool,
    recorded: Mutex<Recorded>,
}

/// Where an event was recorded last.
#[derive(Clone, Debug)]
enum Recorded {
    /// Nowhere yet: counts as complete.
    Never,
    /// In work that ran; it passed then.
    At(Instant),
    /// In a capture.
    Captured(Membership),
}

impl Event {
    /// Marks the event as passed now.
    fn pass(&self) {
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
    context::alive(event.context)?.check()?;
    Ok(event)
}

/// An event that is still there passes now.
pub(super) fn pass(event: Handle) {
    if let Ok(event) = handles::get::<Event>(event) {
        event.pass();
    }
}

/// Records an event on a stream.
fn record_on(stream: &Stream, event: &Event, external: bool) -> Answer {
    if external && stream.capture().is_some() {
        stream.take(Work::Record(event.handle))?;
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
            stream.take(Work::Nothing)?;
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
            let in_progress = capture::active().iter().any(|capture| capture.id == theirs.capture.id);
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

fn record(event: Handle, stream: Handle, flags: u32) -> Answer {
    let stream = context::stream(stream)?;
    let event = find(event)?;
    if event.context != stream.context {
        return Err(Code::InvalidHandle);
    }
    record_on(&stream, &event, flags & RECORD_EXTERNAL != 0)
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
                context: context.handle,
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

    /// Orders a stream after an event; in a capture this adds a dependency.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) {
        let stream = context::stream(stream)?;
        let event = handles::get::<Event>(event)?;
        wait(&stream, &event)
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
