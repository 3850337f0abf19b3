//! One set of weights for masked diffusion and from left to right: it learns both, and is used as either.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::ops::Range;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{BatchGrowth, DType, Family, ModelConfig, Preset, ProcessConfig, RunConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::denoiser::{Denoiser, EvalPass};
use tempest::sample::{self, Policy, SampleConfig, Watch};
use tempest::store::SavedModel;
use tempest::train::{StepReport, Trainer};

const STEPS: usize = 40;

fn run() -> (RunConfig, Arc<Corpus>) {
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap());
    let mut config = Preset::Nano.run(DType::F32);
    config.model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, sequence_len: 24, ..config.model };
    config.model.vocab_size = corpus.vocab().size();
    config.process = ProcessConfig::Joint { mask_token_id: corpus.vocab().mask_id(), causal_share: 0.4 };
    (config.train.steps, config.train.batch, config.train.accumulate) = (STEPS as u64, 8, 2);
    config.train.batch_growth = BatchGrowth::default();
    (config, corpus)
}

fn make_steps(trainer: &mut Trainer, count: usize) -> Vec<StepReport> {
    (0..count).map(|_| trainer.step().unwrap()).collect()
}

#[test]
fn a_step_learns_one_part_and_a_run_goes_on_as_if_it_had_never_stopped() {
    let (config, corpus) = run();
    let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
    let mut whole = trainer();
    let reports = make_steps(&mut whole, STEPS);
    let tokens = 16 * config.model.sequence_len as u64;
    let is_causal =
        |step: u64| config.process.learned()[config.process.part_of_step(config.seed, step)] == Family::Autoregressive;
    for report in &reports {
        // Every token counts where attention is causal; of as many sequences with some level each, not all are masked.
        assert_eq!(report.masked == tokens, is_causal(report.step - 1), "{report:?}");
    }
    let late: Vec<_> = reports[STEPS / 2..].iter().filter(|report| is_causal(report.step - 1)).collect();
    assert!(late.iter().all(|report| report.loss < reports[0].loss - 0.3), "it learns: {late:?}");
    // Of 4096 lots 0.4 ± 0.008.
    let share = (0..4096).filter(|&step| is_causal(step)).count() as f64 / 4096.0;
    assert!((share - 0.4).abs() < 0.04, "{share}");

    let mut first = trainer();
    make_steps(&mut first, 17);
    let mut second = trainer();
    second.restore(&first.state().unwrap()).unwrap();
    make_steps(&mut second, STEPS - 17);
    assert_eq!(second.state().unwrap(), whole.state().unwrap());
}

/// The same weights as models of these processes.
fn models(short_conv: usize, processes: &[ProcessConfig]) -> (Arc<Corpus>, Vec<Denoiser>) {
    let (config, corpus) = run();
    let config = ModelConfig { short_conv, ..config.model };
    let mut weights = tempest::model::Params::new(&config).init(3);
    let spread: Vec<f32> = weights.iter().copied().filter(|w| *w != 0.0).collect();
    weights.iter_mut().enumerate().filter(|(_, w)| **w == 0.0).for_each(|(i, w)| *w = 0.3 * spread[i % spread.len()]);
    let model = |&process: &ProcessConfig| {
        let (config, weights, vocab) = (config.clone(), weights.clone(), corpus.vocab().clone());
        let mut model =
            Denoiser::new(&SavedModel { config, process, vocab, weights, step: 0 }, DType::F32, 3, &Device::Cpu)
                .unwrap();
        model.bind_corpus(&corpus).unwrap();
        model
    };
    (Arc::clone(&corpus), processes.iter().map(model).collect())
}

#[test]
fn a_joint_model_is_the_model_of_each_part_with_its_weights() {
    let (mask_token_id, range): (u32, Range<u64>) = (run().0.process.mask_token_id(), 5..505);
    let joint = ProcessConfig::Joint { mask_token_id, causal_share: 0.5 };
    let pass = EvalPass { range: range.clone(), windows: 3, passes: 1 };
    // Convolutions look back alone, as those of an autoregressive model do.
    for short_conv in [0, 5] {
        let processes = [joint, ProcessConfig::Autoregressive { mask_token_id }];
        let (_, mut models) = models(short_conv, &processes);
        let [joint, causal] = &mut models[..] else { unreachable!() };
        let [one, other] = [joint, causal].map(|model| model.likelihood(&range, 3, 0, 3).unwrap());
        assert_eq!(one, other);
    }
    let (_, mut models) =
        models(0, &[joint, ProcessConfig::Masked { mask_token_id, context_len: 0, prompt_drop: 0.0 }]);
    let [joint, masked] = &mut models[..] else { unreachable!() };
    let [one, other] = [joint, masked].map(|model| model.evaluate(7, &pass, 0, 0, 3).unwrap());
    assert_eq!(one, other);
}

#[test]
fn it_writes_as_what_it_is_asked_to() {
    let mask_token_id = run().0.process.mask_token_id();
    let processes = [Family::Joint, Family::Autoregressive, Family::Masked].map(|family| family.config(mask_token_id));
    let (corpus, mut models) = models(0, &processes);
    let start = sample::prompt(corpus.vocab(), "What", 24).unwrap();
    let mut write = |model: usize, part| {
        let plain = SampleConfig::new(Policy::top_k(2), 9, &processes[model]);
        let config = SampleConfig { part, ..plain };
        sample::sample(&mut models[model], &config, &vec![start.clone(); 3], 0, Watch::Progress(&mut |_| {})).unwrap()
    };
    for (model, part) in [(1, Family::Autoregressive), (2, Family::Masked)] {
        assert_eq!(write(0, part), write(model, part), "{part}");
    }
}

#[test]
fn commands_report_both_likelihoods_and_refuse_what_a_model_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let [run, again, masked] = ["run", "again", "masked"].map(|name| folder.path().join(name));
    let joint = ["--process", "joint", "--causal-share", "0.3"];
    succeed(tempest(tiny_run(&run, 20)).args(joint));
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("kind = \"joint\"") && config.contains("causal_share = 0.3"), "{config}");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("validation_nelbo_nats") && metrics.contains("validation_nll_nats"), "{metrics}");
    // Its configuration is a run's, bit for bit.
    let from = |config: &std::path::Path| config.join("config.toml").display().to_string();
    succeed(&mut tempest(["train", "--config", &from(&run), "--out", &again.display().to_string()]));
    let model = |run: &std::path::Path| std::fs::read(run.join("model.safetensors")).unwrap();
    assert!(model(&run) == model(&again));

    let said = |line: &str, run: &std::path::Path| {
        let run = run.display().to_string();
        tempest(line.split(' ').map(|word| if word == "RUN" { run.as_str() } else { word }))
    };
    let eval = "eval --run RUN --windows 4 --passes 4 --steps 2 --duel-windows 1 --duel top-k:4";
    let json = succeed(&mut said(&format!("{eval} --json"), &run)).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(json["nll"]["nats"].as_f64().unwrap() > 1.0 && json["nelbo"]["nelbo"]["nats"].as_f64().is_some(), "{json}");
    let table = String::from_utf8(succeed(&mut said(eval, &run)).stdout).unwrap();
    assert!(table.contains("\nNELBO  ") && table.contains("\nNLL  "), "{table}");
    for line in ["check --run RUN --as ar", "check --run RUN", "profile --run RUN --as ar --steps 1"] {
        succeed(&mut said(line, &run));
    }
    let text = |line: &str| succeed(&mut said(line, &run)).stdout;
    assert_ne!(text("sample --run RUN --as ar"), text("sample --run RUN"));

    succeed(&mut tempest(tiny_run(&masked, 20)));
    for (line, run, want) in [
        ("sample --run RUN --as ar", &masked, "--as is for a model of --process joint, and this one's is masked"),
        ("sample --run RUN --as joint", &run, "a model of --process joint is used as masked or ar"),
        ("sample --run RUN --as ar --sampler top-k:4", &run, "--sampler is for masked diffusion"),
        ("eval --run RUN --stride 4", &masked, "--stride is of an autoregressive model"),
        ("train --process joint --causal-share 1 --out RUN", &folder.path().join("no"), "a causal share of 1; wanted"),
        ("train --causal-share 0.5 --out RUN", &folder.path().join("no"), "--causal-share is for --process joint"),
        ("train --process joint --context 4 --out RUN", &folder.path().join("no"), "this is --process joint"),
    ] {
        let error = fail(&mut said(line, run), 2);
        assert!(error.contains(want), "{line}: {error}");
    }
}
