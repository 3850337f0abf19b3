//! Texts in the making, kept: what each step changed, and how sure the model was.

use super::{Frame, Text};
use crate::config::Score;
use crate::data::Vocab;
use crate::denoiser::Start;
use std::collections::BTreeMap;

/// Watches texts as they are sampled, and keeps what each step changed.
#[derive(Clone, Debug)]
pub struct Recording {
    vocab: Vocab,
    /// What the sampler's confidence is; none where it keeps none.
    score: Option<Score>,
    texts: BTreeMap<u32, Recorded>,
}

/// One text, from what was given to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// What was given: a token, or none.
    pub start: Vec<Option<u32>>,
    /// What each step changed.
    pub steps: Vec<Vec<Change>>,
    /// The text so far.
    pub places: Vec<Place>,
}

/// What a step made of a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The position.
    pub at: usize,
    /// The token there; none where it is open again.
    pub token: Option<u32>,
    /// How sure the model was, 0 to 1; none where that is not known.
    pub sure: Option<f32>,
}

/// A position of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// The token there; none where it is open.
    pub token: Option<u32>,
    /// How sure the model was when it wrote it, 0 to 1; none where that is not known.
    pub sure: Option<f32>,
    /// The number of the step that changed it last, from 1; 0 for none.
    pub since: usize,
}

impl Recorded {
    /// A text of which this is given.
    pub fn new(start: Vec<Option<u32>>) -> Self {
        let places = start.iter().map(|&token| Place { token, ..Place::default() }).collect();
        Recorded { start, steps: Vec::new(), places }
    }

    /// Makes a step.
    pub fn step(&mut self, changes: Vec<Change>) {
        let since = self.steps.len() + 1;
        for &Change { at, token, sure } in &changes {
            self.grow(at + 1);
            self.places[at] = Place { token, sure, since };
        }
        self.steps.push(changes);
    }

    /// Makes it so long at least; what is not there yet is open.
    fn grow(&mut self, length: usize) {
        self.places.resize(self.places.len().max(length), Place::default());
    }

    /// Positions that are open.
    pub fn open(&self) -> usize {
        self.places.iter().filter(|place| place.token.is_none()).count()
    }
}

impl Recording {
    /// Of texts in a vocabulary, by a sampler with this score.
    pub fn new(vocab: &Vocab, score: Option<Score>) -> Self {
        Recording { vocab: vocab.clone(), score, texts: BTreeMap::new() }
    }

    /// Texts begin with this, the first of these numbers and those behind it; `before` stands before it.
    pub fn begin(&mut self, first: u32, before: &[u32], starts: &[Start]) {
        for (number, start) in (first..).zip(starts) {
            let known = before.iter().map(|&id| Some(id));
            self.texts.insert(number, Recorded::new(known.chain(start.iter().copied()).collect()));
        }
    }

    /// A step was made; `before` as many tokens as stand before what is sampled.
    pub fn take(&mut self, before: usize, frame: &Frame<'_>) {
        let length = frame.tokens.len() / frame.texts.len();
        for (row, number) in frame.texts.clone().enumerate() {
            let Some(text) = self.texts.get_mut(&number) else { continue };
            let first = before + frame.before[row].tokens.len();
            text.grow(first + frame.new.len());
            let mut changes = Vec::new();
            for (at, place) in (first..).zip(frame.new.clone()) {
                let cell = row * length + place;
                let token = Some(frame.tokens[cell]).filter(|&token| token != self.vocab.mask_id());
                if text.places[at].token != token {
                    let sure = token.and_then(|_| sureness(self.score, frame.confidence[cell]));
                    changes.push(Change { at, token, sure });
                }
            }
            text.step(changes);
        }
    }

    /// A finished text, by the steps that committed its tokens.
    pub fn add(&mut self, text: &Text) {
        let start = text.tokens.iter().zip(&text.committed_at).map(|(&token, at)| Some(token).filter(|_| at.is_none()));
        let mut recorded = Recorded::new(start.collect());
        let mut steps: BTreeMap<(usize, u32), Vec<Change>> = BTreeMap::new();
        for (at, (&token, step)) in text.tokens.iter().zip(&text.committed_at).enumerate() {
            let Some(step) = *step else { continue };
            // The steps of a block are counted from its beginning.
            let block = text.ends.partition_point(|&end| end <= at);
            steps.entry((block, step)).or_default().push(Change { at, token: Some(token), sure: None });
        }
        steps.into_values().for_each(|changes| recorded.step(changes));
        self.texts.insert(text.number, recorded);
    }

    /// The vocabulary of the texts.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Whether it is known how sure the model was.
    pub fn has_sureness(&self) -> bool {
        self.score.is_some_and(|score| score != Score::Random)
    }

    /// The texts by their numbers.
    pub fn texts(&self) -> &BTreeMap<u32, Recorded> {
        &self.texts
    }

    /// Forgets all texts.
    pub fn clear(&mut self) {
        self.texts.clear();
    }

    /// Tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.texts.values().map(|text| text.places.len()).sum()
    }
}

/// How sure a model was, from its sampler's score; of an entropy the probability that as many equally likely symbols have.
fn sureness(score: Option<Score>, confidence: f32) -> Option<f32> {
    let share = match score? {
        Score::Random => return None,
        Score::Entropy => confidence.exp(),
        Score::Max | Score::Margin | Score::Candidate => confidence,
    };
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}
