//! Sanitizers: what is wrong with a kernel, and where.

mod collector;
mod finding;
mod shared;

pub use collector::{Collector, Record, Spot};
pub use finding::{Finding, Kind, Site};
pub use shared::{Accessor, Opponent, SharedShadow};
