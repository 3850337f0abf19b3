//! Device memory: allocations with red zones, a state for every byte, and address windows.

mod arena;
mod cells;
mod hazard;
pub mod window;

pub use arena::{Allocation, Arena, Place};
pub use cells::Cells;
pub use hazard::{Clash, Page, Releases, Touch};

/// What fresh memory holds: as a float it is a small negative number, as an index far outside.
pub const POISON: u8 = 0xa5;
