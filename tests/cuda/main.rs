//! The CUDA backend on the virtual GPU: the very PTX that ships, launched through the very calls that ship.

#![cfg(kernels)]

mod bench;
mod cases;
mod check;
mod child;
mod device;
mod mutants;
mod mutations;
mod ops;
mod runs;
mod watch;
