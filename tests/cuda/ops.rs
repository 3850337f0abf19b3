//! Every op on shapes of every sort, op by op in lockstep with the processor, under every sanitizer.

use crate::cases::GROUPS;
use crate::child::{self, Errand, Outcome};
use crate::files;
use crate::gpu::is_real;
use std::collections::BTreeSet;
use std::sync::Mutex;
use tempest::program::DType;

/// Order of blocks and warps, when asynchronous copies land, which device, and what is stored.
type Schedule = (&'static str, &'static str, &'static str, DType);

/// All cases under some schedules.
fn run(schedules: &[Schedule]) -> Vec<(Schedule, Outcome)> {
    let outcomes = Mutex::new(Vec::new());
    child::each(schedules, |&(seed, landing, profile, dtype)| {
        let environment = vec![("VGPU_SEED", seed), ("VGPU_LANDING", landing), ("VGPU_PROFILE", profile)];
        let groups = GROUPS.iter().map(|(name, _)| *name).collect();
        let outcome = child::send(&Errand { groups, dtype, replaced: Vec::new(), environment });
        outcomes.lock().unwrap().push(((seed, landing, profile, dtype), outcome));
    });
    outcomes.into_inner().unwrap()
}

/// Names of all kernels that ops launch, as their PTX has them. `rates.cu` measures cards: see `timing`.
fn all_kernels() -> BTreeSet<String> {
    let folder = files::kernels();
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let files = entries.map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.to_str().unwrap().ends_with(".f16.ptx") && !path.ends_with("rates.f16.ptx"));
    let mut names = BTreeSet::new();
    for text in texts.map(|path| std::fs::read_to_string(path).unwrap()) {
        let entries = text.lines().filter_map(|line| line.trim_start().split_once(".entry "));
        names.extend(entries.map(|(_, rest)| rest.trim_end_matches('(').trim().to_owned()));
    }
    names
}

#[test]
fn every_op_and_kernel_does_what_the_processor_does() {
    // A real GPU has a schedule and a name of its own.
    for (schedule, outcome) in run(&[("0", "earliest", "a100", DType::F16), ("0", "earliest", "a100", DType::Bf16)]) {
        assert!(outcome.problems.is_none(), "{schedule:?}: {}", outcome.problems.unwrap());
        let missing: Vec<_> = all_kernels().into_iter().filter(|name| !outcome.kernels.contains(name)).collect();
        assert!(missing.is_empty(), "{schedule:?}: no case launches {missing:?}");
    }
}

#[test]
fn nothing_is_found_in_any_order_and_however_late_copies_land() {
    if is_real() {
        println!("a real GPU has an order of its own, and finds nothing");
        return;
    }
    let schedules = [
        ("1", "latest", "rtx4090", DType::F16),
        ("2", "latest", "h100", DType::Bf16),
        ("1", "earliest", "h100", DType::Bf16),
        ("0", "latest", "a100", DType::F16),
    ];
    for (schedule, outcome) in run(&schedules) {
        assert!(outcome.problems.is_none(), "{schedule:?}: {}", outcome.problems.unwrap());
    }
}
