//! Tempest trains and samples text-diffusion transformers.

pub mod backend;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod files;
pub mod model;
pub mod process;
pub mod program;
mod raw;
pub mod rng;

pub use error::{Error, Result};
