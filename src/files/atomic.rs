//! Writing a file whole or not at all: beside its place, then to the disk, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// How much is collected before it goes to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes `path` through `content`, so that at every moment the file is the old one or the new one, whole.
///
/// The bytes go to a hidden file beside it (`.NAME.XXXXXX.tmp`), to the disk (fsync), and then take the name; a failure
/// leaves the old file and removes the new one. A process killed in between leaves the hidden file, which
/// [`remove_leftovers`] removes. Folders on the way are made. `action` says in messages what was being done (`write the
/// checkpoint`). A path that is no ordinary file, such as a pipe or `/dev/stdout`, is written to directly.
pub fn write(path: &Path, action: &'static str, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let fail = || Error::io(action, path);
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let file = File::options().write(true).open(path).map_err(fail())?;
        return fill(&file, content).map_err(fail());
    }
    let Some(name) = path.file_name() else {
        return Err(Error::input(format!("{}: cannot {action}: this is no file name", path.display())));
    };
    let folder = folder_of(path);
    create_folder(folder)?;
    if path.is_dir() {
        return Err(fail()(io::ErrorKind::IsADirectory.into()));
    }
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(&prefix).suffix(LEFTOVER_SUFFIX);
    // A temporary file is private by default; this one becomes the user's, readable as their umask says.
    #[cfg(unix)]
    temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary = temporary.tempfile_in(folder).map_err(fail())?;
    fill(temporary.as_file(), content).map_err(fail())?;
    temporary.as_file().sync_all().map_err(fail())?;
    temporary.persist(path).map_err(|e| e.error).map_err(fail())?;
    sync_folder(folder).map_err(fail())
}

/// Writes a short text file as [`write()`] does.
pub fn write_text(path: &Path, action: &'static str, text: &str) -> Result<()> {
    write(path, action, |file| file.write_all(text.as_bytes()))
}

/// Makes a folder and those above it.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))
}

/// Removes what killed processes left in a folder. Only for one who knows that no other process writes there.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let fail = || Error::io("tidy the folder", folder);
    for entry in fs::read_dir(folder).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b".") && name.ends_with(LEFTOVER_SUFFIX.as_bytes()) {
            fs::remove_file(entry.path()).map_err(Error::io("remove the leftover file", entry.path()))?;
        }
    }
    Ok(())
}

const LEFTOVER_SUFFIX: &str = ".tmp";

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn fill(file: &File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
    content(&mut buffered)?;
    buffered.flush()
}

/// Brings a rename to the disk; without it a power cut may bring the old name back.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems have no such operation.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_with_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/run.txt");
        write_text(&path, "write the run", "one").unwrap();
        write_text(&path, "write the run", "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names(path.parent().unwrap()), ["run.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_that_the_umask_leaves() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_text(&ours, "write", "x").unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_text(&path, "write the checkpoint", "good").unwrap();
        let error = write(&path, "write the checkpoint", |file| {
            file.write_all(&vec![7; 3 * BUFFER_BYTES])?;
            assert_eq!(names(folder.path()).len(), 2);
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("model.safetensors: cannot write the checkpoint: no storage space; free some space"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "good");
        assert_eq!(names(folder.path()), ["model.safetensors"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_reported_and_not_replaced() {
        let error = write_text(Path::new("/dev/full"), "write the checkpoint", "x").unwrap_err().to_string();
        assert!(error.contains("/dev/full: cannot write the checkpoint: No space left on device"), "{error}");
        assert!(error.contains("free some space or choose another disk"), "{error}");
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
        write_text(Path::new("/dev/null"), "write", "x").unwrap();
    }

    #[test]
    fn places_that_cannot_hold_a_file_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        let said = |path: &Path| write_text(path, "write the sample", "x").unwrap_err().to_string();
        assert!(said(&at("file/run/a.txt")).contains("file/run: cannot create the folder: Not a directory"));
        assert!(said(folder.path()).contains("cannot write the sample: is a directory"));
        assert!(said(Path::new("/")).starts_with("/: cannot write the sample: this is no file name"));
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_unwritable_folder_says_so() {
        // No user, not even root, can make a file there.
        let error = write_text(Path::new("/proc/tempest/model"), "write", "x").unwrap_err().to_string();
        assert!(error.starts_with("/proc/tempest: cannot create the folder: "), "{error}");
        let error = write_text(Path::new("/proc/model"), "write the checkpoint", "x").unwrap_err().to_string();
        assert!(error.starts_with("/proc/model: cannot write the checkpoint: "), "{error}");
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".model.safetensors.aB3xyz.tmp", "mine.tmp", ".hidden"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".hidden", "mine.tmp"]);
    }
}
