//! A virtual NVIDIA GPU.
