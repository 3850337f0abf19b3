//! Training: steps, checkpoints, resuming, and what happens in between.

mod inspect;
mod levels;
mod run;
mod trainer;

pub use inspect::Inspector;
pub use run::{Event, Found, Observer, Outcome, Validation, due_and_missing, run};
pub use trainer::{StepReport, Trainer, Wait};
