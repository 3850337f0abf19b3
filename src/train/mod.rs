//! Training: steps, checkpoints, resuming, and what happens in between.

mod folder;
mod run;
mod trainer;

pub use folder::{RunFolder, identity};
pub use run::{Event, Inspector, Observer, Outcome, Validation, run};
pub use trainer::{StepReport, Trainer};
