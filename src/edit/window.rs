//! Windows of a text that is longer than a model's.

use super::Sight;
use crate::denoiser::{Denoiser, Start};
use std::ops::Range;

/// Lengths that masks fill up to where they may: texts of few lengths share programs and batches, and a model that has learned
/// whole windows sees that a text may go on.
const ROUNDED: usize = 32;

/// A stretch of a text that a model sees at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// What it sees.
    pub(super) seen: Range<usize>,
    /// What is worked on of that: every position of a text is in one window's.
    pub(super) own: Range<usize>,
}

impl Window {
    /// Where in what it sees that lies which is worked on.
    pub(super) fn own_seen(&self) -> Range<usize> {
        self.own.start - self.seen.start..self.own.end - self.seen.start
    }
}

/// Windows of at most `window` positions that cover a text, from left to right. What is worked on in one has at least a quarter of a
/// window on both sides, or the text's end.
pub(super) fn cover(length: usize, window: usize) -> Vec<Window> {
    let margin = if length > window { window / 4 } else { 0 };
    let mut windows = Vec::new();
    let mut done = 0;
    while done < length {
        let start = done.saturating_sub(margin).min(length - window.min(length));
        let end = length.min(start + window);
        let until = if end == length { length } else { (end - margin).max(done + 1) };
        windows.push(Window { seen: start..end, own: done..until });
        done = until;
    }
    windows
}

/// Those of a text in which something is open.
pub(super) fn open_windows(text: &Start, window: usize) -> Vec<Window> {
    let open = |window: &Window| text[window.own.clone()].iter().any(Option::is_none);
    cover(text.len(), window).into_iter().filter(open).collect()
}

/// The length of a model's input for texts of up to so many tokens.
pub(super) fn room(denoiser: &Denoiser, length: usize) -> usize {
    (length + 1).next_multiple_of(ROUNDED).min(denoiser.config().sequence_len).max(length)
}

/// What a model reads of a window of a text: beyond what is worked on, open tokens are masks that stay, where there are such, and what
/// is behind the text's end too.
pub(super) fn input(denoiser: &Denoiser, sight: Sight, text: &Start, window: &Window) -> Start {
    let mask = denoiser.process().mask_id();
    match sight {
        Sight::Masks => {
            let own = |p: usize| if window.own.contains(&p) { text[p] } else { text[p].or(Some(mask)) };
            let mut input: Start = window.seen.clone().map(own).collect();
            input.resize(room(denoiser, input.len()), Some(mask));
            input
        }
        Sight::Blocks => text[window.seen.start..window.own.end].to_vec(),
        Sight::Symbols => text[window.seen.clone()].to_vec(),
    }
}
