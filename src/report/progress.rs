//! Training as it goes, on standard error.

use super::{Pulse, si};
use crate::config::{Measure, RunConfig, VocabKind};
use crate::error::Result;
use crate::terminal::{self, Activity};
use crate::train::{Event, Observer, StepReport, Validation};
use indicatif::HumanDuration;
use std::f64::consts::LN_2;

/// Shows steps, loss, rate, time left, validations and samples.
pub struct Progress {
    pulse: Pulse,
    /// What a symbol is.
    unit: &'static str,
    /// Of what it was said what it measures.
    explained: Vec<Measure>,
}

impl Progress {
    /// Starts after `done` steps of a run over symbols of such a vocabulary.
    pub fn new(done: u64, config: &RunConfig, vocab: VocabKind) -> Self {
        terminal::show(Activity { what: "step".into(), done, of: config.train.steps, ..Activity::default() });
        Progress { pulse: Pulse::new(config, done), unit: vocab.unit(), explained: Vec::new() }
    }

    fn validation(&mut self, step: u64, validation: Validation) {
        let Validation { measure, nats, standard_error, misread } = validation;
        let (name, unit) = (measure.name(), self.unit);
        if let Some(share) = misread {
            terminal::say(format!("step {step}: {:.2} % of {unit}s are read off wrong, of unseen text", 100.0 * share));
        }
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

    fn step(&mut self, report: &StepReport) {
        self.pulse.beat(report);
        let (step, steps) = (self.pulse.step, self.pulse.steps());
        let mut facts = vec![format!("loss {:.3}", self.pulse.loss.unwrap_or_default())];
        facts.extend(self.pulse.left().map(|left| format!("{} left", HumanDuration(left))));
        facts.extend(self.pulse.rates().map(|[_, symbols]| format!("{} {}s/s", si(symbols), self.unit)));
        if (self.pulse.is_first() || step == steps) && !terminal::has_bar() {
            terminal::say(format!("step {step}/{steps}  {}", facts.join("  ")));
        }
        terminal::show(Activity { what: "step".into(), done: step, of: steps, facts });
    }
}

impl Observer for Progress {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match *event {
            Event::Step(ref report) => self.step(report),
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
