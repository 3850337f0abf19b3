//! Tempest trains and samples text-diffusion transformers.

pub mod error;

pub use error::{Error, Result};

mod raw;
