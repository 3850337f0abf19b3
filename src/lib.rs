//! Tempest trains and samples text-diffusion transformers.

pub mod data;
pub mod error;
pub mod raw;

pub use error::{Error, Result};
