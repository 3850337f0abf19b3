//! What `check` tries of ops alone, watched: an op that is added there is tried here too.

use crate::watch::Watch;
use tempest::check::{Trial, ops_alone};
use tempest::program::Storage;

pub(crate) fn cases(watch: &mut Watch) {
    for trial in ops_alone(Storage::uniform(watch.dtype())).expect("the built-in text is read") {
        attempt(watch, &trial);
    }
}

/// Runs what `check` would, watched.
pub(super) fn attempt(watch: &mut Watch, trial: &Trial) {
    watch.attempt(&trial.name, |watch| {
        let mut twins = watch.twins(trial.plan.clone())?;
        trial.fill(twins.cpu.as_mut())?;
        trial.fill(twins.gpu.as_mut())?;
        watch.run(&trial.name, &mut twins, &trial.program, &trial.args)
    });
}
