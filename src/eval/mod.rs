//! Evaluation: how well a model predicts text, in nats per token.
//!
//! - The **NELBO** bounds -log p(text) from above. With k uniform in 1..=L and exactly k of the L maskable tokens masked,
//!   `L/k · Σ CE` is an unbiased estimate of it for the window, so `Σ CE / k` is one per token: the exact-count form.
//! - The **T-step bound** is the NELBO of a sampler that has T steps instead of infinitely many. It comes from the same
//!   passes, each weighted by [`step_weights`]: what a model loses by few steps, without a model to judge its samples.
//! - **Masked cross-entropy** is the mean over masked tokens, what the original minimises.
//! - The **exact likelihood of a policy** (DUEL, 2026): reveal the true tokens in the order in which the sampler would commit
//!   them, and add up their -log p. It is the law of the texts that the policy writes at the same temperature, and sums to 1.
//!   It asks for a policy that chooses positions by p alone, before tokens are drawn from p.
//!
//! Each number k of masked tokens that counts must have been drawn in some pass, and those of one k count as their mean: an
//! estimate of which some k was never drawn is none ([`passes_needed`] says how many passes draw all).
//!
//! A process whose noise turns tokens into others, or is added to vectors, has bounds of its own and no policies.
//!
//! An autoregressive model has neither bounds nor policies: its [`likelihood`] is exact, and taken over the whole text.
//!
//! Positions of a context that training never masks are given and do not count. Standard errors are over windows, whose
//! passes are averaged first; fewer than eight windows have none.

mod draws;
mod levels;
mod likelihood;
mod noised;
mod regression;
mod vectors;

pub use draws::{Bounded, Draw, LEAST_DRAWS, bounds, check_bounds, costs_of};
pub use levels::{ByLevel, LevelCost, by_level};
pub use likelihood::{Likelihood, likelihood, ratio, score_from_left, score_texts, windows_of_stride};

use crate::config::{Gamma, ModelConfig, Policy, ProcessConfig, Schedule};
use crate::data::Corpus;
use crate::denoiser::{Denoiser, EvalPass, Start};
use crate::error::{Error, Result};
use crate::process::{Kind, ReverseStep};
use crate::program::{SamplingParams, StepArgs};
use crate::rng::UNIFORM_STEPS;
use serde::{Serialize, Serializer};
use std::ops::Range;
use std::sync::Arc;

/// What is evaluated, and on how much text.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalConfig {
    /// Positions of the corpus.
    pub range: Range<u64>,
    /// Windows, evenly spaced over the range; never more than cover it once.
    pub windows: usize,
    /// Passes over them, each with other noise levels and other masks; none for as many as every estimate needs, and at least
    /// [`LEAST_PASSES`].
    pub passes: Option<u32>,
    /// Key of every random number.
    pub seed: u64,
    /// T of each T-step bound.
    pub steps: Vec<u32>,
    /// The grid of the T-step bounds.
    pub schedule: Schedule,
    /// Policies whose exact likelihood is taken.
    pub duel: Vec<Policy>,
    /// Temperature that their tokens are drawn at.
    pub duel_temperature: f32,
    /// Windows for each of them, evenly spaced; each costs up to as many forward passes as it has tokens.
    pub duel_windows: usize,
}

/// A mean over windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Nats per token.
    pub nats: f64,
    /// Bits per token.
    pub bits: f64,
    /// Standard error of `nats`; none where too few windows or passes bear the estimate.
    pub standard_error: Option<f64>,
}

/// A T-step bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepBound {
    /// T.
    pub steps: u32,
    /// The bound; none where some number of masked tokens that counts in it was never drawn.
    #[serde(flatten, serialize_with = "or_nulls")]
    pub bound: Option<Estimate>,
}

/// The exact likelihood of a policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duel {
    /// With all of its numbers: `threshold:0.9`.
    pub policy: Policy,
    /// Temperature that tokens are drawn at.
    pub temperature: f32,
    /// Number of measured windows.
    pub windows: usize,
    /// Forward passes that a window took on average.
    pub steps: f64,
    /// Negative log-likelihood.
    #[serde(flatten)]
    pub nll: Estimate,
}

/// Every result of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Number of measured windows.
    pub windows: usize,
    /// Passes over each.
    pub passes: u32,
    /// Passes that every estimate has what it needs from.
    pub passes_needed: u32,
    /// Tokens that a window is measured on: all but the context.
    pub tokens_per_window: usize,
    /// The bound with infinitely many steps; none where passes are too few.
    #[serde(serialize_with = "or_nulls")]
    pub nelbo: Option<Estimate>,
    /// Of a process whose noise is added to vectors, what the bound is the sum of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<VectorTerms>,
    /// Mean over masked tokens, at masking rates uniform between 0 and 1; none where passes are too few, or nothing is masked.
    #[serde(serialize_with = "or_nulls")]
    pub masked_cross_entropy: Option<Estimate>,
    /// Bounds with few steps.
    pub step_bounds: Vec<StepBound>,
    /// Exact likelihoods, one for each policy.
    pub duel: Vec<Duel>,
    /// Characters of a token, where a token is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters_per_token: Option<f64>,
}

/// The bound of vectors with Gaussian noise, nats per token, summed over a vector's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct VectorTerms {
    /// Tokens that are read off wrong, of a model whose vectors are of several: no text that it writes can be better than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misread: Option<Share>,
    /// What the most noise leaves of a token: exact, the same of each.
    pub prior: f64,
    /// What errors cost between the most and the least noise.
    pub diffusion: Estimate,
    /// What it costs to read a token off its vector with the least noise.
    pub reconstruction: Estimate,
}

/// A share of tokens, as a mean over windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Between 0 and 1.
    pub share: f64,
    /// Standard error of it; none where too few windows bear it.
    pub standard_error: Option<f64>,
}

/// An estimate's fields, null where there is none.
fn or_nulls<S: Serializer>(estimate: &Option<Estimate>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Nulls {
        nats: Option<f64>,
        bits: Option<f64>,
        standard_error: Option<f64>,
    }
    match estimate {
        Some(estimate) => estimate.serialize(to),
        None => Nulls { nats: None, bits: None, standard_error: None }.serialize(to),
    }
}

/// The results of [`passes`]: for each window, `[Σ CE, k]` of each pass and block.
#[derive(Clone, Debug, PartialEq)]
pub struct Passes {
    /// L, tokens of a window that can be masked; of each block of it, where blocks have levels of their own.
    pub maskable: usize,
    /// Of each window, of each pass and block: cross-entropy of the masked tokens in nats, and their number.
    pub sums: Vec<Vec<[f32; 2]>>,
}

/// Windows that cover a range of positions once.
pub fn windows_in(range: &Range<u64>, window: usize) -> usize {
    usize::try_from((range.end - range.start).div_ceil(window as u64)).unwrap_or(usize::MAX)
}

/// Passes over so many windows, or blocks of them, after which every number of masked tokens, 1 to `maskable`, was drawn.
///
/// Levels are multiples of 2⁻²⁴, at most ⌈2²⁴/n⌉ of them apart for n passes over a window each, and every number of masked
/// tokens has at least ⌊2²⁴/maskable⌋ of them.
pub fn passes_needed(windows: usize, maskable: usize) -> u32 {
    levels_needed(maskable).div_ceil(windows.max(1)) as u32
}

fn levels_needed(maskable: usize) -> usize {
    let steps = UNIFORM_STEPS as usize;
    steps.div_ceil((steps / maskable).max(1))
}

/// Passes unless said: as many as it takes to draw every number of masked tokens [`LEAST_EFFECTIVE`] times, so that even the
/// bound of one step has a standard error.
fn passes_unless_said(windows: usize, maskable: usize) -> u32 {
    let levels = levels_needed(maskable) * LEAST_EFFECTIVE as usize;
    (levels.div_ceil(windows.max(1)) as u32).max(LEAST_PASSES)
}

/// Most steps of a bound: of infinitely many it differs by less than is printed.
const MOST_STEPS: u32 = 1 << 14;

/// The fewest passes, unless said.
pub const LEAST_PASSES: u32 = 4;

/// Evaluates a model on a corpus in its vocabulary. `progress` is told what is done of how much, in windows.
pub fn evaluate(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Report> {
    config.validate()?;
    if let Kind::Interpolating(_) | Kind::Vectors(_) = denoiser.process().parts()[0] {
        return evaluate_noised(denoiser, corpus, config, progress);
    }
    let blocks = denoiser.process_config().blocks(denoiser.config());
    let measured = passes(denoiser, corpus, config, progress)?;
    let mut step_bounds = Vec::with_capacity(config.steps.len());
    for &steps in &config.steps {
        step_bounds.push(StepBound { steps, bound: measured.step_bound(steps, config.schedule) });
    }
    let mut results = Vec::with_capacity(config.duel.len());
    for &policy in &config.duel {
        results.push(duel(denoiser, corpus, config, policy, progress)?);
    }
    Ok(Report {
        windows: measured.sums.len(),
        passes: (measured.sums[0].len() / blocks) as u32,
        passes_needed: passes_needed(measured.sums.len() * blocks, measured.maskable),
        tokens_per_window: measured.maskable * blocks,
        nelbo: measured.nelbo(),
        terms: None,
        masked_cross_entropy: measured.masked_cross_entropy(),
        step_bounds,
        duel: results,
        characters_per_token: corpus.characters_per_token(config.range.clone()),
    })
}

fn evaluate_noised(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Report> {
    if let Some(policy) = config.duel.first() {
        return Err(Error::input(format!(
            "the exact likelihood of {policy}, an order of masks to replace, and this model's texts have none; wanted none of them"
        )));
    }
    let (window, passes) = (denoiser.config().sequence_len, config.passes.unwrap_or(LEAST_PASSES));
    let (nelbo, terms, step_bounds) = match denoiser.process().parts()[0] {
        Kind::Vectors(_) => {
            Gamma::check(config.schedule)?;
            let (terms, _) = vectors::estimate(denoiser, corpus, config, passes, progress)?;
            (terms.nelbo(), Some(terms), vectors::step_bounds(denoiser, corpus, config, progress)?)
        }
        _ => {
            let nelbo = noised::estimate(denoiser, corpus, config, noised::Bound::Continuous, passes, progress)?;
            (nelbo, None, noised::step_bounds(denoiser, corpus, config, progress)?)
        }
    };
    Ok(Report {
        windows: config.windows.min(windows_in(&config.range, window)),
        passes,
        passes_needed: 1,
        tokens_per_window: window,
        nelbo: Some(nelbo),
        terms,
        masked_cross_entropy: None,
        step_bounds,
        duel: Vec::new(),
        characters_per_token: corpus.characters_per_token(config.range.clone()),
    })
}

/// The bound alone, nats per token, of a process that has one; none where passes are too few. With it, of a process that counts
/// them, the tokens that are read off wrong.
pub fn nelbo(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<(Option<Estimate>, Option<Share>)> {
    match denoiser.process().parts()[0] {
        Kind::Vectors(_) => {
            let passes = config.passes.unwrap_or(LEAST_PASSES);
            vectors::estimate(denoiser, corpus, config, passes, progress)
                .map(|(terms, _)| (Some(terms.nelbo()), terms.misread))
        }
        Kind::Interpolating(_) => {
            let passes = config.passes.unwrap_or(LEAST_PASSES);
            let found = noised::estimate(denoiser, corpus, config, noised::Bound::Continuous, passes, progress)?;
            Ok((Some(found), None))
        }
        _ => Ok((passes(denoiser, corpus, config, progress)?.nelbo(), None)),
    }
}

impl EvalConfig {
    /// The NELBO alone, as training validates: `windows` windows (0 for all), in one pass if that suffices.
    pub fn nelbo_only(
        model: &ModelConfig,
        process: &ProcessConfig,
        range: Range<u64>,
        windows: usize,
        seed: u64,
    ) -> Self {
        let all = windows_in(&range, model.sequence_len);
        let windows = if windows == 0 { all } else { windows.min(all) };
        let passes = Some(passes_needed(windows * process.blocks(model), process.maskable(model)));
        let (steps, duel, schedule) = (Vec::new(), Vec::new(), Schedule::Linear);
        EvalConfig { range, windows, passes, seed, steps, schedule, duel, duel_temperature: 1.0, duel_windows: 0 }
    }

    /// Refuses what measures nothing.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        if self.windows == 0 || self.passes == Some(0) {
            return refuse(
                "no windows, or no passes over them, measure nothing; give --windows and --passes at least 1".into(),
            );
        }
        if let Some(steps) = self.steps.iter().find(|steps| !(1..=MOST_STEPS).contains(*steps)) {
            return refuse(format!("a bound with {steps} steps; wanted 1 to {MOST_STEPS} (with more it is the NELBO)"));
        }
        if !self.duel.is_empty() && self.duel_windows == 0 {
            return refuse(
                "an exact likelihood of 0 windows; give --duel-windows at least 1, or leave --duel out".into(),
            );
        }
        for policy in &self.duel {
            policy.validate()?;
            policy.check_likelihood()?;
        }
        if !(self.duel_temperature > 0.0 && self.duel_temperature.is_finite()) {
            return refuse(format!(
                "an exact likelihood at temperature {}; wanted a finite number above 0, where every text can be drawn",
                self.duel_temperature
            ));
        }
        Ok(())
    }
}

/// Runs the exact-count passes.
pub fn passes(
    denoiser: &mut Denoiser,
    corpus: &Arc<Corpus>,
    config: &EvalConfig,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Passes> {
    let (model, process) = (denoiser.config(), denoiser.process_config());
    let (window, maskable, blocks) = (model.sequence_len, process.maskable(model), process.blocks(model));
    check_range(&config.range, window)?;
    denoiser.bind_corpus(corpus)?;
    let windows = config.windows.min(windows_in(&config.range, window)).min(u32::MAX as usize / blocks);
    let passes = config.passes.unwrap_or(passes_unless_said(windows * blocks, maskable));
    let eval = EvalPass { range: config.range.clone(), windows: windows as u32, passes };
    let mut sums = vec![Vec::new(); windows];
    let all = windows.saturating_mul(passes as usize);
    for pass in 0..passes {
        for (i, batch) in sums.chunks_mut(denoiser.batch()).enumerate() {
            let first = i * denoiser.batch();
            progress("NELBO", pass as usize * windows + first, all);
            let results = denoiser.evaluate(config.seed, &eval, pass, first as u32, batch.len())?;
            batch.iter_mut().zip(results.chunks(blocks)).for_each(|(window, results)| window.extend(results));
        }
    }
    progress("NELBO", all, all);
    Ok(Passes { maskable, sums })
}

fn check_range(range: &Range<u64>, window: usize) -> Result<()> {
    let tokens = range.end - range.start;
    if tokens < window as u64 {
        return Err(Error::input(format!(
            "{tokens} tokens of text to evaluate on, one window of this model needs {window}; give a longer text"
        )));
    }
    Ok(())
}

impl Passes {
    /// NELBO per token.
    pub fn nelbo(&self) -> Option<Estimate> {
        self.weighted(|_| 1.0)
    }

    /// Bound of a sampler with `steps` steps on a schedule's grid, per token.
    pub fn step_bound(&self, steps: u32, schedule: Schedule) -> Option<Estimate> {
        let weights = step_weights(self.maskable, steps, schedule);
        self.weighted(|k| weights[k - 1])
    }

    /// Mean cross-entropy of a masked token.
    pub fn masked_cross_entropy(&self) -> Option<Estimate> {
        let mean = (self.maskable + 1) as f64 / 2.0;
        self.weighted(|k| k as f64 / mean)
    }

    /// Mean over k in 1..=L of `weight(k)·f(k)`, f(k) the mean cross-entropy of a token where k are masked; none where too
    /// much of the weight lies on k that were never drawn. Weights are 1 on average.
    ///
    /// f is smooth in k and its fit has a known mean, so only the distance from the fit has to be estimated. Passes of one k
    /// share its weight, so that no k counts by how often it was drawn.
    fn weighted(&self, weight: impl Fn(usize) -> f64) -> Option<Estimate> {
        let mut drawn = vec![0.0; self.maskable];
        self.sums.iter().flatten().for_each(|&[_, k]| drawn[k as usize - 1] += 1.0);
        let never = (1..=self.maskable).filter(|k| drawn[k - 1] == 0.0).map(&weight).sum::<f64>();
        if never > NEGLIGIBLE * self.maskable as f64 {
            return None;
        }
        let points = self.sums.iter().flatten().map(|&[sum, k]| (f64::from(k), f64::from(sum) / f64::from(k)));
        let fit = regression::Cubic::fit(points, self.maskable);
        let known = (1..=self.maskable).map(|k| weight(k) * fit.at(k as f64)).sum::<f64>() / self.maskable as f64;
        let expected = drawn.iter().sum::<f64>() / self.maskable as f64;
        let share = |k: f32| weight(k as usize) * expected / drawn[k as usize - 1];
        let of_window = |window: &Vec<[f32; 2]>| {
            let distance = |&[sum, k]: &[f32; 2]| share(k) * (f64::from(sum) / f64::from(k) - fit.at(f64::from(k)));
            known + window.iter().map(distance).sum::<f64>() / window.len() as f64
        };
        let estimate = mean(self.sums.iter().map(of_window).collect());
        // Kish's effective number: the bound of one step rests on the few windows with everything masked.
        let shares = self.sums.iter().flatten().map(|&[_, k]| share(k));
        let (sum, square) = shares.fold((0.0, 0.0), |(sum, square), w| (sum + w, square + w * w));
        let enough = sum * sum >= LEAST_EFFECTIVE * square && square > 0.0;
        Some(Estimate { standard_error: estimate.standard_error.filter(|_| enough), ..estimate })
    }
}

/// A share of the weight that changes no digit that is shown: times a cross-entropy of a few nats.
const NEGLIGIBLE: f64 = 1e-6;

/// Fewer windows, or effective passes, than this say too little about their own spread.
const LEAST_EFFECTIVE: f64 = 8.0;

/// Mean and its standard error over windows.
fn mean(values: Vec<f64>) -> Estimate {
    let n = values.len() as f64;
    let nats = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|x| (x - nats) * (x - nats)).sum();
    let standard_error = (n >= LEAST_EFFECTIVE).then(|| (square / (n - 1.0) / n).sqrt());
    Estimate { nats, bits: nats / std::f64::consts::LN_2, standard_error }
}

/// g_T(k) for k = 1, …, L: how much a window with k masked tokens counts in the T-step bound, relative to its place in the
/// NELBO. With mask rates μ₀ = 0 < μ₁ < … < μ_T = 1, step i reveals a masked token with probability (μᵢ - μᵢ₋₁)/μᵢ, so
/// `NELBO_T = Σᵢ (μᵢ - μᵢ₋₁)/μᵢ · E[Σ CE | each masked with μᵢ] = Σ_k E[Σ CE | k masked] · Σᵢ (μᵢ - μᵢ₋₁)/μᵢ · Bin(k; L, μᵢ)`.
///
/// The weight is k times that last sum: 1 on average over k, and for T → ∞ everywhere, by ∫Bin(k; L, μ)/μ dμ = 1/k.
pub fn step_weights(maskable: usize, steps: u32, schedule: Schedule) -> Vec<f64> {
    // ln C(L, k) for k = 0..=L.
    let mut ln_choose = vec![0.0_f64];
    for k in 1..=maskable {
        ln_choose.push(ln_choose[k - 1] + ((maskable - k + 1) as f64 / k as f64).ln());
    }
    let mut weights = vec![0.0; maskable];
    for i in 1..=steps {
        let (rate, reveal) = (schedule.rate_at(i, steps), schedule.reveal(i, steps));
        if rate >= 1.0 {
            weights[maskable - 1] += maskable as f64 * reveal;
            continue;
        }
        let (hit, miss) = (rate.ln(), (-rate).ln_1p());
        for (k, weight) in (1..=maskable).zip(&mut weights) {
            let ln_p = ln_choose[k] + k as f64 * hit + (maskable - k) as f64 * miss;
            *weight += k as f64 * reveal * ln_p.exp();
        }
    }
    weights
}

/// The exact likelihood of a policy on evenly spaced windows.
pub fn duel(
    denoiser: &mut Denoiser,
    corpus: &Corpus,
    config: &EvalConfig,
    policy: Policy,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Duel> {
    let (window, context) = (denoiser.config().sequence_len, denoiser.process_config().context_len());
    check_range(&config.range, window)?;
    let windows = config.duel_windows.min(windows_in(&config.range, window));
    let text = |i: usize| {
        let room = config.range.end - config.range.start - window as u64;
        let start = (config.range.start + i as u64 * room / (windows as u64 - 1).max(1)) as usize;
        corpus.tokens().window(start..start + window)
    };
    let policy = policy.for_length(denoiser.stretch(window - context));
    let name = policy.to_string();
    let (mut nll, mut steps) = (Vec::new(), 0);
    for first in (0..windows).step_by(denoiser.batch()) {
        progress(&name, first, windows);
        let texts: Vec<_> = (first..windows.min(first + denoiser.batch())).map(text).collect();
        let scores = score(denoiser, &texts, context, policy, config.duel_temperature)?;
        steps += scores.iter().map(|s| s.1 as usize).sum::<usize>();
        nll.extend(scores.iter().map(|s| f64::from(s.0) / (window - context) as f64));
    }
    progress(&name, windows, windows);
    Ok(Duel {
        policy,
        temperature: config.duel_temperature,
        windows,
        steps: steps as f64 / windows as f64,
        nll: mean(nll),
    })
}

/// -log p in nats of each text (all of one length, at most a batch) given its first `given` tokens, and the steps that took: p is
/// the law by which [`sample`](crate::program::CommitTokens) writes texts with a policy that has a likelihood, at a temperature
/// above 0 and without truncation.
pub fn score(
    denoiser: &mut Denoiser,
    texts: &[Vec<u32>],
    given: usize,
    policy: Policy,
    temperature: f32,
) -> Result<Vec<(f32, u32)>> {
    let length = texts.first().map_or(0, Vec::len);
    let stretch = denoiser.stretch(length);
    check_whole(denoiser, length)?;
    let process = denoiser.process();
    let step =
        ReverseStep { order: process.diffusion().time_order(stretch), drop: Some(process.mask_id()), is_guided: false };
    let mut scores = vec![(0.0, 0); texts.len()];
    for first in (0..length).step_by(stretch) {
        let end = length.min(first + stretch);
        let given = given.clamp(first, end);
        let params = SamplingParams { temperature, ..SamplingParams::greedy(policy, (end - given).max(1)) };
        let start = |text: &Vec<u32>| -> Start { (first..end).map(|p| (p < given).then_some(text[p])).collect() };
        let mut canvas = denoiser.canvas(&texts.iter().map(start).collect::<Vec<_>>(), &vec![params; texts.len()])?;
        canvas.stand_at(first)?;
        canvas.set_truth(&texts.iter().flat_map(|text| &text[first..end]).copied().collect::<Vec<_>>())?;
        for number in 0..(end - given) as u64 {
            let remaining = canvas.remaining()?;
            if remaining.iter().all(|&n| n == 0) {
                break;
            }
            scores.iter_mut().zip(remaining).for_each(|((_, steps), n)| *steps += u32::from(n > 0));
            canvas.score_step(step, &StepArgs { step: number, ..StepArgs::default() })?;
        }
        scores.iter_mut().zip(canvas.nll()?).for_each(|((all, _), nll)| *all += nll);
        if end < length {
            canvas.keep(step)?;
        }
    }
    Ok(scores)
}

/// Refuses a text that ends within a block: what is behind its end would have to be summed over.
fn check_whole(denoiser: &Denoiser, length: usize) -> Result<()> {
    let stretch = denoiser.stretch(length);
    if length > 0 && !length.is_multiple_of(stretch) {
        return Err(Error::input(format!(
            "a likelihood of {length} tokens; wanted whole blocks of {stretch}, as this model writes"
        )));
    }
    Ok(())
}
