//! How sampled texts are printed.

use super::{Reader, print_to_reader};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use tempest::data::Vocab;
use tempest::sample::Text;
use tempest::terminal::printable;
use tempest::{Error, Result};

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
    /// Bytes that are printed of a text that is being written.
    begun: usize,
    /// Bytes at its end that may yet belong to a stop.
    held_back: usize,
    reader: Result<Reader>,
}

impl<'a> Printer<'a> {
    /// Of texts from number `first` on, which may end before a string.
    pub(crate) fn new(vocab: &'a Vocab, format: Format, first: u32, stop: Option<&str>) -> Self {
        let on_terminal = std::io::stdout().is_terminal();
        Printer {
            vocab,
            format,
            on_terminal,
            next: first,
            waiting: BTreeMap::new(),
            printed: 0,
            begun: 0,
            held_back: stop.map_or(0, |stop| stop.len() - 1),
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
        match self.format {
            Format::Json => self.reader = print_to_reader(&json(self.vocab, text)),
            Format::Plain { .. } => {
                let shown = text.decoded(self.vocab);
                self.print_on(text.number, &shown, "\n");
            }
        }
        self.begun = 0;
        self.printed += 1;
    }

    /// Takes a text that is being written, the only one: prints what is new of it.
    pub(crate) fn take_part(&mut self, text: &Text) {
        let waits = self.next != text.number && !self.on_terminal;
        if waits || matches!(self.format, Format::Json) || !matches!(self.reader, Ok(Reader::There)) {
            return;
        }
        let shown = self.vocab.decode(&text.tokens);
        // A character may still be unfinished, and so may a stop.
        let sure = shown.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let sure = &sure[..sure.floor_char_boundary(sure.len().saturating_sub(self.held_back))];
        self.print_on(text.number, sure, "");
    }

    /// Prints what of a text was not printed yet.
    fn print_on(&mut self, number: u32, text: &str, end: &str) {
        let headed = matches!(self.format, Format::Plain { headed: true }) && self.begun == 0;
        let head = if headed { format!("--- text {number} ---\n") } else { String::new() };
        let new = text.get(self.begun..).unwrap_or_default();
        let new = if self.on_terminal { printable(new) } else { new.to_owned() };
        self.reader = print_to_reader(&format!("{head}{new}{end}"));
        self.begun = self.begun.max(text.len());
    }
}

/// The texts that lines of JSON hold, as [`Format::Json`] writes them; refuses those of another vocabulary.
pub(crate) fn read_json(path: &Path, vocab: &Vocab) -> Result<Vec<Text>> {
    let content = std::fs::read_to_string(path).map_err(Error::io("read the texts", path))?;
    let wrong = |line: usize, what: &str| Error::input(format!("{}:{line}: {what}", path.display()));
    let mut texts: Vec<Text> = Vec::new();
    for (line, json) in (1..).zip(content.lines()).filter(|(_, json)| !json.trim().is_empty()) {
        let written: Line = serde_json::from_str(json)
            .map_err(|e| wrong(line, &format!("{e}; wanted a line as tempest sample --json writes it")))?;
        let Line { number, text, tokens, committed_at, steps, ends } = written;
        if committed_at.len() != tokens.len() || ends.len() != steps.len() {
            let what = "as many steps as tokens, and as many ends as blocks were wanted, and the line has others";
            return Err(wrong(line, what));
        }
        if texts.iter().any(|other| other.number == number) {
            return Err(wrong(line, &format!("there is a text {number} before; wanted each once")));
        }
        let read = Text { number, tokens, committed_at, steps, ends, cut: 0 };
        // Of a text that ends before a stop the last token may say more.
        if !read.decoded(vocab).starts_with(&text) {
            let what = "the tokens say another text in this model's vocabulary; name the model that wrote it with --run or --model";
            return Err(wrong(line, what));
        }
        texts.push(read);
    }
    match texts.is_empty() {
        true => Err(Error::input(format!("{}: holds no text", path.display()))),
        false => Ok(texts),
    }
}

/// A text as a line of JSON.
#[derive(Deserialize)]
struct Line {
    number: u32,
    text: String,
    tokens: Vec<u32>,
    committed_at: Vec<Option<u32>>,
    steps: Vec<u32>,
    ends: Vec<usize>,
}

fn json(vocab: &Vocab, text: &Text) -> String {
    let line = serde_json::json!({
        "number": text.number,
        "text": text.decoded(vocab),
        "tokens": text.tokens,
        "committed_at": text.committed_at,
        "steps": text.steps,
        "ends": text.ends,
    });
    format!("{line}\n")
}
