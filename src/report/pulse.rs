//! How a run goes at the moment: its loss, how fast it is, how long it still takes.

use crate::config::RunConfig;
use crate::train::StepReport;
use std::time::{Duration, Instant};

/// Weight of a new step in the shown loss.
const SMOOTHING: f64 = 0.05;

/// What the steps of this process say: what was done before it, on whatever machine, says nothing about what is left.
#[derive(Clone, Debug)]
pub struct Pulse {
    config: RunConfig,
    started: Instant,
    /// Steps that were done before.
    first: u64,
    /// Steps that are done.
    pub step: u64,
    /// Exponential mean of the loss: single steps jump with their noise level.
    pub loss: Option<f64>,
}

impl Pulse {
    /// Of a run that has done so many steps.
    pub fn new(config: &RunConfig, done: u64) -> Self {
        Pulse { config: config.clone(), started: Instant::now(), first: done, step: done, loss: None }
    }

    /// A step was made.
    pub fn beat(&mut self, report: &StepReport) {
        let loss = f64::from(report.loss);
        self.loss = Some(self.loss.map_or(loss, |mean| mean + SMOOTHING * (loss - mean)));
        self.step = report.step;
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.config.train.steps
    }

    /// Whether no step but one was made.
    pub fn is_first(&self) -> bool {
        self.step == self.first + 1
    }

    /// Steps a second, and symbols; none before the first step.
    pub fn rates(&self) -> Option<[f64; 2]> {
        let seconds = self.seconds();
        let symbols = self.learned(self.first, self.step) * self.config.model.sequence_len as f64;
        (self.step > self.first).then(|| [(self.step - self.first) as f64 / seconds, symbols / seconds])
    }

    /// The time that is left, by what it learns from: a batch may grow.
    pub fn left(&self) -> Option<Duration> {
        let left = self.seconds() / self.learned(self.first, self.step) * self.learned(self.step, self.steps());
        (self.step > self.first).then(|| Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }

    fn learned(&self, from: u64, to: u64) -> f64 {
        (self.config.train.sequences(to) - self.config.train.sequences(from)) as f64
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64().max(1e-9)
    }
}
