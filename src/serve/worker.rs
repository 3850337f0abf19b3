//! The one who computes: takes batches out of the queue and says what comes of them.

use super::api;
use super::metrics::Metrics;
use super::queue::{Batch, Event, Item, Measure, Queue, Score, What, Writing};
use crate::config::Family;
use crate::denoiser::Denoiser;
use crate::edit::{self, FillConfig, Gapped, RepairConfig};
use crate::error::{Error, Result};
use crate::eval;
use crate::sample::{self, Frame, Request, Watch, Written};
use serde_json::{Value, json};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

/// Works until the queue is closed and empty.
pub(super) fn run(denoiser: &mut Denoiser, queue: &Queue, metrics: &Metrics) {
    answer_all(denoiser.batch(), queue, metrics, |batch| {
        denoiser.heed(&batch.stop);
        compute(denoiser, batch)
    });
}

/// The same for batches of at most so many, whoever computes.
fn answer_all(most: usize, queue: &Queue, metrics: &Metrics, mut compute: impl FnMut(&Batch) -> Result<u64>) {
    while let Some(batch) = queue.take(most) {
        let began = Instant::now();
        // A fault of ours ends a batch and not the server: what the next one reads of memory it has written itself.
        let done = panic::catch_unwind(AssertUnwindSafe(|| compute(&batch)));
        metrics.batch(batch.items.len(), began.elapsed());
        match done.unwrap_or_else(|_| Err(Error::Device(BROKE_OFF.into()))) {
            Ok(tokens) => metrics.tokens(tokens),
            Err(Error::Stopped(_)) => metrics.given_up(),
            Err(error) => {
                let text = error.to_string();
                batch.items.iter().for_each(|item| item.asker.answer(Event::Failed(text.clone())));
            }
        }
    }
}

/// What is said of a batch that panicked.
const BROKE_OFF: &str = "the computation broke off, by a fault of the server, whose standard error says where";

/// Returns how many tokens were written, measured or looked through.
fn compute(denoiser: &mut Denoiser, batch: &Batch) -> Result<u64> {
    match &batch.items[0].what {
        What::Write(_) => write(denoiser, batch),
        What::Score(_) => measure(denoiser, batch),
        What::Fill { text, config } => fill(denoiser, &batch.items[0], text, config),
        What::Repair { config, .. } => repair(denoiser, batch, config),
    }
}

fn write(denoiser: &mut Denoiser, batch: &Batch) -> Result<u64> {
    let writings: Vec<&Writing> = batch.items.iter().filter_map(|item| item.what.writing()).collect();
    let common = Arc::clone(&writings[0].common);
    let requests: Vec<Request> = writings.iter().map(|writing| writing.request.clone()).collect();
    let row = |number: u32| (number - batch.first) as usize;
    let mut show = |frame: &Frame<'_>| show(batch, frame);
    let mut pass = |_: &sample::Progress| {};
    let watches = batch.items.iter().any(|item| item.asker.watches);
    let watch = if watches { Watch::Steps(&mut show) } else { Watch::Progress(&mut pass) };
    let mut tokens = 0;
    let mut heard = |written: Written<'_>| {
        let Some(text) = written.whole() else { return };
        let row = row(text.number);
        tokens += text.committed_at.iter().flatten().count() as u64;
        let Item { index, asker, .. } = &batch.items[row];
        let text = text.behind(&writings[row].before);
        asker.answer(Event::Text { index: *index, seed: common.seed, text });
    };
    sample::sample_requests(denoiser, &common, &requests, batch.first, watch, &mut heard)?;
    Ok(tokens)
}

/// Shows texts in the making to those who watch.
fn show(batch: &Batch, frame: &Frame<'_>) {
    let length = frame.tokens.len() / frame.texts.len();
    let here = &batch.items[(frame.texts.start - batch.first) as usize..][..frame.texts.len()];
    for (row, item) in here.iter().enumerate().filter(|(_, item)| item.asker.watches) {
        let What::Write(writing) = &item.what else { continue };
        let here = &frame.tokens[row * length..][frame.new.clone()];
        let (index, number) = (item.index, frame.texts.start + row as u32);
        item.asker.show(|| Event::Frame {
            index,
            number,
            step: frame.step,
            tokens: [&writing.before[..], &frame.before[row].tokens, here].concat(),
        });
    }
}

fn measure(denoiser: &mut Denoiser, batch: &Batch) -> Result<u64> {
    let scores: Vec<&Score> = batch.items.iter().filter_map(|item| item.what.score()).collect();
    let Score { given, part, measure, .. } = *scores[0];
    let texts: Vec<Vec<u32>> = scores.iter().map(|score| score.tokens.clone()).collect();
    let found: Vec<Value> = match measure {
        Measure::Bound { draws, seed } => {
            let bounds = eval::bounds(denoiser, &texts, given, draws, seed)?;
            scores.iter().zip(bounds).map(|(score, bound)| api::bound(score, bound, draws, seed)).collect()
        }
        Measure::Exact { .. } if part == Family::Autoregressive => {
            let costs = eval::score_from_left(denoiser, &texts, given)?;
            scores.iter().zip(costs).map(|(score, nats)| api::likelihood(score, nats, None, 1)).collect()
        }
        Measure::Exact { policy, temperature } => {
            let costs = eval::score(denoiser, &texts, given, policy, temperature)?.into_iter();
            let order = Some((policy, temperature));
            scores
                .iter()
                .zip(costs)
                .map(|(score, (nats, steps))| api::likelihood(score, nats.into(), order, steps))
                .collect()
        }
    };
    for (item, found) in batch.items.iter().zip(found) {
        item.asker.answer(Event::Whole(found));
    }
    Ok(texts.iter().map(|text| (text.len() - given) as u64).sum())
}

fn fill(denoiser: &mut Denoiser, item: &Item, text: &Gapped, config: &FillConfig) -> Result<u64> {
    let found = edit::fill(denoiser, config, std::slice::from_ref(text), 0, &mut |_, _, _| {})?;
    let candidates = found.into_iter().next().unwrap_or_default();
    item.asker.answer(Event::Whole(api::filled(config.seed, &candidates)));
    Ok(candidates.iter().flat_map(|found| &found.lengths).map(|&length| length as u64).sum())
}

fn repair(denoiser: &mut Denoiser, batch: &Batch, config: &RepairConfig) -> Result<u64> {
    let text = |item: &Item| match &item.what {
        What::Repair { text, .. } => text.clone(),
        _ => String::new(),
    };
    let texts: Vec<String> = batch.items.iter().map(text).collect();
    let repaired =
        edit::repair(denoiser, config, &texts.iter().map(String::as_str).collect::<Vec<_>>(), &mut |_, _, _| {})?;
    for (item, repaired) in batch.items.iter().zip(repaired) {
        item.asker.answer(Event::Whole(json!(repaired)));
    }
    Ok(texts.iter().map(|text| text.chars().count() as u64).sum())
}

impl What {
    fn writing(&self) -> Option<&Writing> {
        match self {
            What::Write(writing) => Some(writing),
            _ => None,
        }
    }

    fn score(&self) -> Option<&Score> {
        match self {
            What::Score(score) => Some(score),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_breaks_off_is_answered_and_those_behind_it_are_computed() {
        let (queue, metrics) = (Arc::new(Queue::new(4)), Metrics::default());
        let open = queue.open_until_dropped();
        let ask = |text: &str| {
            let what = What::Repair { text: text.into(), config: RepairConfig::default() };
            queue.put(vec![what], false).unwrap_or_else(|full| panic!("{} wait", full.0))
        };
        let (mut first, mut second) = (ask("first"), ask("second"));
        drop(open);
        let mut batches = 0;
        answer_all(1, &queue, &metrics, |batch| {
            batches += 1;
            assert_eq!(batches, 2, "the first one panics here");
            batch.items.iter().for_each(|item| item.asker.answer(Event::Whole(json!("done"))));
            Ok(1)
        });
        let failed = first.events.try_recv().unwrap();
        assert!(matches!(&failed, Event::Failed(why) if why.contains("broke off")), "{failed:?}");
        let done = second.events.try_recv().unwrap();
        assert!(matches!(&done, Event::Whole(whole) if whole == "done"), "{done:?}");
    }
}
