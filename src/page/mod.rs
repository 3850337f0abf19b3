//! What people look at outside of a terminal: charts, and pages that hold all they need and open from a disk.

mod animation;
mod curves;
mod replay;
mod report;
mod sheet;
mod shell;

pub use curves::{Figure, Looks, Over, Trained, charts};
pub use replay::Recorder;
pub use report::{Origin, Report, report};
pub use sheet::sheet;
