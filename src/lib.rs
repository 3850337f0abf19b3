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
pub mod report;
pub mod rng;
pub mod train;

pub use error::{Error, Result};
