//! How the loss of healthy runs went.

use super::Mean;
use crate::config::{Objective, RunConfig};
use crate::data::Corpus;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Positions of a text that are looked at to tell its entropy: enough for three digits of it.
const LOOKED_AT: u64 = 1 << 20;

/// What the height of a loss depends on, of the text that is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFacts {
    /// SHA-256 of the text.
    pub sha256: String,
    /// Symbols to train on.
    pub symbols: u64,
    /// Nats that a symbol costs by how often each occurs: what there is to know of a text without reading it.
    pub entropy: f64,
}

impl TextFacts {
    /// Those of a text.
    pub fn of(corpus: &Corpus) -> Self {
        let (tokens, train) = (corpus.tokens(), corpus.train());
        let mut counts = vec![0u64; corpus.vocab().size()];
        let stride = train.end.div_ceil(LOOKED_AT).max(1);
        train.clone().step_by(stride as usize).for_each(|at| counts[tokens.get(at as usize) as usize] += 1);
        let all = counts.iter().sum::<u64>() as f64;
        let shares = counts.iter().filter(|&&count| count > 0).map(|&count| count as f64 / all);
        let entropy = -shares.map(|share| share * share.ln()).sum::<f64>();
        TextFacts { sha256: corpus.sha256().into(), symbols: train.end, entropy }
    }

    /// Whether it is the same text in as many symbols.
    fn is(&self, other: &TextFacts) -> bool {
        (&self.sha256, self.symbols) == (&other.sha256, other.symbols)
    }
}

/// The mean training loss of some runs at one point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Steps that were made.
    pub step: u64,
    /// Mean over runs of the mean loss of the later half of these steps.
    pub loss: f64,
    /// Standard deviation of a run's: over the runs, and at least what its noise from step to step makes of it, which is all
    /// that is known of a single run.
    pub spread: f64,
}

/// How the loss of healthy runs went, of one configuration on one text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// The preset.
    pub name: String,
    /// Layers, heads, width and positions.
    pub shape: [usize; 4],
    /// Positions that are never masked.
    pub context: usize,
    /// Sequences of a step.
    pub sequences: usize,
    /// What was minimised.
    pub objective: Objective,
    /// Steps of a run.
    pub steps: u64,
    /// Runs, which differ in their seeds.
    pub runs: usize,
    /// Their text.
    pub text: TextFacts,
    /// In the order of their steps.
    pub points: Vec<Point>,
}

/// The highest healthy loss at one point of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<'a> {
    /// In nats per symbol.
    pub highest: f64,
    /// The preset whose runs say so.
    pub name: &'a str,
}

/// All curves that are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Curves(pub Vec<Curve>);

/// Standard deviations over runs that a healthy run of the same text may be above their mean: one of 30,000 is above that by
/// chance, were they normal.
const SPREADS: f64 = 4.0;

/// And that share of the entropy, for what a few runs do not tell of all.
const ROUNDING: f64 = 0.01;

/// Of what the curve's runs have learned below the entropy of their text, the share that a healthy run of another text has.
/// Texts are that different: prose, code and tables in one language, or the same prose in two.
const LEARNED_ELSEWHERE: f64 = 0.5;

impl Curve {
    /// The curve of some finished runs of one configuration, each with its losses and their steps.
    pub fn of_runs(name: &str, config: &RunConfig, text: TextFacts, runs: &[Vec<(u64, f64)>]) -> Result<Self> {
        let steps = config.train.steps;
        let mut points = Vec::new();
        for step in (1..=steps).filter(|&step| super::is_point(step, steps)) {
            let means: Option<Vec<Mean>> = runs.iter().map(|losses| Mean::of_losses(losses, step)).collect();
            let Some(means) = means else {
                let wanted = "the loss of every step of every run is wanted";
                return Err(Error::input(format!("{name}: losses before step {step} are missing; {wanted}")));
            };
            let over_runs = Mean::of(&means.iter().map(|run| run.mean).collect::<Vec<_>>());
            let noise = means.iter().map(|run| run.error).fold(0.0, f64::max);
            let spread = noise.max(over_runs.error * (means.len() as f64).sqrt());
            points.push(Point { step, loss: over_runs.mean, spread });
        }
        Ok(Curve {
            name: name.into(),
            shape: shape(config),
            context: config.process.context_len(),
            sequences: sequences(config),
            objective: config.objective,
            steps,
            runs: runs.len(),
            text,
            points,
        })
    }

    /// Whether a run's loss means the same and should go the same way: what is trained is as here, whatever it learns from
    /// and however it is updated.
    fn is_of(&self, config: &RunConfig) -> bool {
        let here = (self.shape, self.context, self.sequences, self.objective);
        config.process.learned().len() == 1
            && here == (shape(config), config.process.context_len(), sequences(config), config.objective)
    }

    /// The loss and its spread after a step, on straight lines over the logarithm of the step; those of the nearest point
    /// before the first and after the last.
    fn at(&self, step: f64) -> Option<(f64, f64)> {
        let after = self.points.iter().position(|point| point.step as f64 >= step).unwrap_or(self.points.len());
        let (left, right) = (self.points.get(after.saturating_sub(1))?, self.points.get(after).or(self.points.last())?);
        let (from, to) = ((left.step as f64).ln(), (right.step as f64).ln());
        let share = if to > from { ((step.ln() - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 };
        Some((left.loss + share * (right.loss - left.loss), left.spread.max(right.spread)))
    }

    /// The highest healthy loss of a text after a step of so many. A schedule of other length is elsewhere in its decay: the
    /// loss may be what it was here after as many steps, or after the same share of them.
    fn highest(&self, text: &TextFacts, step: u64, steps: u64) -> Option<f64> {
        let same_share = step as f64 * self.steps as f64 / steps as f64;
        let (loss, spread) =
            [step as f64, same_share].iter().filter_map(|&at| self.at(at)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        if text.is(&self.text) {
            return Some(loss + SPREADS * spread + ROUNDING * text.entropy);
        }
        let learned = 1.0 - loss / self.text.entropy;
        // Where the curve itself has learned next to nothing there is nothing to say of others.
        (learned > 1.0 - super::KNOWS_NOTHING).then_some(text.entropy * (1.0 - LEARNED_ELSEWHERE * learned))
    }
}

fn shape(config: &RunConfig) -> [usize; 4] {
    let model = &config.model;
    [model.n_layer, model.n_head, model.n_embd, model.sequence_len]
}

fn sequences(config: &RunConfig) -> usize {
    config.train.batch * config.train.accumulate
}

impl Curves {
    /// Those that the program carries.
    pub fn shipped() -> Self {
        Self::parse(include_str!("../../../data/healthy.json")).expect("tested to be well formed")
    }

    /// Those that a file of JSON holds.
    pub fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| Error::input(format!("no curves of healthy runs: {e}")))
    }

    /// As a file holds them.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("curves are plain data") + "\n"
    }

    /// Puts a curve in, in place of one of the same preset and text.
    pub fn put(&mut self, curve: Curve) {
        self.0.retain(|old| (&old.name, &old.text.sha256) != (&curve.name, &curve.text.sha256));
        self.0.push(curve);
        self.0.sort_by(|a, b| (&a.name, a.text.symbols).cmp(&(&b.name, b.text.symbols)));
    }

    /// The highest healthy loss of a run on a text after a step: of the curve on the same text, else of those on texts next in
    /// size, above and below, the higher one. None where no curve is of such a run.
    pub fn limit(&self, config: &RunConfig, text: &TextFacts, step: u64) -> Option<Limit<'_>> {
        let fitting = || self.0.iter().filter(|curve| curve.is_of(config));
        let same = fitting().find(|curve| text.is(&curve.text));
        let next = || {
            let smaller = fitting().filter(|curve| curve.text.symbols <= text.symbols).max_by_key(|c| c.text.symbols);
            let larger = fitting().filter(|curve| curve.text.symbols > text.symbols).min_by_key(|c| c.text.symbols);
            [smaller, larger].into_iter().flatten().collect::<Vec<_>>()
        };
        let curves = same.map_or_else(next, |curve| vec![curve]);
        let limits = curves.into_iter().filter_map(|curve| {
            Some(Limit { highest: curve.highest(text, step, config.train.steps)?, name: &curve.name })
        });
        limits.max_by(|a, b| a.highest.total_cmp(&b.highest))
    }
}
