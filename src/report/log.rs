//! A run's figures and texts in its folder: metrics.jsonl, TensorBoard events, samples.

use crate::config::Measure;
use crate::error::Result;
use crate::files::atomic::{self, Existing};
use crate::files::metrics::Metrics;
use crate::files::tensorboard::EventWriter;
use crate::store::RunPaths;
use crate::train::{Event, Found, Observer};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Writes everything that happens into the run's folder.
pub struct RunLog {
    metrics: Metrics,
    events: EventWriter,
    paths: RunPaths,
    clock: Clock,
    note: Option<String>,
}

/// How long a run has trained. What takes time differs from machine to machine and from day to day: it is kept out of the
/// records of what was found, which are the same in every run of one configuration.
struct Clock {
    started: Instant,
    /// What earlier processes have trained, in seconds.
    before: f64,
    /// The step and the second of the last record.
    last: (u64, f64),
    /// The last step that was made.
    step: u64,
}

impl Clock {
    fn start(step: u64, before: f64) -> Self {
        Clock { started: Instant::now(), before, last: (step, before), step }
    }

    /// The record of this moment; none where no step was made since the last.
    fn record(&mut self) -> Option<serde_json::Value> {
        let (seconds, made) = (self.before + self.started.elapsed().as_secs_f64(), self.step - self.last.0);
        let rate = made as f64 / (seconds - self.last.1).max(1e-9);
        self.last = (self.step, seconds);
        (made > 0).then(|| json!({ "step": self.step, "seconds": seconds, "steps_per_second": rate }))
    }
}

impl RunLog {
    /// Starts the files.
    pub fn create(paths: &RunPaths) -> Result<Self> {
        let (metrics, events) = (Metrics::create(paths.metrics())?, EventWriter::create(paths.folder())?);
        Ok(RunLog { metrics, events, paths: paths.clone(), clock: Clock::start(0, 0.0), note: None })
    }

    /// Goes on with the files after `step` steps: what was recorded of later steps is dropped, since those steps are made
    /// again. It may be that none is finished, and yet steps were recorded.
    pub fn resume(paths: &RunPaths, step: u64) -> Result<Self> {
        let (metrics, last) = Metrics::resume(paths.metrics(), step)?;
        let events = EventWriter::resume(paths.folder(), step)?;
        let note = (last < step).then(|| {
            format!(
                "{}: ends with step {last} and not with the checkpoint's {step}; what is missing stays missing",
                paths.metrics().display()
            )
        });
        let before = Metrics::records(&paths.metrics()).filter_map(|record| record["seconds"].as_f64()).last();
        Ok(RunLog { metrics, events, paths: paths.clone(), clock: Clock::start(step, before.unwrap_or(0.0)), note })
    }

    /// Whether a run's files hold what was found after `step` steps.
    pub fn recorded(paths: &RunPaths, found: Found, step: u64) -> bool {
        match found {
            Found::Validation => {
                Measure::ALL.iter().any(|measure| Metrics::holds(&paths.metrics(), step, measure.metric()))
            }
            Found::Sample => sample_path(paths, step).exists(),
        }
    }

    /// The loss of each step that is recorded, with its step.
    pub fn losses(&self) -> Vec<(u64, f64)> {
        Metrics::losses(&self.paths.metrics())
    }

    /// What the user should know of them.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

impl Observer for RunLog {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match *event {
            Event::Step(s) => {
                // A gradient norm that is not finite (a skipped step) is null in JSON.
                let mut line = json!({
                    "step": s.step, "loss": s.loss, "masked": s.masked, "grad_norm": s.grad_norm, "lr": s.lr,
                });
                if s.loss_scale != 1.0 {
                    line["loss_scale"] = s.loss_scale.into();
                    self.events.scalar(s.step, "train/loss_scale", s.loss_scale)?;
                }
                self.metrics.append(&line)?;
                self.clock.step = s.step;
                self.events.scalar(s.step, "train/loss", s.loss)?;
                self.events.scalar(s.step, "train/grad_norm", s.grad_norm)?;
                self.events.scalar(s.step, "train/lr", s.lr)
            }
            Event::Validation { step, validation } => {
                let mut line = json!({
                    "step": step,
                    validation.measure.metric(): validation.nats,
                    "standard_error": validation.standard_error,
                });
                if let Some(share) = validation.misread {
                    line["misread"] = share.into();
                    self.events.scalar(step, "validation/misread", share as f32)?;
                }
                self.metrics.append(&line)?;
                let tag = validation.measure.metric().replacen('_', "/", 1);
                self.events.scalar(step, &tag, validation.nats as f32)
            }
            Event::Sample { step, text } => {
                let path = sample_path(&self.paths, step);
                atomic::create_folder(&self.paths.samples())?;
                atomic::write_text(&path, "write a sample", Existing::Replace, text)?;
                self.events.text(step, "sample", &format!("```\n{text}\n```"))
            }
            Event::BeforeCheckpoint => {
                if let Some(record) = self.clock.record() {
                    self.metrics.append(&record)?;
                }
                self.metrics.sync().and_then(|()| self.events.sync())
            }
            Event::Stopping | Event::Checkpoint { .. } => Ok(()),
        }
    }

    fn has(&self, found: Found, step: u64) -> bool {
        RunLog::recorded(&self.paths, found, step)
    }
}

fn sample_path(paths: &RunPaths, step: u64) -> PathBuf {
    paths.samples().join(format!("step-{step:07}.txt"))
}
