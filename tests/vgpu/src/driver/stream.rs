//! Streams. Work runs to its end when it is submitted, so streams keep no queue; what
//! they keep is the rules: which stream belongs to which context, and stream capture.
//! A context owns its streams, and they name it.

use super::capture::{self, Capture, Membership};
use super::error::{Answer, Code};
use super::handles::{Handle, lock};
use super::work::Work;
use std::sync::{Arc, Mutex};

/// Priorities run from 0 down to this.
pub(super) const GREATEST_PRIORITY: i32 = -5;

/// A stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) handle: Handle,
    pub(super) kind: Kind,
    pub(super) context: Handle,
    pub(super) flags: u32,
    pub(super) priority: i32,
    /// The capture it takes part in.
    pub(super) capture: Mutex<Option<Membership>>,
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
    /// A stream of the default priority.
    pub(super) fn of_kind(handle: Handle, kind: Kind, context: Handle) -> Stream {
        Stream {
            handle,
            kind,
            context,
            flags: u32::from(kind == Kind::NonBlocking),
            priority: 0,
            capture: Mutex::default(),
        }
    }

    pub(super) fn legacy(context: Handle) -> Stream {
        Stream::of_kind(0, Kind::Legacy, context)
    }

    pub(super) fn per_thread(context: Handle) -> Stream {
        Stream::of_kind(2, Kind::Blocking, context)
    }

    /// The capture this stream takes part in, valid or not.
    pub(super) fn capture(&self) -> Option<Arc<Capture>> {
        lock(&self.capture).as_ref().map(|member| member.capture.clone())
    }

    /// Writes the work down if the stream is being captured. Gives it back, to be run, if not.
    pub(super) fn take(&self, work: Work) -> Answer<Option<Work>> {
        if let Some(member) = &mut *lock(&self.capture) {
            if !member.capture.is_valid() {
                return Err(Code::StreamCaptureInvalidated);
            }
            let node = member.capture.add(work);
            member.after.insert(node);
            return Ok(None);
        }
        if self.kind == Kind::Legacy {
            capture::forbid_legacy(self.context)?;
        }
        Ok(Some(work))
    }

    /// Before a call that waits for the stream's work, or asks after it.
    pub(super) fn forbid_in_capture(&self) -> Answer {
        match self.capture() {
            Some(capture) => {
                capture.invalidate();
                Err(Code::StreamCaptureUnsupported)
            }
            None if self.kind == Kind::Legacy => capture::forbid_legacy(self.context),
            None => Ok(()),
        }
    }
}
