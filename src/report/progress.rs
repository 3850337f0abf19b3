//! Training as it goes, on standard error.

use super::si;
use crate::config::{Measure, RunConfig, VocabKind};
use crate::error::Result;
use crate::terminal::{self, Activity};
use crate::train::{Event, Observer, StepReport, Validation};
use indicatif::HumanDuration;
use std::f64::consts::LN_2;
use std::time::{Duration, Instant};

/// Shows steps, loss, rate, time left, validations and samples.
pub struct Progress {
    config: RunConfig,
    /// What a symbol is.
    unit: &'static str,
    started: Instant,
    first_step: u64,
    /// Exponential mean of the loss: single steps jump with their noise level.
    loss: Option<f64>,
    /// Of what it was said what it measures.
    explained: Vec<Measure>,
}

/// Weight of a new step in the shown loss.
const SMOOTHING: f64 = 0.05;

impl Progress {
    /// Starts after `done` steps of a run over symbols of such a vocabulary.
    pub fn new(done: u64, config: &RunConfig, vocab: VocabKind) -> Self {
        terminal::show(Activity { what: "step".into(), done, of: config.train.steps, ..Activity::default() });
        let (config, unit) = (config.clone(), vocab.unit());
        Progress { config, unit, started: Instant::now(), first_step: done, loss: None, explained: Vec::new() }
    }

    fn validation(&mut self, step: u64, validation: Validation) {
        let Validation { measure, nats, standard_error } = validation;
        let (name, unit) = (measure.name(), self.unit);
        let error = standard_error.map_or(String::new(), |e| format!(" ± {e:.3}"));
        terminal::say(format!("step {step}: validation {name} {nats:.3}{error} nats/{unit} ({:.3} bits)", nats / LN_2));
        if !self.explained.contains(&measure) {
            self.explained.push(measure);
            let size = nats.exp();
            let is = match measure {
                Measure::Nelbo => "an upper bound on -log p",
                Measure::Nll => "-log p",
            };
            terminal::say(format!("  │ {is} of unseen text: a choice among {size:.1} equal {unit}s"));
        }
    }

    fn step(&mut self, s: StepReport) {
        let loss = self.loss.map_or(f64::from(s.loss), |mean| mean + SMOOTHING * (f64::from(s.loss) - mean));
        self.loss = Some(loss);
        // Of this process: what was done before it, on whatever machine, says nothing about what is left.
        let (train, seconds) = (&self.config.train, self.started.elapsed().as_secs_f64());
        let between = |from: u64, to: u64| (train.sequences(to) - train.sequences(from)) as f64;
        let (steps, made) = (train.steps, between(self.first_step, s.step));
        let left = seconds / made * between(s.step, steps);
        let rate = made * self.config.model.sequence_len as f64 / seconds.max(1e-9);
        let facts = vec![
            format!("loss {loss:.3}"),
            format!("{} left", HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))),
            format!("{} {}s/s", si(rate), self.unit),
        ];
        let first_or_last = s.step == self.first_step + 1 || s.step == steps;
        if first_or_last && !terminal::has_bar() {
            terminal::say(format!("step {}/{steps}  {}", s.step, facts.join("  ")));
        }
        terminal::show(Activity { what: "step".into(), done: s.step, of: steps, facts });
    }
}

impl Observer for Progress {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match *event {
            Event::Step(s) => self.step(s),
            Event::Validation { step, validation } => self.validation(step, validation),
            Event::Sample { step, text } => terminal::say(format!("step {step}: a sample\n{}", indent(text))),
            Event::Stopping => terminal::say("saving what is done; once more to stop at once without saving"),
            Event::BeforeCheckpoint => {}
            Event::Checkpoint { step } => {
                let tell = if terminal::has_bar() { terminal::detail } else { terminal::say };
                tell(format!("step {step}: checkpoint written"));
            }
        }
        Ok(())
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  │ {line}\n")).collect()
}
