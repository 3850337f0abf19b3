//! The one module that may be unsafe: memory and instructions that the language cannot check for us.
//!
//! What it offers outward is safe: every function checks the shapes and the processor before it goes on.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod arena;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bands;
pub(crate) mod cuda;
pub(crate) mod element;
pub(crate) mod gemm;
pub(crate) mod mmap;
pub(crate) mod nvtx;
#[cfg(target_arch = "x86_64")]
mod pack;
pub(crate) mod signals;
mod unit;
pub(crate) mod vgpu;
mod view;
