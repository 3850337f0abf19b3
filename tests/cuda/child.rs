//! This test program again, as a process of its own: with another schedule of the virtual GPU, which a process chooses once,
//! or with broken kernels, which may leave a device that nothing can be done with any more.

use crate::cases;
use crate::device::driver;
use crate::watch::Watch;
use std::process::Command;
use tempest::backend::cuda::{Gpu, Options};
use tempest::program::DType;

/// Names of the groups of cases to run, with commas.
const GROUPS: &str = "TEMPEST_TEST_GROUPS";
/// The stored dtype to run them for.
const DTYPE: &str = "TEMPEST_TEST_DTYPE";
/// `family=file` with PTX for that family, with commas; nothing more is run then after the first problem.
const REPLACED: &str = "TEMPEST_TEST_REPLACED";
/// Begins the line with the outcome.
const OUTCOME: &str = "outcome: ";
/// Nothing was wrong.
const CLEAN: &str = "clean";

/// What is asked of a child.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) groups: Vec<&'static str>,
    pub(crate) dtype: DType,
    pub(crate) replaced: Vec<(String, String)>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

/// Sends a child; the problems it met, or none.
#[track_caller]
pub(crate) fn send(errand: &Errand) -> Option<String> {
    let replaced: Vec<String> = errand.replaced.iter().map(|(family, file)| format!("{family}={file}")).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::a_child_runs_what_its_parent_asks_for", "--nocapture"])
        .env(GROUPS, errand.groups.join(","))
        .env(DTYPE, if errand.dtype == DType::Bf16 { "bf16" } else { "f16" })
        .env(REPLACED, replaced.join(","))
        .envs(errand.environment.iter().copied())
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = text.lines().find_map(|line| line.split_once(OUTCOME).map(|(_, outcome)| outcome.to_owned()));
    match outcome {
        Some(outcome) => (outcome != CLEAN).then_some(outcome),
        None => panic!("{errand:?}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn a_child_runs_what_its_parent_asks_for() {
    let Ok(groups) = std::env::var(GROUPS) else { return };
    driver();
    let pairs = std::env::var(REPLACED).unwrap_or_default();
    let replaced = pairs.split(',').filter_map(|pair| pair.split_once('='));
    let replaced = replaced.map(|(family, file)| (family.to_owned(), std::fs::read_to_string(file).unwrap()));
    let options = Options { replaced: replaced.collect(), ..Options::default() };
    let broken = !options.replaced.is_empty();
    let dtype = if std::env::var(DTYPE).is_ok_and(|name| name == "bf16") { DType::Bf16 } else { DType::F16 };
    let mut watch = Watch::new(Gpu::open(0, options).unwrap(), &[dtype]);
    watch.stops = broken;
    for group in groups.split(',') {
        cases::run(group, &mut watch);
    }
    match watch.problems() {
        [] => println!("{OUTCOME}{CLEAN}"),
        [first, ..] => println!("\n{OUTCOME}{} problems, first {}", watch.problems().len(), first.replace('\n', " ")),
    }
}
