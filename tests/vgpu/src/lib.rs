//! A virtual NVIDIA GPU: executes PTX, checks it and counts what it costs, on any machine.
//!
//! Start at [`gpu::Gpu`]: allocate, load PTX, launch, read the [`gpu::LaunchReport`].
//! [`driver`] puts the CUDA driver API on top of it, [`runner`] a description in JSON.
//!
//! # Modules, from the ground up
//!
//! | module | what it is |
//! |---|---|
//! | [`arith`] | what each instruction computes: bits in, bits out |
//! | [`ptx`] | text to syntax tree |
//! | [`isa`] | syntax tree to typed operations on register slots; refuses what is not executed |
//! | [`memory`] | allocations with red zones, a state for every byte, address windows |
//! | [`check`] | sanitizers |
//! | [`count`] | counters |
//! | [`exec`] | warps, blocks, grids |
//! | [`gpu`] | the device |
//! | [`driver`], [`runner`] | the driver API; launches described in JSON |
//!
//! Arrows only point up the table: no module knows those below it.
//!
//! # What holds everywhere
//!
//! - PTX that is not executed exactly is refused at load: never a wrong result.
//! - A fault of the kernel is a finding, not an error of ours; the launch goes on where it can.
//! - The same seed gives the same schedule. Nothing depends on the clock of the host.
//! - `unsafe` is in [`memory::Cells`] (bytes shared between threads), in the dispatch to host
//!   features, and in [`driver`] (foreign callers); nowhere else.

pub mod arith;
pub mod check;
pub mod count;
pub mod driver;
pub mod exec;
pub mod gpu;
pub mod isa;
pub mod memory;
pub mod profile;
pub mod ptx;
pub mod report;
pub mod runner;
