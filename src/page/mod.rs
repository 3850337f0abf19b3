//! What people look at outside of a terminal: charts, and pages that hold all they need and open from a disk.

mod animation;
mod compare;
mod curves;
mod pixels;
mod replay;
mod report;
mod sheet;
mod shell;

pub use compare::{Compared, Comparison, GRAMS, LEGEND, Other, Written};
pub use curves::{Figure, Looks, Over, Trained, charts};
pub use replay::Replay;
pub use report::{Origin, Report, figures, report};
pub use sheet::sheet;
