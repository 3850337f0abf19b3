//! Text in, tokens out: where a corpus comes from, the vocabulary it is written in, and its two splits.
//!
//! - [`Source`]: the text, embedded, in a file or in a folder of files, and which of it ([`Selection`]);
//! - [`Reading`]: what of its bytes is text;
//! - [`Vocab`]: the symbols a model knows, each with its id, and the id of the mask;
//! - [`Corpus`]: the encoded text as one run of [`Tokens`], in memory or memory-mapped, split by position.
//!
//! A corpus is addressed by position alone: a backend copies [`Tokens`] to its device once and crops windows there.

mod bpe;
mod clean;
mod corpus;
mod misfits;
mod text;
mod vocab;

pub use clean::Reading;
pub use corpus::{Corpus, MAP_ABOVE_BYTES, Tokens};
pub use text::{Selection, Source, stdin};
pub use vocab::{Encoded, MASK_SHOWN_AS, MAX_VOCAB, Vocab, VocabChoice};

/// Tiny Shakespeare, the corpus of every run that names no other; `data/README.md` says where it comes from.
pub const TINY_SHAKESPEARE: &str = include_str!("../../data/tinyshakespeare.txt");
