//! Writing a file whole or not at all: beside its place, then to the disk, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How much is collected before it goes to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written: whose it is, is not known.
    Keep,
    /// It is replaced.
    Replace,
}

impl Existing {
    /// What the flag `--force` of a command says.
    pub fn forced(force: bool) -> Self {
        if force { Existing::Replace } else { Existing::Keep }
    }
}

/// Writes `path` through `content`, so that at every moment the file is the old one or the new one, whole.
///
/// The bytes go to a hidden file beside it (`.tempest-PROCESS-NUMBER.tmp`, short, so that any name that a file may have can
/// be written), to the disk (fsync), and then take the name, which goes to the disk too; a failure leaves the old file and
/// removes the new one. A process killed in between leaves the hidden file, which [`remove_leftovers`] removes. `action` says
/// in messages what was being done (`write the checkpoint`). A path that is no ordinary file, such as a pipe or
/// `/dev/stdout`, is written to directly.
pub fn write(
    path: &Path,
    action: &'static str,
    existing: Existing,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let fail = || Error::io(action, path);
    check_place(path, existing)?;
    if is_stream(path) {
        let file = File::options().write(true).open(path).map_err(fail())?;
        return fill(&file, content).map_err(fail());
    }
    let folder = folder_of(path);
    let (file, temporary) = Temporary::create(folder).map_err(fail())?;
    fill(&file, content).map_err(fail())?;
    file.sync_all().map_err(fail())?;
    temporary.take_name(path, existing).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => fail()(e),
    })?;
    sync_folder(folder).map_err(fail())
}

/// Writes a short text file as [`write()`] does.
pub fn write_text(path: &Path, action: &'static str, existing: Existing, text: &str) -> Result<()> {
    write(path, action, existing, |file| file.write_all(text.as_bytes()))
}

/// Whether [`write()`] would begin: the folder is there, and so is no file that must stay. To be asked before long work.
pub fn check_place(path: &Path, existing: Existing) -> Result<()> {
    let fail = || Error::io("write", path);
    if is_stream(path) {
        return Ok(());
    }
    if path.file_name().is_none() {
        return Err(Error::input(format!("{}: this is no file name", path.display())));
    }
    let folder = folder_of(path);
    match fs::metadata(folder) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => return Err(fail()(ErrorKind::NotADirectory.into())),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::input(format!(
                "{}: there is no folder {}; make it, or check the path",
                path.display(),
                folder.display()
            )));
        }
        Err(e) => return Err(fail()(e)),
    }
    match fs::symlink_metadata(path) {
        Ok(_) if path.is_dir() => Err(fail()(ErrorKind::IsADirectory.into())),
        Ok(_) if existing == Existing::Keep => Err(exists(path)),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(fail()(e)),
    }
}

fn exists(path: &Path) -> Error {
    Error::input(format!("{}: exists already; replace it with --force, or give another name", path.display()))
}

/// Makes a folder and those above it, durably; returns those that were not there, the outermost first.
pub fn create_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let missing: Vec<&Path> =
        folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && fs::metadata(f).is_err()).collect();
    let mut made = Vec::new();
    for folder in missing.into_iter().rev() {
        let fail = || Error::io("create the folder", folder);
        match fs::create_dir(folder) {
            Ok(()) => made.push(folder.to_path_buf()),
            // Another process was quicker.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => continue,
            Err(e) => {
                remove_folders(&made);
                return Err(fail()(e));
            }
        }
        sync_folder(folder_of(folder)).map_err(fail())?;
    }
    match fs::metadata(folder) {
        Ok(there) if !there.is_dir() => Err(Error::io("use the folder", folder)(ErrorKind::NotADirectory.into())),
        _ => Ok(made),
    }
}

/// Removes folders that [`create_folder`] made, those that are still empty.
pub fn remove_folders(made: &[PathBuf]) {
    for folder in made.iter().rev() {
        // Whatever keeps it is somebody else's.
        let _ = fs::remove_dir(folder);
    }
}

/// Removes what killed processes left in a folder. Only for one who knows that no other process writes there.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let fail = || Error::io("tidy the folder", folder);
    for entry in fs::read_dir(folder).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(LEFTOVER_PREFIX.as_bytes()) && name.ends_with(LEFTOVER_SUFFIX.as_bytes()) {
            fs::remove_file(entry.path()).map_err(Error::io("remove the leftover file", entry.path()))?;
        }
    }
    Ok(())
}

/// Creates the first of a row of files that is not there yet.
pub(super) fn create_numbered(options: &mut OpenOptions, path: impl Fn(u64) -> PathBuf) -> io::Result<(File, PathBuf)> {
    let mut number = 0;
    loop {
        let path = path(number);
        match options.create_new(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            opened => return opened.map(|file| (file, path)),
        }
    }
}

const LEFTOVER_PREFIX: &str = ".tempest-";
const LEFTOVER_SUFFIX: &str = ".tmp";

/// A file that has no name of its own yet, removed unless it gets one.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn create(folder: &Path) -> io::Result<(File, Temporary)> {
        let process = std::process::id();
        // Numbers that are taken are other threads', or a killed process's that had our number.
        let name = |number| folder.join(format!("{LEFTOVER_PREFIX}{process}-{number}{LEFTOVER_SUFFIX}"));
        let (file, path) = create_numbered(File::options().write(true), name)?;
        Ok((file, Temporary { path }))
    }

    fn take_name(self, path: &Path, existing: Existing) -> io::Result<()> {
        if existing == Existing::Keep {
            // A link fails where the name is taken, even if it was taken just now; its other name goes with `self`.
            match fs::hard_link(&self.path, path) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(e),
                // There are file systems without links.
                Err(_) => {}
            }
        }
        fs::rename(&self.path, path)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The folder that a path lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Whether a path is a pipe, a device or the like, standard output among them even where that is a file.
fn is_stream(path: &Path) -> bool {
    let named = ["/dev/stdout", "/dev/stderr"].map(Path::new).contains(&path)
        || ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.starts_with(folder));
    named || fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

fn fill(file: &File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
    content(&mut buffered)?;
    buffered.flush()
}

/// Brings names in a folder to the disk; without it a power cut may bring the old ones back.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems have no such operation.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}
