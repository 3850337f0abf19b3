//! Families of diffusion, one process each. A process says what is corrupted and how, what the loss is, and what one
//! reverse step does; it pushes ops and never touches a backend.

mod masked;

pub use masked::{Batch, Masked, ReverseStep, SampleState};
