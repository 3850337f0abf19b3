//! What these tests read. Paths are compiled in; a copy of this program on another machine, without the sources and without
//! Rust, is told where things are:
//!
//! - `TEMPEST_TEST_ROOT`: a folder with `tests/data/golden/config_a*` of the repository;
//! - `TEMPEST_TEST_KERNELS`: a folder with the `*.ptx` that the build left in `TEMPEST_KERNEL_DIR`;
//! - `VGPU_LIBRARY`: `libvgpu.so` of the build, where the tests are to run on the virtual GPU there.

use std::collections::BTreeSet;
use std::path::PathBuf;

fn place(variable: &str, compiled_in: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| compiled_in.into(), PathBuf::from)
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    place("TEMPEST_TEST_ROOT", env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the compiled kernels.
pub(crate) fn kernels() -> PathBuf {
    place("TEMPEST_TEST_KERNELS", env!("TEMPEST_KERNEL_DIR"))
}

/// PTX of a family of kernels, for f16.
#[track_caller]
pub(crate) fn ptx(family: &str) -> String {
    let path = kernels().join(format!("{family}.f16.ptx"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}; see TEMPEST_TEST_KERNELS", path.display()))
}

/// Names of all kernels that ops launch, for a dtype, `f16`, as their PTX has them. `rates.cu` measures cards: see `timing`.
#[track_caller]
pub(crate) fn kernel_names(dtype: &str) -> BTreeSet<String> {
    let folder = kernels();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| {
        path.to_str().unwrap().ends_with(&format!(".{dtype}.ptx")) && !path.ends_with(format!("rates.{dtype}.ptx"))
    });
    let mut names = BTreeSet::new();
    for text in texts.map(|path| std::fs::read_to_string(path).unwrap()) {
        let entries = text.lines().filter_map(|line| line.trim_start().split_once(".entry "));
        names.extend(entries.map(|(_, rest)| rest.trim_end_matches('(').trim().to_owned()));
    }
    names
}
