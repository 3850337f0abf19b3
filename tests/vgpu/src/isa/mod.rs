//! Decoded programs: PTX resolved to typed operations on register slots.
//!
//! Decoding happens once, at module load. Everything that the interpreter does not execute
//! exactly is refused here, with the instruction, its line and its kernel.

mod allocate;
mod alu;
mod class;
mod decode;
mod op;
mod program;
mod reg;
mod visit;

pub use alu::{Alu, Compared, HalfType, SetResult, Width};
pub use class::class;
pub use decode::{DecodeError, Layout, decode};
pub use op::*;
pub use program::{Code, Formal, FunctionInfo, Guard, Inst, Program, function_address, function_at};
pub use reg::{Class, Reg};
