//! Byte-level byte-pair encoding as a `tokenizer.json` describes it, by Hugging Face's crate.
//!
//! The crate brings 40 others with it and is left out unless the feature `bpe` is chosen.

use crate::error::{Error, Result};

/// Text is encoded in pieces of at most this.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(feature = "bpe")]
mod tokenizer {
    use super::*;
    use std::fmt::Display;
    use std::sync::Arc;
    use tokenizers::Tokenizer;

    /// A tokenizer that encodes every text and gives it back.
    #[derive(Clone)]
    pub(in crate::data) struct Bpe {
        json: Arc<str>,
        tokenizer: Arc<Tokenizer>,
        /// One more than the highest id.
        size: usize,
    }

    impl Bpe {
        /// Reads the content of a `tokenizer.json`.
        pub(in crate::data) fn from_json(json: &str) -> Result<Self> {
            let refuse = |e: &dyn Display| Error::input(format!("not a tokenizer.json that can be read: {e}"));
            let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| refuse(&e))?;
            // They are made for models that read a window of one text at a time.
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(|e| refuse(&e))?;
            let size = tokenizer.get_vocab(true).values().max().map_or(0, |&last| last as usize + 1);
            let bpe = Bpe { json: json.into(), tokenizer: Arc::new(tokenizer), size };
            let comes_back = |text: &str| bpe.try_encode(text).is_ok_and(|ids| bpe.decode(&ids) == text);
            if comes_back("A b") && comes_back(&every_byte()) {
                return Ok(bpe);
            }
            Err(Error::input(
                "this tokenizer does not give every text back as it was; wanted byte-level BPE without a normalizer and without \
                 a prefix space, as GPT-2's",
            ))
        }

        pub(in crate::data) fn json(&self) -> &str {
            &self.json
        }

        pub(in crate::data) fn size(&self) -> usize {
            self.size
        }

        fn try_encode(&self, text: &str) -> std::result::Result<Vec<u32>, tokenizers::Error> {
            Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec())
        }

        pub(in crate::data) fn encode(&self, text: &str) -> Vec<u32> {
            self.try_encode(text).expect("it has a token for every byte")
        }

        pub(in crate::data) fn decode(&self, ids: &[u32]) -> String {
            // Without a word on ids that it lacks: a model may write them.
            self.tokenizer.decode(ids, false).unwrap_or_default()
        }
    }

    /// A text with every byte that text may have, blanks at its start and end and in rows.
    fn every_byte() -> String {
        let two_bytes = ('\0'..'\u{800}').collect::<String>();
        let more = (1..=0x10f).filter_map(|i| char::from_u32(i << 12)).collect::<String>();
        format!(" {two_bytes}{more}  A\n\n b ")
    }
}

#[cfg(not(feature = "bpe"))]
mod tokenizer {
    use super::*;

    /// There is none.
    #[derive(Clone)]
    pub(in crate::data) enum Bpe {}

    impl Bpe {
        pub(in crate::data) fn from_json(_: &str) -> Result<Self> {
            Err(Error::input(
                "this program was built without tokenizers; build one with them: cargo install --locked --path . --features bpe",
            ))
        }

        pub(in crate::data) fn json(&self) -> &str {
            match *self {}
        }

        pub(in crate::data) fn size(&self) -> usize {
            match *self {}
        }

        pub(in crate::data) fn encode(&self, _: &str) -> Vec<u32> {
            match *self {}
        }

        pub(in crate::data) fn decode(&self, _: &[u32]) -> String {
            match *self {}
        }
    }
}

pub(super) use tokenizer::Bpe;

impl PartialEq for Bpe {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

/// Joins the stretches that a text comes in and cuts it where no token crosses: before a newline that follows no blank.
///
/// Where it is cut depends on the text alone.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    file: usize,
    held: String,
}

impl Pieces {
    /// Passes on what of file number `file` is whole with this stretch.
    pub(super) fn push<E>(
        &mut self,
        file: usize,
        stretch: &str,
        f: &mut impl FnMut(usize, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.file != file {
            self.finish(f)?;
            self.file = file;
        }
        self.held.push_str(stretch);
        let mut start = 0;
        while self.held.len() - start > PIECE_BYTES {
            let end = start + end_of_piece(&self.held[start..]);
            f(file, &self.held[start..end])?;
            start = end;
        }
        self.held.drain(..start);
        Ok(())
    }

    /// Passes on the rest.
    pub(super) fn finish<E>(&mut self, f: &mut impl FnMut(usize, &str) -> Result<(), E>) -> Result<(), E> {
        let rest = std::mem::take(&mut self.held);
        if rest.is_empty() { Ok(()) } else { f(self.file, &rest) }
    }
}

/// Where the first piece of a text ends that is longer than one.
fn end_of_piece(text: &str) -> usize {
    let longest = text.floor_char_boundary(PIECE_BYTES);
    let follows_no_blank = |&(at, _): &(usize, &str)| at > 0 && !text[..at].ends_with(char::is_whitespace);
    text[..longest].rmatch_indices('\n').find(follows_no_blank).map_or(longest, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_before_newlines_that_follow_no_blank_however_it_comes() {
        let line = "a line\n\n  and \n ";
        let text = line.repeat(3 * PIECE_BYTES / line.len());
        let cut = |stretch: usize| {
            let (mut pieces, mut found) = (Pieces::default(), Vec::new());
            let mut take = |file: usize, piece: &str| {
                found.push((file, piece.to_owned()));
                Ok::<_, ()>(())
            };
            for at in (0..text.len()).step_by(stretch) {
                pieces.push(1, &text[at..text.len().min(at + stretch)], &mut take).unwrap();
            }
            pieces.push(2, "x", &mut take).unwrap();
            pieces.finish(&mut take).unwrap();
            found
        };
        let whole = cut(text.len());
        assert_eq!(whole, cut(1000));
        assert_eq!(whole.iter().map(|(_, piece)| piece.as_str()).collect::<String>(), format!("{text}x"));
        assert!(whole.len() > 3 && whole.last() == Some(&(2, "x".into())), "{}", whole.len());
        assert!(
            whole[1..whole.len() - 1].iter().all(|(_, piece)| piece.starts_with("\n\n") && piece.len() <= PIECE_BYTES)
        );
        // A text without newlines is cut all the same, between characters.
        assert_eq!(end_of_piece(&"ö".repeat(PIECE_BYTES)), PIECE_BYTES);
        assert_eq!(end_of_piece(&format!("a{}", "ö".repeat(PIECE_BYTES))), PIECE_BYTES - 1);
    }
}
