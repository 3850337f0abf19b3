//! What the kernels cost, counted exactly by the virtual GPU: held against what they must cost, and what that may take on
//! real GPUs.
//!
//! `docs/counters.md`, `docs/step-time.md` and `docs/tensor-sums.md` show the figures; `TEMPEST_BLESS=1` writes them anew.

#![cfg(kernels)]

mod bars;
mod device;
mod fit;
mod measure;
mod model;
#[allow(dead_code, reason = "of a record only its profiles are of use here")]
#[path = "../../benches/measured/record.rs"]
mod record;
mod sums;
mod tables;
mod workload;

use measure::Measured;
use std::sync::OnceLock;

/// Everything that is measured, once for all tests.
struct Figures {
    training: Vec<Measured>,
    /// Of an update by Muon what is its own.
    muon: Vec<Measured>,
    denoising: Vec<Measured>,
    /// Over a single sequence.
    denoising_one: Vec<Measured>,
}

fn figures() -> &'static Figures {
    static FIGURES: OnceLock<Figures> = OnceLock::new();
    FIGURES.get_or_init(|| {
        let training = workload::training_step();
        let denoising = workload::denoising_step(&training);
        Figures { training, muon: workload::muon(), denoising, denoising_one: workload::denoising_one() }
    })
}

#[test]
fn kernels_do_no_more_than_they_must() {
    let steps = [&figures().training, &figures().muon, &figures().denoising];
    let broken: Vec<String> = steps.into_iter().flatten().flat_map(bars::broken).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_estimated_training_step_is_within_reach_of_the_goals() {
    for gpu in model::gpus() {
        let (found, most) = (model::step_ms(&gpu, &figures().training), bars::GOAL_SLACK * gpu.goal_ms[1]);
        assert!(found <= most, "{}: an estimated {found:.2} ms, more than {most:.2} ms", gpu.name);
    }
}

/// What was measured on cards.
fn records() -> Vec<record::Record> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/measured.json");
    record::Record::all(&path).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn the_tables_are_up_to_date() {
    let measured = records();
    if std::env::var_os("TEMPEST_BLESS").is_some() && !measured.is_empty() {
        let of = |gpu: &model::Gpu| measured.iter().find(|record| record.card.contains(&gpu.name));
        let fitted = |gpu: model::Gpu| of(&gpu).and_then(|record| fit::fitted(&gpu, record, figures())).unwrap_or(gpu);
        model::write(&model::gpus().into_iter().map(fitted).collect::<Vec<_>>());
    }
    tables::check("counters.md", &tables::counters(figures()));
    tables::check("step-time.md", &tables::step_time(figures(), &measured));
}
