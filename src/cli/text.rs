//! The text that a command works on.

use std::fs;
use std::io::ErrorKind;
use tempest::config::DataConfig;
use tempest::data::{Corpus, Reading, Source, VocabChoice};
use tempest::{Error, Result, terminal};

/// Above this, reading a text takes long enough to be announced.
const ANNOUNCED_BYTES: u64 = 256 << 20;

/// Reads a text and says so first where that may take a while.
pub(crate) fn read(source: &Source, vocab: impl Into<VocabChoice>, reading: Reading) -> Result<Corpus> {
    if let Source::Path(path) = source {
        let waits = fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
        let large = fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() > ANNOUNCED_BYTES);
        if waits || large {
            terminal::say(format!("reading   {}", path.display()));
        }
    }
    terminal::doing(format!("reading {source}"));
    let corpus = Corpus::open(source, vocab, reading);
    terminal::rest();
    corpus
}

/// Where the text of a run comes from.
pub(crate) fn source(data: &DataConfig) -> Source {
    match data.source.as_str() {
        DataConfig::EMBEDDED => Source::Embedded,
        path => Source::Path(path.into()),
    }
}

/// Reads the text of a run, which must be the one that the run began with; `cure` says what to do where it is another or
/// gone.
pub(crate) fn of_run(data: &DataConfig, vocab: impl Into<VocabChoice>, cure: &str) -> Result<Corpus> {
    let corpus = read(&source(data), vocab, Reading { unknown: data.unknown, newlines: data.newlines });
    let corpus = corpus.map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            Error::input(format!("{}: the text of the run is not there any more; {cure}", data.source))
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
