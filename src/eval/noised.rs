//! Bounds of a process whose noise turns tokens into others.
//!
//! A window's cost is a density over noise rates μ; its integral from 0 to 1 is the bound, and no end of it is left out: rates are
//! `μ = u²` of evenly spaced u, which leaves nothing of how the density grows towards 0, and the cost is finite at 1. The bound of
//! T steps is T times the cost of a step that is drawn evenly.
//!
//! The cost is smooth in u and a fit through it has a known mean, so that only the distance from the fit has to be estimated.

use super::regression::Cubic;
use super::{Estimate, EvalConfig, StepBound, check_range, mean, windows_in};
use crate::config::Schedule;
use crate::data::Corpus;
use crate::denoiser::{Denoiser, EvalPass};
use crate::error::Result;
use crate::process::Interpolating;
use crate::program::NoisedCost;
use crate::rng::{Stream, UNIFORM_STEPS, philox, threshold, uniform};
use std::sync::Arc;

/// Cells of u that the fit is a function of.
const CELLS: usize = 1 << 10;

/// What is estimated.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// The bound in continuous time.
    Continuous,
    /// That of so many steps of a schedule's grid.
    Steps(u32, Schedule),
}

impl Bound {
    fn cost(self) -> NoisedCost {
        match self {
            Bound::Continuous => NoisedCost::Bound,
            Bound::Steps(..) => NoisedCost::Step,
        }
    }

    /// The noise rates of a window with level u in [0, 1), and how much its cost counts.
    fn at(self, u: f64) -> ([u32; 2], f64) {
        match self {
            Bound::Continuous => {
                // The rate is what is drawn, a whole number of steps; its weight is that of its own u.
                let rate = threshold(Interpolating::EVALUATED.mask_rate(u)).max(1);
                ([rate, 0], 2.0 * (f64::from(rate) / f64::from(UNIFORM_STEPS)).sqrt())
            }
            Bound::Steps(steps, schedule) => {
                let step = (u * f64::from(steps)) as u32;
                ([step + 1, step].map(|i| threshold(schedule.rate_at(i, steps))), f64::from(steps))
            }
        }
    }

    fn name(self) -> String {
        match self {
            Bound::Continuous => "NELBO".into(),
            Bound::Steps(steps, _) => format!("NELBO of {steps} steps"),
        }
    }
}

/// The bound, nats per token, from so many passes over a configuration's windows.
pub(super) fn estimate(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    bound: Bound,
    passes: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Estimate> {
    costs(denoiser, corpus, config, bound, passes, progress).map(|costs| about_a_fit(&costs))
}

/// Of each window, of each pass: u and the weighted cost of a token.
pub(super) fn costs(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    bound: Bound,
    passes: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Costs> {
    let window = denoiser.config().sequence_len as f64;
    over_levels(denoiser, corpus, config, (&bound.name(), passes), progress, &mut |denoiser, at, levels| {
        let rates: Vec<[u32; 2]> = levels.iter().map(|&u| bound.at(u).0).collect();
        let sums = denoiser.noised(config.seed, at.eval, bound.cost(), at.pass, at.first, &rates)?;
        let costs = sums.into_iter().zip(levels).map(|(sum, &u)| bound.at(u).1 * f64::from(sum) / window);
        Ok(costs.collect())
    })
}

/// Of each window, of each pass: its level and what a token costs there.
pub(super) type Costs = Vec<Vec<(f64, f64)>>;

/// Some windows of a pass.
pub(super) struct Place<'a> {
    pub(super) eval: &'a EvalPass,
    pub(super) pass: u32,
    /// The first of them.
    pub(super) first: u32,
}

/// What windows cost at some levels in [0, 1), nats per token.
pub(super) type CostsAt<'a> = &'a mut dyn FnMut(&mut Denoiser, Place<'_>, &[f64]) -> Result<Vec<f64>>;

/// What windows cost in passes whose levels are evenly spaced, all of them together.
pub(super) fn over_levels(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    (name, passes): (&str, u32),
    progress: &mut dyn FnMut(&str, usize, usize),
    costs_at: CostsAt<'_>,
) -> Result<Costs> {
    let window = denoiser.config().sequence_len;
    check_range(&config.range, window)?;
    denoiser.bind_corpus(corpus)?;
    let windows = config.windows.min(windows_in(&config.range, window)).min(u32::MAX as usize);
    let eval = EvalPass { range: config.range.clone(), windows: windows as u32, passes };
    let all = windows.saturating_mul(passes as usize);
    let offset = f64::from(uniform(philox(config.seed, Stream::EvalLevel, 0, 0)[0]));
    let level = |pass: u32, window: usize| (offset + (pass as usize * windows + window) as f64 / all as f64).fract();
    let mut costs = vec![Vec::new(); windows];
    for pass in 0..passes {
        for (i, batch) in costs.chunks_mut(denoiser.batch()).enumerate() {
            let first = i * denoiser.batch();
            progress(name, pass as usize * windows + first, all);
            let levels: Vec<f64> = (first..first + batch.len()).map(|window| level(pass, window)).collect();
            let found = costs_at(denoiser, Place { eval: &eval, pass, first: first as u32 }, &levels)?;
            for ((costs, u), cost) in batch.iter_mut().zip(levels).zip(found) {
                costs.push((u, cost));
            }
        }
    }
    progress(name, all, all);
    Ok(costs)
}

/// The mean over u of what stands at some, with a standard error over windows.
pub(super) fn about_a_fit(costs: &[Vec<(f64, f64)>]) -> Estimate {
    let cell = |u: f64| 0.5 + u * CELLS as f64;
    let fit = Cubic::fit(costs.iter().flatten().map(|&(u, cost)| (cell(u), cost)), CELLS);
    let known = (1..=CELLS).map(|k| fit.at(k as f64)).sum::<f64>() / CELLS as f64;
    let distance = |window: &Vec<(f64, f64)>| {
        known + window.iter().map(|&(u, cost)| cost - fit.at(cell(u))).sum::<f64>() / window.len() as f64
    };
    mean(costs.iter().map(distance).collect())
}

/// The bounds of so many steps each, by one pass for each.
pub(super) fn step_bounds(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<StepBound>> {
    let mut of = |steps: u32| {
        let bound = Bound::Steps(steps, config.schedule);
        let found = estimate(denoiser, corpus, config, bound, 1, progress)?;
        Ok(StepBound { steps, bound: Some(found) })
    };
    config.steps.iter().map(|&steps| of(steps)).collect()
}
