//! The exact likelihood of a model that predicts each token from those before it.
//!
//! A model sees no further back than its window, so a long text is measured in windows that overlap: each counts the tokens
//! that the one before has not reached, and they have at least the rest of the window before them. The first counts all of its
//! own. So every token counts once, and a shorter stride buys more context by more passes.

use super::{Estimate, LEAST_EFFECTIVE};
use crate::config::Family;
use crate::data::Corpus;
use crate::denoiser::{Denoiser, Start, cost};
use crate::error::{Error, Result};
use crate::program::SamplingParams;
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
    let mut sums = Vec::new();
    while sums.len() < windows {
        progress("NLL", sums.len(), windows);
        let n = denoiser.batch().min(windows - sums.len());
        sums.extend(denoiser.likelihood(range, windows as u32, sums.len() as u32, n)?);
    }
    progress("NLL", windows, windows);
    let sums: Vec<[f64; 2]> = sums.into_iter().map(|sums| sums.map(f64::from)).collect();
    let tokens = sums.iter().map(|&[_, counted]| counted).sum::<f64>();
    let gaps = (windows as u64 - 1).max(1);
    let stride = (range.end - range.start - window).div_ceil(gaps).min(window);
    let characters_per_token = corpus.characters_per_token(range.clone());
    Ok(Likelihood { tokens: tokens as u64, windows, stride, nll: ratio(&sums), characters_per_token })
}

/// -log p in nats of each text (all of one length, at most a window; at most a batch) behind its first `given` tokens, each token
/// given those before it.
pub fn score_from_left(denoiser: &mut Denoiser, texts: &[Vec<u32>], given: usize) -> Result<Vec<f64>> {
    let length = texts.first().map_or(0, Vec::len);
    let (symbols, mask) = (denoiser.config().vocab_size, denoiser.process().mask_id());
    let starts: Vec<Start> = texts.iter().map(|text| text.iter().map(|&id| Some(id)).collect()).collect();
    let mut canvas = denoiser.canvas(&starts, &vec![SamplingParams::MOST_PROBABLE; texts.len()])?;
    let rows = canvas.logits(Family::Autoregressive, &vec![given..length; texts.len()])?;
    let of_text = |(text, rows): (&Vec<u32>, &Vec<f32>)| {
        text[given..].iter().zip(rows.chunks_exact(symbols)).map(|(&token, logits)| cost(logits, mask, token)).sum()
    };
    Ok(texts.iter().zip(&rows).map(of_text).collect())
}

/// -log p in nats of whole texts of any lengths, each from its own beginning on. Of one that is longer than the window every token
/// beyond it has at least half a window before it. `progress` is told what is done of how much, in windows.
pub fn score_texts(
    denoiser: &mut Denoiser,
    texts: &[Vec<u32>],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<f64>> {
    let (window, batch) = (denoiser.config().sequence_len, denoiser.batch());
    let mut parts = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let mut done = 0;
        while done < text.len() {
            let first = if done == 0 { 0 } else { done - window / 2 };
            let end = text.len().min(first + window);
            parts.push((end - first, done - first, i, first));
            done = end;
        }
    }
    // Those of one length, of which as many are given, share a pass.
    parts.sort_unstable();
    let (mut sums, mut done) = (vec![0.0; texts.len()], 0);
    for alike in parts.chunk_by(|a, b| a.0 == b.0 && a.1 == b.1).flat_map(|alike| alike.chunks(batch)) {
        progress("NLL", done, parts.len());
        let (length, given, ..) = alike[0];
        let cut: Vec<Vec<u32>> = alike.iter().map(|&(.., i, first)| texts[i][first..first + length].to_vec()).collect();
        let costs = score_from_left(denoiser, &cut, given)?;
        alike.iter().zip(costs).for_each(|(&(_, _, i, _), cost)| sums[i] += cost);
        done += alike.len();
    }
    progress("NLL", done, parts.len());
    Ok(sums)
}

/// Σ sums over Σ counts, and its standard error over windows, as a ratio of means has it.
pub fn ratio(sums: &[[f64; 2]]) -> Estimate {
    let n = sums.len() as f64;
    let total = |column: usize| sums.iter().map(|window| window[column]).sum::<f64>();
    let (cost, counted) = (total(0), total(1));
    let nats = cost / counted;
    let square = sums.iter().map(|&[cost, counted]| (cost - nats * counted).powi(2)).sum::<f64>();
    let standard_error = (n >= LEAST_EFFECTIVE).then(|| (square * n / (n - 1.0)).sqrt() / counted);
    Estimate { nats, bits: nats / std::f64::consts::LN_2, standard_error }
}
