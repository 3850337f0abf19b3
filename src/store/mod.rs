//! What is kept of a run: its folder, its checkpoints, its model.
//!
//! | file of a run's folder | content |
//! |---|---|
//! | `config.toml` | the run, whole |
//! | `state.safetensors` | the last checkpoint: weights, moments, average and step in one file, so that they can never disagree |
//! | `model.safetensors` | the model to use (the weights' average, if one is kept), its process and its symbols |
//! | `metrics.jsonl`, `events.out.tfevents.*` | figures of every step, for programs and for TensorBoard |
//! | `samples/` | texts sampled on the way |
//! | `stdin.txt` | the text, where it came on standard input |
//!
//! The state is the checkpoint, the model is derived from it and written after it. A process that dies between the two
//! leaves an older model: who goes on with the run ([`RunFolder::load`]) writes it anew, who only reads ([`SavedRun`]) takes
//! the state instead. `config.toml` makes a folder a run's; it is written last of all that a start does.

mod folder;
mod list;
mod model;
mod nanogpt;
mod reader;
mod state;

pub use folder::{Resumed, RunFolder};
pub use list::{Glance, RUNS, file_of, named, newest, runs};
pub use model::{SavedModel, read_weights};
pub use reader::SavedRun;
pub use state::TrainingState;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files::RUN_CONFIG;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Metadata keys of both kinds of file.
const STEP: &str = "step";
const VOCAB: &str = "vocab";

/// The files of a run's folder.
#[derive(Clone, Debug)]
pub struct RunPaths {
    folder: PathBuf,
}

impl RunPaths {
    /// Those of a folder.
    pub fn of(folder: &Path) -> Self {
        RunPaths { folder: folder.to_path_buf() }
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.folder.join(RUN_CONFIG)
    }

    /// `model.safetensors`.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model.safetensors")
    }

    /// `state.safetensors`.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.folder.join("metrics.jsonl")
    }

    /// `stdin.txt`.
    pub fn stdin(&self) -> PathBuf {
        self.folder.join("stdin.txt")
    }

    /// `samples`.
    pub fn samples(&self) -> PathBuf {
        self.folder.join("samples")
    }

    /// The configuration of the run that is there.
    fn read_config(&self) -> Result<RunConfig> {
        let path = self.config();
        if !is_there(&path)? {
            return Err(Error::input(format!(
                "{}: holds no run (config.toml is missing); give the folder that `tempest train` named, or one \
                 that `tempest runs` lists",
                self.folder.display()
            )));
        }
        RunConfig::open(&path)
    }
}

/// Whether a name is taken in its folder, be it by a link that leads nowhere.
fn is_there(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(Error::io("look for the file", path)(e)),
    }
}
