//! Tempest trains and samples text-diffusion transformers.
//!
//! Text diffusion learns to undo noise in text: tokens are masked at random, a bidirectional transformer predicts them
//! back, and generation starts from masks alone and reveals the text in any order, many positions at a time. The model is
//! that of [tiny-diffusion](https://github.com/nathan-barry/tiny-diffusion); its weights can be exchanged both ways.
//!
//! # The idea: the model writes a program, backends run it
//!
//! A [`model`] does not compute. Once, it writes a [`program`]: a list of coarse fused ops over names of memory. A
//! [`backend`] replays it:
//!
//! ```text
//! text -> tokens on the device -> [crop + corrupt] -> forward -> loss -> backward -> optimizer -> checkpoint
//!                                 [start state] -> (forward -> one reverse step)* -> text
//! ```
//!
//! What follows from it:
//!
//! - **Verification is a loop.** [`backend::lockstep`] runs two backends op by op on the same inputs and names the first
//!   that differs. An op's oracle is its formula in plain loops.
//! - **Capture is a loop.** An op never allocates, uploads or synchronises; what changes from step to step reaches it
//!   through [`program::StepArgs`] alone. Corpus, token ids and random numbers are addressed on the device.
//! - **Memory is planned, then allocated once** ([`program::Plan`]). Running out of it is said at the start, with the batch that fits.
//! - **The dtype belongs to the region**, not to ops or kernel names.
//! - **Randomness is a function** of (seed, stream, step, index) ([`rng`]), bit-equal on every device. Resuming needs the
//!   step alone, and a sampled text does not depend on its batch.
//! - **Sums have one order.** Work is cut by shape, never by the number of threads, so that two runs are bitwise equal.
//!
//! # On a GPU
//!
//! [`backend::cuda`] lowers each op to launches of the kernels in `kernels/`, which the build compiles and whose signatures it
//! turns into Rust, so that a wrong argument does not compile. A program becomes one CUDA graph, its step's arguments the
//! argument of a small kernel in front of it. Norms have no kernels: they live in the matmuls' epilogues ([`program::Op`]).
//! The reference runs the same program over the plan's [widened](program::Plan::widened) twin, in f32, and a virtual GPU
//! (`tests/vgpu`) runs the shipped PTX on any machine. `docs/gpu.md` shows how to use it, `docs/kernels.md` what the kernels cost.
//!
//! Backward passes are written by hand under their forwards ([`model`]) and checked against directional derivatives, and
//! every number of a training step against the original's own PyTorch model ([`check`]).
//!
//! # Modules
//!
//! Arrows point left: a module knows those to its left and never those to its right. A test holds this.
//!
//! ```text
//! error, tty <- rng, terminal, plot <- config, files, stop <- data <- program <- { model, backend } <- store, process
//!     <- denoiser <- workload <- { check, profile, sample, eval, quality } <- { train, edit }
//!     <- { report, serve } <- { page, watch } <- the command
//! ```
//!
//! Model and backend never meet. What is absent on purpose: a tensor library, strides and broadcasting, an autograd, a graph
//! optimiser, boxed ops. `unsafe` code lives in one private module, `raw`, whose parts (matrix products, the CUDA driver, memory,
//! file maps, signals) offer checked functions only and stand each at its place among the arrows.
//!
//! # Reading on
//!
//! [`program::Op`] is the specification of everything that is computed. [`process::Generative`] is what a family of models has
//! to say: what a model reads of a text, and what the loss is; [`process::Diffusion`] what one with noise says beside it.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "they panic where nobody listens: terminal::say")]

pub mod backend;
pub mod check;
pub mod config;
pub mod data;
pub mod denoiser;
pub mod edit;
pub mod error;
pub mod eval;
pub mod files;
pub mod model;
pub mod page;
pub mod plot;
pub mod process;
pub mod profile;
pub mod program;
pub mod quality;
mod raw;
pub mod report;
pub mod rng;
pub mod sample;
#[cfg(feature = "serve")]
pub mod serve;
pub mod stop;
pub mod store;
pub mod terminal;
pub mod train;
mod tty;
pub mod watch;
pub mod workload;

pub use error::{Error, Result};
