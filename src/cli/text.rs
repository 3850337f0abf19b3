//! The text that a command works on, and the options that say which a run learns from.

use super::recipe::put;
use super::useless;
use clap::Args;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tempest::config::{DataConfig, Newlines, Pattern, TokenizerConfig, Unknown, Validation, VocabKind};
use tempest::data::{Corpus, Reading, Selection, Source, Vocab, VocabChoice};
use tempest::{Error, Result, files, terminal};

/// What to learn from.
#[derive(Args, Debug)]
#[group(id = "Text", multiple = true)]
#[command(next_help_heading = "Text")]
pub(crate) struct Text {
    /// A UTF-8 text file or a folder of them, also packed (.gz) and in lines of JSON (.jsonl, each a text or with one under
    /// "text"), or standard input by -, of which the run keeps a copy [default: Tiny Shakespeare, which is built in]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Files of the folder to read, such as *.md wherever they lie, or by their path from there: plays/*.txt [default: all]
    #[arg(long, value_name = "PATTERN")]
    include: Vec<Pattern>,
    /// Files and folders not to read
    #[arg(long, value_name = "PATTERN")]
    skip: Vec<Pattern>,
    /// Symbols: ascii (128, as the original), chars (those of the text), bytes, bpe (with --tokenizer) [default: the preset's]
    #[arg(long, value_enum)]
    vocab: Option<VocabKind>,
    /// A byte-level tokenizer.json, as GPT-2's, whose tokens are the symbols
    #[arg(long, value_name = "FILE", conflicts_with = "vocab")]
    tokenizer: Option<PathBuf>,
    /// What to do with characters that the vocabulary lacks [default: error]
    #[arg(long, value_enum)]
    unknown: Option<Unknown>,
    /// What is kept from training to be predicted: a share of the text, its end, or another text [default: 0.1]
    #[arg(long, value_name = "SHARE|PATH")]
    validation: Option<Validation>,
    /// How lines end [default: lf]
    #[arg(long, value_enum)]
    newlines: Option<Newlines>,
}

impl Text {
    /// Whether another text is named than a configuration has.
    pub(crate) fn is_named(&self) -> bool {
        self.data.is_some() || self.validation.is_some() || !self.include.is_empty() || !self.skip.is_empty()
    }

    pub(crate) fn put_into(&self, data: &mut DataConfig) -> Result<()> {
        if let Some(path) = &self.data {
            // What belongs to the text that was there goes with it.
            *data =
                DataConfig { include: vec![], skip: vec![], validation: None, source: place(path)?, ..data.clone() };
        }
        if !self.include.is_empty() {
            data.include = self.include.clone();
        }
        if !self.skip.is_empty() {
            data.skip = self.skip.clone();
        }
        if let Some(vocab) = self.vocab {
            (data.vocab, data.tokenizer) = (vocab, None);
        }
        if let Some(path) = &self.tokenizer {
            let tokenizer = TokenizerConfig { file: absolute(path)?, sha256: files::sha256(path)? };
            (data.vocab, data.tokenizer) = (VocabKind::Bpe, Some(tokenizer));
        }
        put(&mut data.unknown, self.unknown);
        data.newlines = self.newlines.or(data.newlines);
        data.validation = match &self.validation {
            Some(Validation::Path(path)) => Some(Validation::Path(absolute(Path::new(path))?)),
            Some(share) => Some(share.clone()),
            None => data.validation.take(),
        };
        let no_folder = [DataConfig::EMBEDDED, DataConfig::STDIN].contains(&data.source.as_str());
        let option = if data.include.is_empty() { "--skip" } else { "--include" };
        if !(data.include.is_empty() && data.skip.is_empty()) && (no_folder || Path::new(&data.source).is_file()) {
            return Err(useless(option, "chooses among the files of a folder, and this text is none"));
        }
        Ok(())
    }

    /// Puts in where the text of a run that goes on lies now.
    pub(crate) fn carry_on(&self, data: &mut DataConfig) -> Result<()> {
        if let Some(path) = &self.data {
            data.source = place(path)?;
            if data.source == DataConfig::STDIN {
                return Err(Error::input(
                    "--data - is for a new run; name the file where the text of this one lies now",
                ));
            }
        }
        match (&self.validation, &mut data.validation) {
            (None, _) => Ok(()),
            (Some(Validation::Path(path)), Some(Validation::Path(place))) => {
                *place = absolute(Path::new(path))?;
                Ok(())
            }
            _ => Err(useless("--validation", "may only say where the other text lies now, and this run has none")),
        }
    }

    pub(crate) fn check_unknown(&self, vocab: VocabKind) -> Result<()> {
        if self.unknown == Some(Unknown::Replace) && vocab != VocabKind::Ascii {
            let why = format!("is for characters that a vocabulary lacks, and one of {vocab} lacks none");
            return Err(useless("--unknown replace", &why));
        }
        Ok(())
    }
}

/// The symbols of a new run: those of its tokenizer, or of the kind that it says.
pub(crate) fn vocabulary(data: &DataConfig) -> Result<VocabChoice> {
    let Some(TokenizerConfig { file, sha256 }) = &data.tokenizer else { return Ok(data.vocab.into()) };
    let path = Path::new(file);
    if files::sha256(path)? != *sha256 {
        return Err(Error::input(format!(
            "{file}: is another tokenizer than the run's (SHA-256 {sha256}); restore it, or name one with --tokenizer in a new run"
        )));
    }
    let json = fs::read_to_string(path).map_err(Error::io("read the tokenizer", path))?;
    Vocab::bpe(&json).map(VocabChoice::from).map_err(|e| Error::input(format!("{file}: {e}")))
}

/// A text's place as a configuration has it.
fn place(path: &Path) -> Result<String> {
    if path == Path::new(DataConfig::STDIN) { Ok(DataConfig::STDIN.into()) } else { absolute(path) }
}

pub(crate) fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Above this, reading a text takes long enough to be announced.
const ANNOUNCED_BYTES: u64 = 256 << 20;

/// Reads a text and says so first where that may take a while.
pub(crate) fn read(text: &Selection, vocab: impl Into<VocabChoice>, reading: Reading) -> Result<Corpus> {
    if let Source::Path(path) = &text.source {
        let waits = fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
        let large = fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() > ANNOUNCED_BYTES);
        if waits || large {
            terminal::say(format!("reading   {}", path.display()));
        }
    }
    terminal::doing(format!("reading {}", text.source));
    let corpus = Corpus::open(text.clone(), vocab, reading);
    terminal::rest();
    corpus
}

/// Reads the text of a run, which must be the one that the run began with; `stdin` is where it lies if it came on standard
/// input, and `cure` says what to do where it is another or gone.
pub(crate) fn of_run(data: &DataConfig, stdin: &Path, vocab: impl Into<VocabChoice>, cure: &str) -> Result<Corpus> {
    let reading = Reading { unknown: data.unknown, newlines: data.newlines };
    let corpus = read(&Selection::of(data, stdin), vocab, reading);
    let corpus = corpus.map_err(|error| match error {
        Error::Io { source, path, .. } if source.kind() == ErrorKind::NotFound => {
            Error::input(format!("{}: the text of the run is not there any more; {cure}", path.display()))
        }
        error => error,
    })?;
    if corpus.sha256() != data.sha256 {
        return Err(Error::input(format!(
            "{}: the text has changed since the run began (SHA-256 {} then, {} now); {cure}",
            data.source,
            data.sha256,
            corpus.sha256()
        )));
    }
    Ok(corpus)
}
