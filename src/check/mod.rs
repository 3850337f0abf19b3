//! Checks that a device computes what it should: against golden vectors of the original's own PyTorch model
//! ([`against`]), and op by op against the reference on the CPU ([`in_lockstep`]). A [`Report`] holds what was found.

mod golden;
mod lockstep;
mod report;

pub use golden::{Line, against};
pub use lockstep::{Agreement, CheckedOp, in_lockstep};
pub use report::{Kernel, Output, Report, Worst};
