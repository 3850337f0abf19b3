//! The text of a run, and how it becomes symbols.

use super::Pattern;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where the text comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// [`DataConfig::EMBEDDED`], [`DataConfig::STDIN`] or a path.
    pub source: String,
    /// SHA-256 of the text's bytes, in hexadecimal.
    pub sha256: String,
    /// How it becomes ids.
    pub vocab: VocabKind,
    /// What is done with characters that the vocabulary lacks.
    pub unknown: Unknown,
    /// How lines end. Absent in runs from before there was the choice, which read every byte, byte order marks too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newlines: Option<Newlines>,
    /// What of a folder is read; all where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Pattern>,
    /// What of a folder is not read, though it be included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Pattern>,
    /// What is kept from training; the last tenth where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Where the ids of a bpe vocabulary come from, in a run that begins with no other's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerConfig>,
}

/// A tokenizer. Models and checkpoints hold it whole: a run needs the file no more when it has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerConfig {
    /// Its `tokenizer.json`.
    pub file: String,
    /// SHA-256 of that file, in hexadecimal.
    pub sha256: String,
}

/// What a run does not train on and is validated on. Written `0.05`, or as a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Validation {
    /// The end of the text, of this share of its tokens; above 0 and below 1.
    Share(f64),
    /// Another text, a file or a folder.
    Path(String),
}

impl FromStr for Validation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse::<f64>() {
            Ok(share) if 0.0 < share && share < 1.0 => Ok(Validation::Share(share)),
            Ok(share) => Err(Error::input(format!("a share of {share}; wanted one above 0 and below 1, or a path"))),
            Err(_) => Ok(Validation::Path(text.into())),
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validation::Share(share) => share.fmt(f),
            Validation::Path(path) => path.fmt(f),
        }
    }
}

stored_as_text!(Validation);

impl DataConfig {
    /// The source that is built in.
    pub const EMBEDDED: &str = "embedded";

    /// Standard input, of which the run keeps a copy.
    pub const STDIN: &str = "-";

    /// The text that is built in, as symbols of this kind.
    pub fn embedded(vocab: VocabKind) -> Self {
        DataConfig {
            source: DataConfig::EMBEDDED.into(),
            sha256: String::new(),
            vocab,
            unknown: Unknown::Error,
            newlines: Some(Newlines::Lf),
            include: Vec::new(),
            skip: Vec::new(),
            validation: None,
            tokenizer: None,
        }
    }
}

/// How the ends of lines are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Newlines {
    /// CR LF, as Windows writes it, becomes LF: one symbol ends a line
    #[default]
    Lf,
    /// As they are: a model learns CR LF as two symbols
    Keep,
}

/// How text becomes ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum VocabKind {
    /// 128 ids, each the ASCII code of its character; NUL (0) is the mask
    Ascii,
    /// One id for each character that the corpus holds, in code point order; the mask comes last
    Chars,
    /// One id for each byte of the UTF-8 text, 256 in all; the mask is 256
    Bytes,
    /// Byte-level BPE: the ids of a tokenizer.json, which --tokenizer names; the mask comes last
    Bpe,
}

impl VocabKind {
    /// What a symbol is, in units of likelihood and speed: nats per `char`, or per `byte`.
    pub fn unit(self) -> &'static str {
        match self {
            VocabKind::Ascii | VocabKind::Chars => "char",
            VocabKind::Bytes => "byte",
            VocabKind::Bpe => "token",
        }
    }
}

/// What to do with text that the vocabulary cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// Stop, and say where the first such character is
    #[default]
    Error,
    /// Put "?" in its place (a space or the first symbol where the vocabulary has no "?"), and say how often
    Replace,
}
