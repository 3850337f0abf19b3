//! Whether these tests would notice: kernels with bugs in them, each of which some case must find.

use crate::child::{self, Errand};
use crate::files::root;
use crate::gpu::is_real;
use crate::mutants::{MUTANTS, Mutant};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tempest::program::DType;

/// The compiler: `NVCC`, else the one on PATH, else the one that `./setup-cuda` installs.
fn nvcc() -> Option<PathBuf> {
    let asked = std::env::var_os("NVCC").map(PathBuf::from);
    let own = root().join(".cuda-toolchain/nvidia/cu13/bin/nvcc");
    let all = asked.into_iter().chain(["nvcc".into(), own]);
    all.into_iter().find(|path| Command::new(path).arg("--version").output().is_ok_and(|run| run.status.success()))
}

/// The flags of a kernel file's own.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("// nvcc:")).flat_map(str::split_whitespace)
}

/// PTX of the mutant's family, or why there is none. `folder` is its own.
fn compile(nvcc: &Path, mutant: &Mutant, folder: &Path) -> Result<PathBuf, String> {
    for entry in std::fs::read_dir(root().join("kernels")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = std::fs::read_to_string(&path).unwrap();
        if name == mutant.file {
            let found = text.matches(mutant.needle).count();
            if found != mutant.times {
                return Err(format!("{name} has {found} of its {} places: {:?}", mutant.times, mutant.needle));
            }
            text = text.replace(mutant.needle, mutant.instead);
        }
        std::fs::write(folder.join(name), text).unwrap();
    }
    let source = folder.join(format!("{}.cu", mutant.family));
    let ptx = folder.join("mutant.ptx");
    let text = std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let run = Command::new(nvcc)
        .args(["--ptx", "-arch=compute_80", "-O3", "-std=c++17", "-lineinfo", "-DSTORE_F16"])
        .args(flags(&text))
        .arg(&source)
        .arg("-o")
        .arg(&ptx)
        .output()
        .expect("nvcc runs");
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.success() { Ok(ptx) } else { Err(format!("does not compile: {said}")) }
}

/// What was found wrong with a mutant; an error if nothing was, or if it could not be tried.
fn hunt(nvcc: &Path, mutant: &Mutant) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let ptx = compile(nvcc, mutant, folder.path())?;
    let errand = Errand {
        groups: vec![mutant.group],
        dtype: DType::F16,
        replaced: vec![(mutant.family.to_owned(), ptx.to_str().unwrap().to_owned())],
        environment: vec![("VGPU_LANDING", mutant.landing)],
    };
    child::send(&errand).problems.ok_or_else(|| format!("survives {:?}", mutant.group))
}

#[test]
fn every_planted_bug_is_found() {
    if is_real() {
        println!("bugs are planted on the virtual GPU");
        return;
    }
    let Some(nvcc) = nvcc() else {
        println!("no nvcc, no mutants: ./setup-cuda installs one");
        return;
    };
    let survivors = Mutex::new(Vec::new());
    child::each(MUTANTS, |mutant| match hunt(&nvcc, mutant) {
        Ok(found) => println!("{}: {}", mutant.name, found.chars().take(200).collect::<String>()),
        Err(why) => survivors.lock().unwrap().push(format!("{}: {why}", mutant.name)),
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "{} of {} bugs:\n{}", survivors.len(), MUTANTS.len(), survivors.join("\n"));
}
