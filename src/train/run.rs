//! The loop around the steps: validation, samples, checkpoints, and stopping on request.

use super::{Inspector, StepReport, Trainer, Wait};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::store::RunFolder;
use std::sync::atomic::{AtomicBool, Ordering};

/// A validation result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// NELBO in nats per symbol, a character or a byte.
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
            save(trainer, folder, corpus, inspector, observer).map_err(|e| with_cure(e, folder, saved))?;
            return Ok(Outcome::Interrupted);
        }
        trainer.advance().map_err(|e| with_cure(e, folder, saved))?;
        let (step, last) = (trainer.done(), trainer.done() == plan.steps);
        let due = |every: u64| last || (every > 0 && step.is_multiple_of(every));
        let looked_at = [plan.eval_every, plan.sample_every, plan.checkpoint_every].into_iter().any(due);
        let wait = if looked_at { Wait::ForAll } else { Wait::IfFarBehind };
        report(trainer, observer, wait).map_err(|e| with_cure(e, folder, saved))?;
        if due(plan.eval_every) {
            let validation = inspector.validate(&trainer.weights()?);
            let validation = validation.map_err(|e| with_cure(diverged(e, trainer), folder, saved))?;
            observer.event(&Event::Validation { step, validation })?;
        }
        if due(plan.sample_every) {
            let text = inspector.sample(&trainer.weights()?, step);
            let text = text.map_err(|e| with_cure(diverged(e, trainer), folder, saved))?;
            observer.event(&Event::Sample { step, text: &text })?;
        }
        if due(plan.checkpoint_every) {
            save(trainer, folder, corpus, inspector, observer).map_err(|e| with_cure(e, folder, saved))?;
            saved = Some(step);
        }
    }
    Ok(Outcome::Finished)
}

/// Tells the observer of the steps that are finished.
fn report(trainer: &mut Trainer, observer: &mut dyn Observer, wait: Wait) -> Result<()> {
    trainer.reports(wait)?.into_iter().try_for_each(|report| observer.event(&Event::Step(report)))
}

fn save(
    trainer: &mut Trainer,
    folder: &RunFolder,
    corpus: &Corpus,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
) -> Result<()> {
    corpus.check_unchanged()?;
    observer.event(&Event::BeforeCheckpoint)?;
    let state = trainer.state()?;
    // No loss has seen these weights yet: a finite gradient and too large a learning rate can still throw them out of range.
    for (what, values) in [("weight", &state.weights), ("first moment", &state.m), ("second moment", &state.v)] {
        if let Some(&value) = values.iter().find(|x| !x.is_finite()) {
            return Err(trainer.diverged(state.step, what, value));
        }
    }
    for weights in [Some(&state.weights), state.ema.as_ref()].into_iter().flatten() {
        inspector.predicts_numbers(weights).map_err(|e| diverged(e, trainer))?;
    }
    folder.save(trainer.config(), corpus.vocab(), &state)?;
    observer.event(&Event::Checkpoint { step: state.step })
}

/// A model in training that predicts what is not a number has diverged.
fn diverged(error: Error, trainer: &Trainer) -> Error {
    match error {
        Error::NotANumber(_) => trainer.diverged(trainer.done(), "prediction", f32::NAN),
        other => other,
    }
}

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
