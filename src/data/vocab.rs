//! Vocabularies: the symbols a model knows, each with its id, and the mask.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::{counted, grouped};
use crate::config::{Unknown, VocabKind};
use crate::error::{Error, Result};

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
/// `{"kind":"ascii"}` or `{"kind":"chars","symbols":"\n !,abc"}`.
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
}

/// A vocabulary as files hold it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    kind: VocabKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symbols: Option<String>,
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
                grouped(chars.len() as u64),
                grouped(MAX_VOCAB as u64 - 1)
            )));
        }
        let mut ids = vec![ABSENT; last as usize + 1];
        for (id, &c) in chars.iter().enumerate() {
            ids[c as usize] = id as u16;
        }
        Ok(Vocab { symbols: Symbols::Chars { chars, ids } })
    }

    /// Which of the three it is.
    pub fn kind(&self) -> VocabKind {
        match self.symbols {
            Symbols::Ascii => VocabKind::Ascii,
            Symbols::Chars { .. } => VocabKind::Chars,
            Symbols::Bytes => VocabKind::Bytes,
        }
    }

    /// How many ids there are, mask included: the rows of the embedding.
    pub fn size(&self) -> usize {
        match &self.symbols {
            Symbols::Ascii => 128,
            Symbols::Chars { chars, .. } => chars.len() + 1,
            Symbols::Bytes => 257,
        }
    }

    /// The id that stands for a masked position; no text encodes to it.
    pub fn mask_id(&self) -> u32 {
        match &self.symbols {
            Symbols::Ascii => 0,
            Symbols::Chars { chars, .. } => chars.len() as u32,
            Symbols::Bytes => 256,
        }
    }

    /// The highest id that text can have.
    pub(super) fn max_text_id(&self) -> u32 {
        match &self.symbols {
            Symbols::Ascii => 127,
            Symbols::Chars { chars, .. } => chars.len() as u32 - 1,
            Symbols::Bytes => 255,
        }
    }

    /// The id of one character; none if the vocabulary lacks it or spells it with several bytes.
    pub fn id(&self, c: char) -> Option<u32> {
        match &self.symbols {
            Symbols::Ascii => (c.is_ascii() && c != '\0').then_some(c as u32),
            Symbols::Chars { ids, .. } => ids.get(c as usize).copied().filter(|&id| id != ABSENT).map(u32::from),
            Symbols::Bytes => c.is_ascii().then_some(c as u32),
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
        match self.symbols {
            Symbols::Bytes => text.bytes().for_each(|byte| f(u32::from(byte))),
            _ => {
                let replacement = self.replacement();
                text.chars().for_each(|c| f(self.id(c).unwrap_or(replacement)));
            }
        }
    }

    /// Whether every character of the text has an id.
    fn holds(&self, text: &str) -> bool {
        match self.symbols {
            Symbols::Ascii => text.is_ascii() && !text.as_bytes().contains(&0),
            Symbols::Chars { .. } => text.chars().all(|c| self.id(c).is_some()),
            Symbols::Bytes => true,
        }
    }

    /// The id that [`Unknown::Replace`] puts in the place of an unknown character.
    fn replacement(&self) -> u32 {
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
        let mut bytes = Vec::new();
        for &id in ids {
            if let (Symbols::Bytes, Ok(byte)) = (&self.symbols, u8::try_from(id)) {
                bytes.push(byte);
                continue;
            }
            flush(&mut bytes, &mut text);
            if id == self.mask_id() {
                text.push_str(mask);
                continue;
            }
            text.push(match &self.symbols {
                Symbols::Ascii if id < 128 => id as u8 as char,
                Symbols::Chars { chars, .. } => chars.get(id as usize).copied().unwrap_or(char::REPLACEMENT_CHARACTER),
                _ => char::REPLACEMENT_CHARACTER,
            });
        }
        flush(&mut bytes, &mut text);
        text
    }

    /// The vocabulary as one line of JSON, for the metadata of a checkpoint.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a kind and a string are always JSON")
    }

    /// Reads what [`Vocab::to_json`] wrote.
    pub fn from_json(json: &str) -> Result<Vocab> {
        serde_json::from_str(json).map_err(|e| Error::input(format!("the vocabulary {json:?} cannot be read: {e}")))
    }
}

fn flush(bytes: &mut Vec<u8>, text: &mut String) {
    text.push_str(&String::from_utf8_lossy(bytes));
    bytes.clear();
}

impl fmt::Debug for Vocab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vocab({})", self.to_json())
    }
}

impl From<Vocab> for Stored {
    fn from(vocab: Vocab) -> Stored {
        let kind = vocab.kind();
        match vocab.symbols {
            Symbols::Chars { chars, .. } => Stored { kind, symbols: Some(chars.into_iter().collect()) },
            _ => Stored { kind, symbols: None },
        }
    }
}

impl TryFrom<Stored> for Vocab {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Vocab> {
        match (stored.kind, stored.symbols) {
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

/// What may be done about characters that a vocabulary lacks, where they were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cures {
    /// The text is an argument.
    LeaveOut,
    /// It is a file, read for a model that is trained.
    Replace,
    /// It is a file to train on.
    Choose,
}

/// The characters that a vocabulary cannot hold, found while a text of several files goes by.
#[derive(Default)]
pub(super) struct Misfits {
    pub(super) total: u64,
    first: Option<(Place, char)>,
    distinct: BTreeSet<char>,
    at: Place,
}

/// A place in one of several files; line and column count from 0 here and from 1 in messages.
#[derive(Clone, Copy, Default, PartialEq)]
struct Place {
    file: usize,
    line: u64,
    column: u64,
}

impl Misfits {
    /// Looks at the next stretch of text, which belongs to file number `file`.
    pub(super) fn read(&mut self, vocab: &Vocab, file: usize, text: &str) {
        if file != self.at.file {
            self.at = Place { file, line: 0, column: 0 };
        }
        if !vocab.holds(text) {
            self.record(vocab, text);
        }
        // The place matters up to the first misfit only.
        if self.first.is_none() {
            self.at.advance(text);
        }
    }

    fn record(&mut self, vocab: &Vocab, text: &str) {
        for (offset, c) in text.char_indices().filter(|(_, c)| vocab.id(*c).is_none()) {
            if self.first.is_none() {
                let mut place = self.at;
                place.advance(&text[..offset]);
                self.first = Some((place, c));
            }
            self.total += 1;
            self.distinct.insert(c);
        }
    }

    /// The error that names the first of them, if there is one and it matters; `file_name` names a file by its number.
    pub(super) fn check(
        &self,
        vocab: &Vocab,
        unknown: Unknown,
        cures: Cures,
        file_name: impl Fn(usize) -> String,
    ) -> Result<()> {
        let (Some((place, c)), Unknown::Error) = (self.first, unknown) else { return Ok(()) };
        let mut message = format!(
            "{}, line {}, column {}: \"{}\" (U+{:04X}) is not in the {} vocabulary",
            file_name(place.file),
            grouped(place.line + 1),
            grouped(place.column + 1),
            c.escape_debug(),
            c as u32,
            vocab.kind()
        );
        if (c, vocab.kind()) == ('\0', VocabKind::Ascii) {
            message += ", where its code stands for the mask";
        }
        const SHOWN: usize = 10;
        if self.total > 1 {
            let _ = write!(message, "; {} like it", counted(self.total, "character"));
            let shown: Vec<String> = self.distinct.iter().take(SHOWN).map(|c| c.escape_debug().to_string()).collect();
            let more = if self.distinct.len() > SHOWN { " …" } else { "" };
            let _ = write!(
                message,
                " in all, {} different: {}{more}",
                grouped(self.distinct.len() as u64),
                shown.join(" ")
            );
        }
        let replacement = vocab.decode(&[vocab.replacement()]).escape_debug().to_string();
        let replace = format!("; put \"{replacement}\" in such places with --unknown replace");
        message += &match cures {
            Cures::LeaveOut => "; leave it out, or train a model on text that has it".into(),
            Cures::Replace => format!("{replace}, or train a model on text that has it"),
            Cures::Choose => format!("{replace}, or choose --vocab chars or bytes"),
        };
        Err(Error::input(message))
    }
}

impl Place {
    fn advance(&mut self, text: &str) {
        let newlines = text.bytes().filter(|&byte| byte == b'\n').count() as u64;
        let line_start = text.rfind('\n').map_or(0, |end| end + 1);
        let column = text[line_start..].chars().count() as u64;
        self.line += newlines;
        self.column = if newlines > 0 { column } else { self.column + column };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str) -> [Vocab; 3] {
        [Vocab::ascii(), Vocab::chars(text).unwrap(), Vocab::bytes()]
    }

    #[test]
    fn ascii_ids_are_character_codes_and_nul_is_the_mask() {
        let vocab = Vocab::ascii();
        assert_eq!((vocab.size(), vocab.mask_id()), (128, 0));
        assert_eq!(vocab.encode("To be\n\u{7f}").unwrap(), [84, 111, 32, 98, 101, 10, 127]);
        assert_eq!(vocab.decode(&[84, 0, 111]), "T_o");
        assert_eq!(vocab.id('\0'), None);
    }

    #[test]
    fn chars_are_numbered_in_code_point_order_and_the_mask_comes_last() {
        let vocab = Vocab::chars("née 🌍\n").unwrap();
        assert_eq!((vocab.size(), vocab.mask_id()), (7, 6));
        assert_eq!(vocab.encode("\n ené🌍").unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(vocab.id('x'), None);
        assert_eq!(vocab.decode_with(&[3, 6, 2], "▒"), "n▒e");
    }

    #[test]
    fn bytes_hold_every_text_and_decode_lossily() {
        let vocab = Vocab::bytes();
        assert_eq!((vocab.size(), vocab.mask_id()), (257, 256));
        assert_eq!(vocab.encode("é\0").unwrap(), [0xc3, 0xa9, 0]);
        assert_eq!((vocab.id('a'), vocab.id('é')), (Some(97), None));
        // A mask inside a character splits it into two broken halves.
        assert_eq!(vocab.decode(&[0xc3, 256, 0xa9, 97]), "\u{fffd}_\u{fffd}a");
        assert_eq!(vocab.decode(&[0xc3, 0xa9, 7]), "é\u{7}");
    }

    #[test]
    fn ids_outside_the_vocabulary_decode_to_the_replacement_character() {
        for vocab in all("ab") {
            assert_eq!(vocab.decode(&[vocab.size() as u32, u32::MAX]), "\u{fffd}\u{fffd}");
        }
    }

    #[test]
    fn a_character_outside_the_vocabulary_is_reported_with_its_place() {
        let error =
            Vocab::ascii().encode_as("prompt", "to be\nor not – “to”\n", Unknown::Error).unwrap_err().to_string();
        assert_eq!(
            error,
            "prompt, line 2, column 8: \"–\" (U+2013) is not in the ascii vocabulary; 3 characters like it in all, \
             3 different: – “ ”; leave it out, or train a model on text that has it"
        );
        let error = Vocab::chars("ab ").unwrap().encode("a\u{7}").unwrap_err().to_string();
        assert_eq!(
            error,
            "text, line 1, column 2: \"\\u{7}\" (U+0007) is not in the chars vocabulary; leave it out, or train a \
             model on text that has it"
        );
        let error = Vocab::ascii().encode("a\0").unwrap_err().to_string();
        assert!(
            error.contains("\"\\0\" (U+0000) is not in the ascii vocabulary, where its code stands for the mask;"),
            "{error}"
        );
    }

    #[test]
    fn unknown_characters_become_question_mark_space_or_first_symbol() {
        let encode = |known: &str| Vocab::chars(known).unwrap().encode_as("text", "a–b–", Unknown::Replace).unwrap();
        let vocab = Vocab::chars("ab ?").unwrap();
        assert_eq!(vocab.decode(&encode("ab ?").ids), "a?b?");
        assert_eq!(encode("ab ?").replaced, 2);
        assert_eq!(Vocab::chars("ab ").unwrap().decode(&encode("ab ").ids), "a b ");
        assert_eq!(Vocab::chars("ab").unwrap().decode(&encode("ab").ids), "aaba");
    }

    #[test]
    fn json_is_short_and_reads_back() {
        for vocab in all("b\"\\\n é") {
            assert_eq!(Vocab::from_json(&vocab.to_json()).unwrap(), vocab);
        }
        assert_eq!(Vocab::ascii().to_json(), r#"{"kind":"ascii"}"#);
        assert_eq!(Vocab::chars("b\n").unwrap().to_json(), r#"{"kind":"chars","symbols":"\nb"}"#);
        assert_ne!(Vocab::chars("ab").unwrap(), Vocab::chars("ac").unwrap());
    }

    #[test]
    fn broken_vocabularies_are_refused() {
        for (json, reason) in [
            ("", "EOF"),
            (r#"{"kind":"words"}"#, "unknown variant `words`"),
            (r#"{"kind":"chars"}"#, "needs its symbols"),
            (r#"{"kind":"chars","symbols":""}"#, "at least one character"),
            (r#"{"kind":"chars","symbols":"ba"}"#, "distinct and ascending"),
            (r#"{"kind":"chars","symbols":"aa"}"#, "distinct and ascending"),
            (r#"{"kind":"ascii","symbols":"a"}"#, "takes no symbols"),
        ] {
            let error = Vocab::from_json(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_vocabulary_has_at_most_65536_ids() {
        let text: String = ('\u{1}'..).take(MAX_VOCAB - 1).collect();
        let vocab = Vocab::chars(&text).unwrap();
        assert_eq!((vocab.size(), vocab.max_text_id()), (MAX_VOCAB, 65534));
        assert_eq!(vocab.id(text.chars().last().unwrap()), Some(65534));
        let error = Vocab::chars(&('\0'..).take(MAX_VOCAB).collect::<String>()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the text has 65,536 different characters, a vocabulary holds at most 65,535; use --vocab bytes"
        );
    }

    proptest! {
        #[test]
        fn every_text_survives_encoding_and_decoding(text in "\\PC{0,40}", ascii in "[\\x01-\\x7f]{0,40}") {
            prop_assert_eq!(Vocab::bytes().decode(&Vocab::bytes().encode(&text).unwrap()), text.as_str());
            prop_assert_eq!(Vocab::ascii().decode(&Vocab::ascii().encode(&ascii).unwrap()), ascii.as_str());
            let vocab = Vocab::chars(&format!("{text}x")).unwrap();
            let ids = vocab.encode(&text).unwrap();
            prop_assert!(ids.iter().all(|&id| id < vocab.mask_id()));
            prop_assert_eq!(vocab.decode(&ids), text.as_str());
            prop_assert_eq!(Vocab::from_json(&vocab.to_json()).unwrap(), vocab);
        }

        #[test]
        fn the_place_of_a_misfit_does_not_depend_on_how_the_text_is_cut(text in "[a\nö]{1,30}", cut in 0usize..30) {
            let cut = text.char_indices().map(|(i, _)| i).nth(cut).unwrap_or(0);
            let find = |parts: &[&str]| {
                let mut misfits = Misfits::default();
                parts.iter().for_each(|part| misfits.read(&Vocab::ascii(), 0, part));
                misfits.check(&Vocab::ascii(), Unknown::Error, Cures::Choose, |_| String::new()).map_err(|e| e.to_string())
            };
            prop_assert_eq!(find(&[&text[..cut], &text[cut..]]), find(&[&text]));
        }
    }
}
