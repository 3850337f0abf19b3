//! Where a command writes a page or a picture.

use super::print_bytes;
use std::path::Path;
use tempest::files::atomic::{self, Existing};
use tempest::terminal;
use tempest::{Error, Result};

/// The place of one file, checked before long work.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    path: &'a Path,
    existing: Existing,
}

/// What standard output is called.
const STDOUT: &str = "-";

impl<'a> Place<'a> {
    /// Standard output where it is `-`. Refuses what cannot be written, and a name that ends as that of another kind of file.
    pub(crate) fn of(path: &'a Path, force: bool, endings: &[&str]) -> Result<Self> {
        let place = Place { path, existing: Existing::forced(force) };
        if place.is_output() {
            return Ok(place);
        }
        if let Some(found) = ending(path).filter(|found| !endings.contains(&&found[..])) {
            let endings: Vec<String> = endings.iter().map(|ending| format!(".{ending}")).collect();
            return Err(Error::input(format!(
                "{}: a name that ends in .{found}; wanted {}",
                path.display(),
                endings.join(" or ")
            )));
        }
        atomic::check_place(path, place.existing).map(|()| place)
    }

    /// The same of a command whose standard output has something else.
    pub(crate) fn beside_output(path: &'a Path, force: bool, endings: &[&str]) -> Result<Self> {
        match path == Path::new(STDOUT) {
            true => Err(Error::input("-: standard output has the figures; wanted a file's name")),
            false => Place::of(path, force, endings),
        }
    }

    fn is_output(&self) -> bool {
        self.path == Path::new(STDOUT)
    }

    /// Writes all of it, and says where it is: `what` is a word, and what `more` is to be said of it.
    pub(crate) fn write(&self, action: &'static str, what: &str, more: &str, content: &[u8]) -> Result<()> {
        if self.is_output() {
            return print_bytes(content).map(|_| ());
        }
        atomic::write(self.path, action, self.existing, |file| file.write_all(content))?;
        terminal::say(format!("{what:<9} {}{more}", self.path.display()));
        Ok(())
    }
}

/// How a file's name ends, in lower case.
pub(crate) fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}
