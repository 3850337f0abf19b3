//! Sanitizers: what is wrong with a kernel, and where.

mod finding;

pub use finding::{Finding, Kind, Site};
