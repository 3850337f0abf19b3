//! The CUDA backend on the virtual GPU: the very PTX that ships, launched through the very calls that ship.
//!
//! With `TEMPEST_TEST_GPU=real` on this machine's own GPU: all but the planted bugs, which need the compiler, and what only the
//! virtual GPU finds. `files` says what a copy of this program needs on a machine without the sources.

#![cfg(kernels)]

mod cases;
mod chance;
mod child;
mod compiler;
mod device;
mod driver_calls;
mod every;
mod files;
#[path = "../common/gpu.rs"]
mod gpu;
mod harness;
mod insight;
mod mutants;
mod mutations;
mod ops;
mod real;
mod runs;
#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../../build/source.rs"]
mod source;
mod timing;
mod watch;
