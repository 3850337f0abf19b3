//! The virtual GPU must never be mistaken for the machine's driver.

#![allow(unsafe_code, reason = "looks for libraries by name")]

mod common;

use std::ffi::OsStr;
use std::path::Path;

/// cargo puts its output folders on the library search path of what it runs: a file
/// called like the driver there would be loaded instead of the real one.
#[test]
fn nothing_in_the_build_is_called_like_the_driver() {
    let library = common::driver().path().to_path_buf();
    assert_eq!(library.file_name(), Some(OsStr::new("libvgpu.so")));
    let program = std::env::current_exe().unwrap();
    let deps = program.parent().unwrap();
    let mut seen = 0;
    for folder in [deps, deps.parent().unwrap(), library.parent().unwrap()] {
        seen += files_in(folder, 3);
    }
    assert!(seen > 0, "the search found the build's files");
}

fn files_in(folder: &Path, depth: u32) -> u32 {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        for driver in ["libcuda.so", "libnvcuda", "libcuda."] {
            assert!(!name.starts_with(driver), "{}", entry.path().display());
        }
        seen += 1;
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            seen += files_in(&entry.path(), depth - 1);
        }
    }
    seen
}

/// Asking the system for the driver in a fresh process, with cargo's folders on the search
/// path, must not bring up the virtual GPU.
#[test]
fn the_system_does_not_find_it_unless_it_is_loaded_by_path() {
    if std::env::var_os("VGPU_SHADOW_CHILD").is_some() {
        // SAFETY: loads whatever driver the system has, or none; calls nothing in it.
        let found = unsafe { libloading::Library::new("libcuda.so") };
        // SAFETY: looks a symbol up.
        let ours = found.is_ok_and(|library| unsafe { library.get::<fn()>(b"vgpu_about\0").is_ok() });
        assert!(!ours, "libcuda.so resolved to the virtual GPU");
        return;
    }
    let library = common::driver().path();
    let folders = format!(
        "{}:{}",
        library.parent().unwrap().display(),
        std::env::current_exe().unwrap().parent().unwrap().display()
    );
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_system_does_not_find_it_unless_it_is_loaded_by_path"])
        .env("VGPU_SHADOW_CHILD", "1")
        .env("LD_LIBRARY_PATH", folders)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}
