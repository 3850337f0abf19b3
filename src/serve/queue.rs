//! The texts that wait, between those who ask and the one who computes.

use crate::config::{Family, Policy};
use crate::edit::{FillConfig, Gapped, RepairConfig};
use crate::sample::{Request, SampleConfig, Text};
use crate::stop::Stop;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// One text of a request.
pub(super) struct Item {
    pub(super) what: What,
    /// Which of its request's, from 0.
    pub(super) index: usize,
    pub(super) asker: Asker,
}

/// What is wanted.
pub(super) enum What {
    /// A text.
    Write(Box<Writing>),
    /// The likelihood of one.
    Score(Score),
    /// The best fills of one with gaps.
    Fill { text: Gapped, config: FillConfig },
    /// One without what is improbable in it.
    Repair { text: String, config: RepairConfig },
}

/// A text to be written.
pub(super) struct Writing {
    pub(super) request: Request,
    /// What texts of one batch have in common: of it, what is no part of a [`Request`] counts.
    pub(super) common: Arc<SampleConfig>,
    /// Its number; none for the next one that nobody has.
    pub(super) number: Option<u32>,
    /// Tokens that stand before it.
    pub(super) before: Arc<[u32]>,
}

/// A text to be measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    pub(super) tokens: Vec<u32>,
    /// Tokens at its beginning that are given.
    pub(super) given: usize,
    pub(super) part: Family,
    pub(super) measure: Measure,
    /// Characters that are measured.
    pub(super) characters: usize,
}

/// What of a text's likelihood is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    /// All of it, in the order in which a model that has a choice reveals tokens.
    Exact { policy: Policy, temperature: f32 },
    /// A bound, by so many draws of noise.
    Bound { draws: u32, seed: u64 },
}

/// What is heard of a request's texts.
#[derive(Debug)]
pub(super) enum Event {
    /// One in the making: which, its number, steps so far, tokens as they are.
    Frame { index: usize, number: u32, step: u32, tokens: Vec<u32> },
    /// A finished one, and the seed of its numbers.
    Text { index: usize, seed: u64, text: Text },
    /// All that was asked for, which is no text.
    Whole(Value),
    /// It cannot be computed.
    Failed(String),
}

/// Who waits for a text.
#[derive(Clone)]
pub(super) struct Asker {
    events: mpsc::Sender<Event>,
    wanted: Arc<AtomicBool>,
    /// Whether it wants to see texts in the making.
    pub(super) watches: bool,
    /// Results that the channel must have room for.
    results: usize,
}

impl Asker {
    pub(super) fn is_waiting(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Sends what must arrive; there is room for all of a request's results.
    pub(super) fn answer(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Sends what may be lost where the reader is slow.
    pub(super) fn show(&self, event: impl FnOnce() -> Event) {
        if self.events.capacity() > self.results {
            self.answer(event());
        }
    }
}

/// Frames that wait for a slow reader.
const FRAMES: usize = 256;

/// What a request holds while it waits; dropped, nothing is computed for it any more.
pub(super) struct Ticket {
    queue: Arc<Queue>,
    wanted: Arc<AtomicBool>,
    pub(super) events: mpsc::Receiver<Event>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        self.queue.clear_up();
    }
}

/// There is no room: how many texts wait.
pub(super) struct Full(pub(super) usize);

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    room: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Item>,
    /// Who waits for the batch that is computed.
    running: Vec<Asker>,
    /// Ends that batch.
    stop: Stop,
    closed: bool,
    /// Number of the next text without one.
    next: u32,
}

/// A batch: items that share a program.
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// Number of the first; the others' follow it.
    pub(super) first: u32,
    /// Asked once nobody waits for any of them.
    pub(super) stop: Stop,
}

/// Closes a queue when it is dropped.
pub(super) struct Open(Arc<Queue>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.changed.notify_all();
    }
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Queue { state: Mutex::default(), changed: Condvar::new(), room }
    }

    pub(super) fn open_until_dropped(self: &Arc<Self>) -> Open {
        Open(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Texts that wait.
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Puts all texts of a request in, or none.
    pub(super) fn put(self: &Arc<Self>, texts: Vec<What>, watches: bool) -> Result<Ticket, Full> {
        let (events, heard) = mpsc::channel(texts.len() + FRAMES);
        let wanted = Arc::new(AtomicBool::new(true));
        let asker = Asker { events, wanted: Arc::clone(&wanted), watches, results: texts.len() };
        let ticket = Ticket { queue: Arc::clone(self), wanted, events: heard };
        let mut state = self.state();
        if state.closed || state.waiting.len() + texts.len() > self.room {
            let waiting = state.waiting.len();
            // The ticket locks it as it goes.
            drop(state);
            return Err(Full(waiting));
        }
        let items = texts.into_iter().enumerate();
        state.waiting.extend(items.map(|(index, what)| Item { what, index, asker: asker.clone() }));
        self.changed.notify_all();
        Ok(ticket)
    }

    /// Forgets what nobody waits for any more.
    fn clear_up(&self) {
        let mut state = self.state();
        state.waiting.retain(|item| item.asker.is_waiting());
        if !state.running.iter().any(Asker::is_waiting) {
            state.stop.ask(NOBODY_WAITS);
        }
    }

    /// Waits for a text and takes it with those behind it, up to `most` in all, that can share its program; none once the queue is
    /// closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Batch> {
        let mut state = self.state();
        state.running.clear();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut items = Vec::with_capacity(most);
        let mut at = 0;
        while at < state.waiting.len() && items.len() < most {
            let fits = items.last().is_none_or(|last: &Item| last.what.goes_before(&state.waiting[at].what));
            match fits.then(|| state.waiting.remove(at)).flatten() {
                Some(item) => items.push(item),
                None => at += 1,
            }
        }
        let first = match &items[0].what {
            What::Write(writing) => writing.number.unwrap_or_else(|| state.number(items.len() as u32)),
            What::Score(_) | What::Fill { .. } | What::Repair { .. } => 0,
        };
        state.running = items.iter().map(|item| item.asker.clone()).collect();
        state.stop = Stop::default();
        Some(Batch { items, first, stop: state.stop.clone() })
    }
}

/// In the place of a signal.
const NOBODY_WAITS: i32 = i32::MAX;

impl State {
    /// The first of so many numbers that follow one another; after the last number comes the first again.
    fn number(&mut self, count: u32) -> u32 {
        let first = if self.next.checked_add(count).is_some() { self.next } else { 0 };
        self.next = first + count;
        first
    }
}

impl What {
    /// Whether it is shown in the making.
    pub(super) fn has_frames(&self) -> bool {
        matches!(self, What::Write(_))
    }

    /// Whether another can stand behind it in a batch.
    fn goes_before(&self, next: &What) -> bool {
        match (self, next) {
            (What::Write(one), What::Write(next)) => {
                let numbers = match (one.number, next.number) {
                    (Some(one), Some(next)) => one.checked_add(1) == Some(next),
                    (None, None) => true,
                    _ => false,
                };
                numbers && one.request.start.len() == next.request.start.len() && one.common == next.common
            }
            (What::Score(one), What::Score(next)) => {
                let alike = Score { tokens: next.tokens.clone(), characters: next.characters, ..one.clone() };
                alike == *next && one.tokens.len() == next.tokens.len()
            }
            (What::Repair { config: one, .. }, What::Repair { config: next, .. }) => one == next,
            // What a fill draws depends on its number in its batch, and the lengths that it tries are a batch of their own.
            _ => false,
        }
    }
}
