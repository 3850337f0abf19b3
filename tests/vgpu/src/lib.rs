//! A virtual NVIDIA GPU.

pub mod arith;
pub mod check;
pub mod count;
pub mod driver;
pub mod gpu;
pub mod isa;
pub mod profile;
pub mod ptx;
pub mod report;
pub mod runner;
