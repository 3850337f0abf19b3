//! The loop around the steps: validation, samples, checkpoints, and stopping on request.

use super::{Inspector, StepReport, Trainer, Wait};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::store::RunFolder;
use std::sync::atomic::{AtomicBool, Ordering};

/// A validation result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// NELBO in nats per character.
    pub nelbo_nats: f64,
    /// Its standard error; none for a single window.
    pub standard_error: Option<f64>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// An optimizer step.
    Step(StepReport),
    /// The validation split was evaluated.
    Validation {
        /// Steps done.
        step: u64,
        /// The result.
        validation: Validation,
    },
    /// A text was sampled.
    Sample {
        /// Steps done.
        step: u64,
        /// The text.
        text: &'a str,
    },
    /// A checkpoint is about to be written: what was recorded so far must be on the disk first.
    BeforeCheckpoint,
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: u64,
    },
}

/// Is told what happens.
pub trait Observer {
    /// Called in order; an error ends the run.
    fn event(&mut self, event: &Event<'_>) -> Result<()>;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// It was asked to stop and can go on from its checkpoint.
    Interrupted,
}

/// Trains until all steps are done or `stop` is set, which is looked at between steps.
pub fn run(
    trainer: &mut Trainer,
    folder: &RunFolder,
    corpus: &Corpus,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let plan = trainer.config().train.clone();
    let mut saved = None;
    while trainer.done() < plan.steps {
        if stop.load(Ordering::Relaxed) {
            report(trainer, observer, Wait::ForAll).map_err(|e| with_cure(e, folder, saved))?;
            save(trainer, folder, corpus, observer).map_err(|e| with_cure(e, folder, saved))?;
            return Ok(Outcome::Interrupted);
        }
        trainer.advance().map_err(|e| with_cure(e, folder, saved))?;
        let (step, last) = (trainer.done(), trainer.done() == plan.steps);
        let due = |every: u64| last || (every > 0 && step.is_multiple_of(every));
        let looked_at = [plan.eval_every, plan.sample_every, plan.checkpoint_every].into_iter().any(due);
        let wait = if looked_at { Wait::ForAll } else { Wait::IfFarBehind };
        report(trainer, observer, wait).map_err(|e| with_cure(e, folder, saved))?;
        if due(plan.eval_every) {
            let validation = inspector.validate(&trainer.weights()?)?;
            observer.event(&Event::Validation { step, validation })?;
        }
        if due(plan.sample_every) {
            let text = inspector.sample(&trainer.weights()?, step)?;
            observer.event(&Event::Sample { step, text: &text })?;
        }
        if due(plan.checkpoint_every) {
            save(trainer, folder, corpus, observer).map_err(|e| with_cure(e, folder, saved))?;
            saved = Some(step);
        }
    }
    Ok(Outcome::Finished)
}

/// Tells the observer of the steps that are finished.
fn report(trainer: &mut Trainer, observer: &mut dyn Observer, wait: Wait) -> Result<()> {
    trainer.reports(wait)?.into_iter().try_for_each(|report| observer.event(&Event::Step(report)))
}

fn save(trainer: &mut Trainer, folder: &RunFolder, corpus: &Corpus, observer: &mut dyn Observer) -> Result<()> {
    corpus.check_unchanged()?;
    observer.event(&Event::BeforeCheckpoint)?;
    let state = trainer.state()?;
    // A finite gradient and too large a learning rate can still throw a weight out of range.
    if let Some(&value) = state.weights.iter().find(|w| !w.is_finite()) {
        return Err(Error::Diverged { step: state.step, what: "weight", value, cure: CURE.into() });
    }
    folder.save(trainer.config(), corpus.vocab(), &state)?;
    observer.event(&Event::Checkpoint { step: state.step })
}

/// What to change after a run diverged.
pub(super) const CURE: &str = "lower --lr or set --clip";

/// Tells who meets a diverged run where it can go on from.
fn with_cure(error: Error, folder: &RunFolder, saved: Option<u64>) -> Error {
    let Error::Diverged { step, what, value, cure } = error else {
        return error;
    };
    let kept = match saved {
        Some(step) => format!("the checkpoint of step {step} is kept in {}", folder.paths().folder().display()),
        None if folder.paths().state().exists() => {
            format!("the last checkpoint is kept in {}", folder.paths().folder().display())
        }
        None => "there is no checkpoint yet".to_owned(),
    };
    Error::Diverged { step, what, value, cure: format!("{kept}; in a new run, {cure}") }
}
