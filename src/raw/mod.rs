//! The only module of the engine with `unsafe` code; every block says why it holds.
#![allow(unsafe_code)]

pub mod mmap;
