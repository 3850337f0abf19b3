//! Every op on shapes of every sort, op by op in lockstep with the CPU, under every sanitizer.

use crate::cases::{GROUPS, MANY_SYMBOLS};
use crate::chance::{SEED, rounds, seed};
use crate::child::{self, Errand, Outcome};
use crate::files;
use crate::gpu::is_real;
use std::sync::Mutex;
use tempest::backend::cuda::Rung;
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

#[test]
fn every_op_and_kernel_does_what_the_processor_does() {
    // A real GPU has a schedule and a name of its own.
    let schedules = [("0", "earliest", "a100", DType::F16), ("2", "latest", "h100", DType::Bf16)];
    for (schedule, outcome) in run(&schedules) {
        assert!(outcome.problems.is_none(), "{schedule:?}: {}", outcome.problems.unwrap());
        let missing: Vec<_> =
            files::kernel_names("f16").into_iter().filter(|name| !outcome.kernels.contains(name)).collect();
        assert!(missing.is_empty(), "{schedule:?}: no case launches {missing:?}");
    }
}

#[test]
fn every_lower_rung_does_what_the_processor_does_where_no_higher_one_may_run() {
    let lower = Rung::ALL.into_iter().filter(|rung| *rung < Rung::default());
    let runs: Vec<_> = lower.flat_map(|rung| [(rung, DType::F16), (rung, DType::Bf16)]).collect();
    child::each(&runs, |&(rung, dtype)| {
        let groups = vec![
            "linear",
            "heads",
            "weight gradients",
            "dense",
            "dropout",
            "plain attention",
            "attention",
            "head",
            "muon",
        ];
        let environment = vec![(child::RUNG, rung.name())];
        let errand = Errand { groups, dtype, replaced: Vec::new(), environment };
        let Outcome { problems, kernels } = child::send(&errand);
        assert!(problems.is_none(), "{rung}, {dtype:?}: {}", problems.unwrap());
        let of = |rung: Rung| move |name: &String| name.split('_').any(|word| word == rung.name());
        let missing: Vec<_> =
            files::kernel_names("f16").into_iter().filter(of(rung)).filter(|name| !kernels.contains(name)).collect();
        assert!(missing.is_empty(), "{rung}, {dtype:?}: no case launches {missing:?}");
        let higher = Rung::ALL.into_iter().filter(|other| *other > rung);
        let above: Vec<_> = higher.flat_map(|other| kernels.iter().filter(move |name| of(other)(name))).collect();
        assert!(above.is_empty(), "{rung}, {dtype:?}: {above:?} may not run");
    });
}

#[test]
fn nothing_is_found_in_any_order_and_however_late_copies_land() {
    if is_real() {
        println!("a real GPU has an order of its own, and finds nothing");
        return;
    }
    // And bf16, whose copies land late above.
    for (schedule, outcome) in run(&[("1", "latest", "rtx4090", DType::F16)]) {
        assert!(outcome.problems.is_none(), "{schedule:?}: {}", outcome.problems.unwrap());
    }
}

/// Sums over 50,258 symbols are where rounding one by one would show.
#[test]
fn a_model_of_as_many_symbols_as_gpt_2_has_does_what_the_processor_does() {
    child::each(&[DType::F16, DType::Bf16], |&dtype| {
        let errand = Errand { groups: vec![MANY_SYMBOLS.0], dtype, replaced: Vec::new(), environment: Vec::new() };
        let problems = child::send(&errand).problems;
        assert!(problems.is_none(), "{dtype:?}: {}", problems.unwrap());
    });
}

/// Two seeds, or as many as are asked for.
#[test]
fn shapes_drawn_at_random_do_what_the_processor_does() {
    let seeds: Vec<String> = (seed()..seed() + rounds(2)).map(|seed| seed.to_string()).collect();
    let problems = Mutex::new(Vec::new());
    child::each(&seeds, |text| {
        for dtype in [DType::F16, DType::Bf16] {
            let errand =
                Errand { groups: vec!["random"], dtype, replaced: Vec::new(), environment: vec![(SEED, text)] };
            let found = child::send(&errand).problems.map(|problems| format!("{SEED}={text} in {dtype:?}: {problems}"));
            problems.lock().unwrap().extend(found);
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{} of {} seeds:\n{}", problems.len(), seeds.len(), problems.join("\n"));
}
