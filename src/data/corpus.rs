//! The encoded text: tokens in memory or memory-mapped, and its two splits.

use std::io::{self, Write};
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::bpe::Pieces;
use super::clean::{Cleaner, Reading};
use super::misfits::{Cures, Misfits};
use super::text::{Selection, Text};
use super::vocab::{CharSet, Vocab, VocabChoice};
use crate::config::{Newlines, Validation, VocabKind};
use crate::error::{Error, Result};
use crate::files::hex;
use crate::raw::mmap::Map;
use crate::terminal::{counted, thousands};

/// The end of a text that is for validation where nothing else is.
const VALIDATION_SHARE: f64 = 0.1;

/// Tokens that take more than this (64 MiB) are memory-mapped from a file instead of being held in memory.
pub const MAP_ABOVE_BYTES: u64 = 64 << 20;

/// A text, encoded: what training draws its windows from.
///
/// The first nine tenths by position are for training, the rest for validation, as in nanoGPT, unless another share or a text
/// of its own is kept for that. Tokens take one byte each
/// where every id that text can have fits one (the mask's id need not: no text encodes to it), else two.
///
/// A corpus may be larger than memory. Above [`MAP_ABOVE_BYTES`] its tokens are mapped from an unnamed temporary file (in
/// `TMPDIR`), which no other process can shorten or change, and which the operating system removes with the process, however
/// it ends. The text's own files are read and let go.
#[derive(Debug)]
pub struct Corpus {
    name: String,
    files: usize,
    vocab: Vocab,
    store: Store,
    sha256: String,
    characters: u64,
    replaced: u64,
    line_ends: u64,
    left_out: usize,
    /// Tokens of the training split.
    split: u64,
    /// Share of the tokens that are kept from it; 0 where a text of its own is.
    share: f64,
}

/// The tokens of a [`Corpus`], by the width they are stored in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tokens<'a> {
    /// One byte a token.
    U8(&'a [u8]),
    /// Two bytes a token.
    U16(&'a [u16]),
}

#[derive(Debug)]
enum Store {
    Static(&'static [u8]),
    U8(Vec<u8>),
    U16(Vec<u16>),
    Mapped { map: Map, width: Width },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Width {
    U8,
    U16,
}

impl Tokens<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Tokens::U8(ids) => ids.len(),
            Tokens::U16(ids) => ids.len(),
        }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Tokens::U8(ids) => ids.len(),
            Tokens::U16(ids) => size_of_val(*ids),
        }
    }

    /// Whether there are none; never so for a [`Corpus`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at a position, which must be below `len()`.
    pub fn get(&self, position: usize) -> u32 {
        match self {
            Tokens::U8(ids) => u32::from(ids[position]),
            Tokens::U16(ids) => u32::from(ids[position]),
        }
    }

    /// The ids of a stretch, which must lie within `0..len()`.
    pub fn window(&self, positions: Range<usize>) -> Vec<u32> {
        match self {
            Tokens::U8(ids) => ids[positions].iter().map(|&id| u32::from(id)).collect(),
            Tokens::U16(ids) => ids[positions].iter().map(|&id| u32::from(id)).collect(),
        }
    }
}

impl Corpus {
    /// Reads a text whole, once or twice, and encodes it.
    ///
    /// `vocab` is a kind, learned from this text, or a [`Vocab`] that a model came with. Fails where the text is missing,
    /// unreadable, empty, not UTF-8, or not in the vocabulary (unless `reading` says to replace).
    pub fn open(
        text: impl Into<Selection>,
        vocab: impl Into<VocabChoice>,
        reading: impl Into<Reading>,
    ) -> Result<Corpus> {
        let selection = text.into();
        let share = match selection.validation {
            None => VALIDATION_SHARE,
            Some(Validation::Share(share)) => share,
            Some(Validation::Path(_)) => 0.0,
        };
        Corpus::encode(&Text::open(&selection)?, share, vocab.into(), reading.into(), MAP_ABOVE_BYTES)
    }

    /// `share` of the tokens are for validation where the text has no files for that.
    fn encode(text: &Text, share: f64, vocab: VocabChoice, reading: Reading, map_above: u64) -> Result<Corpus> {
        let cures = if matches!(vocab, VocabChoice::Given(_)) { Cures::Replace } else { Cures::Choose };
        let (vocab, survey) = Survey::take(text, vocab, reading.newlines)?;
        survey.misfits.check(&vocab, reading.unknown, cures, |file| text.file_name(file))?;
        if survey.clean_bytes == 0 {
            return Err(Error::input(format!("{}: the corpus is empty; give it UTF-8 text", text.name())));
        }
        let replaced = survey.misfits.total;
        // A BPE token is at least a byte of text; how many there are is seen when they are written.
        let by_bytes = matches!(vocab.kind(), VocabKind::Bytes | VocabKind::Bpe);
        let most = if by_bytes { survey.clean_bytes } else { survey.characters };
        let width = if vocab.max_text_id() <= u32::from(u8::MAX) { Width::U8 } else { Width::U16 };
        let token_bytes = if width == Width::U8 { most } else { 2 * most };
        // Where ids are the very bytes of the text there is nothing to encode.
        let identity = matches!(vocab.kind(), VocabKind::Ascii | VocabKind::Bytes)
            && replaced == 0
            && survey.cleaner.changed_nothing();
        let (store, written) = match text.in_memory() {
            Some(text) if identity => (Store::Static(text.as_bytes()), survey.counted(by_bytes)),
            _ if token_bytes > map_above => {
                let mut file = tempfile::tempfile().map_err(|e| no_room(text.name(), token_bytes, &e))?;
                let written = survey.fill(text, &vocab, width, &mut file)?;
                let map = Map::new(file).map_err(|e| no_room(text.name(), token_bytes, &e))?;
                (Store::Mapped { map, width }, written)
            }
            _ => {
                let mut bytes = Vec::with_capacity(token_bytes as usize);
                let written = survey.fill(text, &vocab, width, &mut bytes)?;
                let store = match width {
                    Width::U8 => Store::U8(bytes),
                    Width::U16 => Store::U16(bytemuck::pod_collect_to_vec(&bytes)),
                };
                (store, written)
            }
        };
        // In floating point as nanoGPT's `prepare.py`.
        let split = ((written.all - written.held) as f64 * (1.0 - share)) as u64;
        Ok(Corpus {
            name: text.name().to_owned(),
            files: text.file_count(),
            vocab,
            store,
            sha256: survey.sha256,
            characters: survey.characters,
            replaced,
            line_ends: survey.cleaner.line_ends,
            left_out: text.runs_left_out(),
            split,
            share,
        })
    }

    /// The vocabulary that the tokens are ids of.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// All tokens, training and validation.
    pub fn tokens(&self) -> Tokens<'_> {
        match &self.store {
            Store::Static(ids) => Tokens::U8(ids),
            Store::U8(ids) => Tokens::U8(ids),
            Store::U16(ids) => Tokens::U16(ids),
            Store::Mapped { map, width: Width::U8 } => Tokens::U8(map.bytes()),
            Store::Mapped { map, width: Width::U16 } => Tokens::U16(bytemuck::cast_slice(map.bytes())),
        }
    }

    /// The positions of the training split, the first of all.
    pub fn train(&self) -> Range<u64> {
        0..self.split
    }

    /// The positions of the validation split: all after the training split.
    pub fn validation(&self) -> Range<u64> {
        self.train().end..self.tokens().len() as u64
    }

    /// The text of some positions.
    pub fn text(&self, positions: Range<u64>) -> String {
        self.vocab.decode(&self.tokens().window(positions.start as usize..positions.end as usize))
    }

    /// Characters of a token of a stretch on average, of a long one that of evenly spaced parts; none where a token is one.
    pub fn characters_per_token(&self, positions: Range<u64>) -> Option<f64> {
        const PART: u64 = 1 << 16;
        const PARTS: u64 = 64;
        if !matches!(self.vocab.kind(), VocabKind::Bytes | VocabKind::Bpe) {
            return None;
        }
        let (mut tokens, mut characters) = (0, 0);
        let stride = (positions.end - positions.start).div_ceil(PARTS).max(PART);
        for start in positions.clone().step_by(stride as usize) {
            let end = positions.end.min(start + PART);
            tokens += end - start;
            characters += self.text(start..end).chars().count();
        }
        Some(characters as f64 / tokens as f64)
    }

    /// The hash of the text's bytes, before any replacement, in hex; of one file, what `sha256sum` says.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many characters the vocabulary could not hold and were replaced.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// One line for people: what it is, how large, how it is split.
    pub fn describe(&self) -> String {
        let mut line = format!("{}: ", self.name);
        if self.files > 1 {
            line += &format!("{}, ", counted(self.files as u64, "file"));
        }
        line += &format!(
            "{}, {} vocabulary of {}",
            counted(self.characters, "character"),
            self.vocab.kind(),
            self.vocab.size()
        );
        let len = |split: Range<u64>| thousands(split.end - split.start);
        line += &format!(", {} tokens to train on and {} to validate", len(self.train()), len(self.validation()));
        if self.replaced > 0 {
            line += &format!(", {} replaced", counted(self.replaced, "unknown character"));
        }
        if self.line_ends > 0 {
            line +=
                &format!(", {} of CR LF read as LF (--newlines keep reads both)", counted(self.line_ends, "line end"));
        }
        if self.left_out > 0 {
            line += &format!(", {} left out", counted(self.left_out as u64, "run folder"));
        }
        if let Store::Mapped { .. } = self.store {
            line += ", memory-mapped";
        }
        line
    }

    /// Checks that each split holds at least one window of `len` tokens.
    pub fn check_window(&self, len: usize) -> Result<()> {
        for (split, name) in [(self.train(), "training"), (self.validation(), "validation")] {
            let tokens = split.end - split.start;
            if tokens < len as u64 {
                // A little less may do.
                let windows = if self.share > 0.0 { 1.0 / self.share.min(1.0 - self.share) } else { 1.0 };
                let wanted = thousands((windows * len as f64).ceil() as u64);
                let longest = self.validation().end - self.validation().start;
                let shorter = match longest.min(self.train().end) {
                    0 => String::new(),
                    most => format!(", or windows of at most {}", thousands(most)),
                };
                return Err(Error::input(format!(
                    "{}: the {name} split has {}, one window needs {}; give at least {wanted} tokens of text{shorter}",
                    self.name,
                    counted(tokens, "token"),
                    thousands(len as u64),
                )));
            }
        }
        Ok(())
    }
}

fn changed(name: &str) -> Error {
    Error::input(format!("{name}: the corpus changed while it was in use; leave the file alone and start again"))
}

fn no_room(name: &str, bytes: u64, e: &io::Error) -> Error {
    let folder = std::env::temp_dir();
    Error::input(format!(
        "{name}: cannot keep the encoded corpus ({} bytes) in {}: {e}; free some space there or set TMPDIR to another folder",
        thousands(bytes),
        folder.display()
    ))
}

/// What one pass over the text finds out.
struct Survey {
    /// Of the files.
    bytes: u64,
    /// Of what of them is text.
    clean_bytes: u64,
    characters: u64,
    sha256: String,
    misfits: Misfits,
    cleaner: Cleaner,
    /// Bytes and characters of the text that is kept from training by itself.
    held: (u64, u64),
}

/// How many tokens there are.
#[derive(Clone, Copy, Debug)]
struct Written {
    all: u64,
    /// Of the text that is kept from training by itself.
    held: u64,
}

impl Survey {
    /// Reads the text once; learns the vocabulary from it if that is asked for.
    fn take(text: &Text, choice: VocabChoice, newlines: Option<Newlines>) -> Result<(Vocab, Survey)> {
        let known = match choice {
            VocabChoice::Given(vocab) => Some(vocab),
            VocabChoice::New(VocabKind::Ascii) => Some(Vocab::ascii()),
            VocabChoice::New(VocabKind::Bytes) => Some(Vocab::bytes()),
            VocabChoice::New(VocabKind::Chars) => None,
            VocabChoice::New(VocabKind::Bpe) => {
                return Err(Error::input("a bpe vocabulary is that of a tokenizer.json; name one with --tokenizer"));
            }
        };
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let (mut clean_bytes, mut characters, mut held) = (0, 0, (0, 0));
        let (mut seen, mut misfits) = (CharSet::default(), Misfits::default());
        let mut cleaner = Cleaner::new(newlines);
        let mut take = |file: usize, piece: &str| {
            let (bytes, chars) = (piece.len() as u64, piece.chars().count() as u64);
            (clean_bytes, characters) = (clean_bytes + bytes, characters + chars);
            if text.holds_back(file) {
                held = (held.0 + bytes, held.1 + chars);
            }
            match &known {
                Some(vocab) => misfits.read(vocab, file, piece),
                None => seen.extend(piece),
            }
            Ok(())
        };
        text.read(|file, chunk| {
            hash.update(chunk);
            bytes += chunk.len() as u64;
            cleaner.push(file, chunk, &mut take)
        })?;
        cleaner.finish(&mut take)?;
        let vocab = match known {
            Some(vocab) => vocab,
            // An empty text is reported as such by the caller.
            None if clean_bytes == 0 => Vocab::ascii(),
            None => Vocab::from_chars(seen.chars())?,
        };
        Ok((vocab, Survey { bytes, clean_bytes, characters, sha256: hex(hash), misfits, cleaner, held }))
    }

    /// How many tokens there are where each is a byte, or a character.
    fn counted(&self, by_bytes: bool) -> Written {
        match by_bytes {
            true => Written { all: self.clean_bytes, held: self.held.0 },
            false => Written { all: self.characters, held: self.held.1 },
        }
    }

    /// Reads the text a second time and writes its ids; it must be the same text.
    fn fill(&self, text: &Text, vocab: &Vocab, width: Width, to: &mut impl Write) -> Result<Written> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut cleaner = Cleaner::new(self.cleaner.newlines());
        let mut written = Written { all: 0, held: 0 };
        let mut put = |file: usize, piece: &str| {
            let ids = encoded(vocab, width, piece);
            let tokens = ids.len() as u64 / if width == Width::U8 { 1 } else { 2 };
            written.all += tokens;
            written.held += if text.holds_back(file) { tokens } else { 0 };
            to.write_all(&ids)
        };
        // What a token is made of must not be cut.
        let (mut pieces, join) = (Pieces::default(), vocab.kind() == VocabKind::Bpe);
        let mut take = |file: usize, stretch: &str| match join {
            true => pieces.push(file, stretch, &mut put),
            false => put(file, stretch),
        };
        let fail = |e: io::Error| no_room(text.name(), self.bytes, &e);
        text.read(|file, chunk| {
            hash.update(chunk);
            bytes += chunk.len() as u64;
            // A file that grows under us must not grow the memory we take.
            if bytes > self.bytes {
                return Err(changed(text.name()));
            }
            cleaner.push(file, chunk, &mut take).map_err(fail)
        })?;
        cleaner.finish(&mut take).map_err(fail)?;
        pieces.finish(&mut put).map_err(fail)?;
        if hex(hash) != self.sha256 {
            return Err(changed(text.name()));
        }
        Ok(written)
    }
}

/// The ids of a text as they are stored.
fn encoded(vocab: &Vocab, width: Width, text: &str) -> Vec<u8> {
    let mut ids = Vec::with_capacity(2 * text.len());
    match width {
        Width::U8 => vocab.each_id(text, |id| ids.push(id as u8)),
        Width::U16 => vocab.each_id(text, |id| ids.extend((id as u16).to_ne_bytes())),
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unknown;
    use crate::data::Source;
    use std::path::{Path, PathBuf};

    const NEVER: u64 = u64::MAX;

    fn encode(text: &'static str, vocab: impl Into<VocabChoice>, unknown: Unknown, map_above: u64) -> Result<Corpus> {
        Corpus::encode(&Text::memory(text), VALIDATION_SHARE, vocab.into(), unknown.into(), map_above)
    }

    fn file(bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus.txt");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn open(path: &Path, vocab: VocabKind, map_above: u64) -> Result<Corpus> {
        let text = Text::open(&(&Source::Path(path.into())).into())?;
        Corpus::encode(&text, VALIDATION_SHARE, vocab.into(), Unknown::Error.into(), map_above)
    }

    fn text(corpus: &Corpus) -> String {
        corpus.vocab().decode(&corpus.tokens().window(0..corpus.tokens().len()))
    }

    #[test]
    fn every_store_holds_the_same_tokens() {
        let ascii = "To be,\nor not to be\t\u{1}\n";
        let wide: String = ('\u{100}'..'\u{300}').chain("naïve – 🌍\n".chars()).collect();
        for (text_of, kinds) in [
            (ascii, &[VocabKind::Ascii, VocabKind::Chars, VocabKind::Bytes][..]),
            (&wide, &[VocabKind::Chars, VocabKind::Bytes]),
        ] {
            let (_folder, path) = file(text_of);
            for &kind in kinds {
                let (small, mapped) = (open(&path, kind, NEVER).unwrap(), open(&path, kind, 0).unwrap());
                assert!(matches!(mapped.store, Store::Mapped { .. }) && !matches!(small.store, Store::Mapped { .. }));
                assert_eq!(small.tokens(), mapped.tokens(), "{kind}");
                assert_eq!(small.sha256(), mapped.sha256());
                assert_eq!(text(&mapped), text_of);
                let wide_ids = kind == VocabKind::Chars && text_of == wide;
                assert_eq!(matches!(mapped.tokens(), Tokens::U16(_)), wide_ids);
                assert!(mapped.describe().ends_with("memory-mapped"));
            }
        }
    }

    #[test]
    fn windows_line_ends_and_byte_order_marks_are_no_symbols_in_any_store() {
        let (_folder, path) = file("\u{feff}to be\r\nor not\r\n");
        let read = |newlines, kind, map_above| {
            let text = Text::open(&(&Source::Path(path.clone())).into()).unwrap();
            let reading = Reading { unknown: Unknown::Error, newlines };
            Corpus::encode(&text, VALIDATION_SHARE, VocabChoice::New(kind), reading, map_above).unwrap()
        };
        let raw = read(None, VocabKind::Bytes, NEVER);
        for kind in [VocabKind::Ascii, VocabKind::Chars, VocabKind::Bytes] {
            for map_above in [0, NEVER] {
                let lf = read(Some(Newlines::Lf), kind, map_above);
                assert_eq!(text(&lf), "to be\nor not\n", "{kind}");
                assert!(lf.describe().contains(", 2 line ends of CR LF read as LF (--newlines keep reads both)"));
                assert_eq!(lf.sha256(), raw.sha256(), "the hash is the file's");
                let kept = read(Some(Newlines::Keep), kind, map_above);
                assert_eq!(text(&kept), "to be\r\nor not\r\n", "{kind}");
                assert!(!kept.describe().contains("CR LF"));
            }
        }
        assert_eq!(text(&raw), "\u{feff}to be\r\nor not\r\n");
        std::fs::write(&path, "\u{feff}").unwrap();
        assert!(open(&path, VocabKind::Chars, NEVER).unwrap_err().to_string().contains("the corpus is empty"));
    }

    #[test]
    fn a_folder_is_mapped_from_a_temporary_file_with_a_newline_between_the_texts() {
        let (folder, _) = file("one");
        std::fs::write(folder.path().join("z.txt"), "two").unwrap();
        let corpus = open(folder.path(), VocabKind::Ascii, 0).unwrap();
        assert!(matches!(corpus.store, Store::Mapped { .. }));
        assert_eq!(text(&corpus), "one\ntwo");
        assert!(corpus.describe().contains(": 2 files, 7 characters"), "{}", corpus.describe());
    }

    #[test]
    fn a_character_outside_the_vocabulary_is_found_in_its_file() {
        let (folder, _) = file("one");
        std::fs::write(folder.path().join("z.txt"), "two\nthré\n").unwrap();
        let error = open(folder.path(), VocabKind::Ascii, NEVER).unwrap_err().to_string();
        assert!(error.contains("z.txt, line 2, column 4: \"é\" (U+00E9) is not in the ascii vocabulary;"), "{error}");
    }

    #[test]
    fn replaced_characters_are_counted_in_every_store() {
        for map_above in [0, NEVER] {
            let corpus = encode("–a–\n", VocabKind::Ascii, Unknown::Replace, map_above).unwrap();
            assert_eq!((text(&corpus).as_str(), corpus.replaced()), ("?a?\n", 2));
            assert!(corpus.describe().contains("2 unknown characters replaced"));
        }
        let given = Vocab::chars("abc").unwrap();
        let corpus = encode("cab dab", given.clone(), Unknown::Replace, NEVER).unwrap();
        assert_eq!((text(&corpus).as_str(), corpus.replaced(), corpus.vocab()), ("cabaaab", 2, &given));
    }

    #[test]
    fn an_empty_corpus_says_so_and_blank_text_is_text() {
        let (_folder, path) = file("");
        for kind in [VocabKind::Ascii, VocabKind::Chars, VocabKind::Bytes] {
            let error = open(&path, kind, 0).unwrap_err().to_string();
            assert!(error.ends_with("corpus.txt: the corpus is empty; give it UTF-8 text"), "{error}");
        }
        assert_eq!(text(&encode(" \n\t\n", VocabKind::Chars, Unknown::Error, 0).unwrap()), " \n\t\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unreadable_corpus_says_so() {
        // A file that opens and then refuses every read, for root too.
        let error = open(Path::new("/proc/self/mem"), VocabKind::Ascii, NEVER).unwrap_err().to_string();
        assert!(error.starts_with("/proc/self/mem: cannot read the corpus: "), "{error}");
    }

    #[test]
    fn a_split_shorter_than_one_window_says_what_is_needed() {
        let corpus = encode("0123456789", VocabKind::Ascii, Unknown::Error, NEVER).unwrap();
        assert!(corpus.check_window(1).is_ok());
        assert_eq!(
            corpus.check_window(2).unwrap_err().to_string(),
            "test: the validation split has 1 token, one window needs 2; give at least 20 tokens of text, or windows of at \
             most 1"
        );
        let error =
            encode("0", VocabKind::Ascii, Unknown::Error, NEVER).unwrap().check_window(1).unwrap_err().to_string();
        assert_eq!(error, "test: the training split has 0 tokens, one window needs 1; give at least 10 tokens of text");
    }

    #[test]
    fn a_mapped_text_outlives_the_shortening_of_its_file() {
        for kind in [VocabKind::Ascii, VocabKind::Bytes, VocabKind::Chars] {
            let (_folder, path) = file("to be\n".repeat(10_000));
            let corpus = open(&path, kind, 0).unwrap();
            assert!(corpus.describe().ends_with("memory-mapped"));
            // A page behind the new end of a mapped file is SIGBUS.
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
            let tokens = corpus.tokens();
            assert_eq!(corpus.vocab().decode(&tokens.window(59_994..60_000)), "to be\n");
        }
    }

    #[test]
    fn a_text_that_changes_between_the_two_passes_is_noticed() {
        for other in ["longer than it was", "TO BE"] {
            let (_folder, path) = file("to be");
            let text = Text::open(&(&Source::Path(path.clone())).into()).unwrap();
            let (vocab, survey) = Survey::take(&text, VocabKind::Chars.into(), Some(Newlines::Lf)).unwrap();
            std::fs::write(&path, other).unwrap();
            let error = survey.fill(&text, &vocab, Width::U8, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("changed while it was in use"), "{error}");
        }
    }

    #[test]
    fn no_room_for_the_encoded_text_says_where() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = no_room("big", 1 << 30, &full).to_string();
        assert!(error.starts_with("big: cannot keep the encoded corpus (1,073,741,824 bytes) in /"), "{error}");
        assert!(error.contains("set TMPDIR"), "{error}");
    }
}
