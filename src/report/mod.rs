//! What people and programs get to see of a run.

pub mod health;
mod history;
mod log;
mod progress;
mod pulse;
mod sparkline;
mod summary;

pub use history::{History, averaged};
pub use log::RunLog;
pub use progress::Progress;
pub use pulse::Pulse;
pub use summary::Summary;

use crate::error::Result;
use crate::train::{Event, Found, Observer};

/// Several observers as one, told in order.
pub struct All<'a>(pub Vec<&'a mut dyn Observer>);

impl Observer for All<'_> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        self.0.iter_mut().try_for_each(|observer| observer.event(event))
    }

    fn has(&self, found: Found, step: u64) -> bool {
        self.0.iter().all(|observer| observer.has(found, step))
    }
}

/// Three digits and a unit: `45.1 k`.
pub(crate) fn si(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{:.2} M", x / 1e6),
        x if x >= 1e3 => format!("{:.1} k", x / 1e3),
        x => format!("{x:.0}"),
    }
}
