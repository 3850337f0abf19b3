//! Patterns of the names of files.

use crate::error::{Error, Result};
use glob::MatchOptions;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Names of files, or of folders and all that is in them: `*.md` wherever it lies, or, with a slash, by its whole path from the
/// text's folder: `drafts/*`, `**/old/*.txt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(glob::Pattern);

impl Pattern {
    /// Whether it means what lies at this path from the text's folder.
    pub fn matches(&self, path: &Path) -> bool {
        let whole = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
        match self.0.as_str().contains('/') {
            true => self.0.matches_path_with(path, whole),
            false => path.file_name().is_some_and(|name| self.0.matches(&name.to_string_lossy())),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let pattern = glob::Pattern::new(text).map_err(|e| {
            Error::input(format!("{text:?} is no pattern of names ({}); wanted one such as *.md or drafts/*", e.msg))
        });
        pattern.map(Pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

stored_as_text!(Pattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_met_anywhere_and_a_path_from_the_folder_on() {
        let matches = |pattern: &str, path: &str| pattern.parse::<Pattern>().unwrap().matches(Path::new(path));
        assert!(matches("*.md", "a.md") && matches("*.md", "deep/down/a.md") && !matches("*.md", "a.txt"));
        assert!(matches("drafts", "drafts") && !matches("drafts", "drafts/a.md"));
        assert!(matches("drafts/*", "drafts/a.md") && !matches("drafts/*", "drafts/old/a.md"));
        assert!(!matches("drafts/*", "old/drafts/a.md") && matches("**/drafts/*", "old/drafts/a.md"));
        let error = "a[".parse::<Pattern>().unwrap_err().to_string();
        assert!(error.starts_with("\"a[\" is no pattern of names (") && error.contains("*.md"), "{error}");
    }
}
