//! How well gaps are filled whose fill is known: words that were taken out of a text.

use super::fill::{Candidate, FillConfig, NEAR, fill};
use super::gaps::Gapped;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use crate::eval;
use crate::quality::interpolated::Interpolated;
use serde::Serialize;
use std::ops::RangeInclusive;

/// A word, and what stands around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloze {
    /// What stands before it.
    pub before: String,
    /// The word.
    pub word: String,
    /// What stands behind it.
    pub behind: String,
}

/// Letters of the words that are taken out.
pub const LETTERS: RangeInclusive<usize> = 2..=9;

/// How many words came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Words.
    pub words: usize,
    /// Their characters.
    pub characters: usize,
    /// Of gaps of known length: words that came back as they were,
    pub exact: usize,
    /// and characters that did at their place.
    pub characters_right: usize,
    /// Of gaps of unknown length: words that came back as they were,
    pub exact_unknown: usize,
    /// gaps of which the length was found,
    pub length_found: usize,
    /// and those of which it was found within one.
    pub length_within_one: usize,
    /// Of each word, for each of [`MEASURES`]: what came back, of how many.
    #[serde(skip)]
    each: Vec<[[usize; 2]; MEASURES.len()]>,
}

/// What of an [`Outcome`] is a share, by the names of its fields.
pub const MEASURES: [&str; 5] = ["exact", "characters_right", "exact_unknown", "length_found", "length_within_one"];

/// By how much a share is above another one of the same words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The one less the other.
    pub share: f64,
    /// Its standard error, over words that are paired: of shares of words the root of McNemar's variance. None of few words.
    pub standard_error: Option<f64>,
}

/// `count` words of a text, evenly spaced, each between `around` characters on either side.
pub fn words(text: &str, count: usize, around: usize) -> Result<Vec<Cloze>> {
    let text: Vec<char> = text.chars().collect();
    let string = |part: &[char]| part.iter().collect::<String>();
    let is_inside = |i: usize| text[i].is_alphabetic();
    let mut found = Vec::new();
    let room = text.len().saturating_sub(around.saturating_mul(2));
    let mut from = around;
    for i in 0..count {
        from = from.max(around.saturating_add(i * room / count));
        let word = loop {
            let Some(start) = (from.max(1)..text.len()).find(|&i| is_inside(i) && !is_inside(i - 1)) else {
                break None;
            };
            let end = (start..text.len()).find(|&i| !is_inside(i)).unwrap_or(text.len());
            from = end;
            if LETTERS.contains(&(end - start)) {
                break Some(start..end);
            }
        };
        let Some(word) = word.filter(|word| around <= text.len() - word.end) else {
            return Err(Error::input(format!(
                "{i} words of {} to {} letters with {around} characters on either side in {} characters; wanted {count}",
                LETTERS.start(),
                LETTERS.end(),
                text.len()
            )));
        };
        let (before, behind) = (&text[word.start - around..word.start], &text[word.end..word.end + around]);
        found.push(Cloze { before: string(before), word: string(&text[word]), behind: string(behind) });
    }
    Ok(found)
}

/// Fills the words' gaps by a model, once told how long they are and once not. `progress` is told what is done of how much.
pub fn by_model(
    denoiser: &mut Denoiser,
    config: &FillConfig,
    words: &[Cloze],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Outcome> {
    let vocab = denoiser.vocab().clone();
    let mut outcome = Outcome::of(words);
    let mut first = 0;
    for some in words.chunks(denoiser.batch()) {
        for known in [true, false] {
            let gap = |cloze: &Cloze| {
                let length = known.then(|| cloze.word.chars().count());
                Gapped::between(&vocab, &cloze.before, length, &cloze.behind)
            };
            let gaps = some.iter().map(gap).collect::<Result<Vec<Gapped>>>()?;
            progress("words", first, words.len());
            let found = fill(denoiser, config, &gaps, first as u32, &mut |_, _, _| {})?;
            for (i, (cloze, found)) in some.iter().zip(found).enumerate() {
                let fill = found.first().map_or("", |best: &Candidate| &best.gaps[0]);
                outcome.count(first + i, &cloze.word, fill, known);
            }
        }
        first += some.len();
    }
    Ok(outcome)
}

/// The same by counts of n-grams: fills are those of the greatest probability, lengths are as probable as the prior and what follows,
/// over as many characters as a model judges them by, make them.
pub fn by_counts(
    model: &Interpolated,
    config: &FillConfig,
    words: &[Cloze],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Outcome {
    let mut outcome = Outcome::of(words);
    for (i, cloze) in words.iter().enumerate() {
        progress("words by counts", i, words.len());
        let [before, behind] = [&cloze.before, &cloze.behind].map(|text| text.chars().collect::<Vec<char>>());
        let length = cloze.word.chars().count();
        let fills = model.fills(&before, config.longest.max(length), &behind[..behind.len().min(NEAR)]);
        outcome.count(i, &cloze.word, &fills[length].text, true);
        let score = |length: usize| config.prior.ln(length, config.longest) + fills[length].ln_all;
        let best = (0..=config.longest).max_by(|&a, &b| score(a).total_cmp(&score(b))).expect("at least length 0");
        outcome.count(i, &cloze.word, &fills[best].text, false);
    }
    outcome
}

impl Outcome {
    fn of(words: &[Cloze]) -> Self {
        Outcome {
            words: words.len(),
            characters: words.iter().map(|cloze| cloze.word.chars().count()).sum(),
            exact: 0,
            characters_right: 0,
            exact_unknown: 0,
            length_found: 0,
            length_within_one: 0,
            each: vec![[[0; 2]; MEASURES.len()]; words.len()],
        }
    }

    /// Counts a fill of a word's gap, whose length was known or not.
    fn count(&mut self, number: usize, word: &str, fill: &str, known: bool) {
        let (each, exact, characters) = (&mut self.each[number], usize::from(word == fill), word.chars().count());
        if known {
            let right = word.chars().zip(fill.chars()).filter(|(a, b)| a == b).count();
            self.exact += exact;
            self.characters_right += right;
            (each[0], each[1]) = ([exact, 1], [right, characters]);
        } else {
            let off = characters.abs_diff(fill.chars().count());
            let [found, near] = [0, 1].map(|most| usize::from(off <= most));
            self.exact_unknown += exact;
            self.length_found += found;
            self.length_within_one += near;
            (each[2], each[3], each[4]) = ([exact, 1], [found, 1], [near, 1]);
        }
    }

    /// By how much each of [`MEASURES`] is above that of another way to fill the same gaps.
    #[must_use]
    pub fn above(&self, other: &Outcome) -> [Difference; MEASURES.len()] {
        std::array::from_fn(|measure| {
            let pair = |(one, other): (&[[usize; 2]; 5], &[[usize; 2]; 5])| {
                let ([one, of], [other, _]) = (one[measure], other[measure]);
                [one as f64 - other as f64, of as f64]
            };
            let found = eval::ratio(&self.each.iter().zip(&other.each).map(pair).collect::<Vec<_>>());
            Difference { share: found.nats, standard_error: found.standard_error }
        })
    }
}
