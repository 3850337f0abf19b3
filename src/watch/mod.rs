//! What a terminal shows while it goes on: texts as they denoise, and how a run trains.
//!
//! A [`View`] is a state with a picture: it is changed by what happens and by keys, and drawn from nothing else. A [`Screen`] has
//! the terminal for it, draws it on a thread of its own, and gives the terminal back whatever ends the process. Nothing that is
//! computed depends on whether anybody looks on.

mod curve;
mod glyphs;
mod keys;
mod screen;
mod texts;
mod training;

pub use keys::Key;
pub use screen::{Screen, Then, View};
pub use texts::Texts;
pub use training::{Facts, Training};

/// Whether a view has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// It has.
    Some,
    /// It tells apart by bold, dim and reversed characters.
    None,
}

impl Colours {
    /// As the terminal and the user want it (`NO_COLOR`, `--color`).
    pub fn of_output() -> Self {
        if crate::terminal::output_has_colours() { Colours::Some } else { Colours::None }
    }
}
