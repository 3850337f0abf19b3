//! Runs one launch that a folder describes: `case.json`, the PTX and the inputs.
//!
//! [`Case::read`] checks what the folder asks for, [`run()`] executes it, [`Outcome::write`] leaves
//! output files and `report.json`. [`inspect()`] lists what a PTX file holds.

mod case;
mod inspect;
mod run;

pub use case::{Buffer, Case, Global, Init, Param, Scalar};
pub use inspect::inspect;
pub use run::{Outcome, Resources, Settings, run};

/// Something is wrong with the folder, the PTX or the launch it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadInput(pub String);

impl std::fmt::Display for BadInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}
