//! Faults from outside (files, flags, data, disk, numbers that blow up). Faults of our own are panics in the builder.
//!
//! A message names the thing, what was found, what was wanted and the cure, in lower case and without a full stop.

use std::path::{Path, PathBuf};

/// What every fallible function of the engine returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault that the user can see and mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value, flag or file content that cannot be used; the text says what was wanted and how to get there.
    #[error("{0}")]
    Input(String),
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}{}", path.display(), cure(source))]
    Io {
        /// What was being done, as a verb phrase: `read`, `write the checkpoint`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Training produced a loss or gradient that is not a number.
    #[error("step {step}: a {what} is {value}, training cannot go on; {cure}")]
    Diverged {
        /// The step whose result was not finite (counting from 1).
        step: u64,
        /// `loss`, `gradient norm` or `weight`.
        what: &'static str,
        /// The value that was found.
        value: f32,
        /// Where the last good checkpoint is and what to change.
        cure: String,
    },
    /// A model predicts what is not a number; the text names the cure.
    #[error("{0}")]
    NotANumber(String),
    /// The GPU or its driver failed.
    #[error("{0}")]
    Device(String),
    /// Somebody asked to stop, by this signal.
    #[error("stopped by signal {0}")]
    Stopped(i32),
    /// A comparison ran to its end and found a difference beyond the tolerance.
    #[error("{0}")]
    Mismatch(String),
}

impl Error {
    /// Bad input, described whole.
    pub fn input(message: impl Into<String>) -> Self {
        Error::Input(message.into())
    }

    /// Wraps an I/O error with the file it concerns; for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// The process exit code: 2 for input that must change, 1 for a run that failed, and 128 and the signal for one that was
    /// stopped.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) | Error::Io { .. } => 2,
            Error::Diverged { .. } | Error::NotANumber(_) | Error::Device(_) | Error::Mismatch(_) => 1,
            Error::Stopped(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }
}

fn cure(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::*;
    match source.kind() {
        NotFound => "; check the path",
        IsADirectory | NotADirectory => "; name a file",
        InvalidData => "; give a file of UTF-8 text",
        PermissionDenied | ReadOnlyFilesystem => "; choose a place that you may use, or change its permissions",
        StorageFull | QuotaExceeded => "; free some space or choose another disk",
        _ => "",
    }
}
