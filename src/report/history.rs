//! What a run measured while it trained, as curves.

use crate::config::Measure;
use crate::error::{Error, Result};
use crate::files::metrics::Metrics;
use crate::store::RunPaths;

/// Everything that a run's metrics say over its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Step and training loss, in nats.
    pub losses: Vec<(u64, f64)>,
    /// For each of [`Measure::ALL`], step, nats per symbol of the validation text, and their standard error.
    pub validations: [Vec<(u64, f64, Option<f64>)>; Measure::ALL.len()],
    /// Step and learning rate.
    pub rates: Vec<(u64, f64)>,
    /// Step and norm of the gradient before it was clipped.
    pub norms: Vec<(u64, f64)>,
    /// Step and seconds of training when it was done, not of every step.
    pub clock: Vec<(u64, f64)>,
}

impl History {
    /// Reads a run's metrics; refuses those that hold no loss.
    pub fn read(paths: &RunPaths) -> Result<Self> {
        let mut history = History { clock: vec![(0, 0.0)], ..History::default() };
        for record in Metrics::records(&paths.metrics()) {
            let Some(step) = record["step"].as_u64() else { continue };
            let number = |field: &str| record.get(field).and_then(serde_json::Value::as_f64);
            let put = |list: &mut Vec<(u64, f64)>, field: &str| list.extend(number(field).map(|value| (step, value)));
            put(&mut history.losses, "loss");
            put(&mut history.rates, "lr");
            put(&mut history.norms, "grad_norm");
            put(&mut history.clock, "seconds");
            for measure in Measure::ALL {
                let found = number(measure.metric()).map(|nats| (step, nats, number("standard_error")));
                history.validations[measure as usize].extend(found);
            }
        }
        match history.losses.is_empty() {
            true => Err(Error::input(format!(
                "{}: holds the loss of no step; wanted a run that has trained: tempest runs lists those there are",
                paths.metrics().display()
            ))),
            false => Ok(history),
        }
    }

    /// Whether it is known how long steps took.
    pub fn has_clock(&self) -> bool {
        self.clock.len() > 1
    }

    /// Seconds of training after a step, on straight lines between those that were noted; none after the last of them.
    pub fn seconds(&self, step: u64) -> Option<f64> {
        let after = self.clock.partition_point(|&(noted, _)| noted < step);
        let (end, late) = *self.clock.get(after)?;
        let (start, early) = if after == 0 { (end, late) } else { self.clock[after - 1] };
        let share = if end > start { (step - start) as f64 / (end - start) as f64 } else { 1.0 };
        Some(early + share * (late - early))
    }
}

/// Means of so many neighbours each, at the middle of their steps: of n values n/width points, the last of what is left.
pub fn averaged(values: &[(u64, f64)], width: usize) -> Vec<(f64, f64)> {
    let mean = |part: &[(u64, f64)]| {
        let n = part.len() as f64;
        let middle = (part[0].0 as f64 + part[part.len() - 1].0 as f64) / 2.0;
        (middle, part.iter().map(|&(_, value)| value).sum::<f64>() / n)
    };
    values.chunks(width.max(1)).map(mean).collect()
}
