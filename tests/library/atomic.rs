//! Files that appear whole or not at all.

use std::fs;
use std::io;
use std::path::Path;
use tempest::files::atomic::{
    Existing::{Keep, Replace},
    create_folder, remove_folders, remove_leftovers, write, write_text,
};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_where_that_is_asked_for_and_stays_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.txt");
    write_text(&path, "write the run", Keep, "one").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    let error = write_text(&path, "write the run", Keep, "two").unwrap_err().to_string();
    assert!(error.ends_with("run.txt: exists already; replace it with --force, or give another name"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    write_text(&path, "write the run", Replace, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(names(folder.path()), ["run.txt"]);
}

#[test]
fn a_file_that_appears_while_another_is_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.txt");
    let written = write(&path, "write the run", Keep, |file| {
        fs::write(&path, "theirs")?;
        file.write_all(b"ours")
    });
    assert!(written.unwrap_err().to_string().contains("run.txt: exists already"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    assert_eq!(names(folder.path()), ["run.txt"]);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_file_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.txt");
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(write_text(&path, "write", Keep, "x").unwrap_err().to_string().contains("exists already"));
}

#[test]
fn every_name_that_a_file_may_have_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    for length in [1, 243, 244, 255] {
        let path = folder.path().join("m".repeat(length));
        write_text(&path, "write", Keep, "x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x");
    }
}

#[test]
fn no_folder_is_made_for_a_file_and_those_of_a_run_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/run.txt");
    let error = write_text(&path, "write the run", Keep, "x").unwrap_err().to_string();
    assert!(error.contains("a/b/run.txt: there is no folder "), "{error}");
    assert!(error.ends_with("a/b; make it, or check the path"), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
    let made = create_folder(path.parent().unwrap()).unwrap();
    assert_eq!(made, [folder.path().join("a"), folder.path().join("a/b")]);
    assert!(create_folder(path.parent().unwrap()).unwrap().is_empty());
    remove_folders(&made);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_file_has_the_mode_that_the_umask_leaves() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
    write_text(&ours, "write", Keep, "x").unwrap();
    fs::write(&plain, "x").unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_text(&path, "write the checkpoint", Keep, "good").unwrap();
    let error = write(&path, "write the checkpoint", Replace, |file| {
        file.write_all(&vec![7; 3 << 20])?;
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
    let error = write_text(Path::new("/dev/full"), "write the checkpoint", Keep, "x").unwrap_err().to_string();
    assert!(error.contains("/dev/full: cannot write the checkpoint: No space left on device"), "{error}");
    assert!(error.contains("free some space or choose another disk"), "{error}");
    assert!(!fs::metadata("/dev/full").unwrap().is_file());
    write_text(Path::new("/dev/null"), "write", Keep, "x").unwrap();
}

#[test]
fn places_that_cannot_hold_a_file_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    let said = |path: &Path| write_text(path, "write the sample", Keep, "x").unwrap_err().to_string();
    assert!(said(&at("file/a.txt")).contains("file/a.txt: cannot write: not a directory"));
    let error = create_folder(&at("file/run")).unwrap_err().to_string();
    assert!(error.contains("file/run: cannot create the folder: Not a directory"), "{error}");
    assert!(
        create_folder(&at("file")).unwrap_err().to_string().contains("file: cannot use the folder: not a directory")
    );
    assert!(said(folder.path()).contains("cannot write: is a directory"));
    assert!(said(Path::new("/")).starts_with("/: this is no file name"));
    assert_eq!(names(folder.path()), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_folder_says_so() {
    // No user, not even root, can make a file there.
    let error = create_folder(Path::new("/proc/tempest")).unwrap_err().to_string();
    assert!(error.starts_with("/proc/tempest: cannot create the folder: "), "{error}");
    let error = write_text(Path::new("/proc/model"), "write the checkpoint", Keep, "x").unwrap_err().to_string();
    assert!(error.starts_with("/proc/model: cannot write the checkpoint: "), "{error}");
}

#[test]
fn leftovers_of_killed_processes_are_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".tempest-4711-0.tmp", ".mine.tmp", "mine.tmp", ".hidden"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    remove_leftovers(folder.path()).unwrap();
    assert_eq!(names(folder.path()), [".hidden", ".mine.tmp", "mine.tmp"]);
}
