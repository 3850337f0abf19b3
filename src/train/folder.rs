//! A run's folder: all that is needed to repeat the run, to go on with it, and to use its model.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the run, whole |
//! | `model.safetensors` | the model to use (the weights' average, if one is kept) |
//! | `state.safetensors` | the last checkpoint |
//! | `metrics.jsonl`, `events.out.tfevents.*` | figures of every step, for programs and for TensorBoard |
//! | `samples/` | texts sampled on the way |

use crate::checkpoint::{SavedModel, TrainingState};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files::{RUN_CONFIG, RUN_LOCK, atomic};
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// A run's folder, held by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked until it is dropped; the operating system unlocks it for a process that dies.
    _lock: File,
}

impl RunFolder {
    /// Starts a run in a new or empty folder and writes its configuration.
    pub fn create(path: &Path, config: &RunConfig) -> Result<Self> {
        if path.join(RUN_CONFIG).exists() {
            return Err(Error::input(format!(
                "{}: holds a run already; go on with it by `--resume {0}`, or give another folder with --out",
                path.display()
            )));
        }
        atomic::create_folder(path)?;
        let folder = Self::lock(path)?;
        let text = toml::to_string(config).expect("a configuration is plain data");
        atomic::write_text(&folder.config_path(), "write the configuration", &text)?;
        Ok(folder)
    }

    /// Opens the folder of an earlier run.
    pub fn open(path: &Path) -> Result<(Self, RunConfig)> {
        let config_path = path.join(RUN_CONFIG);
        if !config_path.exists() {
            return Err(Error::input(format!(
                "{}: holds no run (config.toml is missing); give the folder that `tempest train` named",
                path.display()
            )));
        }
        let folder = Self::lock(path)?;
        atomic::remove_leftovers(path)?;
        let text = std::fs::read_to_string(&config_path).map_err(Error::io("read the configuration", &config_path))?;
        let config: RunConfig =
            toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", config_path.display())))?;
        config.validate().map_err(|e| Error::input(format!("{}: {e}", config_path.display())))?;
        Ok((folder, config))
    }

    fn lock(path: &Path) -> Result<Self> {
        let lock_path = path.join(RUN_LOCK);
        let fail = || Error::io("use the run folder", &lock_path);
        let lock = File::create(&lock_path).map_err(fail())?;
        match lock.try_lock() {
            Ok(()) => Ok(RunFolder { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::input(format!(
                "{}: another process trains in this folder; wait for it, or give another folder with --out",
                path.display()
            ))),
            Err(TryLockError::Error(e)) => Err(fail()(e)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(RUN_CONFIG)
    }

    /// `model.safetensors`.
    pub fn model_path(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// `state.safetensors`.
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    /// Writes a checkpoint: the state first, which resuming reads, then the model made from it.
    pub fn save(&self, config: &RunConfig, state: &TrainingState, model: &SavedModel) -> Result<()> {
        state.write(&self.state_path(), &identity(config))?;
        model.write(&self.model_path())
    }

    /// The last checkpoint; none if the run stopped before its first.
    pub fn load(&self, config: &RunConfig, n_params: usize) -> Result<Option<TrainingState>> {
        let path = self.state_path();
        if !path.exists() {
            return Ok(None);
        }
        TrainingState::read(&path, &identity(config), n_params, config.optimizer.ema > 0.0).map(Some)
    }
}

/// What ties a checkpoint to its configuration: SHA-256 of the configuration as TOML, in hexadecimal.
pub fn identity(config: &RunConfig) -> String {
    let text = toml::to_string(config).expect("a configuration is plain data");
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
