//! This test program again, as a process of its own: with its own schedule of the virtual GPU, which a process chooses once;
//! with its own list of findings, of which a process has one; or with broken kernels, which may leave a device that nothing can
//! be done with any more.

use crate::cases;
use crate::device;
use crate::watch::Watch;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempest::backend::cuda::{Options, Rung};
use tempest::program::DType;

/// Names of the groups of cases to run, with commas.
const GROUPS: &str = "TEMPEST_TEST_GROUPS";
/// The stored dtype to run them for.
const DTYPE: &str = "TEMPEST_TEST_DTYPE";
/// `family=file` with PTX for that family, with commas; nothing more is run then after the first problem.
const REPLACED: &str = "TEMPEST_TEST_REPLACED";
/// The highest rung of kernels that may run.
pub(crate) const RUNG: &str = "TEMPEST_TEST_RUNG";
/// Begins the line with the number of problems and the first of them.
const PROBLEMS: &str = "problems: ";
/// Begins the line with the kernels that ran.
const KERNELS: &str = "kernels: ";

/// Children at once, each on one thread.
const AT_ONCE: usize = 2;

/// What is asked of a child.
#[derive(Clone, Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) groups: Vec<&'static str>,
    pub(crate) dtype: DType,
    /// Families, `mma/linear`, with files of the PTX to run instead.
    pub(crate) replaced: Vec<(String, PathBuf)>,
    pub(crate) environment: Vec<(&'static str, &'a str)>,
}

/// What a child tells.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The first of its problems, and how many there are.
    pub(crate) problems: Option<String>,
    /// The kernels that it ran.
    pub(crate) kernels: Vec<String>,
}

/// Sends a child.
#[track_caller]
pub(crate) fn send(errand: &Errand<'_>) -> Outcome {
    let pair = |(family, file): &(String, PathBuf)| format!("{}={}", family.replace('/', "_"), file.display());
    let replaced: Vec<String> = errand.replaced.iter().map(pair).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::a_child_runs_what_its_parent_asks_for", "--nocapture"])
        .env(GROUPS, errand.groups.join(","))
        .env(DTYPE, if errand.dtype == DType::Bf16 { "bf16" } else { "f16" })
        .env(REPLACED, replaced.join(","))
        .env("VGPU_THREADS", "1")
        .envs(errand.environment.iter().copied())
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = |what: &str| text.lines().find_map(|line| line.strip_prefix(what));
    let (Some(problems), Some(kernels)) = (told(PROBLEMS), told(KERNELS)) else {
        panic!("{errand:?}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
    };
    let problems = Some(problems.to_owned()).filter(|problems| problems != "0");
    Outcome { problems, kernels: kernels.split(',').map(str::to_owned).collect() }
}

/// `f` of every item, several at once.
pub(crate) fn each<T: Sync>(items: &[T], f: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            f(item);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn a_child_runs_what_its_parent_asks_for() {
    let Ok(groups) = std::env::var(GROUPS) else { return };
    let pairs = std::env::var(REPLACED).unwrap_or_default();
    let replaced = pairs.split(',').filter_map(|pair| pair.split_once('='));
    let replaced = replaced.map(|(family, file)| (family.to_owned(), std::fs::read_to_string(file).unwrap()));
    let rung = std::env::var(RUNG).map_or(Rung::default(), |name| name.parse().unwrap());
    let options = Options { replaced: replaced.collect(), rung, ..Options::default() };
    let is_mutant = !options.replaced.is_empty();
    let dtype = if std::env::var(DTYPE).is_ok_and(|name| name == "bf16") { DType::Bf16 } else { DType::F16 };
    let mut watch = Watch::new(device::open(options), dtype, is_mutant);
    groups.split(',').for_each(|group| cases::run(group, &mut watch));
    let kernels: Vec<&str> = watch.kernels().iter().copied().collect();
    let first = watch.problems().first().map_or(String::new(), |first| format!(", {}", first.replace('\n', " ")));
    println!("\n{PROBLEMS}{}{first}\n{KERNELS}{}", watch.problems().len(), kernels.join(","));
}
