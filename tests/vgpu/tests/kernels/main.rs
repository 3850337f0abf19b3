//! Kernels as nvcc makes them from CUDA C++: each file of tests has the kernels in the `.cu` file of its
//! name. They are compiled here, run through cudarc, and are compared with what plain Rust computes;
//! none may leave a finding.

#![allow(unsafe_code, reason = "cudarc's launches are unsafe")]

#[path = "../common/mod.rs"]
mod common;
#[macro_use]
mod harness;
mod atomics;
mod collectives;
mod control;
mod cub;
mod halves;
mod mathematics;
mod matrices;
mod messages;
mod pipelines;
