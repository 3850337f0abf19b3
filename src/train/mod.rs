//! Training: steps, checkpoints, resuming, and what happens in between.

mod folder;
mod inspect;
mod run;
mod trainer;

pub use folder::{RunFolder, identity};
pub use inspect::Inspector;
pub use run::{Event, Observer, Outcome, Validation, run};
pub use trainer::{StepReport, Trainer, Wait};
