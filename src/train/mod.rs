//! Training: steps, checkpoints, resuming, and what happens in between.

mod inspect;
mod run;
mod trainer;

pub use inspect::Inspector;
pub use run::{Event, Observer, Outcome, Validation, run};
pub use trainer::{StepReport, Trainer, Wait};
