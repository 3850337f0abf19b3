//! Texts with gaps.

use crate::config::Unknown;
use crate::data::Vocab;
use crate::denoiser::Start;
use crate::error::{Error, Result};
use std::ops::Range;

/// A text with gaps, some of whose lengths may be unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Gapped {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Given(Vec<u32>),
    /// So many tokens.
    Gap(usize),
    Unknown,
}

/// What makes a gap's length unknown, behind its last hole.
const ANY: char = '*';

impl Gapped {
    /// Reads a text in which every `hole` is an unknown token, and holes with a `*` behind them are a gap of any length: with `_`,
    /// `To be ____ to be` has a gap of 4, and `To be _* to be` one of unknown length.
    pub fn parse(vocab: &Vocab, text: &str, hole: char) -> Result<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let given = rest.find(hole).unwrap_or(rest.len());
            if given > 0 {
                parts.push(Part::Given(vocab.encode_as("text", &rest[..given], Unknown::Error)?.ids));
            }
            let behind = rest[given..].trim_start_matches(hole);
            let holes = (rest.len() - given - behind.len()) / hole.len_utf8();
            rest = behind.strip_prefix(ANY).filter(|_| holes > 0).unwrap_or(behind);
            if rest.len() < behind.len() {
                parts.push(Part::Unknown);
            } else if holes > 0 {
                parts.push(Part::Gap(holes));
            }
        }
        if !parts.iter().any(|part| !matches!(part, Part::Given(_))) {
            return Err(Error::input(format!(
                "a text without a gap; put {hole:?} where a character is wanted, or \"{hole}{ANY}\" where any number of them is"
            )));
        }
        Ok(Gapped { parts })
    }

    /// A gap of so many tokens, or of unknown length, between two texts.
    pub fn between(vocab: &Vocab, before: &str, length: Option<usize>, behind: &str) -> Result<Self> {
        let given = |text: &str| vocab.encode_as("text", text, Unknown::Error).map(|read| Part::Given(read.ids));
        Ok(Gapped { parts: vec![given(before)?, length.map_or(Part::Unknown, Part::Gap), given(behind)?] })
    }

    /// Gaps of unknown length.
    pub fn unknown(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Unknown)).count()
    }

    /// It with these lengths of the gaps whose length is unknown, up to the first that has none, or the end; and where its gaps are.
    pub(super) fn laid_out(&self, lengths: &[usize]) -> Laid {
        let (mut tokens, mut gaps, mut of_unknown) = (Start::new(), Vec::new(), Vec::new());
        let mut lengths = lengths.iter();
        for part in &self.parts {
            let length = match part {
                Part::Given(ids) => {
                    tokens.extend(ids.iter().copied().map(Some));
                    continue;
                }
                Part::Gap(length) => *length,
                Part::Unknown => match lengths.next() {
                    Some(&length) => {
                        of_unknown.push(gaps.len());
                        length
                    }
                    None => break,
                },
            };
            gaps.push(tokens.len()..tokens.len() + length);
            tokens.resize(tokens.len() + length, None);
        }
        Laid { tokens, gaps, of_unknown }
    }
}

/// A text with gaps of known lengths.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub(super) tokens: Start,
    /// Where they are.
    pub(super) gaps: Vec<Range<usize>>,
    /// Which of them had no length.
    pub(super) of_unknown: Vec<usize>,
}
