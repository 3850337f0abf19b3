//! What texts start from.

use crate::config::Unknown;
use crate::data::{Corpus, Vocab};
use crate::denoiser::Start;
use crate::error::{Error, Result};
use crate::rng::{Stream, below, philox};
use std::ops::Range;

/// Nothing: `length` tokens to be written.
pub fn open(length: usize) -> Start {
    vec![None; length]
}

/// A prompt, and the rest of `length` tokens to be written.
pub fn prompt(vocab: &Vocab, text: &str, length: usize) -> Result<Start> {
    let ids = vocab.encode_as("prompt", text, Unknown::Error)?.ids;
    if ids.len() >= length {
        return Err(Error::input(format!(
            "the prompt has {} tokens and leaves nothing to write of a text of {length}; shorten it to {} or less",
            ids.len(),
            length.saturating_sub(1)
        )));
    }
    Ok(filled(ids.into_iter().map(Some).collect(), length))
}

/// A prompt of any length: one that would leave nothing to write of `length` tokens is cut, and the text begins with the
/// `overlap` last tokens of it. Returns the tokens before those, and the start.
pub fn end_of_prompt(vocab: &Vocab, text: &str, length: usize, overlap: usize) -> Result<(Vec<u32>, Start)> {
    let mut ids = vocab.encode_as("prompt", text, Unknown::Error)?.ids;
    let known = if ids.len() < length { ids.len() } else { overlap };
    if known >= length {
        return Err(Error::input(format!(
            "the prompt has {} tokens and a text {length}, which cannot go on from {known} of them; wanted fewer of --overlap",
            ids.len()
        )));
    }
    let end = ids.split_off(ids.len() - known);
    Ok((ids, filled(end.into_iter().map(Some).collect(), length)))
}

/// A text with holes: every `hole` is a token to be written, and so is what lies behind the text's end. `longest` is the
/// model's window.
pub fn template(vocab: &Vocab, text: &str, hole: char, length: usize, longest: usize) -> Result<Start> {
    let mut start = Vec::new();
    for (i, piece) in text.split(hole).enumerate() {
        start.extend((i > 0).then_some(None));
        start.extend(vocab.encode_as("template", piece, Unknown::Error)?.ids.into_iter().map(Some));
    }
    if start.len() > length {
        return Err(Error::input(format!(
            "the template has {} tokens, a text has {length}; shorten it{}",
            start.len(),
            if start.len() <= longest { format!(" or give --length {} or more", start.len()) } else { String::new() }
        )));
    }
    let start = filled(start, length);
    if start.iter().all(Option::is_some) {
        return Err(Error::input(format!(
            "the template leaves nothing to write; put {hole:?} where a character is wanted, or choose another --hole"
        )));
    }
    Ok(start)
}

/// The beginning of text `number` from somewhere in `range` of a corpus, `given` tokens of it, and the rest of `length`
/// to be written.
pub fn from_corpus(
    corpus: &Corpus,
    range: Range<u64>,
    given: usize,
    length: usize,
    seed: u64,
    number: u32,
) -> Result<Start> {
    let tokens = range.end - range.start;
    if given >= length || tokens < given as u64 {
        return Err(Error::input(format!(
            "a beginning of {given} tokens from {tokens} of the corpus for a text of {length}; wanted fewer than either"
        )));
    }
    let words = philox(seed, Stream::Prompt, u64::from(number), 0);
    let at = (range.start + below(words, tokens - given as u64 + 1)) as usize;
    Ok(filled(corpus.tokens().window(at..at + given).into_iter().map(Some).collect(), length))
}

fn filled(mut start: Start, length: usize) -> Start {
    start.resize(length, None);
    start
}
