//! Checks that a device computes what it should: against golden vectors of the original's own PyTorch model
//! ([`against`]), and op by op against the reference on the CPU ([`Trial::in_lockstep`]), of which [`every_kernel`] has enough to launch every kernel. A [`Report`] holds what was found.

mod every;
mod golden;
mod lockstep;
mod report;

pub use every::{every_kernel, ops_alone};
pub use golden::{Line, against};
pub use lockstep::{Agreement, CheckedOp, Trial};
pub use report::{Kernel, Output, Report, Worst};
