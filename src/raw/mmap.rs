//! Read-only memory maps of corpora that may be larger than memory.
//!
//! A map is a window on a file, not a copy: if another process shortens the file, reading a page past the new end raises
//! SIGBUS, which ends the process, and if it writes to the file, the map shows the new bytes. So a user's own file is never
//! mapped: only unnamed temporary files are, which no other process can open.

use std::fs::File;
use std::io;

/// A file's bytes, paged in by the operating system when they are read.
#[derive(Debug)]
pub(crate) struct Map(memmap2::Mmap);

impl Map {
    /// Maps the whole of a temporary file that has no name and is not empty.
    pub(crate) fn new(file: File) -> io::Result<Map> {
        // SAFETY: the bytes must not change or vanish while a reference to them lives. The file has no name, so that no other
        // process can open it; its only handle is taken here and closed, so that no code of ours writes to it either. The
        // bytes are only ever read as `u8` and `u16`, for which every pattern is valid.
        let bytes = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map(bytes))
    }

    /// The bytes, from the first to the last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_map_shows_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"to be").unwrap();
        assert_eq!(Map::new(file).unwrap().bytes(), b"to be");
    }
}
