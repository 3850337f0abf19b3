//! Tempest trains and samples text-diffusion transformers.

pub mod backend;
pub mod config;
pub mod error;
pub mod program;
pub mod rng;

pub use error::{Error, Result};
