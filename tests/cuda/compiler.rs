//! Kernels compiled by the tests themselves, from texts that are not those that ship.

use crate::files::root;
use crate::gpu::is_real;
use crate::source;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempest::program::DType;

/// Hundreds of compilations would be most of the hunt for planted bugs, and a bug is one at any level of optimization. That
/// what is right stays right at this one is a test of its own.
const QUICKLY: &str = "--Ofast-compile=mid";

/// The CUDA compiler.
pub(crate) struct Compiler {
    nvcc: PathBuf,
}

impl Compiler {
    /// `NVCC`, else the one on PATH, else the one that `./setup-cuda` installs; none on a real GPU, which takes what ships.
    pub(crate) fn find() -> Option<Self> {
        if is_real() {
            println!("bugs are planted on the virtual GPU");
            return None;
        }
        let asked = std::env::var_os("NVCC").map(PathBuf::from);
        let own = root().join(".cuda-toolchain/nvidia/cu13/bin/nvcc");
        let mut all = asked.into_iter().chain(["nvcc".into(), own]);
        let found = all.find(|path| Command::new(path).arg("--version").output().is_ok_and(|run| run.status.success()));
        if found.is_none() {
            println!("no nvcc, no mutants: ./setup-cuda installs one");
        }
        found.map(|nvcc| Compiler { nvcc })
    }

    /// PTX of a family in `folder`, where [`unfold`] put its text; or why there is none.
    pub(crate) fn ptx(&self, family: &str, dtype: DType, folder: &Path) -> Result<PathBuf, String> {
        let source = folder.join(format!("{family}.cu"));
        let ptx = source.with_extension("ptx");
        let text = std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
        let flags = text.lines().filter_map(|line| line.strip_prefix("// nvcc:")).flat_map(str::split_whitespace);
        let run = Command::new(&self.nvcc)
            .args(["--ptx", "-arch=compute_80", "-std=c++17", "-lineinfo", QUICKLY])
            .arg(if dtype == DType::Bf16 { "-DSTORE_BF16" } else { "-DSTORE_F16" })
            .args(flags)
            .arg("-I")
            .arg(folder)
            .arg(&source)
            .arg("-o")
            .arg(&ptx)
            .output()
            .expect("nvcc runs");
        let said = String::from_utf8_lossy(&run.stderr);
        if run.status.success() { Ok(ptx) } else { Err(format!("does not compile: {said}")) }
    }
}

/// The kernels' texts in a folder, one of them altered where one is given.
pub(crate) fn unfold(folder: &Path, altered: Option<(&str, &str)>) {
    for (name, text) in source::read(&root().join("kernels")).unwrap() {
        let path = folder.join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = altered.filter(|(file, _)| *file == name).map_or(&text[..], |(_, text)| text);
        std::fs::write(path, text).unwrap();
    }
}

/// Every family of kernels: `mma/linear`.
pub(crate) fn families() -> Vec<String> {
    let texts = source::read(&root().join("kernels")).unwrap();
    texts.iter().filter_map(|(name, _)| Some(name.strip_suffix(".cu")?.to_owned())).collect()
}
