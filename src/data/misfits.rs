//! Characters that a vocabulary cannot hold: where they are, and what can be done.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::vocab::Vocab;
use crate::config::{Unknown, VocabKind};
use crate::error::{Error, Result};
use crate::terminal::{counted, thousands};

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
            thousands(place.line + 1),
            thousands(place.column + 1),
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
                thousands(self.distinct.len() as u64),
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

    proptest! {
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
