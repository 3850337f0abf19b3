//! Reading text of any size: embedded, from a file, or from a folder of files, as checked UTF-8 in chunks.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::TINY_SHAKESPEARE;
use crate::config::{DataConfig, Pattern, Validation};
use crate::error::{Error, Result};
use crate::files;
use crate::terminal::thousands;

/// How much of a file is in memory at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// What the message says a failed read was for.
const READING: &str = "read the corpus";

/// Where a corpus comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// [`TINY_SHAKESPEARE`], built into the binary.
    #[default]
    Embedded,
    /// A UTF-8 text file, or a folder of them. What a name that ends in .gz holds is unpacked; of .jsonl, lines of JSON, each
    /// line's text is read: the line itself, or what it has under "text".
    ///
    /// A folder is read recursively, in the order of the names; hidden files and folders are left out, and so are folders in
    /// it that hold a run: a run must be able to lie within its text. The texts follow one another directly; a newline is put behind one that does not end in a newline and is not the last.
    Path(PathBuf),
    /// What came on standard input, in a file that lies here.
    Stdin(PathBuf),
}

/// Which text: where it lies, what of a folder is read, and what is kept from training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Where it lies.
    pub source: Source,
    /// Files of a folder that are read; all where there is no pattern.
    pub include: Vec<Pattern>,
    /// Files and folders in it that are not read, though they be included.
    pub skip: Vec<Pattern>,
    /// What is kept from training; the last tenth where nothing is said.
    pub validation: Option<Validation>,
}

impl From<&Source> for Selection {
    fn from(source: &Source) -> Self {
        Selection { source: source.clone(), ..Selection::default() }
    }
}

impl Selection {
    /// The text of a run; `stdin` is the file that holds what came on standard input, if the text did.
    pub fn of(data: &DataConfig, stdin: &Path) -> Self {
        let source = match data.source.as_str() {
            DataConfig::EMBEDDED => Source::Embedded,
            DataConfig::STDIN => Source::Stdin(stdin.into()),
            path => Source::Path(path.into()),
        };
        Selection {
            source,
            include: data.include.clone(),
            skip: data.skip.clone(),
            validation: data.validation.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Embedded => f.write_str("Tiny Shakespeare (embedded)"),
            Source::Path(path) => path.display().fmt(f),
            Source::Stdin(_) => f.write_str("standard input"),
        }
    }
}

/// A text that can be read from start to end any number of times.
pub(super) struct Text {
    name: String,
    files: Vec<Piece>,
    /// Folders left out because they hold a run.
    runs: usize,
    /// The first file that is kept from training, where files of their own are.
    held: Option<usize>,
}

enum Piece {
    Memory(String, &'static str),
    /// A file kept open; a temporary copy where `path` is a pipe, which can be read only once.
    Open {
        path: PathBuf,
        file: File,
    },
    /// One of many, opened each time it is read.
    Closed(PathBuf),
}

impl Text {
    /// Finds the files; reads only what cannot be read twice, such as a pipe.
    pub(super) fn open(selection: &Selection) -> Result<Text> {
        let text = Text::find(&selection.source, selection)?;
        match &selection.validation {
            Some(Validation::Path(path)) => {
                let held = Text::find(&Source::Path(path.into()), selection)?;
                Ok(text.with_validation(held))
            }
            _ => Ok(text),
        }
    }

    fn find(source: &Source, selection: &Selection) -> Result<Text> {
        let name = source.to_string();
        let (path, shown) = match source {
            Source::Embedded => {
                let files = vec![Piece::Memory(name.clone(), TINY_SHAKESPEARE)];
                return Ok(Text { name, files, runs: 0, held: None });
            }
            Source::Path(path) => (path, path.clone()),
            Source::Stdin(path) => (path, PathBuf::from(&name)),
        };
        let metadata = fs::metadata(path).map_err(Error::io(READING, path))?;
        if !metadata.is_dir() {
            let mut file = File::open(path).map_err(Error::io(READING, path))?;
            if !metadata.is_file() {
                file = spool(&file, path)?;
            }
            return Ok(Text { name, files: vec![Piece::Open { path: shown, file }], runs: 0, held: None });
        }
        let mut found = Found { folder: path, selection, files: vec![], runs: 0, above: vec![] };
        found.list(path)?;
        if found.files.is_empty() {
            let wanted = match (selection.include.is_empty(), selection.skip.is_empty()) {
                (true, true) => "",
                (false, true) => " that --include means",
                (true, false) => " but what --skip means",
                (false, false) => " that --include means and --skip does not",
            };
            return Err(Error::input(format!(
                "{name}: the folder holds no files{wanted} (hidden ones and runs do not count); put UTF-8 text there"
            )));
        }
        Ok(Text { name, files: found.files.into_iter().map(Piece::Closed).collect(), runs: found.runs, held: None })
    }

    /// The same with the files of another text behind its own, which are kept from training.
    fn with_validation(mut self, other: Text) -> Text {
        self.held = Some(self.files.len());
        self.files.extend(other.files);
        self.runs += other.runs;
        self
    }

    /// Whether file number `file` is kept from training.
    pub(super) fn holds_back(&self, file: usize) -> bool {
        self.held.is_some_and(|first| file >= first)
    }

    #[cfg(test)]
    pub(super) fn memory(text: &'static str) -> Text {
        Text { name: "test".into(), files: vec![Piece::Memory("test".into(), text)], runs: 0, held: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of file number `file` in messages.
    pub(super) fn file_name(&self, file: usize) -> String {
        match &self.files[file] {
            Piece::Memory(name, _) => name.clone(),
            Piece::Open { path, .. } | Piece::Closed(path) => path.display().to_string(),
        }
    }

    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// How many folders were left out because they hold a run.
    pub(super) fn runs_left_out(&self) -> usize {
        self.runs
    }

    /// The bytes, where the text lies in memory already.
    pub(super) fn in_memory(&self) -> Option<&'static str> {
        match self.files[..] {
            [Piece::Memory(_, text)] => Some(text),
            _ => None,
        }
    }

    /// Calls `f` with each stretch of the text, in order, and the number of the file it belongs to.
    pub(super) fn read(&self, mut f: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
        for (i, piece) in self.files.iter().enumerate() {
            let mut newline_at_end = true;
            let mut pass_on = |chunk: &str| {
                newline_at_end = chunk.ends_with('\n');
                f(i, chunk)
            };
            match piece {
                Piece::Memory(_, text) => pass_on(text)?,
                Piece::Open { path, file } => {
                    let mut file: &File = file;
                    file.rewind().map_err(Error::io(READING, path))?;
                    read_file(path, file, pass_on)?;
                }
                Piece::Closed(path) => {
                    read_file(path, &File::open(path).map_err(Error::io(READING, path))?, pass_on)?;
                }
            }
            if !newline_at_end && i + 1 < self.files.len() {
                f(i, "\n")?;
            }
        }
        Ok(())
    }
}

/// Standard input, read to its end, in a temporary file.
pub fn stdin() -> Result<NamedTempFile> {
    let name = Path::new("standard input");
    let mut copy = NamedTempFile::new().map_err(Error::io(COPYING, name))?;
    copy_out(io::stdin().lock(), copy.as_file_mut(), name)?;
    Ok(copy)
}

/// Copies what can be read only once, such as a pipe, to an unnamed temporary file.
fn spool(from: &File, path: &Path) -> Result<File> {
    refuse_endless(from, path)?;
    let mut copy = tempfile::tempfile().map_err(Error::io(COPYING, path))?;
    copy_out(from, &mut copy, path)?;
    Ok(copy)
}

/// What the message says a failed copy was for.
const COPYING: &str = "copy the corpus to a temporary file";

fn copy_out(mut from: impl Read, copy: &mut File, path: &Path) -> Result<()> {
    let fail = || Error::io(COPYING, path);
    // Half of the room that is there: whatever else uses the disk keeps the other half.
    let room = free_bytes(copy) / 2;
    let copied = io::copy(&mut from.by_ref().take(room), copy).map_err(fail())?;
    if copied == room && from.take(1).read(&mut [0]).map_err(fail())? > 0 {
        return Err(Error::input(format!(
            "{}: the text goes on after {} bytes, half of what {} has room for; write it to a file first, or set TMPDIR to a \
             larger place",
            path.display(),
            thousands(copied),
            std::env::temp_dir().display()
        )));
    }
    Ok(())
}

/// Refuses devices, which have no text and often no end; a terminal is somebody who types.
#[cfg(unix)]
fn refuse_endless(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let kind = file.metadata().map_err(Error::io(READING, path))?.file_type();
    if (kind.is_char_device() || kind.is_block_device()) && !file.is_terminal() {
        return Err(Error::input(format!(
            "{}: this is a device; give a text file, a folder or a pipe",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_endless(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// How much a file may grow; without end where the system does not say.
fn free_bytes(file: &File) -> u64 {
    #[cfg(unix)]
    if let Ok(there) = rustix::fs::fstatvfs(file) {
        return there.f_bavail.saturating_mul(there.f_frsize);
    }
    u64::MAX
}

/// What a folder of texts holds.
struct Found<'a> {
    /// The text's own.
    folder: &'a Path,
    /// What of it is read.
    selection: &'a Selection,
    /// Sorted by name, folder by folder.
    files: Vec<PathBuf>,
    /// Folders that hold a run.
    runs: usize,
    /// The folders on the way down.
    above: Vec<PathBuf>,
}

impl Found<'_> {
    fn list(&mut self, folder: &Path) -> Result<()> {
        let real = folder.canonicalize().map_err(Error::io(READING, folder))?;
        if self.above.contains(&real) {
            return Err(Error::input(format!(
                "{}: the folder contains itself through a link; remove the link",
                folder.display()
            )));
        }
        if !self.above.is_empty() && files::holds_run(folder) {
            self.runs += 1;
            return Ok(());
        }
        self.above.push(real);
        let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut paths: Vec<PathBuf> =
            entries.map_err(Error::io(READING, folder))?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| !is_hidden(path)) {
            let place = path.strip_prefix(self.folder).unwrap_or(&path);
            let means = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(place));
            let (include, skip) = (&self.selection.include, &self.selection.skip);
            if means(skip) {
                continue;
            }
            let included = include.is_empty() || means(include);
            let metadata = fs::metadata(&path).map_err(Error::io(READING, &path))?;
            if metadata.is_dir() {
                self.list(&path)?;
            } else if included && metadata.is_file() {
                self.files.push(path);
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().map_or(b"".as_slice(), OsStr::as_encoded_bytes).starts_with(b".")
}

/// Reads a file as its name says: unpacked where it ends in .gz; then .jsonl, the text of each line; else as it is.
fn read_file(path: &Path, file: &File, f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let packed = ends_in(path, "gz");
    let name = if packed { path.with_extension("") } else { path.to_path_buf() };
    let bytes: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
    if ends_in(&name, "jsonl") { read_records(path, bytes, f) } else { read_utf8(path, bytes, f) }
}

fn ends_in(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Reads lines of JSON, each a text or an object with one under "text". A newline is put behind one that does not end in one.
fn read_records(path: &Path, bytes: impl Read, mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let (mut lines, mut line) = (BufReader::new(bytes), String::new());
    for number in 1_u64.. {
        line.clear();
        if lines.read_line(&mut line).map_err(Error::io(READING, path))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let refuse = |why: &dyn fmt::Display| Error::input(format!("{}, line {number}: {why}", path.display()));
        let text = match serde_json::from_str(&line).map_err(|e| refuse(&e))? {
            Value::Object(mut record) => record.remove("text"),
            other => Some(other),
        };
        let Some(Value::String(text)) = text else {
            return Err(refuse(&"holds no text; wanted a string, or an object with one under \"text\""));
        };
        if !text.is_empty() {
            f(&text)?;
        }
        if !text.ends_with('\n') {
            f("\n")?;
        }
    }
    Ok(())
}

/// Reads a file in chunks that never cut a character.
fn read_utf8(path: &Path, mut file: impl Read, mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut held = 0; // bytes at the buffer's start that are not passed on yet
    let mut offset = 0; // of the buffer's start in the file
    loop {
        let read = match file.read(&mut buffer[held..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Error::io(READING, path))?,
        };
        let bytes = &buffer[..held + read];
        let (text, broken) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(e) => {
                let text = std::str::from_utf8(&bytes[..e.valid_up_to()]).expect("valid_up_to says so");
                // An unfinished character at the end of the buffer may go on in the next one.
                (text, e.error_len().is_some() || read == 0)
            }
        };
        if broken {
            return Err(not_utf8(
                path,
                offset + text.len() as u64,
                &bytes[text.len()..],
                bytes.starts_with(&[0xff, 0xfe]),
            ));
        }
        if read == 0 {
            return Ok(());
        }
        if !text.is_empty() {
            f(text)?;
        }
        let passed = text.len();
        offset += passed as u64;
        let end = held + read;
        buffer.copy_within(passed..end, 0);
        held = end - passed;
    }
}

fn not_utf8(path: &Path, offset: u64, rest: &[u8], utf16: bool) -> Error {
    let from = if utf16 && offset == 0 { "UTF-16" } else { "LATIN1" };
    Error::input(format!(
        "{}: not UTF-8 text, byte {} is 0x{:02x}; convert it (iconv -f {from} -t UTF-8), or keep it out of the corpus",
        path.display(),
        thousands(offset),
        rest[0]
    ))
}
