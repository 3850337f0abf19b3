//! Execution: warps of 32 lanes in lockstep.
//!
//! A warp is lanes with program counters of their own. It runs one group of lanes at a time, all
//! at one instruction: the deepest call first, then the lowest counter, which makes diverged
//! lanes meet again where their paths meet. Lanes that wait for others (at a barrier, at a
//! collective whose mask names lanes that are elsewhere) are set aside until those come or exit.
//! A group that loops for long gives the other groups of its warp, the other warps and the other
//! blocks their turns, so that lanes and blocks may wait for each other.

mod access;
mod alu;
mod atomic;
mod barrier;
mod block;
mod call;
mod clock;
mod collective;
mod compare;
mod copy;
mod frame;
mod global;
mod grid;
mod hopper;
mod launch;
mod matrix;
mod options;
mod printf;
mod shared;
mod special;
mod step;
mod warp;

pub use frame::Constants;
pub use grid::{blocks_communicate, run};
pub use launch::{Launch, Outcome};
pub use options::{Landing, Options, TensorSums, Trap};
