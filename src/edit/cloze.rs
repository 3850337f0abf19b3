//! How well gaps are filled whose fill is known: words that were taken out of a text.

use super::fill::{Candidate, FillConfig, NEAR, fill};
use super::gaps::Gapped;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
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
            for (cloze, found) in some.iter().zip(found) {
                outcome.count(&cloze.word, found.first().map_or("", |best: &Candidate| &best.gaps[0]), known);
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
        outcome.count(&cloze.word, &fills[length].text, true);
        let score = |length: usize| config.prior.ln(length, config.longest) + fills[length].ln_all;
        let best = (0..=config.longest).max_by(|&a, &b| score(a).total_cmp(&score(b))).expect("at least length 0");
        outcome.count(&cloze.word, &fills[best].text, false);
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
        }
    }

    /// Counts a fill of a word's gap, whose length was known or not.
    fn count(&mut self, word: &str, fill: &str, known: bool) {
        let exact = usize::from(word == fill);
        if known {
            self.exact += exact;
            self.characters_right += word.chars().zip(fill.chars()).filter(|(a, b)| a == b).count();
        } else {
            let off = word.chars().count().abs_diff(fill.chars().count());
            self.exact_unknown += exact;
            self.length_found += usize::from(off == 0);
            self.length_within_one += usize::from(off <= 1);
        }
    }
}
