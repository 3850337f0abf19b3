//! The runs of a folder, as their own folders show them.

use super::reader::step_of;
use super::{RunPaths, is_there};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files::metrics::Metrics;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Where runs are kept that name no other place.
pub const RUNS: &str = "runs";

/// A run at a glance.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Its folder.
    pub folder: PathBuf,
    /// How it is configured.
    pub config: RunConfig,
    /// Optimizer steps of its last checkpoint; none before the first.
    pub step: Option<u64>,
    /// Its last validation, in nats per symbol: a NELBO, or the NLL.
    pub validation_nats: Option<f64>,
    /// When it was written to last.
    pub changed: SystemTime,
}

impl Glance {
    /// Looks at a run; reads neither weights nor text.
    pub fn at(folder: &Path) -> Result<Self> {
        let paths = RunPaths::of(folder);
        let config = paths.read_config()?;
        Ok(Glance {
            folder: folder.to_path_buf(),
            step: is_there(&paths.state())?.then(|| step_of(&paths.state())).transpose()?,
            validation_nats: Metrics::last(&paths.metrics(), config.process.family().measures()[0].metric()),
            changed: changed(&paths)?,
            config,
        })
    }
}

/// When a run was written to last.
fn changed(paths: &RunPaths) -> Result<SystemTime> {
    let config = paths.config();
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let first = written(&config).map_err(Error::io("look at the configuration", &config))?;
    let others = [paths.state(), paths.model(), paths.metrics()];
    Ok(others.iter().filter_map(|path| written(path).ok()).fold(first, SystemTime::max))
}

/// The folders in a folder that hold a run, the one that was written to last at the end; none where there is no folder.
pub fn runs(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = || Error::io("look for runs in", folder);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail())?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail())?.path();
        let paths = RunPaths::of(&path);
        if is_there(&paths.config())? {
            found.push((changed(&paths)?, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The run in a folder that wrote to a model or a checkpoint last.
pub fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let has_model = |path: &PathBuf| {
        let paths = RunPaths::of(path);
        [paths.model(), paths.state()].iter().any(|path| path.exists())
    };
    Ok(runs(folder)?.into_iter().rfind(has_model))
}

/// The folder of a run by its path, or by its name among those in [`RUNS`].
pub fn named(run: &Path) -> PathBuf {
    let in_runs = Path::new(RUNS).join(run);
    let is_name = matches!(run.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if is_name && !run.exists() && in_runs.exists() { in_runs } else { run.to_path_buf() }
}

/// The file that is meant where a run, by its folder or its name, may stand for one of its files.
pub fn file_of(given: &Path, file: impl FnOnce(&RunPaths) -> PathBuf) -> PathBuf {
    let folder = named(given);
    if folder.is_dir() { file(&RunPaths::of(&folder)) } else { given.to_path_buf() }
}
