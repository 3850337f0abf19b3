//! A virtual NVIDIA GPU.

pub mod check;
pub mod count;
pub mod driver;
pub mod gpu;
pub mod profile;
