//! Read-only memory maps of corpora that may be larger than memory.
//!
//! A map is a window on a file, not a copy. Two things can go wrong while it lives, and neither can be ruled out by us:
//! - **Another process shortens the file.** Reading a page past the new end raises SIGBUS, which kills the process (on
//!   Windows the shortening itself is refused). A training run then loses the steps since its last checkpoint.
//! - **Another process overwrites the file in place.** The map shows the new bytes, and a run is no longer the run that
//!   its hash names.
//!
//! What lowers the risk: only large files are mapped (the corpus reads small ones into memory); encoded text is mapped from an unnamed temporary file that no other process can
//! open; and a map of a user's own file remembers its length and time of change, which [`Map::is_unchanged`] compares
//! before results are written down. Editors and `mv` replace a file by renaming, which leaves a map of the old one whole.

use std::fs::File;
use std::io;
use std::time::SystemTime;

/// A file's bytes, paged in by the operating system when they are read.
#[derive(Debug)]
pub(crate) struct Map {
    bytes: memmap2::Mmap,
    file: File,
    stamp: Stamp,
}

#[derive(Debug, PartialEq)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp { bytes: metadata.len(), changed: metadata.modified().ok() })
    }
}

impl Map {
    /// Maps the whole of a file that is not empty.
    pub(crate) fn new(file: File) -> io::Result<Map> {
        let stamp = Stamp::of(&file)?;
        // SAFETY: the bytes must not change or vanish while a reference to them lives. No code of ours writes to a file
        // that it has mapped; other processes are the remaining risk, which the module's page describes and the callers
        // (`data::corpus`) lower. The bytes are only ever read as `u8` and `u16`, for which every pattern is valid.
        let bytes = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map { bytes, file, stamp })
    }

    /// The bytes, from the first to the last of the file as it was when it was mapped.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file still has the length and the time of change that it had when it was mapped.
    pub(crate) fn is_unchanged(&self) -> bool {
        Stamp::of(&self.file).is_ok_and(|now| now == self.stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_map_shows_the_file_and_notices_a_change() {
        let mut named = tempfile::NamedTempFile::new().unwrap();
        named.write_all(b"to be").unwrap();
        let map = Map::new(File::open(named.path()).unwrap()).unwrap();
        assert_eq!(map.bytes(), b"to be");
        assert!(map.is_unchanged());
        named.write_all(b", or not").unwrap();
        assert!(!map.is_unchanged());
        assert_eq!(map.bytes(), b"to be");
    }

    #[test]
    fn a_file_replaced_by_renaming_leaves_the_map_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus.txt");
        std::fs::write(&path, "old text").unwrap();
        let map = Map::new(File::open(&path).unwrap()).unwrap();
        std::fs::write(folder.path().join("new"), "x").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(map.bytes(), b"old text");
    }
}
