//! A run's folder in the hands of those who only read it, while another process may be training there.

use super::{RunPaths, STEP, SavedModel, TrainingState, VOCAB, is_there};
use crate::config::{RunConfig, Weights};
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::tensors::{self, TensorFile};
use std::path::Path;

/// A run and the model of its last checkpoint.
#[derive(Clone, Debug)]
pub struct SavedRun {
    /// How the run is configured.
    pub config: RunConfig,
    /// Its trained model.
    pub model: SavedModel,
    /// What the user should know of it.
    pub note: Option<String>,
}

impl SavedRun {
    /// Reads them; takes no lock and writes nothing. With `weights`, the model is made of those that the checkpoint holds.
    ///
    /// Without, it is `model.safetensors`, unless the checkpoint is newer: a process died between writing the two, or is
    /// about to write the second. Then it is taken from the checkpoint.
    pub fn read(folder: &Path, weights: Option<Weights>) -> Result<Self> {
        let paths = RunPaths::of(folder);
        let config = paths.read_config()?;
        let (state_path, model_path) = (paths.state(), paths.model());
        if weights.is_some() {
            let model = derived(&state_path, &config, weights)?;
            return Ok(SavedRun { config, model, note: None });
        }
        // The checkpoint's step first: one that is written meanwhile makes the model newer than this step, never older.
        let checkpoint = is_there(&state_path)?.then(|| step_of(&state_path));
        let model = is_there(&model_path)?.then(|| SavedModel::read(&model_path));
        let amiss = match (model, &checkpoint) {
            (None, None) => {
                return Err(Error::input(format!(
                    "{}: this run has not written a model yet; wait for its first checkpoint",
                    folder.display()
                )));
            }
            (Some(Ok(model)), _) if (&model.config, model.process) != (&config.model, config.process) => {
                return Err(Error::input(format!(
                    "{}: is not the model that the config.toml beside it describes; restore it, or use it alone by --model",
                    model_path.display()
                )));
            }
            (Some(Ok(model)), Some(Ok(step))) if *step > model.step => {
                format!("{}: is of step {}", model_path.display(), model.step)
            }
            (Some(Ok(model)), _) => {
                let note = checkpoint.and_then(|step| step.err()).map(|e| e.to_string());
                return Ok(SavedRun { config, model, note });
            }
            (Some(Err(e)), None) => return Err(e),
            (Some(Err(e)), Some(_)) => e.to_string(),
            (None, Some(_)) => format!("{}: is missing", model_path.display()),
        };
        let model = derived(&state_path, &config, None)?;
        let note = format!(
            "{amiss}; the checkpoint of step {} is used, and `tempest train --resume {}` writes it anew",
            model.step,
            folder.display()
        );
        Ok(SavedRun { config, model, note: Some(note) })
    }
}

/// The optimizer steps of a checkpoint.
pub(super) fn step_of(path: &Path) -> Result<u64> {
    let step = tensors::metadata(path)?.get(STEP).and_then(|step| step.parse().ok());
    step.ok_or_else(|| Error::input(format!("{}: does not say its step", path.display())))
}

/// The model of a checkpoint, of its first average unless said.
fn derived(path: &Path, config: &RunConfig, weights: Option<Weights>) -> Result<SavedModel> {
    let file = TensorFile::open(path)?;
    let state = TrainingState::of(&file, config)?;
    let Some(vocab) = file.metadata(VOCAB) else {
        return Err(Error::input(format!(
            "{}: does not say its symbols, since an earlier version wrote it; write the model anew by `tempest train \
             --resume`",
            path.display()
        )));
    };
    let vocab = Vocab::from_json(vocab).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let model = SavedModel::of(config, &vocab, &state);
    Ok(match weights {
        None => model,
        Some(Weights::Last) => SavedModel { weights: state.weights, ..model },
        Some(Weights::Average(decay)) => {
            let kept = config.optimizer.ema.position(decay);
            let i = kept.map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
            SavedModel { weights: state.averages[i].clone(), ..model }
        }
    })
}
