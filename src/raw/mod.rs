//! The one module that may be unsafe: memory and instructions that the language cannot check for us.
//!
//! What it offers outward is safe: every function checks the shapes and the processor before it goes on.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod element;
pub(crate) mod gemm;
#[cfg(target_arch = "x86_64")]
mod pack;
