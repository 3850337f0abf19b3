//! Matrix products on the host's vector and matrix units, and rows handed out to its threads.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_variables, reason = "packing is for x86-64 alone"))]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bands;
pub(crate) mod element;
pub(crate) mod gemm;
mod memory;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod panels;
mod unit;
mod view;
