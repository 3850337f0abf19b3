//! The commands: arguments as typed, checked once, handed to the library.

pub(crate) mod check;
pub(crate) mod eval;
pub(crate) mod import;
pub(crate) mod model;
pub(crate) mod sample;
pub(crate) mod train;

use tempest::backend::{Backend, Cpu};
use tempest::program::{DType, Plan};
use tempest::{Error, Result};

use std::io::Write;
use std::sync::Arc;

/// Storage of activations and matmul inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Precision {
    /// Single precision, the reference.
    F32,
    /// bfloat16 with f32 sums and master weights; fast where the processor multiplies bf16.
    Bf16,
}

impl From<Precision> for DType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
        }
    }
}

/// The device that programs run on.
pub(crate) fn backend(plan: Arc<Plan>) -> Result<Box<dyn Backend>> {
    Ok(Box::new(Cpu::new(plan)))
}

/// Sets the number of worker threads, once, before anything runs.
pub(crate) fn set_threads(threads: Option<usize>) -> Result<()> {
    match threads {
        Some(0) => Err(Error::input("--threads is 0; wanted at least 1, or leave it out for all cores")),
        Some(n) => rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build_global()
            .map_err(|e| Error::input(format!("--threads {n}: {e}"))),
        None => Ok(()),
    }
}

/// Prints a result. A reader that has seen enough (`| head`) is no fault.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "standard output")),
    }
}
