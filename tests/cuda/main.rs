//! The CUDA backend on the virtual GPU: the very PTX that ships, launched through the very calls that ship.

#![cfg(kernels)]

mod device;
mod programs;
mod runs;
