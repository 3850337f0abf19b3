//! Open tokens of a model of masks, taken one after another in one direction: how likely they are, and the likeliest.
//!
//! A sampler's order follows from what is written, so two fills of a gap, or two lengths, are taken in two orders, whose likelihoods
//! differ by more than the fills do. In one order for all they are compared by what they are.

use super::Sight;
use super::window::{Window, input, open_windows};
use crate::config::Family;
use crate::denoiser::{Denoiser, Law, Start};
use crate::error::Result;
use crate::program::SamplingParams;
use std::collections::BTreeMap;
use std::ops::Range;

/// From which side open tokens are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    LeftToRight,
    RightToLeft,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Direction::LeftToRight, Direction::RightToLeft];

    /// The open tokens of a stretch of a text, as they are taken.
    fn order(self, text: &Start, stretch: Range<usize>) -> Vec<usize> {
        let mut open: Vec<usize> = stretch.filter(|&p| text[p].is_none()).collect();
        if self == Direction::RightToLeft {
            open.reverse();
        }
        open
    }
}

/// ln p in nats of what is open in each start, as the truth has it, given the rest, its tokens taken in one direction. Masks among the
/// given tokens stay masks.
pub(super) fn ln_p(
    denoiser: &mut Denoiser,
    starts: &[Start],
    truth: &[Vec<u32>],
    direction: Direction,
) -> Result<Vec<f64>> {
    let orders: Vec<Vec<usize>> = starts.iter().map(|start| direction.order(start, 0..start.len())).collect();
    let (mut texts, mut sums) = (starts.to_vec(), vec![0.0; starts.len()]);
    for step in 0..orders.iter().map(Vec::len).max().unwrap_or(0) {
        let taken: Vec<(usize, usize)> =
            orders.iter().enumerate().filter_map(|(i, order)| Some((i, *order.get(step)?))).collect();
        let asked: Vec<(Start, usize)> = taken.iter().map(|&(i, at)| (texts[i].clone(), at)).collect();
        for (&(i, at), law) in taken.iter().zip(laws(denoiser, &asked)?) {
            sums[i] += law.of_symbol(truth[i][at]).max(f64::MIN_POSITIVE).ln();
            texts[i][at] = Some(truth[i][at]);
        }
    }
    Ok(sums)
}

/// The fills of a text, each with its score in nats.
pub(super) type Scored = Vec<(Vec<u32>, f64)>;

/// A text with what a beam has filled of it.
#[derive(Clone, Debug)]
struct Way {
    text: Start,
    ln_p: f64,
}

/// The likeliest fills of each text, with their ln p in nats, that a beam search finds: open tokens are taken in one direction,
/// in one window of a longer text after another, and after each the `width` most probable ways so far are gone on with.
pub(super) fn beams(
    denoiser: &mut Denoiser,
    texts: &[Start],
    direction: Direction,
    width: usize,
) -> Result<Vec<Scored>> {
    let most = denoiser.config().sequence_len;
    let windows: Vec<Vec<Window>> = texts.iter().map(|text| open_windows(text, most)).collect();
    let mut beams: Vec<Vec<Way>> = texts.iter().map(|text| vec![Way { text: text.clone(), ln_p: 0.0 }]).collect();
    for round in 0..windows.iter().map(Vec::len).max().unwrap_or(0) {
        let here = |i: usize| windows[i].get(round);
        let order = |i: usize| here(i).map_or(Vec::new(), |window| direction.order(&texts[i], window.own.clone()));
        let orders: Vec<Vec<usize>> = (0..texts.len()).map(order).collect();
        for step in 0..orders.iter().map(Vec::len).max().unwrap_or(0) {
            let taken = (0..texts.len()).filter_map(|i| Some((i, here(i)?, *orders[i].get(step)?)));
            let taken: Vec<(usize, &Window, usize)> = taken.collect();
            let mut asked = Vec::new();
            for &(i, window, at) in &taken {
                let read = |way: &Way| (input(denoiser, Sight::Masks, &way.text, window), at - window.seen.start);
                asked.extend(beams[i].iter().map(read));
            }
            let mut laws = laws(denoiser, &asked)?.into_iter();
            for (i, _, at) in taken {
                let next = beams[i].iter().zip(laws.by_ref()).flat_map(|(way, law)| way.longer(at, &law, width));
                let mut next: Vec<Way> = next.collect();
                next.sort_by(|a, b| b.ln_p.total_cmp(&a.ln_p));
                next.truncate(width);
                beams[i] = next;
            }
        }
    }
    let whole = |way: Way| (way.text.into_iter().flatten().collect(), way.ln_p);
    Ok(beams.into_iter().map(|ways| ways.into_iter().map(whole).collect()).collect())
}

impl Way {
    /// It with each of the most probable symbols at a place.
    fn longer(&self, at: usize, law: &Law, most: usize) -> Vec<Way> {
        let with = |(symbol, p): (u32, f64)| {
            let mut text = self.text.clone();
            text[at] = Some(symbol);
            Way { text, ln_p: self.ln_p + p.ln() }
        };
        law.most_probable(most).into_iter().map(with).collect()
    }
}

/// The law of one open token of each of some texts, as a model reads them. Each that is asked for twice is computed once, and those of
/// one length share batches.
fn laws(denoiser: &mut Denoiser, asked: &[(Start, usize)]) -> Result<Vec<Law>> {
    let (mask, batch) = (denoiser.process().mask_id(), denoiser.batch());
    let mut different: Vec<&(Start, usize)> = asked.iter().collect();
    different.sort_by_key(|one| (one.0.len(), *one));
    different.dedup();
    let mut found = BTreeMap::new();
    for alike in different.chunk_by(|one, next| one.0.len() == next.0.len()).flat_map(|alike| alike.chunks(batch)) {
        let texts: Vec<Start> = alike.iter().map(|one| one.0.clone()).collect();
        let places: Vec<Range<usize>> = alike.iter().map(|one| one.1..one.1 + 1).collect();
        let params = vec![SamplingParams::MOST_PROBABLE; texts.len()];
        let logits = denoiser.canvas(&texts, &params)?.logits(Family::Masked, &places)?;
        found.extend(alike.iter().zip(logits).map(|(one, logits)| (*one, Law::of(&logits, mask))));
    }
    Ok(asked.iter().map(|one| found[one].clone()).collect())
}
