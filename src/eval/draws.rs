//! The bound on -log p of texts that are given, of any length that a window holds.
//!
//! Noise is drawn several times. The draws' levels are evenly spaced and all moved by one offset that is drawn, so that their mean has
//! no bias; what else is drawn depends on the seed, the draw's number and the position alone, so that a text has the same bound
//! whatever stands beside it. Costs follow the level, and neighbours in it differ by little else than noise: the mean's standard error is
//! that of successive differences (Wolter, Introduction to Variance Estimation, 2007, section 8.2).

use crate::config::Family;
use crate::denoiser::{Denoiser, Law, Start, cost};
use crate::error::{Error, Result};
use crate::process::{Interpolating, Kind};
use crate::program::{Marginal, Mixing, SamplingParams};
use crate::rng::{Stream, UNIFORM_STEPS, philox, threshold, uniform, uniform24};
use std::ops::Range;

/// A bound on -log p of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// In nats.
    pub nats: f64,
    /// Its standard error over draws of noise.
    pub standard_error: f64,
}

/// A text that is to get noise.
#[derive(Clone, Debug)]
pub struct Draw<'t> {
    /// It without noise.
    pub text: &'t [u32],
    /// Places whose tokens count.
    pub counted: Range<usize>,
    /// In [0, 1): how much noise it gets.
    pub level: f64,
    /// Number of the draw.
    pub number: u32,
}

/// Fewest draws of noise that have a standard error.
pub const LEAST_DRAWS: u32 = 2;

/// Refuses a part of a process whose texts have no such bound, `given` tokens at their beginning being known.
pub fn check_bounds(part: Family, given: usize) -> Result<()> {
    let why = match part {
        Family::Masked | Family::Joint | Family::Block => return Ok(()),
        Family::Autoregressive => "gives no noise to texts, and has an exact likelihood in the place of a bound".into(),
        Family::Gaussian | Family::Latent => {
            "gives noise to vectors, and has bounds of whole windows alone, which an evaluation says".into()
        }
        Family::Uniform | Family::Mixed | Family::Relaxed if given > 0 => {
            format!(
                "gives noise to all of a text, what is given too, and has bounds of whole texts alone; found {given} given tokens"
            )
        }
        Family::Uniform | Family::Mixed | Family::Relaxed => return Ok(()),
    };
    Err(Error::input(format!("a model of process {part} {why}")))
}

/// Bounds on -log p of each text, all of one length and of whole [stretches](Denoiser::stretch), given its first `given` tokens, by
/// so many draws of noise, at least [`LEAST_DRAWS`].
pub fn bounds(
    denoiser: &mut Denoiser,
    texts: &[Vec<u32>],
    given: usize,
    draws: u32,
    seed: u64,
) -> Result<Vec<Bounded>> {
    check_bounds(denoiser.process_config().family().parts()[0], given)?;
    super::check_whole(denoiser, texts.first().map_or(0, Vec::len))?;
    if draws < LEAST_DRAWS {
        return Err(Error::input(format!("a bound by {draws} draws of noise; wanted at least {LEAST_DRAWS}")));
    }
    let offset = f64::from(uniform(philox(seed, Stream::EvalLevel, 0, 0)[0]));
    let level = |number: u32| (offset + f64::from(number)) / f64::from(draws);
    let draw = |text, number| Draw { text, counted: given..text.len(), level: level(number), number };
    let all = texts.iter().flat_map(|text| (0..draws).map(move |number| draw(&text[..], number)));
    let costs = costs_of(denoiser, &all.collect::<Vec<_>>(), seed)?;
    Ok(costs.chunks(draws as usize).map(bounded).collect())
}

/// Of the costs of each block of a text, by draw: their means' sum. Blocks get their noise apart.
fn bounded(costs: &[Vec<f64>]) -> Bounded {
    let draws = costs.len() as f64;
    let of_block = |block: usize| {
        let mean = costs.iter().map(|costs| costs[block]).sum::<f64>() / draws;
        let steps: f64 = costs.windows(2).map(|two| (two[1][block] - two[0][block]).powi(2)).sum();
        (mean, steps / (2.0 * (draws - 1.0)) / draws)
    };
    let (nats, variance) =
        (0..costs[0].len()).map(of_block).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Bounded { nats, standard_error: variance.sqrt() }
}

/// What each draw's text costs, in nats, block by block where it has such: of tokens that noise has hit or, where it hits all, of all
/// that count. Its mean over evenly spaced levels is a bound on -log p. All texts are of one length.
pub fn costs_of(denoiser: &mut Denoiser, draws: &[Draw<'_>], seed: u64) -> Result<Vec<Vec<f64>>> {
    let most = denoiser.batch();
    let mut costs = Vec::with_capacity(draws.len());
    for draws in draws.chunks(most) {
        costs.extend(match denoiser.process().parts()[0] {
            Kind::Interpolating(process) => {
                let mixing = process.mixing;
                of_symbols(denoiser, draws, mixing, seed)?
            }
            _ => of_masks(denoiser, draws, seed)?,
        });
    }
    Ok(costs)
}

/// Of masks: exactly k of the L tokens that count in a block, k being 1 to L by the level, and L/k of what those cost.
fn of_masks(denoiser: &mut Denoiser, draws: &[Draw<'_>], seed: u64) -> Result<Vec<Vec<f64>>> {
    let (mask, symbols) = (denoiser.process().mask_id(), denoiser.config().vocab_size);
    let part = denoiser.process_config().family().parts()[0];
    let params = vec![SamplingParams::MOST_PROBABLE; draws.len()];
    let length = draws[0].text.len();
    let stretch = denoiser.stretch(length);
    let mut costs = vec![Vec::new(); draws.len()];
    for first in (0..length).step_by(stretch) {
        let places = first..first + stretch;
        let hidden: Vec<Vec<usize>> = draws.iter().map(|draw| draw.hidden(places.clone(), seed)).collect();
        let start = |(draw, hidden): (&Draw<'_>, &Vec<usize>)| -> Start {
            places.clone().map(|p| (!hidden.contains(&p)).then_some(draw.text[p])).collect()
        };
        let starts: Vec<Start> = draws.iter().zip(&hidden).map(start).collect();
        let mut canvas = denoiser.canvas(&starts, &params)?;
        canvas.stand_at(first)?;
        let rows = canvas.logits(part, &vec![0..stretch; draws.len()])?;
        for (((draw, hidden), rows), costs) in draws.iter().zip(&hidden).zip(&rows).zip(&mut costs) {
            let of = |&p: &usize| cost(&rows[(p - first) * symbols..][..symbols], mask, draw.text[p]);
            let share = draw.counted_in(&places) as f64 / hidden.len().max(1) as f64;
            costs.push(share * hidden.iter().map(of).sum::<f64>());
        }
        if places.end < length {
            // Those behind see it as it is.
            let whole: Vec<Start> =
                draws.iter().map(|draw| draw.text[places.clone()].iter().copied().map(Some).collect()).collect();
            let mut canvas = denoiser.canvas(&whole, &params)?;
            canvas.stand_at(first)?;
            canvas.logits(part, &vec![0..0; draws.len()])?;
        }
    }
    Ok(costs)
}

/// Of other symbols: rates are squares of levels, as evaluation takes them.
fn of_symbols(denoiser: &mut Denoiser, draws: &[Draw<'_>], mixing: Mixing, seed: u64) -> Result<Vec<Vec<f64>>> {
    let (symbols, part) = (denoiser.config().vocab_size, denoiser.process_config().family());
    let rate = |draw: &Draw<'_>| threshold(Interpolating::EVALUATED.mask_rate(draw.level)).max(1);
    let noised: Vec<Vec<u32>> = draws.iter().map(|draw| draw.noised(mixing, rate(draw), seed)).collect();
    let starts: Vec<Start> = noised.iter().map(|text| text.iter().copied().map(Some).collect()).collect();
    let mut canvas = denoiser.canvas(&starts, &vec![SamplingParams::MOST_PROBABLE; draws.len()])?;
    let lots = draws.iter().flat_map(|draw| [rate(draw), 0].repeat(draw.text.len()));
    canvas.set_lots(&lots.collect::<Vec<_>>())?;
    let counted: Vec<Range<usize>> = draws.iter().map(|draw| draw.counted.clone()).collect();
    let rows = canvas.logits(part, &counted)?;
    let of_draw = |((draw, noised), rows): ((&Draw<'_>, &Vec<u32>), &Vec<f32>)| {
        let rate = rate(draw);
        let weight = 2.0 * (f64::from(rate) / f64::from(UNIFORM_STEPS)).sqrt();
        let of = |(p, logits): (usize, &[f32])| noised_cost(logits, draw.text[p], noised[p], rate, mixing);
        vec![weight * draw.counted.clone().zip(rows.chunks_exact(symbols)).map(of).sum::<f64>()]
    };
    Ok(draws.iter().zip(&noised).zip(&rows).map(of_draw).collect())
}

impl Draw<'_> {
    /// The random words of a position.
    fn words(&self, seed: u64, at: usize) -> [u32; 4] {
        philox(seed, Stream::EvalMask, u64::from(self.number), at as u32)
    }

    /// How many tokens of some places count.
    fn counted_in(&self, places: &Range<usize>) -> usize {
        self.counted.end.min(places.end).saturating_sub(self.counted.start.max(places.start))
    }

    /// Which of the tokens at some places are masked.
    fn hidden(&self, places: Range<usize>, seed: u64) -> Vec<usize> {
        let mut all: Vec<usize> = places.filter(|at| self.counted.contains(at)).collect();
        let count = (self.level * all.len() as f64) as usize + 1;
        all.sort_by_key(|&at| (self.words(seed, at)[0], at));
        all.truncate(count);
        all
    }

    /// The text with noise of a rate, in units of 2⁻²⁴.
    fn noised(&self, mixing: Mixing, rate: u32, seed: u64) -> Vec<u32> {
        let masks = mixing.masks_at(rate);
        let token = |(at, &token): (usize, &u32)| {
            let [hit, symbol, mask, _] = self.words(seed, at);
            if uniform24(hit) < rate { mixing.draw(symbol, mask, masks) } else { token }
        };
        self.text.iter().enumerate().map(token).collect()
    }
}

/// What a token with noise costs in the bound, as [`NoisedCost::Bound`](crate::program::NoisedCost) has it.
fn noised_cost(logits: &[f32], x: u32, z: u32, rate: u32, mixing: Mixing) -> f64 {
    let law = Law::of(logits, mixing.mask);
    let rate = rate.min(UNIFORM_STEPS - 1);
    let (Marginal { keep, noise }, jump) = (mixing.marginal(rate), mixing.of(z, mixing.jumps(rate)));
    let (keep, noise) = (f64::from(keep), |j: u32| f64::from(mixing.of(j, noise)));
    let q = |j: u32| keep * f64::from(u8::from(j == x)) + noise(j);
    let predicted = |j: u32| keep * law.of_symbol(j) + noise(j);
    let phi = |r: f64| r - 1.0 - r.ln();
    let sum: f64 = (0..logits.len() as u32).filter(|&j| q(j) > 0.0).map(|j| q(j) * phi(predicted(j) / q(j))).sum();
    f64::from(jump) / (keep * q(z)) * (sum + phi(q(z) / predicted(z)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MaskShare;

    /// Of a text of one token there is nothing else to go by, so that any law is its own leave-one-out one, and its bound is exact.
    #[test]
    fn the_bound_of_one_token_is_its_likelihood() {
        let logits = [0.3, -1.2, 1.1, 0.0_f32];
        for (masks, symbols) in [(MaskShare::default(), 3), (0.5.into(), 4), (MaskShare::Gidd(0.2), 4)] {
            let mixing = Mixing::new(3, 3, masks);
            let law = Law::of(&logits, mixing.mask);
            for x in 0..3 {
                const CELLS: u32 = 4000;
                let mut bound = 0.0;
                for cell in 0..CELLS {
                    let u = (f64::from(cell) + 0.5) / f64::from(CELLS);
                    let rate = threshold(u * u).max(1);
                    let Marginal { keep, noise } = mixing.marginal(rate);
                    for z in 0..symbols {
                        let q = f64::from(keep) * f64::from(u8::from(z == x)) + f64::from(mixing.of(z, noise));
                        bound += 2.0 * u / f64::from(CELLS) * q * noised_cost(&logits, x, z, rate, mixing);
                    }
                }
                let wanted = -law.of_symbol(x).ln();
                // Midpoints leave a 4000th of what lies at the ends.
                assert!((bound - wanted).abs() < 2e-3, "{x} of {mixing:?}: {bound}, wanted {wanted}");
            }
        }
    }
}
