//! The loop around the steps: validation, samples, checkpoints, and stopping on request.

use super::{Inspector, StepReport, Trainer, Wait};
use crate::config::{Measure, TrainConfig};
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::store::RunFolder;

/// A validation result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// What of the model's likelihood it says.
    pub measure: Measure,
    /// It in nats per symbol, a character or a byte.
    pub nats: f64,
    /// Its standard error; none for a single window.
    pub standard_error: Option<f64>,
    /// Share of the symbols that are read off wrong, of a model that makes vectors of several.
    pub misread: Option<f64>,
}

/// What a run reports while it trains; `step` counts the optimizer steps that are done.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields say what they are")]
pub enum Event<'a> {
    /// An optimizer step.
    Step(StepReport),
    /// The validation split was evaluated, by one of the process's measures.
    Validation { step: u64, validation: Validation },
    /// A text was sampled.
    Sample { step: u64, text: &'a str },
    /// Somebody asked to stop: the step under way is given up, and what is done is saved.
    Stopping,
    /// A checkpoint is about to be written: what was recorded so far must be on the disk first.
    BeforeCheckpoint,
    /// A checkpoint was written.
    Checkpoint { step: u64 },
}

/// Is told what happens.
pub trait Observer {
    /// Called in order; an error ends the run.
    fn event(&mut self, event: &Event<'_>) -> Result<()>;

    /// Whether it has what was found after `step` steps, of a run that goes on; a run that was stopped meanwhile has not.
    fn has(&self, _found: Found, _step: u64) -> bool {
        true
    }
}

/// What is found by looking at a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// [`Event::Validation`].
    Validation,
    /// [`Event::Sample`].
    Sample,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// It was asked to stop, by this signal, and can go on from its checkpoint.
    Interrupted(i32),
}

/// Trains until all steps are done or somebody asks to stop: then the step under way is given up, and the steps before it
/// are saved. Stopped or not, a run finds the same in the end.
pub fn run(
    trainer: &mut Trainer,
    folder: &RunFolder,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
    stop: &Stop,
) -> Result<Outcome> {
    trainer.heed(stop);
    inspector.heed(stop);
    let mut saved = None;
    let ended = match steps(trainer, folder, inspector, observer, stop, &mut saved) {
        Err(Error::Stopped(signal)) => {
            inspector.heed(&Stop::default());
            observer.event(&Event::Stopping)?;
            let saving = report(trainer, observer, Wait::ForAll);
            saving.and_then(|()| save(trainer, folder, inspector, observer)).map(|()| Outcome::Interrupted(signal))
        }
        ended => ended.map(|()| Outcome::Finished),
    };
    ended.map_err(|e| with_cure(e, folder, saved))
}

fn steps(
    trainer: &mut Trainer,
    folder: &RunFolder,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
    stop: &Stop,
    saved: &mut Option<u64>,
) -> Result<()> {
    let plan = trainer.config().train.clone();
    let missing = due_and_missing(&plan, trainer.done(), &|found, step| observer.has(found, step));
    inspect(trainer, inspector, observer, &missing)?;
    while trainer.done() < plan.steps {
        stop.check()?;
        trainer.advance()?;
        let step = trainer.done();
        let found = due(&plan, step);
        let checkpoint = is_due(&plan, step, plan.checkpoint_every);
        report(trainer, observer, if checkpoint || !found.is_empty() { Wait::ForAll } else { Wait::IfFarBehind })?;
        inspect(trainer, inspector, observer, &found)?;
        if checkpoint {
            save(trainer, folder, inspector, observer)?;
            *saved = Some(step);
        }
    }
    Ok(())
}

fn is_due(plan: &TrainConfig, step: u64, every: u64) -> bool {
    step == plan.steps || (every > 0 && step.is_multiple_of(every))
}

/// What is looked for after so many steps.
fn due(plan: &TrainConfig, step: u64) -> Vec<Found> {
    let all = [(Found::Validation, plan.eval_every), (Found::Sample, plan.sample_every)];
    all.into_iter().filter(|&(_, every)| is_due(plan, step, every)).map(|(found, _)| found).collect()
}

/// What a run that was stopped while it looked has not found yet.
pub fn due_and_missing(plan: &TrainConfig, step: u64, has: &dyn Fn(Found, u64) -> bool) -> Vec<Found> {
    let due = if step == 0 { Vec::new() } else { due(plan, step) };
    due.into_iter().filter(|&found| !has(found, step)).collect()
}

fn inspect(
    trainer: &mut Trainer,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
    list: &[Found],
) -> Result<()> {
    let step = trainer.done();
    for found in list {
        let weights = trainer.weights()?;
        match found {
            Found::Validation => {
                // All before the first is told: one that is told was found whole.
                for validation in inspector.validate(&weights).map_err(|e| diverged(e, trainer))? {
                    observer.event(&Event::Validation { step, validation })?;
                }
            }
            Found::Sample => {
                let text = inspector.sample(&weights, step).map_err(|e| diverged(e, trainer))?;
                observer.event(&Event::Sample { step, text: &text })?;
            }
        }
    }
    Ok(())
}

/// Tells the observer of the steps that are finished.
fn report(trainer: &mut Trainer, observer: &mut dyn Observer, wait: Wait) -> Result<()> {
    trainer.reports(wait)?.into_iter().try_for_each(|report| observer.event(&Event::Step(report)))
}

fn save(
    trainer: &mut Trainer,
    folder: &RunFolder,
    inspector: &mut Inspector,
    observer: &mut dyn Observer,
) -> Result<()> {
    observer.event(&Event::BeforeCheckpoint)?;
    let state = trainer.state()?;
    // No loss has seen these weights yet: a finite gradient and too large a learning rate can still throw them out of range.
    for (what, values) in [("weight", &state.weights), ("first moment", &state.m), ("second moment", &state.v)] {
        if let Some(&value) = values.iter().find(|x| !x.is_finite()) {
            return Err(trainer.diverged(state.step, what, value));
        }
    }
    for weights in [&state.weights].into_iter().chain(&state.averages) {
        inspector.predicts_numbers(weights).map_err(|e| diverged(e, trainer))?;
    }
    folder.save(trainer.config(), inspector.vocab(), &state)?;
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
