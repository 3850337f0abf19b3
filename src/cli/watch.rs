//! Who sees every step of texts in the making: a page, or a terminal's view.

use std::ops::Range;
use tempest::denoiser::Start;
use tempest::sample::{Frame, Recording, Text};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};
use tempest::watch::{Colours, Screen, Texts};

/// Somebody who looks on.
pub(crate) enum Onlooker {
    /// Keeps all for later.
    Recording(Recording),
    /// Shows all, and keeps finished texts until the terminal is free for them.
    View {
        /// There while somebody looks.
        screen: Screen<Texts>,
        /// Texts that are finished.
        texts: Vec<Text>,
        /// How many there were.
        finished: usize,
    },
}

impl Onlooker {
    /// A view of so many texts; none where the terminal has no place for one, which is said.
    pub(crate) fn view(recording: Recording, title: String, wanted: usize) -> Option<Self> {
        match Screen::open(Texts::new(recording, Colours::of_output(), title, wanted)) {
            Ok(screen) => Some(Onlooker::View { screen, texts: Vec::new(), finished: 0 }),
            Err(why) => {
                terminal::say(format!("note: {why}; --watch shows nothing, and the texts are the same"));
                None
            }
        }
    }

    /// A batch begins.
    pub(crate) fn begin(&mut self, first: u32, before: &[u32], starts: &[Start]) {
        match self {
            Onlooker::Recording(recording) => recording.begin(first, before, starts),
            Onlooker::View { screen, .. } => screen.change(|view| {
                view.recording().clear();
                view.recording().begin(first, before, starts);
            }),
        }
    }

    /// A step was made, of texts behind so many tokens. A view takes its time.
    pub(crate) fn see(&mut self, before: usize, frame: &Frame<'_>, stop: &Stop) {
        let what = headline(&frame.texts, frame.block, frame.step, frame.masked.iter().sum());
        match self {
            Onlooker::View { screen, finished, .. } if screen.is_open() => {
                screen.change(|view| {
                    view.recording().take(before, frame);
                    view.tell(what, *finished);
                });
                screen.wait(stop, Texts::rest);
            }
            Onlooker::View { .. } => terminal::show(Activity { what, ..Activity::default() }),
            Onlooker::Recording(recording) => {
                recording.take(before, frame);
                terminal::show(Activity { what, ..Activity::default() });
            }
        }
    }

    /// A text is finished; those that are to be printed now.
    pub(crate) fn take(&mut self, text: Text) -> Vec<Text> {
        match self {
            Onlooker::Recording(_) => Vec::new(),
            Onlooker::View { screen, texts, finished } => {
                texts.push(text);
                *finished += 1;
                if screen.is_open() { Vec::new() } else { std::mem::take(texts) }
            }
        }
    }

    /// Whether the beginning of a text may be printed before the rest.
    pub(crate) fn lets_print(&self) -> bool {
        matches!(self, Onlooker::View { screen, .. } if !screen.is_open())
    }

    /// All is written, and a view waits until a key is pressed; or something went wrong. What is still to be printed, and what was
    /// recorded.
    pub(crate) fn end(self, all_is_well: bool, stop: &Stop) -> (Vec<Text>, Option<Recording>) {
        match self {
            Onlooker::Recording(recording) => (Vec::new(), Some(recording)),
            Onlooker::View { screen, texts, .. } => {
                if all_is_well && screen.is_open() {
                    screen.change(Texts::finish);
                    screen.wait(stop, Texts::rest);
                }
                drop(screen);
                (texts, None)
            }
        }
    }
}

/// What a batch has come to.
pub(crate) fn headline(texts: &Range<u32>, block: u32, step: u32, left: u32) -> String {
    let (first, last) = (texts.start, texts.end - 1);
    let which = if first == last { format!("text {first}") } else { format!("texts {first} to {last}") };
    format!("{which}, block {}, step {step}: {left} tokens left", block + 1)
}
