//! How likely tokens are, given others of their text.

use crate::config::Policy;
use crate::denoiser::{Canvas, Denoiser, Start};
use crate::error::Result;
use crate::eval::{self, Draw};
use crate::process::ReverseStep;
use crate::program::{SamplingParams, StepArgs};
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
        let step = ReverseStep { order, drop: Some(process.mask_id()), is_guided: false };
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
        let step = ReverseStep { order, drop: Some(mask), is_guided: false };
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
    let mut found = vec![0.0; texts.len()];
    for number in 0..LEVELS {
        let level = (f64::from(number) + 0.5) / f64::from(LEVELS);
        let each = texts.iter().zip(counted);
        let draws: Vec<Draw<'_>> =
            each.map(|(text, counted)| Draw { text, counted: counted.clone(), level, number }).collect();
        let costs = eval::costs_of(denoiser, &draws, seed)?;
        found.iter_mut().zip(costs).for_each(|(found, costs)| *found -= costs.iter().sum::<f64>() / f64::from(LEVELS));
    }
    Ok(found)
}
