//! Checks that a device computes what it should: against golden vectors of the original's own PyTorch model
//! ([`against`]), and op by op against the reference on the CPU ([`in_lockstep`]).

mod golden;
mod lockstep;

pub use golden::{Line, against};
pub use lockstep::{Agreement, in_lockstep};
