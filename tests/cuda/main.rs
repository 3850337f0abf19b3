//! The CUDA backend on the virtual GPU: the very PTX that ships, launched through the very calls that ship.

mod device;
mod programs;
mod runs;
