//! The compiled kernels that the build left behind, and the tools to look into them.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The compiler that made them; empty without one.
pub(crate) const BUILT_WITH: &str = env!("TEMPEST_BUILT_WITH");

/// The one that `setup-cuda` installs, whose figures are pinned.
pub(crate) const PINNED: &str = "nvcc 13.0.88";

/// Suffixes of the stored dtypes.
pub(crate) const DTYPES: [&str; 2] = ["f16", "bf16"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A compiled file: `linear.f16.ptx`.
pub(crate) fn image(name: &str) -> PathBuf {
    Path::new(env!("TEMPEST_KERNEL_DIR")).join(name)
}

/// A tool below `.cuda-toolchain`.
pub(crate) fn tool(path: &str) -> Option<PathBuf> {
    let path = root().join(".cuda-toolchain").join(path);
    path.is_file().then_some(path)
}

/// Names of the compiled files, `mma_linear`, in order.
pub(crate) fn families() -> Vec<String> {
    let entries = std::fs::read_dir(image("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter_map(|name| Some(name.strip_suffix(".f16.ptx")?.to_owned())).collect();
    names.sort();
    names
}

/// What a tool prints, and whether it succeeded.
pub(crate) fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// `f` of every item, on every core.
pub(crate) fn each<T: Sync, U: Send>(items: &[T], f: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Relaxed)
                    && let Some(item) = items.get(at)
                {
                    let result = f(item);
                    done.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
