//! Whether training goes as a healthy run of its preset does, said while there is time to try something else.
//!
//! Healthy runs of each preset are shipped as curves of their training loss ([`Curves`]). At set points (after 128 steps, 256,
//! 512, … and the last) the mean loss of the later half of the steps so far is held against the highest that is healthy there;
//! where it is higher, the options that differ from the preset's are named. What validation says needs no curve: once it has
//! risen again, more steps learn the text by heart.

mod advice;
mod curves;

pub use curves::{Curve, Curves, Limit, Point, TextFacts};

use crate::config::RunConfig;
use crate::error::Result;
use crate::terminal;
use crate::train::{Event, Observer, StepReport, Validation};

/// The first step that is looked at; later ones are twice as late each time.
const FIRST_POINT: u64 = 128;

/// Share of a text's entropy above which a model knows next to nothing of how characters follow one another.
const KNOWS_NOTHING: f64 = 0.95;

/// Whether the loss of a run of so many steps is looked at after this one.
pub fn is_point(step: u64, steps: u64) -> bool {
    step >= FIRST_POINT
        && (step == steps || (step.is_multiple_of(FIRST_POINT) && (step / FIRST_POINT).is_power_of_two()))
}

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// Of the values.
    pub mean: f64,
    /// Of that mean.
    pub error: f64,
}

impl Mean {
    /// That of some values, one at least.
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Mean { mean, error: (squares / (n - 1.0).max(1.0) / n).sqrt() }
    }

    /// That of the losses from step `step/2 + 1` to `step`, of records with their steps; none where any is missing.
    pub fn of_losses(losses: &[(u64, f64)], step: u64) -> Option<Self> {
        let late = losses.iter().filter(|(at, _)| (step / 2 + 1..=step).contains(at));
        let late: Vec<f64> = late.map(|(_, loss)| *loss).collect();
        (late.len() as u64 == step - step / 2).then(|| Mean::of(&late))
    }
}

/// Watches a run.
pub struct Health {
    config: RunConfig,
    curves: Curves,
    text: TextFacts,
    losses: Vec<(u64, f64)>,
    /// Steps among these that a too high loss scale has cost.
    skipped: u64,
    /// Of what the process is validated by first, the best and the step that had it.
    best: Option<(u64, f64)>,
    /// Whether it was said that validation rises.
    rising: bool,
}

impl Health {
    /// Watches a run that has had these losses, each with its step.
    pub fn new(config: &RunConfig, curves: Curves, text: TextFacts, losses: Vec<(u64, f64)>) -> Self {
        Health { config: config.clone(), curves, text, losses, skipped: 0, best: None, rising: false }
    }

    /// What is to be said after a step.
    pub fn step(&mut self, report: &StepReport) -> Option<String> {
        let step = report.step;
        self.losses.push((step, f64::from(report.loss)));
        self.skipped += u64::from(!report.grad_norm.is_finite());
        if !is_point(step, self.config.train.steps) {
            return None;
        }
        let loss = Mean::of_losses(&self.losses, step)?.mean;
        let Limit { highest, name } = self.curves.limit(&self.config, &self.text, step)?;
        if loss <= highest {
            return Some(format!(
                "step {step}: loss {loss:.3} is healthy (at most {highest:.3} here, as of {name} runs)"
            ));
        }
        let mut said =
            format!("step {step}: loss {loss:.3} is behind a healthy {name} run's, at most {highest:.3} here");
        if loss > KNOWS_NOTHING * self.text.entropy {
            said += &format!(
                "\n  │ it knows little more than how often each {} occurs, which alone gives {:.3}",
                self.config.data.vocab.unit(),
                self.text.entropy
            );
        }
        Some(said + &format!("\n  │ {}", advice::advice(&self.config, name, self.skipped, step)))
    }

    /// What is to be said after a validation: once, when it has risen by more than its error from where it was best.
    pub fn validation(&mut self, step: u64, validation: &Validation) -> Option<String> {
        if validation.measure != self.config.process.family().measures()[0] {
            return None;
        }
        let nats = validation.nats;
        let Some((best_step, best)) = self.best.filter(|(_, best)| nats >= *best) else {
            self.best = Some((step, nats));
            return None;
        };
        if self.rising || nats <= best + validation.standard_error? {
            return None;
        }
        self.rising = true;
        Some(format!(
            "step {step}: validation has risen since step {best_step}: from there on the text is learned by heart\n  │ try fewer \
             --steps, more text, a higher --dropout or --weight-decay, or a smaller model"
        ))
    }
}

impl Observer for Health {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        let said = match event {
            Event::Step(report) => self.step(report),
            Event::Validation { step, validation } => self.validation(*step, validation),
            _ => None,
        };
        said.iter().for_each(terminal::say);
        Ok(())
    }
}
