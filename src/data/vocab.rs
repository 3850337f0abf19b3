//! Vocabularies: the symbols a model knows, each with its id, and the mask.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bpe::Bpe;
use super::misfits::{Cures, Misfits};
use crate::config::{Unknown, VocabKind};
use crate::error::{Error, Result};
use crate::terminal::thousands;

/// The most ids a vocabulary may have, mask included: ids are stored in 16 bits.
pub const MAX_VOCAB: usize = 1 << 16;

/// What [`Vocab::decode`] shows in the place of a mask.
pub const MASK_SHOWN_AS: &str = "_";

/// Stands in [`Symbols::Chars`] for "no such symbol"; never an id, since the highest id is at most the mask's.
const ABSENT: u16 = u16::MAX;

/// Where a corpus takes its vocabulary from.
#[derive(Clone, Debug, PartialEq)]
pub enum VocabChoice {
    /// Made for this corpus; [`VocabKind::Chars`] learns its characters from it.
    New(VocabKind),
    /// Fixed beforehand, as by a checkpoint.
    Given(Vocab),
}

impl From<VocabKind> for VocabChoice {
    fn from(kind: VocabKind) -> Self {
        VocabChoice::New(kind)
    }
}

impl From<Vocab> for VocabChoice {
    fn from(vocab: Vocab) -> Self {
        VocabChoice::Given(vocab)
    }
}

/// The symbols a model knows: `encode` turns text into ids, `decode` turns ids into text.
///
/// Ids run from 0 to `size() - 1`; one of them, `mask_id()`, stands for no text at all. Two vocabularies are equal when
/// they give every text the same ids. As a string ([`Vocab::to_json`]) or through serde a vocabulary reads
/// `{"kind":"ascii"}`, `{"kind":"chars","symbols":"\n !,abc"}` or `{"kind":"bpe","tokenizer":"…"}`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Vocab {
    symbols: Symbols,
}

#[derive(Clone, PartialEq)]
enum Symbols {
    Ascii,
    Chars {
        /// The character of each id, ascending.
        chars: Vec<char>,
        /// The id of each code point up to the highest, or [`ABSENT`].
        ids: Vec<u16>,
    },
    Bytes,
    /// The ids of a tokenizer, then the mask.
    Bpe(Bpe),
}

/// A vocabulary as files hold it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: VocabKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symbols: Option<String>,
    /// The content of a `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer: Option<String>,
}

/// What became of a text under [`Unknown::Replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// One id per symbol.
    pub ids: Vec<u32>,
    /// How many characters the vocabulary could not hold and were replaced.
    pub replaced: u64,
}

impl Vocab {
    /// The original's vocabulary: 128 ids, each the ASCII code of its character, 0 (NUL) the mask.
    pub fn ascii() -> Vocab {
        Vocab { symbols: Symbols::Ascii }
    }

    /// 256 byte values and the mask, 256: holds every text, at up to four ids a character.
    pub fn bytes() -> Vocab {
        Vocab { symbols: Symbols::Bytes }
    }

    /// The tokens of a byte-level tokenizer, from the content of its `tokenizer.json`; the mask behind them.
    pub fn bpe(json: &str) -> Result<Vocab> {
        let bpe = Bpe::from_json(json)?;
        if bpe.size() >= MAX_VOCAB {
            return Err(Error::input(format!(
                "the tokenizer has {} ids, a vocabulary holds at most {}",
                thousands(bpe.size() as u64),
                thousands(MAX_VOCAB as u64 - 1)
            )));
        }
        Ok(Vocab { symbols: Symbols::Bpe(bpe) })
    }

    /// The distinct characters of `text` in code point order, then the mask.
    pub fn chars(text: &str) -> Result<Vocab> {
        let mut seen = CharSet::default();
        seen.extend(text);
        Vocab::from_chars(seen.chars())
    }

    /// `chars`, ascending and distinct, as ids 0, 1, 2, …; then the mask.
    pub(super) fn from_chars(chars: Vec<char>) -> Result<Vocab> {
        let Some(&last) = chars.last() else {
            return Err(Error::input("a vocabulary needs at least one character, the text has none"));
        };
        if chars.len() >= MAX_VOCAB {
            return Err(Error::input(format!(
                "the text has {} different characters, a vocabulary holds at most {}; use --vocab bytes",
                thousands(chars.len() as u64),
                thousands(MAX_VOCAB as u64 - 1)
            )));
        }
        let mut ids = vec![ABSENT; last as usize + 1];
        for (id, &c) in chars.iter().enumerate() {
            ids[c as usize] = id as u16;
        }
        Ok(Vocab { symbols: Symbols::Chars { chars, ids } })
    }

    /// Which of them it is.
    pub fn kind(&self) -> VocabKind {
        match self.symbols {
            Symbols::Ascii => VocabKind::Ascii,
            Symbols::Chars { .. } => VocabKind::Chars,
            Symbols::Bytes => VocabKind::Bytes,
            Symbols::Bpe(_) => VocabKind::Bpe,
        }
    }

    /// How many ids there are, mask included: the rows of the embedding.
    pub fn size(&self) -> usize {
        match &self.symbols {
            Symbols::Ascii => 128,
            Symbols::Chars { chars, .. } => chars.len() + 1,
            Symbols::Bytes => 257,
            Symbols::Bpe(bpe) => bpe.size() + 1,
        }
    }

    /// The id that stands for a masked position; no text encodes to it.
    pub fn mask_id(&self) -> u32 {
        match &self.symbols {
            Symbols::Ascii => 0,
            Symbols::Chars { chars, .. } => chars.len() as u32,
            Symbols::Bytes => 256,
            Symbols::Bpe(bpe) => bpe.size() as u32,
        }
    }

    /// The highest id that text can have.
    pub(super) fn max_text_id(&self) -> u32 {
        match &self.symbols {
            Symbols::Ascii => 127,
            Symbols::Chars { chars, .. } => chars.len() as u32 - 1,
            Symbols::Bytes => 255,
            Symbols::Bpe(bpe) => bpe.size() as u32 - 1,
        }
    }

    /// The id of one character; none if the vocabulary lacks it, spells it with several bytes, or
    /// looks at what stands around it.
    pub fn id(&self, c: char) -> Option<u32> {
        match &self.symbols {
            Symbols::Ascii => (c.is_ascii() && c != '\0').then_some(c as u32),
            Symbols::Chars { ids, .. } => ids.get(c as usize).copied().filter(|&id| id != ABSENT).map(u32::from),
            Symbols::Bytes => c.is_ascii().then_some(c as u32),
            Symbols::Bpe(_) => None,
        }
    }

    /// The ids of a text, or where the first character is that the vocabulary cannot hold.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_as("text", text, Unknown::Error)?.ids)
    }

    /// Like [`Vocab::encode`], with a choice, and with the text's name (`prompt`) for the message.
    pub fn encode_as(&self, name: &str, text: &str, unknown: Unknown) -> Result<Encoded> {
        let mut misfits = Misfits::default();
        misfits.read(self, 0, text);
        misfits.check(self, unknown, Cures::LeaveOut, |_| name.to_owned())?;
        let mut ids = Vec::with_capacity(text.len());
        self.each_id(text, |id| ids.push(id));
        Ok(Encoded { ids, replaced: misfits.total })
    }

    /// Calls `f` with the id of each symbol, the replacement's for those that the vocabulary cannot hold.
    pub(super) fn each_id(&self, text: &str, mut f: impl FnMut(u32)) {
        match &self.symbols {
            Symbols::Bytes => text.bytes().for_each(|byte| f(u32::from(byte))),
            Symbols::Bpe(bpe) => bpe.encode(text).into_iter().for_each(f),
            _ => {
                let replacement = self.replacement();
                text.chars().for_each(|c| f(self.id(c).unwrap_or(replacement)));
            }
        }
    }

    /// Whether every character of the text has an id.
    pub(super) fn holds(&self, text: &str) -> bool {
        match self.symbols {
            Symbols::Ascii => text.is_ascii() && !text.as_bytes().contains(&0),
            Symbols::Chars { .. } => text.chars().all(|c| self.id(c).is_some()),
            Symbols::Bytes | Symbols::Bpe(_) => true,
        }
    }

    /// The id that [`Unknown::Replace`] puts in the place of an unknown character.
    pub(super) fn replacement(&self) -> u32 {
        self.id('?').or_else(|| self.id(' ')).unwrap_or(0)
    }

    /// The text of some ids, masks shown as [`MASK_SHOWN_AS`].
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_with(ids, MASK_SHOWN_AS)
    }

    /// The text of some ids, masks shown as `mask`.
    ///
    /// Control characters are kept. Bytes that are not UTF-8, which a model may well write, and ids outside the vocabulary
    /// show as U+FFFD.
    pub fn decode_with(&self, ids: &[u32], mask: &str) -> String {
        let mut text = String::with_capacity(ids.len());
        for stretch in ids.split_inclusive(|&id| id == self.mask_id()) {
            let (known, masked) = match stretch {
                [known @ .., last] if *last == self.mask_id() => (known, mask),
                known => (known, ""),
            };
            self.decode_known(known, &mut text);
            text.push_str(masked);
        }
        text
    }

    /// Puts the text of ids without masks behind a text.
    fn decode_known(&self, ids: &[u32], text: &mut String) {
        let unknown = char::REPLACEMENT_CHARACTER;
        match &self.symbols {
            Symbols::Ascii => text.extend(ids.iter().map(|&id| if id < 128 { id as u8 as char } else { unknown })),
            Symbols::Chars { chars, .. } => {
                text.extend(ids.iter().map(|&id| chars.get(id as usize).copied().unwrap_or(unknown)));
            }
            Symbols::Bytes => {
                for (i, stretch) in ids.split(|&id| id > 255).enumerate() {
                    text.extend((i > 0).then_some(unknown));
                    let bytes: Vec<u8> = stretch.iter().map(|&id| id as u8).collect();
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
            }
            Symbols::Bpe(bpe) => text.push_str(&bpe.decode(ids)),
        }
    }

    /// The vocabulary as one line of JSON, for the metadata of a checkpoint.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a kind and a string are always JSON")
    }

    /// Reads what [`Vocab::to_json`] wrote.
    pub fn from_json(json: &str) -> Result<Vocab> {
        serde_json::from_str(json).map_err(|e| {
            // A tokenizer is long.
            let shown: String = json.chars().take(200).collect();
            Error::input(format!("the vocabulary {shown:?} cannot be read: {e}"))
        })
    }
}

impl fmt::Debug for Vocab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbols {
            Symbols::Bpe(_) => write!(f, "Vocab(bpe of {})", self.size()),
            _ => write!(f, "Vocab({})", self.to_json()),
        }
    }
}

impl From<Vocab> for Stored {
    fn from(vocab: Vocab) -> Stored {
        let kind = vocab.kind();
        match vocab.symbols {
            Symbols::Chars { chars, .. } => {
                Stored { kind, symbols: Some(chars.into_iter().collect()), tokenizer: None }
            }
            Symbols::Bpe(bpe) => Stored { kind, symbols: None, tokenizer: Some(bpe.json().to_owned()) },
            _ => Stored { kind, symbols: None, tokenizer: None },
        }
    }
}

impl TryFrom<Stored> for Vocab {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Vocab> {
        match (stored.kind, stored.symbols) {
            (VocabKind::Bpe, None) => {
                Vocab::bpe(&stored.tokenizer.ok_or_else(|| Error::input("a bpe vocabulary needs its tokenizer"))?)
            }
            (VocabKind::Ascii, None) => Ok(Vocab::ascii()),
            (VocabKind::Bytes, None) => Ok(Vocab::bytes()),
            (VocabKind::Chars, Some(symbols)) => {
                let chars: Vec<char> = symbols.chars().collect();
                if !chars.is_sorted_by(|a, b| a < b) {
                    return Err(Error::input("the symbols of a chars vocabulary must be distinct and ascending"));
                }
                Vocab::from_chars(chars)
            }
            (VocabKind::Chars, None) => Err(Error::input("a chars vocabulary needs its symbols")),
            (kind, Some(_)) => Err(Error::input(format!("the {kind} vocabulary is fixed and takes no symbols"))),
        }
    }
}

/// The distinct characters of a text of any length: one bit for each code point.
pub(super) struct CharSet {
    seen: Vec<u64>,
}

impl Default for CharSet {
    fn default() -> Self {
        CharSet { seen: vec![0; (char::MAX as usize + 1) / 64] }
    }
}

impl CharSet {
    pub(super) fn extend(&mut self, text: &str) {
        if text.is_ascii() {
            let mut seen = [false; 128];
            text.bytes().for_each(|byte| seen[usize::from(byte)] = true);
            (0..128).filter(|&c| seen[c]).for_each(|c| self.seen[c / 64] |= 1 << (c % 64));
            return;
        }
        for c in text.chars() {
            self.seen[c as usize / 64] |= 1 << (c as usize % 64);
        }
    }

    pub(super) fn chars(&self) -> Vec<char> {
        let bits = self.seen.iter().enumerate().filter(|(_, word)| **word != 0);
        bits.flat_map(|(i, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i as u32 * 64 + bit))
            .filter_map(char::from_u32)
            .collect()
    }
}
