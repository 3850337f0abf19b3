//! Every op of the CPU backend against its contract.
//!
//! The formulas are the op's documentation, evaluated plainly in double precision; each element's tolerance is a running
//! error analysis of that evaluation (`number`). The memory is poisoned and guarded (`harness`).

mod attention;
mod elementwise;
mod harness;
mod linear;
mod norms;
mod number;
mod randomness;
mod sampling;
