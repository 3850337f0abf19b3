//! Finds a CUDA compiler.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables that lead to a compiler or change what it does.
pub(crate) const VARIABLES: [&str; 9] = [
    "NVCC",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_ROOT",
    "CUDA_TOOLKIT_ROOT_DIR",
    "PATH",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "NVCC_CCBIN",
];

/// What `setup-cuda` installs.
const OWN: &str = ".cuda-toolchain/nvidia/cu13/bin";

/// A compiler that runs.
#[derive(Clone, Debug)]
pub(crate) struct Toolkit {
    pub(crate) nvcc: PathBuf,
    pub(crate) ptxas: PathBuf,
    /// `nvcc 13.0.88`.
    pub(crate) version: String,
}

/// The first compiler that runs, and what was wrong with those that were asked for before it.
pub(crate) fn find(root: &Path, variable: &dyn Fn(&str) -> Option<OsString>) -> (Option<Toolkit>, Vec<String>) {
    let mut notes = Vec::new();
    for (asked_by, nvcc) in candidates(root, variable) {
        let shown = match asked_by {
            Some(name) => format!("{name} leads to {}, which", nvcc.display()),
            None => nvcc.display().to_string(),
        };
        if !nvcc.is_file() {
            // Where nobody said that one is, none is missing.
            notes.extend(asked_by.map(|_| format!("{shown} does not exist")));
            continue;
        }
        match open(&nvcc) {
            Ok(toolkit) => return (Some(toolkit), notes),
            Err(why) => notes.push(format!("{shown} {why}")),
        }
    }
    (None, notes)
}

/// `(variable that asks for it, path)` in the order in which they are tried.
fn candidates(
    root: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = (Option<&'static str>, PathBuf)> {
    let name = format!("nvcc{EXE_SUFFIX}");
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let path = set("PATH").unwrap_or_default();
    let mut all = Vec::new();
    if let Some(nvcc) = set("NVCC").map(PathBuf::from) {
        // A bare name is meant as a shell takes it.
        let bare = nvcc.components().count() == 1;
        let on_path = std::env::split_paths(&path).map(|folder| folder.join(&nvcc)).find(|path| bare && path.is_file());
        all.push((Some("NVCC"), on_path.unwrap_or(nvcc)));
    }
    for home in &VARIABLES[1..5] {
        all.extend(set(home).map(|path| (Some(*home), Path::new(&path).join("bin").join(&name))));
    }
    let known = ["/usr/local/cuda/bin", "/opt/cuda/bin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(known).chain([root.join(OWN)]);
    all.extend(folders.map(|folder| (None, folder.join(&name))));
    all.into_iter()
}

/// Whether this compiler was installed by `setup-cuda`.
pub(crate) fn is_own(root: &Path, toolkit: &Toolkit) -> bool {
    toolkit.nvcc.starts_with(root.join(OWN))
}

fn open(nvcc: &Path) -> Result<Toolkit, String> {
    let output = Command::new(nvcc).arg("--version").output().map_err(|e| format!("does not run: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = version(&text).filter(|_| output.status.success()).ok_or("does not tell its version")?;
    let ptxas = beside(nvcc).ok_or("has no ptxas beside it")?;
    Ok(Toolkit { nvcc: nvcc.to_owned(), ptxas, version: format!("nvcc {version}") })
}

/// `13.0.88` of `Cuda compilation tools, release 13.0, V13.0.88`.
pub(crate) fn version(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("release ")?;
    rest.lines().next()?.split_once(" V").map(|(_, version)| version.trim())
}

/// The assembler that this compiler calls.
fn beside(nvcc: &Path) -> Option<PathBuf> {
    let name = format!("ptxas{EXE_SUFFIX}");
    // A distribution may put a link or a script in front of it.
    let real = nvcc.canonicalize().unwrap_or_else(|_| nvcc.to_owned());
    let near = [nvcc, &real].into_iter().filter_map(|path| Some(path.parent()?.join(&name)));
    near.chain(dry_run(nvcc).iter().map(|folder| folder.join(&name))).find(|path| path.is_file())
}

/// The folders in which this compiler looks for its tools.
fn dry_run(nvcc: &Path) -> Vec<PathBuf> {
    let Ok(output) = Command::new(nvcc).args(["--dryrun", "--cubin", "-arch=sm_80", "probe.cu"]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let path = text.lines().find_map(|line| line.strip_prefix("#$ PATH="));
    path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
}

/// Why this message of the compiler is no fault of the kernels: the cure, if it is that.
pub(crate) fn missing_host_compiler(message: &str) -> Option<&'static str> {
    let missing = ["No such file", "not found", "cannot execute", "cannot find", "Cannot find"];
    let named = ["gcc", "g++", "cc1plus", "cl.exe", "host compiler"];
    let found = message.lines().any(|line| {
        !line.contains(".cu") && missing.iter().any(|m| line.contains(m)) && named.iter().any(|n| line.contains(n))
    });
    found.then_some(
        "nvcc finds no host compiler, which it needs as preprocessor: install g++ (Debian, Ubuntu: apt install g++)",
    )
}
