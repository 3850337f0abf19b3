//! What people and programs get to see of a run.

mod log;
mod progress;

pub use log::RunLog;
pub use progress::Progress;

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
