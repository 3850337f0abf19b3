//! Text in, tokens out: where a corpus comes from, the vocabulary it is written in, and its two splits.
//!
//! - [`Source`]: the text, embedded, in a file or in a folder of files;
//! - [`Reading`]: what of its bytes is text;
//! - [`Vocab`]: the symbols a model knows, each with its id, and the id of the mask;
//! - [`Corpus`]: the encoded text as one run of [`Tokens`], in memory or memory-mapped, split 90/10 by position.
//!
//! A corpus is addressed by position alone: a backend copies [`Tokens`] to its device once and crops windows there.

mod clean;
mod corpus;
mod text;
mod vocab;

pub use clean::Reading;
pub use corpus::{Corpus, MAP_ABOVE_BYTES, Tokens};
pub use text::Source;
pub use vocab::{Encoded, MASK_SHOWN_AS, MAX_VOCAB, Vocab, VocabChoice};

/// Tiny Shakespeare, the corpus of every run that names no other; `data/README.md` says where it comes from.
pub const TINY_SHAKESPEARE: &str = include_str!("../../data/tinyshakespeare.txt");

/// A count with thousands separators, as messages show it.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 character`, `2,000 characters`.
fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_embedded_corpus_is_tiny_shakespeare_byte_for_byte() {
        assert_eq!(TINY_SHAKESPEARE.len(), 1_115_394);
        let hash: String = Sha256::digest(TINY_SHAKESPEARE).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_115_394].map(grouped), ["0", "999", "1,000", "1,115,394"]);
        assert_eq!(counted(1, "file"), "1 file");
    }
}
