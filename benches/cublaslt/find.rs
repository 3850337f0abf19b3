//! Where cuBLASLt may lie: what the system knows by name, and the wheels of a Python.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Newest first; the plain name is the one of a toolkit's development files.
const NAMES: [&str; 4] = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"];

/// Names and paths to try, in order.
pub(crate) fn candidates() -> Vec<PathBuf> {
    let named = NAMES.map(PathBuf::from);
    named.into_iter().chain(in_wheels(&python_path())).collect()
}

/// Of NVIDIA's wheels below these folders of Python packages: `nvidia/cublas/lib` up to CUDA 12, `nvidia/cu13/lib` since.
pub(crate) fn in_wheels(packages: &[PathBuf]) -> Vec<PathBuf> {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.join("nvidia")).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path().join("lib")).collect();
        folders.sort();
        folders
    };
    let folders: Vec<PathBuf> = packages.iter().flat_map(|folder| folders(folder)).collect();
    // The newest of all first.
    let paths = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    paths.filter(|path| path.is_file()).collect()
}

/// Where the Python that one would get looks for packages.
fn python_path() -> Vec<PathBuf> {
    let asked = Command::new("python3").args(["-c", "import sys; print('\\n'.join(sys.path))"]).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()
}
