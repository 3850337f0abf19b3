//! The text of a run, and how it becomes symbols.

use serde::{Deserialize, Serialize};

/// Where the text comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// [`DataConfig::EMBEDDED`] or a path.
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
}

impl DataConfig {
    /// The source that is built in.
    pub const EMBEDDED: &str = "embedded";
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
}

impl VocabKind {
    /// What a symbol is, in units of likelihood and speed: nats per `char`, or per `byte`.
    pub fn unit(self) -> &'static str {
        match self {
            VocabKind::Ascii | VocabKind::Chars => "char",
            VocabKind::Bytes => "byte",
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
