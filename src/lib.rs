//! Tempest trains and samples text-diffusion transformers.
