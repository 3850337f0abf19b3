//! How likely tokens are, given others of their text.

use crate::config::Policy;
use crate::denoiser::{Canvas, Denoiser, Start};
use crate::error::Result;
use crate::process::{Interpolating, ReverseStep};
use crate::program::{Mixing, SamplingParams, StepArgs};
use crate::rng::{Stream, UNIFORM_STEPS, philox, threshold, uniform24};
use std::ops::Range;

/// ln p in nats of what is open in each start, as the truth has it, given the rest: exactly the law by which a policy writes it at
/// temperature 1 (DUEL). Masks among the given tokens stay masks. Starts of one length that stand beside each other share batches.
pub(super) fn revealed(
    denoiser: &mut Denoiser,
    starts: &[Start],
    truth: &[Vec<u32>],
    policy: Policy,
) -> Result<Vec<f64>> {
    let mut found = Vec::with_capacity(starts.len());
    let most = denoiser.batch();
    for starts in starts.chunk_by(|one, next| one.len() == next.len()).flat_map(|alike| alike.chunks(most)) {
        let truth = &truth[found.len()..found.len() + starts.len()];
        let process = denoiser.process();
        let order = process.diffusion().time_order(starts[0].len());
        let step = ReverseStep { order, drop: Some(process.mask_id()) };
        let open = |start: &Start| start.iter().filter(|token| token.is_none()).count();
        let params =
            |start: &Start| SamplingParams { temperature: 1.0, ..SamplingParams::greedy(policy, open(start).max(1)) };
        let mut canvas = denoiser.canvas(starts, &starts.iter().map(params).collect::<Vec<_>>())?;
        canvas.set_truth(&truth.concat())?;
        reveal(&mut canvas, step, starts.iter().map(open).max().unwrap_or(0))?;
        found.extend(canvas.nll()?.into_iter().map(|nll| -f64::from(nll)));
    }
    Ok(found)
}

/// ln p in nats of all tokens of each text from its `given`-th on, given those before, of a model that writes block by block. What is
/// behind a text in its last block stays masked.
pub(super) fn behind(denoiser: &mut Denoiser, texts: &[Vec<u32>], given: &[usize], policy: Policy) -> Result<Vec<f64>> {
    let (mask, most) = (denoiser.process().mask_id(), denoiser.batch());
    let mut found = Vec::with_capacity(texts.len());
    for (texts, given) in texts.chunks(most).zip(given.chunks(most)) {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let stretch = denoiser.stretch(longest);
        let order = denoiser.process().diffusion().time_order(stretch);
        let step = ReverseStep { order, drop: Some(mask) };
        let mut sums = vec![0.0; texts.len()];
        for first in (0..longest).step_by(stretch) {
            let places = first..first + stretch;
            let token = |text: &Vec<u32>, p: usize| text.get(p).copied().unwrap_or(mask);
            let is_open = |text: usize, p: usize| p >= given[text] && p < texts[text].len();
            let start = |text: usize| -> Start {
                places.clone().map(|p| (!is_open(text, p)).then(|| token(&texts[text], p))).collect()
            };
            let params = |text: usize| {
                let open = places.clone().filter(|&p| is_open(text, p)).count();
                SamplingParams { temperature: 1.0, ..SamplingParams::greedy(policy, open.max(1)) }
            };
            let starts: Vec<Start> = (0..texts.len()).map(start).collect();
            let mut canvas = denoiser.canvas(&starts, &(0..texts.len()).map(params).collect::<Vec<_>>())?;
            canvas.stand_at(first)?;
            let truth = texts.iter().flat_map(|text| places.clone().map(|p| token(text, p)));
            canvas.set_truth(&truth.collect::<Vec<_>>())?;
            reveal(&mut canvas, step, stretch)?;
            sums.iter_mut().zip(canvas.nll()?).for_each(|(sum, nll)| *sum -= f64::from(nll));
            if places.end < longest {
                canvas.keep(step)?;
            }
        }
        found.extend(sums);
    }
    Ok(found)
}

/// Takes steps until nothing is open, at most so many.
fn reveal(canvas: &mut Canvas<'_>, step: ReverseStep, most: usize) -> Result<()> {
    for number in 0..most as u64 {
        if canvas.remaining()?.iter().all(|&left| left == 0) {
            break;
        }
        canvas.score_step(step, &StepArgs { step: number, ..StepArgs::default() })?;
    }
    Ok(())
}

/// Noise levels of a [`bound`].
const LEVELS: u32 = 16;

/// The share of some tokens of each text in a bound on its ln p, in nats, of a process whose noise are other symbols: a mean over noise
/// levels, with the same noise in every text, so that texts that differ in few tokens are compared by these. All of one length.
pub(super) fn bound(
    denoiser: &mut Denoiser,
    texts: &[Vec<u32>],
    counted: &[Range<usize>],
    seed: u64,
) -> Result<Vec<f64>> {
    let (mixing, part) = (denoiser.process().interpolating().mixing, denoiser.process_config().family());
    let symbols = denoiser.config().vocab_size;
    let mut found = vec![0.0; texts.len()];
    let most = denoiser.batch();
    for level in 0..LEVELS {
        // As evaluation takes it: rates are squares of what is evenly spaced.
        let u = (f64::from(level) + 0.5) / f64::from(LEVELS);
        let rate = threshold(Interpolating::EVALUATED.mask_rate(u)).max(1);
        let weight = 2.0 * (f64::from(rate) / f64::from(UNIFORM_STEPS)).sqrt() / f64::from(LEVELS);
        let noise = |p: usize, token: u32| {
            let [hit, symbol, mask, _] = philox(seed, Stream::EvalMask, u64::from(level), p as u32);
            if uniform24(hit) < rate { mixing.draw(symbol, mask) } else { token }
        };
        for (i, texts) in texts.chunks(most).enumerate() {
            let first = i * most;
            let noised: Vec<Vec<u32>> =
                texts.iter().map(|text| text.iter().enumerate().map(|(p, &token)| noise(p, token)).collect()).collect();
            let starts: Vec<Start> = noised.iter().map(|text| text.iter().copied().map(Some).collect()).collect();
            let mut canvas = denoiser.canvas(&starts, &vec![SamplingParams::MOST_PROBABLE; texts.len()])?;
            canvas.set_lots(&[rate, 0].repeat(texts.len() * texts[0].len()))?;
            let rows = canvas.logits(part, &counted[first..first + texts.len()])?;
            for (t, rows) in rows.iter().enumerate() {
                for (p, logits) in counted[first + t].clone().zip(rows.chunks_exact(symbols)) {
                    found[first + t] -= weight * cost(logits, texts[t][p], noised[t][p], rate, mixing);
                }
            }
        }
    }
    Ok(found)
}

/// What a token with noise costs in the bound, as [`NoisedCost::Bound`](crate::program::NoisedCost) has it.
fn cost(logits: &[f32], x: u32, z: u32, rate: u32, mixing: Mixing) -> f64 {
    let law = Law::of(logits, mixing.mask);
    let mu = f64::from(rate) / f64::from(UNIFORM_STEPS);
    let [mask, other] = mixing.probabilities().map(f64::from);
    let pi = |j: u32| if j == mixing.mask { mask } else { other };
    let q = |j: u32| (1.0 - mu) * f64::from(u8::from(j == x)) + mu * pi(j);
    let predicted = |j: u32| (1.0 - mu) * law.of_symbol(j) + mu * pi(j);
    let phi = |r: f64| r - 1.0 - r.ln();
    let sum: f64 = (0..logits.len() as u32).filter(|&j| q(j) > 0.0).map(|j| q(j) * phi(predicted(j) / q(j))).sum();
    pi(z) / ((1.0 - mu).max(f64::EPSILON) * q(z)) * (sum + phi(q(z) / predicted(z)))
}

/// A distribution of one token, the mask never being one.
#[derive(Clone)]
pub(super) struct Law(Vec<f64>);

impl Law {
    pub(super) fn of(logits: &[f32], mask: u32) -> Self {
        let logit = |j: usize| if j == mask as usize { f64::NEG_INFINITY } else { f64::from(logits[j]) };
        let most = (0..logits.len()).map(logit).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = (0..logits.len()).map(|j| (logit(j) - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|weight| weight / sum).collect())
    }

    /// The probability of a symbol.
    pub(super) fn of_symbol(&self, symbol: u32) -> f64 {
        self.0[symbol as usize]
    }
    /// The most probable symbol among some, the lowest of equals, and its probability.
    pub(super) fn best(&self, among: &[bool]) -> (u32, f64) {
        let better = |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
        let all = (0..).zip(self.0.iter().copied()).zip(among).filter(|(_, among)| **among).map(|(one, _)| one);
        all.fold((0, f64::NEG_INFINITY), better)
    }

    /// The most probable symbols, at most so many, and their probabilities, the most probable first and the lowest of equals.
    pub(super) fn most_probable(&self, most: usize) -> Vec<(u32, f64)> {
        let mut all: Vec<(u32, f64)> = (0..).zip(self.0.iter().copied()).filter(|(_, p)| *p > 0.0).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(most);
        all
    }

    /// Bayes: the law given what was seen, whose likelihood each symbol has.
    pub(super) fn weighted(self, likelihood: impl Fn(u32) -> f64) -> Self {
        let weights: Vec<f64> = (0..).zip(self.0).map(|(symbol, p)| p * likelihood(symbol)).collect();
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|weight| weight / sum).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a text of one token there is nothing else to go by, so that any law is its own leave-one-out one, and its bound is exact.
    #[test]
    fn the_bound_of_one_token_is_its_likelihood() {
        let logits = [0.3, -1.2, 1.1, 0.0_f32];
        for (mixing, symbols) in
            [(Mixing::uniform(3, 3), 3), (Mixing { mask_share: 1 << 23, ..Mixing::uniform(3, 3) }, 4)]
        {
            let law = Law::of(&logits, mixing.mask);
            for x in 0..3 {
                const CELLS: u32 = 4000;
                let mut bound = 0.0;
                for cell in 0..CELLS {
                    let u = (f64::from(cell) + 0.5) / f64::from(CELLS);
                    let rate = threshold(u * u).max(1);
                    let mu = f64::from(rate) / f64::from(UNIFORM_STEPS);
                    let [mask, other] = mixing.probabilities().map(f64::from);
                    for z in 0..symbols {
                        let pi = if z == mixing.mask { mask } else { other };
                        let q = (1.0 - mu) * f64::from(u8::from(z == x)) + mu * pi;
                        bound += 2.0 * u / f64::from(CELLS) * q * cost(&logits, x, z, rate, mixing);
                    }
                }
                let wanted = -law.of_symbol(x).ln();
                // Midpoints leave a 4000th of what lies at the ends.
                assert!((bound - wanted).abs() < 2e-3, "{x} of {mixing:?}: {bound}, wanted {wanted}");
            }
        }
    }
}
