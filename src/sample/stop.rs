//! Where a text ends that is to end before a string.

use super::Text;
use crate::data::Vocab;

/// Where in a text's tokens a stop begins.
pub(super) struct Cut {
    /// Tokens up to the one that it begins in, or behind.
    tokens: usize,
    /// Bytes of these that belong to it.
    bytes: usize,
}

impl Cut {
    /// The first stop that begins behind the first `given` tokens; it may reach over any number of tokens.
    pub(super) fn at(vocab: &Vocab, tokens: &[u32], given: usize, stop: &str) -> Option<Self> {
        let text = vocab.decode(tokens);
        let begins = vocab.decode(&tokens[..given.min(tokens.len())]).len();
        let at = begins + text.get(begins..)?.find(stop)?;
        // From some number of tokens on they say all that stands before it.
        let says = |count: usize| vocab.decode(&tokens[..count]).get(..at) == text.get(..at);
        let counts: Vec<usize> = (given.min(tokens.len())..=tokens.len()).collect();
        let count = counts[counts.partition_point(|&count| !says(count))];
        Some(Cut { tokens: count, bytes: vocab.decode(&tokens[..count]).len() - at })
    }

    /// What stands before it.
    pub(super) fn of(self, mut text: Text) -> Text {
        text.tokens.truncate(self.tokens);
        text.committed_at.truncate(self.tokens);
        text.ends.iter_mut().for_each(|end| *end = self.tokens.min(*end));
        text.cut = self.bytes;
        text
    }
}

impl Text {
    /// It in characters.
    pub fn decoded(&self, vocab: &Vocab) -> String {
        let mut text = vocab.decode(&self.tokens);
        text.truncate(text.floor_char_boundary(text.len() - self.cut));
        text
    }
}
