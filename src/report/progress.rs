//! Training as it goes, on the terminal: a bar where there is one, a line now and then where there is none.

use crate::error::Result;
use crate::train::{Event, Observer, StepReport};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows steps, loss, rate, time left, validations and samples, all on standard error.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    steps: u64,
    characters_per_step: u64,
    started: Instant,
    first_step: u64,
    /// Exponential mean of the loss: single steps jump with their noise level.
    loss: Option<f64>,
    printed: Instant,
}

/// Weight of a new step in the shown loss.
const SMOOTHING: f64 = 0.05;
/// Between lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts at `done` of `steps`.
    pub fn new(done: u64, steps: u64, characters_per_step: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = ProgressBar::new(steps).with_position(done);
        let style = ProgressStyle::with_template("{bar:32.cyan/dim} {pos}/{len}  loss {msg}  {prefix}  {eta} left");
        bar.set_style(style.expect("the template is well formed"));
        if !plain {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        let now = Instant::now();
        let printed = now.checked_sub(PLAIN_INTERVAL).unwrap_or(now);
        Progress { bar, plain, steps, characters_per_step, started: now, first_step: done, loss: None, printed }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        if self.plain {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    fn step(&mut self, s: StepReport) {
        let loss = self.loss.map_or(f64::from(s.loss), |mean| mean + SMOOTHING * (f64::from(s.loss) - mean));
        self.loss = Some(loss);
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = ((s.step - self.first_step) * self.characters_per_step) as f64 / seconds.max(1e-9);
        self.bar.set_position(s.step);
        self.bar.set_message(format!("{loss:.3}"));
        self.bar.set_prefix(format!("{} chars/s", si(rate)));
        if self.plain && (self.printed.elapsed() >= PLAIN_INTERVAL || s.step == self.steps) {
            self.printed = Instant::now();
            let left = seconds / (s.step - self.first_step) as f64 * (self.steps - s.step) as f64;
            eprintln!(
                "step {}/{}  loss {loss:.3}  {} chars/s  {} left",
                s.step,
                self.steps,
                si(rate),
                HumanDuration(Duration::from_secs_f64(left))
            );
        }
    }
}

/// Three digits and a unit: `45.1 k`.
fn si(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{:.2} M", x / 1e6),
        x if x >= 1e3 => format!("{:.1} k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

impl Observer for Progress {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        match *event {
            Event::Step(s) => self.step(s),
            Event::Validation { step, validation } => self.say(&format!(
                "step {step}: validation NELBO {:.3}{} nats/char ({:.3} bits)",
                validation.nelbo_nats,
                validation.standard_error.map_or(String::new(), |e| format!(" ± {e:.3}")),
                validation.nelbo_nats / std::f64::consts::LN_2
            )),
            Event::Sample { step, text } => {
                self.say(&format!("step {step}: a sample\n{}", indent(text)));
            }
            Event::BeforeCheckpoint => {}
            Event::Checkpoint { step } if self.plain => eprintln!("step {step}: checkpoint written"),
            Event::Checkpoint { .. } => {}
        }
        Ok(())
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  │ {line}\n")).collect()
}
