//! Texts that are given to be edited, and what comes out of them.

use super::{Reader, print_to_reader};
use clap::Args;
use serde_json::{Map, Value};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use tempest::terminal::{self, printable};
use tempest::{Error, Result};

/// Texts.
#[derive(Args, Debug)]
#[command(next_help_heading = "Texts")]
pub(crate) struct TextArgs {
    /// The texts themselves [default: standard input]
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "jsonl"])]
    texts: Vec<String>,
    /// A text out of a file, or from standard input by -; may be given several times
    #[arg(short, long, value_name = "FILE", conflicts_with = "jsonl")]
    file: Vec<PathBuf>,
    /// Lines of JSON, each with a "text", out of a file, or from standard input by -: each comes out as such a line, with all that
    /// it has besides
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Texts that are worked on at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    pub(crate) batch: usize,
}

/// A text, and where it is from.
pub(crate) struct Given {
    /// A file's name, or what stands for one.
    pub(crate) name: String,
    pub(crate) text: String,
    origin: Origin,
}

enum Origin {
    Argument,
    File,
    /// What else its line has.
    Line(Map<String, Value>),
}

/// What standard input is called.
const STDIN: &str = "-";

impl TextArgs {
    /// All of them; at least one.
    pub(crate) fn read(&self) -> Result<Vec<Given>> {
        if let Some(path) = &self.jsonl {
            return lines(path);
        }
        if !self.texts.is_empty() {
            let many = self.texts.len() > 1;
            let name = |i: usize| if many { format!("text {}", i + 1) } else { "text".into() };
            let of =
                |(i, text): (usize, &String)| Given { name: name(i), text: text.clone(), origin: Origin::Argument };
            return Ok(self.texts.iter().enumerate().map(of).collect());
        }
        let stdin = [PathBuf::from(STDIN)];
        let files = if self.file.is_empty() { &stdin[..] } else { &self.file };
        if self.file.is_empty() && std::io::stdin().is_terminal() {
            return Err(Error::input("no text; give one as an argument, with --file or --jsonl, or on standard input"));
        }
        let of = |path: &PathBuf| Ok(Given { name: named(path), text: read(path)?, origin: Origin::File });
        files.iter().map(of).collect()
    }

    /// Whether what comes out are lines of JSON.
    pub(crate) fn in_lines(&self, json: bool) -> bool {
        json || self.jsonl.is_some()
    }
}

/// How a file is called in messages.
fn named(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".into() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(STDIN) => std::io::read_to_string(std::io::stdin()).map_err(Error::io("read the text", "standard input")),
        _ => std::fs::read_to_string(path).map_err(Error::io("read the text", path)),
    }
}

fn lines(path: &Path) -> Result<Vec<Given>> {
    let content = read(path)?;
    let mut found = Vec::new();
    for (i, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let name = format!("{}:{}", named(path), i + 1);
        let value: Value =
            serde_json::from_str(line).map_err(|e| Error::input(format!("{name}: is no line of JSON: {e}")))?;
        let wanted = || Error::input(format!("{name}: wanted an object with a \"text\" that is a string"));
        let Value::Object(mut rest) = value else { return Err(wanted()) };
        let Some(Value::String(text)) = rest.remove("text") else { return Err(wanted()) };
        found.push(Given { name, text, origin: Origin::Line(rest) });
    }
    if found.is_empty() {
        return Err(Error::input(format!("{}: has no lines; wanted one of JSON for each text", named(path))));
    }
    Ok(found)
}

impl Given {
    /// An error with its name, where it is one of several or stands in a file.
    pub(crate) fn named(&self, error: Error) -> Error {
        match (&self.origin, error) {
            (Origin::Argument, error) if self.name == "text" => error,
            (_, Error::Input(message)) => Error::input(format!("{}: {message}", self.name)),
            (_, error) => error,
        }
    }

    /// A line of JSON: what its own had, and what was made of it.
    pub(crate) fn line(&self, made: Value) -> String {
        let mut all = match &self.origin {
            Origin::Line(rest) => rest.clone(),
            _ => Map::new(),
        };
        if let Value::Object(made) = made {
            all.extend(made);
        }
        Value::Object(all).to_string() + "\n"
    }

    /// What it became, to be printed: under its name where it is one of several; what came as an argument ends with a newline.
    pub(crate) fn plain(&self, became: &str, many: bool) -> String {
        let head = if many { format!("--- {} ---\n", self.name) } else { String::new() };
        let ends = became.ends_with('\n') || !many && !matches!(self.origin, Origin::Argument);
        head + became + if ends { "" } else { "\n" }
    }
}

/// Prints a result; control characters must not steer a terminal. Whether more is wanted.
pub(crate) fn show(text: &str) -> Result<Reader> {
    terminal::rest();
    if std::io::stdout().is_terminal() { print_to_reader(&printable(text)) } else { print_to_reader(text) }
}
