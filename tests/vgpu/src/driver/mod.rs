//! The CUDA driver API, as far as it goes without silicon.
//!
//! The exported functions keep the C signatures of `cuda.h`. Work runs when it is
//! submitted: a stream is always idle, an event always passed, and what remains of
//! asynchrony are its rules. Errors follow the hardware: a launch that asks for too much
//! is refused and leaves no trace; a kernel that faults is reported by the *next* call and
//! by every one after it, until its context is gone.
//!
//! | part | holds |
//! |---|---|
//! | `abi` | C pointers as types; the only unsafe code besides `host` and [`load`] |
//! | `error`, `texts`, `handles` | result codes, object numbers |
//! | `device`, `context`, `primary` | devices, attributes, contexts, the error that sticks |
//! | `image`, `module`, `function` | PTX and fat binaries, variables, kernels |
//! | `work`, `capture`, `stream`, `event` | what is run or written down, in which order |
//! | `memory`, `host`, `copy`, `pool` | device memory, pinned and managed memory, copies and fills in stream order |
//! | `run`, `graph`, `stream_calls` | running, replay, calls on streams and captures |
//! | `launch`, `occupancy` | checks, arguments, the occupancy calculator |
//! | `nvtx` | names of ranges, as a profiler takes them |
//! | `report` | findings and counters of every launch |
//! | `unsupported` | every other function of the API |
//!
//! A context owns its streams, a stream and an event shares of a capture, a capture its work, and
//! work the functions that it launches; what is named the other way is named by its handle, so
//! that no part needs a part that needs it.
//!
//! Programs reach it through [`load`], which opens the shared library by its path. Its
//! file is called `libvgpu.so`, so no library search finds it by accident; only its SONAME
//! is the one that programs look for, so that a library already opened by path is found.

#![allow(non_snake_case, reason = "exported functions are named as in cuda.h")]
#![allow(unsafe_code, reason = "C calls in; see `abi`")]
#![allow(unreachable_pub, reason = "exported functions are found by symbol, not by path")]

mod abi;
mod capture;
mod context;
mod copy;
mod device;
mod error;
mod event;
mod function;
mod graph;
mod handles;
mod host;
mod image;
mod launch;
mod library;
mod memory;
mod module;
mod nvtx;
mod occupancy;
mod pool;
mod primary;
mod report;
mod run;
mod stream;
mod stream_calls;
mod texts;
mod unsupported;
mod work;

pub use library::{Driver, LoadFailure, library_path, load};
