//! The bound, taken apart by how much noise there is: where a model is good and where it is not.
//!
//! Levels are drawn evenly between 0 and 1, and what a token costs at each is what an estimate of the bound is the mean of: the
//! area under the curve over levels is the bound. Of masked diffusion a level is the share of masked tokens, of a process whose
//! noise are other symbols the root of their share ([`super::noised`]), of vectors with Gaussian noise where γ lies between its ends; the
//! area is their errors' part of the bound.

use super::{Estimate, EvalConfig, LEAST_EFFECTIVE, LEAST_PASSES, Passes, StepBound, mean, noised, passes, vectors};
use crate::config::Gamma;
use crate::data::Corpus;
use crate::denoiser::Denoiser;
use crate::error::Result;
use crate::process::Kind;
use serde::Serialize;
use std::sync::Arc;

/// A bound and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByLevel {
    /// The bound; none where passes are too few.
    pub nelbo: Option<Estimate>,
    /// What a token costs at levels from 0 to 1, each the mean over as wide a range of them; ranges without a draw are left out.
    pub levels: Vec<LevelCost>,
    /// Bounds with few steps.
    pub step_bounds: Vec<StepBound>,
}

/// What a token costs about a level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LevelCost {
    /// In the middle of the range.
    pub level: f64,
    /// Windows, each as often as it was drawn there.
    pub draws: usize,
    /// Nats per token.
    #[serde(flatten)]
    pub cost: Estimate,
}

/// Evaluates the bounds of a model that has some, and so many ranges of levels.
pub fn by_level(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    ranges: usize,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<ByLevel> {
    config.validate()?;
    match denoiser.process().parts()[0] {
        Kind::Interpolating(_) => {
            let passes = config.passes.unwrap_or(LEAST_PASSES);
            let costs = noised::costs(denoiser, corpus, config, noised::Bound::Continuous, passes, progress)?;
            Ok(ByLevel {
                nelbo: Some(noised::about_a_fit(&costs)),
                levels: in_ranges(costs.iter().flatten().copied(), ranges),
                step_bounds: noised::step_bounds(denoiser, corpus, config, progress)?,
            })
        }
        Kind::Vectors(_) => {
            Gamma::check(config.schedule)?;
            let passes = config.passes.unwrap_or(LEAST_PASSES);
            let (terms, costs) = vectors::estimate(denoiser, corpus, config, passes, progress)?;
            Ok(ByLevel {
                nelbo: Some(terms.nelbo()),
                levels: in_ranges(costs.iter().flatten().copied(), ranges),
                step_bounds: vectors::step_bounds(denoiser, corpus, config, progress)?,
            })
        }
        Kind::Diffusion(_) | Kind::Autoregressive(_) => {
            let measured = passes(denoiser, corpus, config, progress)?;
            let bound = |&steps: &u32| StepBound { steps, bound: measured.step_bound(steps, config.schedule) };
            Ok(ByLevel {
                nelbo: measured.nelbo(),
                levels: measured.by_level(ranges),
                step_bounds: config.steps.iter().map(bound).collect(),
            })
        }
    }
}

impl Passes {
    /// What a token costs by the share of masked ones, in so many ranges of it.
    pub fn by_level(&self, ranges: usize) -> Vec<LevelCost> {
        let level = |k: f32| (f64::from(k) - 0.5) / self.maskable as f64;
        let drawn = self.sums.iter().flatten().filter(|sums| sums[1] > 0.0);
        in_ranges(drawn.map(|&[sum, k]| (level(k), f64::from(sum / k))), ranges)
    }
}

/// Means of levels and costs in ranges of the levels.
fn in_ranges(costs: impl Iterator<Item = (f64, f64)>, ranges: usize) -> Vec<LevelCost> {
    let mut of = vec![Vec::new(); ranges];
    for (level, cost) in costs {
        of[((level * ranges as f64) as usize).min(ranges - 1)].push(cost);
    }
    let cost = |(i, costs): (usize, Vec<f64>)| {
        let (level, draws) = ((i as f64 + 0.5) / ranges as f64, costs.len());
        let cost = mean(costs);
        let standard_error = cost.standard_error.filter(|_| draws as f64 >= LEAST_EFFECTIVE);
        LevelCost { level, draws, cost: Estimate { standard_error, ..cost } }
    };
    of.into_iter().enumerate().filter(|(_, costs)| !costs.is_empty()).map(cost).collect()
}
