//! What a run has come to, said at its end.

use super::sparkline::sparkline;
use crate::config::{Measure, VocabKind};
use crate::files::metrics::Metrics;
use crate::store::RunPaths;
use indicatif::HumanDuration;
use std::f64::consts::LN_2;
use std::time::Duration;

/// Columns of the loss's curve.
const CURVE: usize = 32;

/// What the metrics of a whole run say, whoever made its steps and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Training took so long, without the time between stopping and going on; none where an earlier version began the run.
    pub seconds: Option<f64>,
    /// The training loss of every step.
    pub losses: Vec<f64>,
    /// For each of [`Measure::ALL`] the step with the best validation, and what was measured, in nats per symbol.
    pub best: [Option<(u64, f64)>; Measure::ALL.len()],
}

impl Summary {
    /// What a run's metrics hold; those that cannot be read hold nothing.
    pub fn read(paths: &RunPaths) -> Self {
        let mut summary = Summary::default();
        for record in Metrics::records(&paths.metrics()) {
            let number = |field: &str| record.get(field).and_then(serde_json::Value::as_f64);
            summary.losses.extend(number("loss"));
            summary.seconds = number("seconds").or(summary.seconds);
            for measure in Measure::ALL {
                let found = record["step"].as_u64().zip(number(measure.metric()));
                let best = &mut summary.best[measure as usize];
                *best = [*best, found].into_iter().flatten().min_by(|(_, a), (_, b)| a.total_cmp(b));
            }
        }
        summary
    }

    /// A few lines for people: what it took to learn from so many symbols of such a vocabulary, how it learned, how far it came,
    /// and where everything is.
    pub fn lines(&self, paths: &RunPaths, symbols: u64, vocab: VocabKind) -> Vec<String> {
        let (unit, folder) = (vocab.unit(), paths.folder().display());
        let mut lines = Vec::new();
        if let Some(seconds) = self.seconds.filter(|&seconds| seconds > 0.0) {
            let took = HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
            lines.push(format!("time      {took}, {} {unit}s/s", super::si(symbols as f64 / seconds)));
        }
        let curve = binned(&self.losses, CURVE);
        if let [first, .., last] = curve[..] {
            lines.push(format!("loss      {first:.3} {} {last:.3}", sparkline(&curve)));
        }
        for (measure, (step, nats)) in Measure::ALL.iter().zip(self.best).filter_map(|(m, best)| Some((m, best?))) {
            let (name, bits) = (measure.name(), nats / LN_2);
            lines.push(format!("best      {name} {nats:.3} nats/{unit} ({bits:.3} bits) after step {step}"));
        }
        let samples = paths.samples();
        if samples.exists() {
            lines.push(format!("samples   {}", samples.display()));
        }
        lines.push(format!("figures   {}", paths.metrics().display()));
        lines.push(format!("curves    tensorboard --logdir {folder}"));
        lines
    }
}

/// The means of so many stretches of equal length, or of all values one by one where there are fewer.
fn binned(values: &[f64], bins: usize) -> Vec<f64> {
    let bins = bins.min(values.len());
    let edge = |bin: usize| bin * values.len() / bins;
    (0..bins)
        .map(|bin| &values[edge(bin)..edge(bin + 1)])
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_equal_and_hold_every_value_once() {
        assert_eq!(binned(&[], 4), [0.0; 0]);
        assert_eq!(binned(&[1.0, 2.0], 4), [1.0, 2.0]);
        assert_eq!(binned(&[1.0, 2.0, 3.0, 4.0, 5.0], 2), [1.5, 4.0]);
    }
}
