//! What each PTX instruction computes: bits in, bits out, no state.
//!
//! Every function here is pure. Register values come and go as plain bits (`u16`, `u32`, `u64`),
//! because PTX registers are untyped: the type lives in the opcode. The functions that every
//! kernel calls are inlined, so that a loop over the 32 lanes of a warp becomes vector code.
//!
//! Arithmetic whose result PTX defines is exact: one rounding, in the direction asked for. The
//! `.approx` family is computed in double precision and rounded once, which is well inside the
//! bounds of the ISA.
//!
//! - [`float`]: `f32` and `f64` add, sub, mul, fma, div, sqrt, rcp, min, max, sign operations
//! - [`approx`]: ex2, lg2, sin, cos, tanh, rsqrt, rcp and div in their approximate forms
//! - [`half`]: `f16` and `bf16`, alone and in pairs; [`fp8`]: `e4m3`, `e5m2`
//! - [`convert`]: every `cvt`
//! - [`int`], [`bits`], [`video`]: integer, bit-field and SIMD-in-a-word instructions
//! - [`compare`]: the eighteen relations of `setp` and `set`
//! - [`matrix`]: fragment layouts and products of the tensor-core instructions
#![forbid(unsafe_code)]

pub mod approx;
pub mod bits;
pub mod compare;
pub mod convert;
pub mod float;
pub mod fp8;
pub mod half;
pub mod int;
pub mod matrix;
pub mod soft;
pub mod video;

#[cfg(test)]
mod tests;
