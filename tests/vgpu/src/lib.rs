//! A virtual NVIDIA GPU.

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
