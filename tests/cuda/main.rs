//! The CUDA backend on the virtual GPU: the very PTX that ships, launched through the very calls that ship.

#![cfg(kernels)]

mod bench;
mod cases;
mod child;
mod device;
mod driver_calls;
mod insight;
mod mutants;
mod mutations;
mod ops;
mod runs;
mod watch;
