//! The CUDA driver behind checked calls: what every unsafe call owes is met here, and nothing outside can break it.
//!
//! Device memory is not host memory: a kernel that goes wrong can spoil results and end its context, never this process's
//! memory.

mod code;
mod context;
mod driver;
mod memory;
pub(crate) mod nvtx;
pub(crate) mod vgpu;

pub use code::Carveout;
pub(crate) use code::{Function, Graph, Module, Params};
pub(crate) use context::{Context, Mark, Properties};
pub(crate) use driver::{Absence, Fault, preload, probe};
pub(crate) use memory::{Arriving, Memory, SMALL_BYTES};
