//! A source of independent characters: nothing but their frequencies can be learned, and every process learns these.

use std::io::Write;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{BatchGrowth, DType, Family, Measure, ModelConfig, Preset, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::denoiser::Denoiser;
use tempest::eval::{self, Estimate, EvalConfig};
use tempest::rng::{Stream, philox, uniform};
use tempest::store::SavedModel;
use tempest::train::Trainer;

const SHARES: [(char, f64); 4] = [('a', 0.5), ('b', 0.25), ('c', 0.15), ('d', 0.1)];

fn character(i: u32) -> char {
    let u = f64::from(uniform(philox(8, Stream::Prompt, 0, i)[0]));
    let mut below = 0.0;
    let hit = SHARES.iter().find(|(_, share)| {
        below += share;
        u < below
    });
    hit.expect("they add up to 1").0
}

#[test]
fn every_process_reaches_the_entropy_of_independent_characters() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all((0..60_000).map(character).collect::<String>().as_bytes()).unwrap();
    let corpus = Arc::new(Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap());
    let entropy: f64 = SHARES.iter().map(|(_, share)| -share * share.ln()).sum();
    let mut config = Preset::Nano.run(DType::F32);
    let small = ModelConfig { n_layer: 1, n_head: 2, n_embd: 16, sequence_len: 16, ..config.model.clone() };
    config.model = ModelConfig { vocab_size: corpus.vocab().size(), ..small };
    (config.train.steps, config.train.batch, config.train.batch_growth) = (250, 32, BatchGrowth::default());
    let objective = config.objective;
    for family in [Family::Masked, Family::Autoregressive, Family::Joint] {
        config.process = family.config(corpus.vocab().mask_id());
        config.objective = family.objective(objective);
        let mut trainer = Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        for _ in 0..config.train.steps {
            trainer.step().unwrap();
        }
        let (weights, vocab) = (trainer.weights().unwrap(), corpus.vocab().clone());
        let model = SavedModel { config: config.model.clone(), process: config.process, vocab, weights, step: 0 };
        let mut model = Denoiser::new(&model, DType::F32, 64, &Device::Cpu).unwrap();
        let (range, quiet) = (corpus.validation(), &mut |_: &str, _, _| {});
        for measure in family.measures() {
            let found = match measure {
                Measure::Nelbo => {
                    let all = EvalConfig::nelbo_only(&config.model, &config.process, range.clone(), 0, 1);
                    // Several masks of every window, so that they add little to how texts differ.
                    let all = EvalConfig { passes: Some(16), ..all };
                    eval::evaluate(&mut model, &corpus, &all, quiet).unwrap().nelbo.unwrap()
                }
                Measure::Nll => eval::likelihood(&mut model, &corpus, &range, 375, quiet).unwrap().nll,
            };
            let Estimate { nats, standard_error, .. } = found;
            let error = standard_error.unwrap();
            // Of 6000 characters whose cost has a deviation of 0.6: 0.008. Uniform characters would cost 0.18 more.
            assert!(error < 0.02, "{family} {measure:?}: ± {error}");
            // Three standard errors; a model that had not learned, or that saw what it predicts, is 20 off.
            assert!((nats - entropy).abs() < 3.0 * error, "{family} {measure:?}: {nats} ± {error}, not {entropy}");
        }
    }
}
