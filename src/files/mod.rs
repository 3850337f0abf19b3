//! Files that a run leaves behind, each written so that a killed process or a full disk never leaves a broken one.
//!
//! - [`atomic`]: a file appears whole under its name, or not at all;
//! - [`tensors`]: safetensors, for checkpoints and for exchange;
//! - [`metrics`]: `metrics.jsonl`, one line a record;
//! - [`tensorboard`]: the same figures for TensorBoard.

pub mod atomic;
pub mod metrics;
mod pytorch;
pub mod tensorboard;
pub mod tensors;

use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// In a run's folder: the run, whole. See [`crate::store::RunFolder`].
pub const RUN_CONFIG: &str = "config.toml";

/// In a run's folder: held by the process that trains there.
pub const RUN_LOCK: &str = ".lock";

/// Whether a folder holds a run, as far as its names tell.
pub fn holds_run(folder: &Path) -> bool {
    [RUN_CONFIG, RUN_LOCK].iter().all(|name| folder.join(name).is_file())
}

/// The SHA-256 of a file's bytes, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    Ok(hex(Sha256::new_with_prefix(fs::read(path).map_err(Error::io("read the file", path))?)))
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

/// What was hashed, in hexadecimal.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
