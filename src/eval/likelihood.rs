//! The exact likelihood of a model that predicts each token from those before it.
//!
//! A model sees no further back than its window, so a long text is measured in windows that overlap: each counts the tokens
//! that the one before has not reached, and they have at least the rest of the window before them. The first counts all of its
//! own. So every token counts once, and a shorter stride buys more context by more passes.

use super::{Estimate, LEAST_EFFECTIVE};
use crate::data::Corpus;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// What a text costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Likelihood {
    /// Tokens that count, each once.
    pub tokens: u64,
    /// Windows that they were measured in.
    pub windows: usize,
    /// Most tokens that a window but the first counts.
    pub stride: u64,
    /// Negative log-likelihood of a token; its standard error is over windows.
    #[serde(flatten)]
    pub nll: Estimate,
    /// Characters of a token, where a token is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters_per_token: Option<f64>,
}

/// Windows, evenly spaced, that start at most `stride` tokens apart and cover a range of positions; `stride` may be 1 to the
/// window.
pub fn windows_of_stride(range: &Range<u64>, window: usize, stride: usize) -> Result<usize> {
    if !(1..=window).contains(&stride) {
        return Err(Error::input(format!(
            "a stride of {stride} tokens; wanted 1 to {window}, this model's window, so that every token counts"
        )));
    }
    let further = (range.end - range.start).saturating_sub(window as u64);
    Ok(usize::try_from(further.div_ceil(stride as u64)).unwrap_or(usize::MAX).saturating_add(1))
}

/// Measures a range of a corpus in so many evenly spaced windows. `progress` is told what is done of how much, in windows.
pub fn likelihood(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    range: &Range<u64>,
    windows: usize,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Likelihood> {
    let window = denoiser.config().sequence_len as u64;
    super::check_range(range, window as usize)?;
    denoiser.bind_corpus(corpus)?;
    let windows = windows.clamp(1, u32::MAX as usize);
    let mut sums = Vec::with_capacity(windows);
    while sums.len() < windows {
        progress("NLL", sums.len(), windows);
        let n = denoiser.batch().min(windows - sums.len());
        sums.extend(denoiser.likelihood(range, windows as u32, sums.len() as u32, n)?);
    }
    progress("NLL", windows, windows);
    let tokens = sums.iter().map(|&[_, counted]| f64::from(counted)).sum::<f64>();
    let gaps = (windows as u64 - 1).max(1);
    let stride = (range.end - range.start - window).div_ceil(gaps).min(window);
    let characters_per_token = corpus.characters_per_token(range.clone());
    Ok(Likelihood { tokens: tokens as u64, windows, stride, nll: ratio(&sums), characters_per_token })
}

/// Σ sums over Σ counts, and its standard error over windows, as a ratio of means has it.
fn ratio(sums: &[[f32; 2]]) -> Estimate {
    let n = sums.len() as f64;
    let total = |column: usize| sums.iter().map(|window| f64::from(window[column])).sum::<f64>();
    let (cost, counted) = (total(0), total(1));
    let nats = cost / counted;
    let square = sums.iter().map(|&[cost, counted]| (f64::from(cost) - nats * f64::from(counted)).powi(2)).sum::<f64>();
    let standard_error = (n >= LEAST_EFFECTIVE).then(|| (square * n / (n - 1.0)).sqrt() / counted);
    Estimate { nats, bits: nats / std::f64::consts::LN_2, standard_error }
}
