//! Whether these tests would notice: kernels with bugs in them, each of which some case must find.

use crate::cases::GROUPS;
use crate::chance::{Chance, SEED, rounds, seed};
use crate::child::{self, Errand};
use crate::compiler::{self, Compiler};
use crate::files::root;
use crate::mutants::{self, Mutant, chance};
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

/// The text of a kernel file.
fn kernel_text(name: &str) -> String {
    let path = root().join("kernels").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What was found wrong with a broken kernel, if anything was; an error if it could not be tried.
fn hunt(compiler: &Compiler, broken: &Broken<'_>) -> Result<Option<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    compiler::unfold(folder.path(), Some((broken.file, &broken.text)));
    let ptx = compiler.ptx(broken.family, broken.dtype, folder.path())?;
    let errand = Errand {
        groups: broken.groups.clone(),
        dtype: broken.dtype,
        replaced: vec![(broken.family.to_owned(), ptx)],
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

/// Else it might be the compiler's haste that is found, and not the bugs.
#[test]
fn kernels_without_a_bug_that_are_compiled_as_those_with_one_are_right() {
    let Some(compiler) = Compiler::find() else { return };
    for dtype in [DType::F16, DType::Bf16] {
        let folder = tempfile::tempdir().unwrap();
        compiler::unfold(folder.path(), None);
        let ptx = |family: String| (family.clone(), compiler.ptx(&family, dtype, folder.path()).unwrap());
        let replaced = compiler::families().into_iter().map(ptx).collect();
        let groups = vec!["alone", "gpts"];
        let problems = child::send(&Errand { groups, dtype, replaced, environment: Vec::new() }).problems;
        assert!(problems.is_none(), "{dtype:?}: {}", problems.unwrap());
    }
}

#[test]
fn every_planted_bug_is_found() {
    let Some(compiler) = Compiler::find() else { return };
    let asked = std::env::var(ASKED).unwrap_or_default();
    let mut mutants = mutants::all();
    mutants.retain(|mutant| asked.split('|').any(|part| mutant.name.contains(part)));
    let survivors = Mutex::new(Vec::new());
    child::each(&mutants, |mutant| {
        let survives = match plant(mutant).and_then(|broken| hunt(&compiler, &broken)) {
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
    let Some(compiler) = (count > 0).then(Compiler::find).flatten() else { return };
    let rounds: Vec<u64> = (seed()..seed() + count).collect();
    let survivors = Mutex::new(Vec::new());
    child::each(&rounds, |&seed| {
        let mut chance = Chance::new(seed);
        let drawn = chance::draw(&mut chance, kernel_text);
        let groups = GROUPS.iter().map(|(name, _)| *name).collect();
        let (dtype, landing) = (*chance.pick(&[DType::F16, DType::Bf16]), *chance.pick(&["earliest", "latest"]));
        let broken = Broken { file: drawn.file, text: drawn.text, family: drawn.family, groups, dtype, landing };
        let told = format!("{SEED}={seed}: {}:{}, {}", drawn.file, drawn.line, drawn.change);
        match hunt(&compiler, &broken) {
            Ok(Some(found)) => println!("{told}: {}", found.chars().take(200).collect::<String>()),
            Ok(None) => survivors.lock().unwrap().push(format!("{told} in {dtype:?}")),
            Err(_) => println!("{told}: does not compile"),
        }
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "{} of {count} survive:\n{}", survivors.len(), survivors.join("\n"));
}
