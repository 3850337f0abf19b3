//! Every op on shapes of every sort, op by op in lockstep with the processor, under every sanitizer.

use crate::cases::GROUPS;
use crate::child::{self, Errand};
use crate::device::gpu;
use crate::watch::Watch;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;
use tempest::program::DType;

/// Names of all kernels, as their PTX has them.
fn all_kernels() -> BTreeSet<String> {
    let folder = Path::new(env!("TEMPEST_KERNEL_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.to_str().unwrap().ends_with(".f16.ptx"));
    let mut names = BTreeSet::new();
    for text in texts.map(|path| std::fs::read_to_string(path).unwrap()) {
        let entries = text.lines().filter_map(|line| line.trim_start().split_once(".entry "));
        names.extend(entries.map(|(_, rest)| rest.trim_end_matches('(').trim().to_owned()));
    }
    names
}

/// Kernels that only whole programs launch, where several steps are given at once.
const ELSEWHERE: [&str; 0] = [];

#[test]
fn every_op_and_kernel_does_what_the_processor_does() {
    let mut watch = Watch::new(gpu(), &[DType::F16, DType::Bf16]);
    for (name, cases) in GROUPS {
        let start = Instant::now();
        cases(&mut watch);
        println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
    }
    assert!(watch.problems().is_empty(), "{}", watch.problems().join("\n"));
    let missing: Vec<_> = all_kernels().into_iter().filter(|name| !watch.kernels().contains(name)).collect();
    assert!(missing.iter().all(|name| ELSEWHERE.contains(&&name[..])), "no case launches {missing:?}");
}

#[test]
fn nothing_is_found_in_any_order_and_however_late_copies_land() {
    let groups: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
    for (seed, landing, profile, dtype) in [
        ("1", "latest", "rtx4090", DType::F16),
        ("2", "latest", "h100", DType::Bf16),
        ("1", "earliest", "h100", DType::Bf16),
        ("0", "latest", "a100", DType::F16),
    ] {
        let environment = vec![("VGPU_SEED", seed), ("VGPU_LANDING", landing), ("VGPU_PROFILE", profile)];
        let groups = groups.clone();
        let outcome = child::send(&Errand { groups, dtype, replaced: Vec::new(), environment });
        assert!(outcome.is_none(), "seed {seed}, {landing}, {profile}: {}", outcome.unwrap());
    }
}
