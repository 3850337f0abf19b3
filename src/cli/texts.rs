//! How sampled texts are printed.

use super::{Reader, print_to_reader};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use tempest::Result;
use tempest::data::Vocab;
use tempest::sample::Text;
use tempest::terminal::printable;

/// What is printed of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// The text, under a line with its number or not.
    Plain { headed: bool },
    /// A line of JSON.
    Json,
}

/// Prints texts: on a terminal each as soon as it is finished, for other readers in the order of their numbers, each as soon as
/// its turn comes.
pub(crate) struct Printer<'a> {
    vocab: &'a Vocab,
    format: Format,
    on_terminal: bool,
    /// The number whose turn it is.
    next: u32,
    waiting: BTreeMap<u32, Text>,
    printed: usize,
    reader: Result<Reader>,
}

impl<'a> Printer<'a> {
    /// Of texts from number `first` on.
    pub(crate) fn new(vocab: &'a Vocab, format: Format, first: u32) -> Self {
        let on_terminal = std::io::stdout().is_terminal();
        Printer {
            vocab,
            format,
            on_terminal,
            next: first,
            waiting: BTreeMap::new(),
            printed: 0,
            reader: Ok(Reader::There),
        }
    }

    /// Takes a finished text.
    pub(crate) fn take(&mut self, text: Text) {
        if self.on_terminal {
            return self.print(&text);
        }
        self.waiting.insert(text.number, text);
        while let Some(text) = self.waiting.remove(&self.next) {
            self.print(&text);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Whether anybody reads on.
    pub(crate) fn reader(&mut self) -> Result<Reader> {
        std::mem::replace(&mut self.reader, Ok(Reader::There))
    }

    /// Prints what waits for texts that do not come any more; how many are printed in all.
    pub(crate) fn finish(&mut self) -> Result<usize> {
        while let Some((_, text)) = self.waiting.pop_first() {
            self.print(&text);
        }
        self.reader().map(|_| self.printed)
    }

    fn print(&mut self, text: &Text) {
        if !matches!(self.reader, Ok(Reader::There)) {
            return;
        }
        let shown = match self.format {
            Format::Json => json(self.vocab, text),
            Format::Plain { headed } => {
                let head = if headed { format!("--- text {} ---\n", text.number) } else { String::new() };
                let shown = self.vocab.decode(&text.tokens);
                format!("{head}{}\n", if self.on_terminal { printable(&shown) } else { shown })
            }
        };
        self.reader = print_to_reader(&shown);
        self.printed += 1;
    }
}

fn json(vocab: &Vocab, text: &Text) -> String {
    let line = serde_json::json!({
        "number": text.number,
        "text": vocab.decode(&text.tokens),
        "tokens": text.tokens,
        "committed_at": text.committed_at,
        "steps": text.steps,
    });
    format!("{line}\n")
}
