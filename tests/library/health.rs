//! Whether training is told from training that goes wrong.

use clap::ValueEnum;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{Measure, Preset, RunConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::report::health::{Curve, Curves, Health, TextFacts, is_point};
use tempest::train::{StepReport, Trainer, Validation};

const STEPS: u64 = 300;

/// A sentence that goes on and on: a small model soon learns how it goes.
const LINE: &str = "to be, or not to be, that is the question\n";

fn corpus(text: &str) -> Arc<Corpus> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    Arc::new(Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap())
}

/// A model so small that a step takes a millisecond, over the symbols of [`LINE`] and the mask.
pub(super) fn config(seed: u64) -> RunConfig {
    let text = format!(
        "version = \"\"\nseed = {seed}\ndtype = \"f32\"\n\
         [model]\nn_layer = 1\nn_head = 2\nn_embd = 32\nsequence_len = 32\nvocab_size = 16\ndiffusion_steps = 0\n\
         [process]\nkind = \"masked\"\nmask_token_id = 15\ncontext_len = 0\n\
         [data]\nsource = \"embedded\"\nsha256 = \"\"\nvocab = \"chars\"\nunknown = \"error\"\n\
         [objective]\nkind = \"simple\"\nschedule = \"linear\"\n\
         [train]\nsteps = {STEPS}\nbatch = 16\naccumulate = 1\neval_every = 0\neval_windows = 8\nsample_every = 0\n\
         checkpoint_every = 100\n\
         [optimizer]\nlr = 0.01\nmin_lr = 0.0001\nschedule = \"cosine\"\nwarmup = 100\nbeta1 = 0.9\nbeta2 = 0.99\n\
         eps = 1e-8\nweight_decay = 0.1\nclip = 1.0\nema = 0.0\n"
    );
    RunConfig::from_toml(&text).unwrap()
}

fn with_lr(seed: u64, lr: f32) -> RunConfig {
    let mut config = config(seed);
    config.optimizer.lr = lr;
    config
}

fn run(config: &RunConfig, corpus: &Arc<Corpus>) -> Vec<StepReport> {
    let mut trainer = Trainer::new(config, Arc::clone(corpus), &Device::Cpu).unwrap();
    (0..STEPS).map(|_| trainer.step().unwrap()).collect()
}

fn losses(reports: &[StepReport]) -> Vec<(u64, f64)> {
    reports.iter().map(|report| (report.step, f64::from(report.loss))).collect()
}

/// What is said of a run.
fn said(config: &RunConfig, curves: &Curves, text: &TextFacts, reports: &[StepReport]) -> Vec<String> {
    let mut health = Health::new(config, curves.clone(), text.clone(), Vec::new());
    reports.iter().filter_map(|report| health.step(report)).collect()
}

#[test]
fn a_healthy_run_is_told_from_one_with_a_far_too_high_learning_rate() {
    let corpus = corpus(&LINE.repeat(200));
    let own = TextFacts::of(&corpus);
    let runs: Vec<_> = (1..=3).map(|seed| losses(&run(&config(seed), &corpus))).collect();
    let curves = Curves(vec![Curve::of_runs("nano", &config(1), own.clone(), &runs).unwrap()]);
    assert_eq!(Curves::parse(&curves.to_json()).unwrap(), curves);
    let (healthy, sick) = (run(&config(4), &corpus), run(&with_lr(4, 1.0), &corpus));
    let other = TextFacts { sha256: "another".into(), symbols: 20_000, entropy: 3.0 };
    let higher = (other.entropy / own.entropy) as f32;
    let as_of_other = |reports: &[StepReport]| -> Vec<StepReport> {
        reports.iter().map(|report| StepReport { loss: report.loss * higher, ..*report }).collect()
    };

    let lines = said(&config(4), &curves, &own, &healthy);
    assert!(lines.len() == 3 && lines.iter().all(|line| line.contains("is healthy")), "{lines:?}");
    for lines in
        [said(&with_lr(4, 1.0), &curves, &own, &sick), said(&with_lr(4, 1.0), &curves, &other, &as_of_other(&sick))]
    {
        let last = lines.last().unwrap();
        assert!(last.starts_with("step 300: loss ") && last.contains("is behind a healthy nano run's"), "{lines:?}");
        assert!(last.contains("a lower --lr (it is 1, the preset's 0.012)"), "{last}");
    }
    let lines = said(&config(4), &curves, &other, &as_of_other(&healthy));
    assert!(lines.iter().all(|line| line.contains("is healthy")), "{lines:?}");

    // Nothing is known of a model of another size, nor of another objective.
    let mut wider = config(4);
    wider.model.n_embd = 64;
    assert_eq!(said(&wider, &curves, &own, &healthy), [""; 0]);
    // What happened before a run went on counts.
    let mut resumed = Health::new(&config(4), curves.clone(), own.clone(), losses(&healthy[..200]));
    assert_eq!(resumed.step(&healthy[200]), None);
    let rest: Vec<_> = healthy[201..].iter().filter_map(|report| resumed.step(report)).collect();
    assert_eq!(rest, said(&config(4), &curves, &own, &healthy)[1..]);
}

#[test]
fn the_entropy_of_a_text_is_that_of_its_symbols_one_by_one() {
    let entropy = |text: &str| TextFacts::of(&corpus(text)).entropy;
    assert_eq!(entropy(&"a".repeat(100)), 0.0);
    // Nine tenths of them: as many a's as b's.
    assert!((entropy(&"ab".repeat(100)) - std::f64::consts::LN_2).abs() < 1e-12);
    // One symbol of four is a b: 1/4 ln 4 + 3/4 ln 4/3.
    assert!((entropy(&"aaab".repeat(100)) - 0.562_335_144_618_808_3).abs() < 1e-12);
}

#[test]
fn validation_that_rises_is_said_once() {
    let text = TextFacts::of(&corpus(LINE));
    let mut health = Health::new(&config(1), Curves::default(), text, Vec::new());
    let mut heard = |step: u64, nats: f64| {
        health
            .validation(step, &Validation { measure: Measure::Nelbo, nats, standard_error: Some(0.02), misread: None })
            .unwrap_or_default()
    };
    assert_eq!(heard(500, 2.4), "");
    assert_eq!(heard(1000, 2.1), "");
    assert_eq!(heard(1500, 2.11), "", "within its error");
    assert!(heard(2000, 2.2).starts_with("step 2000: validation has risen since step 1000"));
    assert_eq!(heard(2500, 2.3), "");
}

#[test]
fn points_are_few_and_the_last_step_is_one() {
    let points = |steps: u64| (1..=steps).filter(|&step| is_point(step, steps)).collect::<Vec<_>>();
    assert_eq!(points(2000), [128, 256, 512, 1024, 2000]);
    assert_eq!(points(100), [0; 0]);
    assert_eq!(points(256), [128, 256]);
}

#[test]
fn the_shipped_curves_are_of_presets_as_they_are() {
    for curve in Curves::shipped().0 {
        let preset = Preset::from_str(&curve.name, false).unwrap();
        let (model, training) = (preset.model(66), preset.training());
        assert!(
            curve.shape == [model.n_layer, model.n_head, model.n_embd, model.sequence_len]
                && curve.objective == training.objective
                && (curve.sequences, curve.steps) == (training.batch, training.steps),
            "{}: the preset has changed; make its curves anew, as benches/healthy/main.rs says",
            curve.name
        );
    }
}
