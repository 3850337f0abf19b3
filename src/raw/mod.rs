//! The one module that may be unsafe: memory and instructions that the language cannot check for us.
//!
//! What it offers outward is safe: every function checks the shapes and the CPU before it goes on.
#![allow(unsafe_code)]

pub(crate) mod arena;
pub(crate) mod cpu;
pub(crate) mod gpu;
pub(crate) mod mmap;
pub(crate) mod signals;
