//! A virtual NVIDIA GPU.

pub mod arith;
