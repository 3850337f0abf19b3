//! Tempest trains and samples text-diffusion transformers.

pub mod data;
pub mod error;
pub mod files;
pub mod raw;

pub use error::{Error, Result};
