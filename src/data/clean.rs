//! What of a file is text: byte order marks and the two characters that end a line under Windows.

use crate::config::{Newlines, Unknown};

/// How the bytes of a corpus become symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What happens to characters that the vocabulary lacks.
    pub unknown: Unknown,
    /// How lines end, and byte order marks at the start of files are left out. `None` changes nothing and learns the marks
    /// too: runs that were written before there was the choice did so, and go on as they began.
    pub newlines: Option<Newlines>,
}

impl From<Unknown> for Reading {
    fn from(unknown: Unknown) -> Self {
        Reading { unknown, newlines: Some(Newlines::default()) }
    }
}

/// Cleans the stretches of a text as they go by.
#[derive(Debug)]
pub(super) struct Cleaner {
    newlines: Option<Newlines>,
    /// The file that the last stretch belongs to.
    file: Option<usize>,
    /// The last stretch ended in CR, which is passed on when what follows is known.
    held_cr: bool,
    /// CR LF that became LF.
    pub(super) line_ends: u64,
    pub(super) byte_order_marks: u64,
}

const BYTE_ORDER_MARK: char = '\u{feff}';

impl Cleaner {
    pub(super) fn new(newlines: Option<Newlines>) -> Self {
        Cleaner { newlines, file: None, held_cr: false, line_ends: 0, byte_order_marks: 0 }
    }

    /// How it reads the ends of lines.
    pub(super) fn newlines(&self) -> Option<Newlines> {
        self.newlines
    }

    /// Whether the text so far was clean, byte for byte.
    pub(super) fn changed_nothing(&self) -> bool {
        self.line_ends == 0 && self.byte_order_marks == 0
    }

    /// Passes on what is text of the next stretch of file number `file`.
    pub(super) fn push<E>(
        &mut self,
        file: usize,
        stretch: &str,
        mut f: impl FnMut(usize, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(newlines) = self.newlines else { return f(file, stretch) };
        let mut text = stretch;
        if self.file != Some(file) {
            self.finish(&mut f)?;
            self.file = Some(file);
            if let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
                (text, self.byte_order_marks) = (rest, self.byte_order_marks + 1);
            }
        }
        if newlines == Newlines::Keep {
            return pass(file, text, &mut f);
        }
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.held_cr) {
            match text.starts_with('\n') {
                true => self.line_ends += 1,
                false => f(file, "\r")?,
            }
        }
        if let Some(rest) = text.strip_suffix('\r') {
            (text, self.held_cr) = (rest, true);
        }
        if !text.contains('\r') {
            return pass(file, text, &mut f);
        }
        let clean = text.replace("\r\n", "\n");
        self.line_ends += (text.len() - clean.len()) as u64;
        pass(file, &clean, &mut f)
    }

    /// Passes on what is held back at the end of the text.
    pub(super) fn finish<E>(&mut self, mut f: impl FnMut(usize, &str) -> Result<(), E>) -> Result<(), E> {
        match (std::mem::take(&mut self.held_cr), self.file) {
            (true, Some(file)) => f(file, "\r"),
            _ => Ok(()),
        }
    }
}

fn pass<E>(file: usize, text: &str, f: &mut impl FnMut(usize, &str) -> Result<(), E>) -> Result<(), E> {
    if text.is_empty() { Ok(()) } else { f(file, text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// What becomes of a text in pieces, each with its file; and what was changed.
    fn clean(newlines: Option<Newlines>, pieces: &[(usize, &str)]) -> (String, u64, u64) {
        let mut cleaner = Cleaner::new(newlines);
        let mut whole = String::new();
        let mut put = |_, text: &str| -> Result<(), Infallible> {
            whole.push_str(text);
            Ok(())
        };
        for (file, piece) in pieces {
            let Ok(()) = cleaner.push(*file, piece, &mut put);
        }
        let Ok(()) = cleaner.finish(&mut put);
        (whole, cleaner.line_ends, cleaner.byte_order_marks)
    }

    #[test]
    fn windows_line_ends_become_newlines_and_a_lone_cr_stays() {
        let text = [(0, "a\r\nb\rc\r\r\n\r")];
        assert_eq!(clean(Some(Newlines::Lf), &text), ("a\nb\rc\r\n\r".into(), 2, 0));
        assert_eq!(clean(Some(Newlines::Keep), &text), ("a\r\nb\rc\r\r\n\r".into(), 0, 0));
    }

    #[test]
    fn a_byte_order_mark_is_left_out_at_the_start_of_each_file_only() {
        let files = [(0, "\u{feff}a\u{feff}"), (0, "\u{feff}b\n"), (1, "\u{feff}"), (2, "c")];
        for newlines in [Newlines::Lf, Newlines::Keep] {
            assert_eq!(clean(Some(newlines), &files), ("a\u{feff}\u{feff}b\nc".into(), 0, 2));
        }
    }

    #[test]
    fn a_run_from_before_the_choice_reads_every_byte() {
        let files = [(0, "\u{feff}a\r\n"), (1, "\u{feff}b\r")];
        assert_eq!(clean(None, &files), ("\u{feff}a\r\n\u{feff}b\r".into(), 0, 0));
    }

    #[test]
    fn a_cr_at_the_end_of_one_file_is_no_line_end_with_the_next_one() {
        assert_eq!(clean(Some(Newlines::Lf), &[(0, "a\r"), (1, "\nb")]), ("a\r\nb".into(), 0, 0));
    }

    proptest! {
        #[test]
        fn where_the_text_is_cut_does_not_matter(text in "[a\r\n\u{feff}]{0,20}", cut in 0usize..20) {
            let cut = text.char_indices().map(|(i, _)| i).nth(cut).unwrap_or(0);
            let (start, end) = text.split_at(cut);
            // A file's first stretch is never empty.
            let pieces = [(0, start), (0, end)];
            let pieces = if start.is_empty() { &pieces[1..] } else { &pieces[..] };
            for newlines in [Newlines::Lf, Newlines::Keep] {
                prop_assert_eq!(clean(Some(newlines), pieces), clean(Some(newlines), &[(0, &text)]));
            }
        }
    }
}
