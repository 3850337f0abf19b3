//! A run's folder in the hands of the one process that trains in it.

use super::{RUNS, RunPaths, SavedModel, TrainingState, VOCAB, is_there};
use crate::config::RunConfig;
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::atomic::{self, Existing};
use crate::files::tensorboard;
use crate::files::tensors::{self, TensorFile};
use crate::files::{RUN_CONFIG, RUN_LOCK};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Seek};
use std::path::{Path, PathBuf};

/// A run's folder, held by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    paths: RunPaths,
    /// Folders that were made for it, the outermost first.
    made: Vec<PathBuf>,
    /// Locked until it is dropped; the operating system unlocks it for a process that dies.
    _lock: File,
    note: Option<String>,
}

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Resumed {
    /// Parameters, moments and the step of the last checkpoint.
    pub state: TrainingState,
    /// What was the matter with the model beside it, which is now as the checkpoint has it.
    pub note: Option<String>,
}

impl RunFolder {
    /// Whether a run may start in a folder: it holds none of the files that a run writes, or they may be replaced. To be
    /// asked before long work; [`RunFolder::create`] asks again.
    pub fn check_free(path: &Path, existing: Existing) -> Result<()> {
        if existing == Existing::Replace {
            return Ok(());
        }
        if is_there(&path.join(RUN_CONFIG))? {
            return Err(Error::input(format!(
                "{}: holds a run already; go on with it by `--resume {0}`, give another folder with --out, or replace it \
                 with --force",
                path.display()
            )));
        }
        match contents(path)?.first() {
            Some(first) => Err(Error::input(format!(
                "{}: a run writes a file of this name, and this one is of no run; give another folder with --out, or \
                 replace it with --force",
                first.display()
            ))),
            None => Ok(()),
        }
    }

    /// Starts a run in a folder that is new or holds nothing of a run, or instead of the run there. Its configuration is
    /// written last: what fails before leaves no run.
    pub fn create(path: &Path, existing: Existing, config: &RunConfig) -> Result<Self> {
        Self::create_in(path, atomic::create_folder(path)?, existing, config)
    }

    /// The same in a folder that is there; `made` are those that were made for it.
    fn create_in(path: &Path, made: Vec<PathBuf>, existing: Existing, config: &RunConfig) -> Result<Self> {
        let created = Self::lock(path).and_then(|folder| {
            Self::check_free(path, existing)?;
            // The configuration first: without it what is left of the old run is no run.
            for old in contents(path)? {
                fs::remove_file(&old).map_err(Error::io("remove the old run's file", &old))?;
            }
            atomic::remove_leftovers(path)?;
            let path = folder.paths.config();
            atomic::write_text(&path, "write the configuration", Existing::Keep, &config.to_toml())?;
            Ok(folder)
        });
        match created {
            Ok(folder) => Ok(RunFolder { made, ..folder }),
            Err(e) => {
                if !made.is_empty() {
                    let _ = fs::remove_file(path.join(RUN_LOCK));
                }
                atomic::remove_folders(&made);
                Err(e)
            }
        }
    }

    /// Starts a run in `runs/1`, `runs/2`, …: the first that is not there yet.
    pub fn create_numbered(config: &RunConfig) -> Result<Self> {
        let numbered = |i: u64| Path::new(RUNS).join(i.to_string());
        for i in 1.. {
            let path = numbered(i);
            if !is_there(&path)? {
                let made = atomic::create_folder(&path)?;
                // One that another process was quicker to make is that of its run.
                if made.last() == Some(&path) {
                    return Self::create_in(&path, made, Existing::Keep, config);
                }
            }
        }
        unreachable!("no folder holds 2^64 runs")
    }

    /// Opens the folder of an earlier run.
    pub fn open(path: &Path) -> Result<(Self, RunConfig)> {
        let config = RunPaths::of(path).read_config()?;
        let folder = Self::lock(path)?;
        atomic::remove_leftovers(path)?;
        if folder.paths.samples().is_dir() {
            atomic::remove_leftovers(&folder.paths.samples())?;
        }
        Ok((folder, config))
    }

    fn lock(path: &Path) -> Result<Self> {
        let lock_path = path.join(RUN_LOCK);
        // Whatever it holds is not ours.
        let open = File::options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = open.map_err(Error::io("use the run folder", &lock_path))?;
        let note = match lock.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::input(format!(
                    "{}: another process trains in this folder; wait for it, or give another folder with --out",
                    path.display()
                )));
            }
            // Network and FUSE file systems without locks are where many keep their runs.
            Err(TryLockError::Error(e)) => Some(format!(
                "{}: its file system has no locks ({e}); see to it that no other process trains there",
                path.display()
            )),
        };
        Ok(RunFolder { paths: RunPaths::of(path), made: Vec::new(), _lock: lock, note })
    }

    /// Removes a run that has not made a step: its start failed, and the corrected command shall find its place free.
    pub fn discard(self) {
        if fs::metadata(self.paths.metrics()).is_ok_and(|metrics| metrics.len() > 0) {
            return;
        }
        for path in contents(self.paths.folder()).unwrap_or_default() {
            let _ = fs::remove_file(path);
        }
        if !self.made.is_empty() {
            let _ = fs::remove_file(self.paths.folder().join(RUN_LOCK));
        }
        atomic::remove_folders(&self.made);
    }

    /// Where its files lie.
    pub fn paths(&self) -> &RunPaths {
        &self.paths
    }

    /// What the user should know of it.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Keeps a copy of the text, which came on standard input and is not to be had again.
    pub fn keep_text(&self, text: &mut File) -> Result<()> {
        let path = self.paths.stdin();
        let fail = || Error::io("keep the text", &path);
        text.rewind().map_err(fail())?;
        atomic::write(&path, "keep the text", Existing::Keep, |file| io::copy(text, file).map(|_| ()))
    }

    /// The symbols of the last checkpoint; none where there is none yet, or an earlier version wrote it.
    pub fn vocab(&self) -> Result<Option<Vocab>> {
        let path = self.paths.state();
        if !is_there(&path)? {
            return Ok(None);
        }
        let vocab = tensors::metadata(&path)?.get(VOCAB).map(|json| Vocab::from_json(json));
        vocab.transpose().map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// Replaces the configuration by one that is the same in all that [lasts](RunConfig::lasting). `state` is the last
    /// checkpoint.
    pub fn change(&self, config: &RunConfig, vocab: &Vocab, state: Option<&TrainingState>) -> Result<()> {
        // An earlier version may have tied it to all of the configuration before.
        if let Some(state) = state {
            state.write(&self.paths.state(), config, vocab)?;
        }
        let path = self.paths.config();
        atomic::write_text(&path, "write the configuration", Existing::Replace, &config.to_toml())
    }

    /// Writes a checkpoint: the state, then the model that is derived from it.
    pub fn save(&self, config: &RunConfig, vocab: &Vocab, state: &TrainingState) -> Result<()> {
        state.write(&self.paths.state(), config, vocab)?;
        SavedModel::of(config, vocab, state).write(&self.paths.model(), Existing::Replace)
    }

    /// The last checkpoint, with its model beside it; none if the run stopped before its first.
    ///
    /// The model is written anew unless it is the state's, bit by bit: a process may have died between the two, or a disk
    /// may have lost it. Fails where the state is missing or older than the model, which no crash does.
    pub fn load(&self, config: &RunConfig, vocab: &Vocab) -> Result<Option<Resumed>> {
        let (state_path, model_path) = (self.paths.state(), self.paths.model());
        let has_model = is_there(&model_path)?;
        if !is_there(&state_path)? {
            return match has_model {
                false => Ok(None),
                true => Err(Error::input(format!(
                    "{}: is missing, and model.safetensors alone cannot be trained on; restore it, or train a new run in \
                     another folder",
                    state_path.display()
                ))),
            };
        }
        let state = TrainingState::of(&TensorFile::open(&state_path)?, config)?;
        let model = SavedModel::of(config, vocab, &state);
        let amiss = match has_model.then(|| SavedModel::read(&model_path)) {
            Some(Ok(found)) if found == model => return Ok(Some(Resumed { state, note: None })),
            Some(Ok(found))
                if (&found.config, found.process, &found.vocab) != (&model.config, model.process, &model.vocab) =>
            {
                return Err(Error::input(format!(
                    "{}: is the model of another run; move it elsewhere, and this run's own is written from its checkpoint",
                    model_path.display()
                )));
            }
            Some(Ok(found)) if found.step > state.step => {
                return Err(Error::input(format!(
                    "{}: is of step {}, the checkpoint beside it of step {}; restore its state.safetensors, or move it \
                     elsewhere to go on from the older one",
                    model_path.display(),
                    found.step,
                    state.step
                )));
            }
            Some(Ok(found)) => format!("{}: was that of step {}", model_path.display(), found.step),
            Some(Err(e)) => e.to_string(),
            None => format!("{}: was missing", model_path.display()),
        };
        model.write(&model_path, Existing::Replace)?;
        let note = format!("{amiss}; written anew from the checkpoint of step {}", state.step);
        Ok(Some(Resumed { state, note: Some(note) }))
    }
}

/// What a folder holds under the names that a run writes, the configuration first.
fn contents(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = RunPaths::of(folder);
    let mut found = Vec::new();
    for path in [paths.config(), paths.state(), paths.model(), paths.metrics(), paths.stdin()] {
        found.extend(is_there(&path)?.then_some(path));
    }
    found.extend(named(folder, tensorboard::is_event_file)?);
    found.extend(named(&paths.samples(), |name| name.starts_with("step-") && name.ends_with(".txt"))?);
    Ok(found)
}

/// The files of a folder with such names; none if there is no folder.
fn named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let fail = || Error::io("look into the folder", folder);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail())?;
        found.extend(entry.file_name().to_str().is_some_and(&wanted).then(|| entry.path()));
    }
    found.sort();
    Ok(found)
}
