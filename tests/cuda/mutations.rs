//! Whether these tests would notice: kernels with bugs in them, each of which some case must find.

use crate::cases::GROUPS;
use crate::chance::{Chance, SEED, rounds, seed};
use crate::child::{self, Errand};
use crate::files::root;
use crate::gpu::is_real;
use crate::mutants::{self, Mutant, chance};
use crate::source;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use tempest::program::DType;

/// Parts of the names of the bugs to plant, with `|`; all of them where it is not set.
const ASKED: &str = "TEMPEST_TEST_BUG";

/// Warp instructions of a launch, of which no case has a tenth: a bug may be a loop without an end.
const ENDLESS: &str = "200000000";

/// A kernel file with a bug in it, and how it is hunted.
struct Broken<'a> {
    file: &'a str,
    text: String,
    family: &'a str,
    groups: Vec<&'static str>,
    dtype: DType,
    landing: &'static str,
}

/// The compiler, if bugs can be planted here: `NVCC`, else the one on PATH, else the one that `./setup-cuda` installs.
fn nvcc() -> Option<PathBuf> {
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
    found
}

/// The flags of a kernel file's own.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("// nvcc:")).flat_map(str::split_whitespace)
}

/// The text of a kernel file.
fn kernel_text(name: &str) -> String {
    let path = root().join("kernels").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// PTX of the broken file's family, or why there is none. `folder` is its own.
fn compile(nvcc: &Path, broken: &Broken<'_>, folder: &Path) -> Result<PathBuf, String> {
    for (name, text) in source::read(&root().join("kernels")).unwrap() {
        let path = folder.join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, if name == broken.file { &broken.text } else { &text }).unwrap();
    }
    let source = folder.join(format!("{}.cu", broken.family));
    let ptx = folder.join("mutant.ptx");
    let text = std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let run = Command::new(nvcc)
        .args(["--ptx", "-arch=compute_80", "-O3", "-std=c++17", "-lineinfo"])
        .arg(if broken.dtype == DType::Bf16 { "-DSTORE_BF16" } else { "-DSTORE_F16" })
        .args(flags(&text))
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

/// What was found wrong with a broken kernel, if anything was; an error if it could not be tried.
fn hunt(nvcc: &Path, broken: &Broken<'_>) -> Result<Option<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let ptx = compile(nvcc, broken, folder.path())?;
    let errand = Errand {
        groups: broken.groups.clone(),
        dtype: broken.dtype,
        replaced: vec![(broken.family.replace('/', "_"), ptx.to_str().unwrap().to_owned())],
        environment: vec![("VGPU_LANDING", broken.landing), ("VGPU_INSTRUCTION_LIMIT", ENDLESS)],
    };
    Ok(child::send(&errand).problems)
}

/// Plants one of the list.
fn plant(mutant: &Mutant) -> Result<Broken<'_>, String> {
    let Mutant { file, needle, times, instead, family, group, landing, dtype, .. } = *mutant;
    let text = kernel_text(file);
    let found = text.matches(needle).count();
    if found != times {
        return Err(format!("{file} has {found} of its {times} places: {needle:?}"));
    }
    Ok(Broken { file, text: text.replace(needle, instead), family, groups: vec![group], dtype, landing })
}

/// In a moment and without a compiler, since the hunt takes minutes and finds this out last.
#[test]
fn every_planted_bug_has_its_place() {
    let lost: Vec<String> = mutants::all().iter().filter_map(|mutant| plant(mutant).err()).collect();
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

#[test]
fn every_planted_bug_is_found() {
    let Some(nvcc) = nvcc() else { return };
    let asked = std::env::var(ASKED).unwrap_or_default();
    let mut mutants = mutants::all();
    mutants.retain(|mutant| asked.split('|').any(|part| mutant.name.contains(part)));
    let survivors = Mutex::new(Vec::new());
    child::each(&mutants, |mutant| {
        let survives = match plant(mutant).and_then(|broken| hunt(&nvcc, &broken)) {
            Ok(Some(found)) => {
                println!("{}: {}", mutant.name, found.chars().take(200).collect::<String>());
                return;
            }
            Ok(None) => format!("survives {:?}", mutant.group),
            Err(why) => why,
        };
        survivors.lock().unwrap().push(format!("{}: {survives}", mutant.name));
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "{} of {} bugs:\n{}", survivors.len(), mutants.len(), survivors.join("\n"));
}

/// One operator of one kernel file is another, drawn from the seed, as often as rounds are asked for: none where they are
/// not. Who asks reads what survives: some changes change nothing (the order of blocks, what a mask drops again).
#[test]
fn bugs_drawn_at_random_are_found() {
    let count = rounds(0);
    let Some(nvcc) = (count > 0).then(nvcc).flatten() else { return };
    let rounds: Vec<u64> = (seed()..seed() + count).collect();
    let survivors = Mutex::new(Vec::new());
    child::each(&rounds, |&seed| {
        let mut chance = Chance::new(seed);
        let drawn = chance::draw(&mut chance, kernel_text);
        let groups = GROUPS.iter().map(|(name, _)| *name).collect();
        let (dtype, landing) = (*chance.pick(&[DType::F16, DType::Bf16]), *chance.pick(&["earliest", "latest"]));
        let broken = Broken { file: drawn.file, text: drawn.text, family: drawn.family, groups, dtype, landing };
        let told = format!("{SEED}={seed}: {}:{}, {}", drawn.file, drawn.line, drawn.change);
        match hunt(&nvcc, &broken) {
            Ok(Some(found)) => println!("{told}: {}", found.chars().take(200).collect::<String>()),
            Ok(None) => survivors.lock().unwrap().push(format!("{told} in {dtype:?}")),
            Err(_) => println!("{told}: does not compile"),
        }
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "{} of {count} survive:\n{}", survivors.len(), survivors.join("\n"));
}
