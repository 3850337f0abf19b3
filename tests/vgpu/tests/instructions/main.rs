//! Every instruction, run through the device and compared with plain Rust.
//!
//! A row names an instruction as PTX writes it; its operands, their types and what it should
//! compute follow from the name. Each row becomes a kernel that applies the instruction to a few
//! thousand combinations of corner values and random ones, once with all lanes and once with some
//! lanes of each warp switched off, which must keep what they had.

mod compare;
mod control;
mod convert;
#[allow(dead_code)] // shared with the tests of the arithmetic, which use all of it
#[path = "../../src/arith/tests/exact.rs"]
mod exact;
mod float;
mod harness;
mod integer;
mod memory;
mod sync;
mod tensor;
mod warp;

use vgpu::arith;
