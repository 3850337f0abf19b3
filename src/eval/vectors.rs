//! The bound of a process whose noise is added to vectors: what the most noise leaves, errors, and reading tokens off.
//!
//! Errors are an integral over γ, or a sum over steps: `½·(e^-γ(s) - e^-γ(t))·|x̂ - x|²` of one from t to s (VDM, Kingma et al. 2021,
//! eq. 13 and 17). γ is evenly spaced, over which the integrand is smooth.

use super::noised::{Costs, about_a_fit, over_levels};
use super::{Estimate, EvalConfig, Share, StepBound, VectorTerms, mean};
use crate::config::{Gamma, Schedule};
use crate::data::Corpus;
use crate::denoiser::Denoiser;
use crate::error::Result;
use crate::program::VectorStep;
use std::sync::Arc;

/// How errors count.
#[derive(Clone, Copy)]
enum Errors {
    Continuous,
    Steps(u32, Schedule),
}

impl Errors {
    fn at(self, gamma: Gamma, u: f64) -> VectorStep {
        match self {
            Errors::Continuous => {
                let at = gamma.at(Schedule::Linear, u);
                VectorStep::level(gamma, at, 0.5 * f64::from(gamma.most - gamma.least) * (-at).exp())
            }
            Errors::Steps(steps, schedule) => {
                let step = (u * f64::from(steps)) as u32;
                let at = |i: u32| gamma.at(schedule, f64::from(i) / f64::from(steps));
                let [to, from] = [step, step + 1].map(at);
                VectorStep::level(gamma, from, f64::from(steps) * 0.5 * ((-to).exp() - (-from).exp()))
            }
        }
    }
}

/// The terms of the bound, nats per token, from so many passes over a configuration's windows; and of each window, of each pass,
/// where its γ lies and what errors cost there.
pub(super) fn estimate(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    passes: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<(VectorTerms, Costs)> {
    terms(denoiser, corpus, config, (Errors::Continuous, "NELBO"), passes, progress)
}

fn terms(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    (counted, name): (Errors, &str),
    passes: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<(VectorTerms, Costs)> {
    let process = denoiser.process().vectors();
    let (gamma, prior, misreads) = (process.gamma(), process.prior_nats(), process.misreads());
    let (window, batch) = (denoiser.config().sequence_len as f64, denoiser.batch());
    let mut readings: Vec<Vec<[f64; 2]>> = Vec::new();
    let errors = over_levels(denoiser, corpus, config, (name, passes), progress, &mut |denoiser, at, levels| {
        let steps: Vec<VectorStep> = levels.iter().map(|&u| counted.at(gamma, u)).collect();
        let found = denoiser.errors(config.seed, at.eval, at.pass, at.first, &steps)?;
        readings.resize_with(readings.len().max(at.first as usize + batch.min(found.len())), Vec::new);
        for (window_of, [_, of_window @ ..]) in readings[at.first as usize..].iter_mut().zip(&found) {
            window_of.push(of_window.map(|sum| f64::from(sum) / window));
        }
        Ok(found.iter().map(|[error, ..]| f64::from(*error) / window).collect())
    })?;
    let diffusion = about_a_fit(&errors);
    let of_windows = |part: usize| {
        let of_window = |of: &Vec<[f64; 2]>| of.iter().map(|sums| sums[part]).sum::<f64>() / of.len() as f64;
        mean(readings.iter().map(of_window).collect())
    };
    let reconstruction = of_windows(0);
    let misread = misreads.then(|| {
        let Estimate { nats: share, standard_error, .. } = of_windows(1);
        Share { share, standard_error }
    });
    Ok((VectorTerms { misread, prior, diffusion, reconstruction }, errors))
}

/// The bounds of so many steps each, by one pass for each.
pub(super) fn step_bounds(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<StepBound>> {
    let mut of = |steps: u32| {
        let (errors, name) = (Errors::Steps(steps, config.schedule), format!("NELBO of {steps} steps"));
        let (found, _) = terms(denoiser, corpus, config, (errors, &name), 1, progress)?;
        Ok(StepBound { steps, bound: Some(found.nelbo()) })
    };
    config.steps.iter().map(|&steps| of(steps)).collect()
}

impl VectorTerms {
    /// Their sum. Noise of the two that are estimated is drawn apart.
    pub fn nelbo(&self) -> Estimate {
        let VectorTerms { prior, diffusion, reconstruction, .. } = *self;
        let nats = prior + diffusion.nats + reconstruction.nats;
        let both = diffusion.standard_error.zip(reconstruction.standard_error);
        let standard_error = both.map(|(a, b)| a.hypot(b));
        Estimate { nats, bits: nats / std::f64::consts::LN_2, standard_error }
    }
}
