//! Decoded programs: PTX resolved to typed operations on register slots.
//!
//! Decoding happens once, at module load. Everything that the interpreter does not execute
//! exactly is refused here, with the instruction, its line and its kernel.

mod address;
mod allocate;
mod alu;
mod class;
mod decode;
mod modes;
mod op;
mod program;
mod reg;
mod tensor;
mod visit;

pub use address::*;
pub use alu::{Alu, Compared, HalfType, SetResult, Width};
pub use class::class;
pub use decode::{DecodeError, Layout, decode};
pub use modes::*;
pub use op::*;
pub use program::{Code, Formal, FunctionInfo, Guard, Inst, Program, function_address, function_at};
pub use reg::{Class, Reg};
pub use tensor::*;
