//! Autoregressive models: their likelihood, and that texts do not depend on how they are computed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{
    Architecture, BatchGrowth, DType, Family, ModelConfig, OptimizerConfig, Preset, ProcessConfig, RunConfig, Unknown,
    VocabKind,
};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::eval;
use tempest::files::tensors::TensorFile;
use tempest::model::Params;
use tempest::process::Past;
use tempest::rng::{Stream, normals, philox};
use tempest::sample::{self, Policy, Request, SampleConfig, Text, Watch};
use tempest::store::SavedModel;
use tempest::train::Trainer;

/// A small model whose predictions are far from uniform.
fn model(vocab: &Vocab, sequence_len: usize, short_conv: usize) -> SavedModel {
    let (vocab_size, diffusion_steps) = (vocab.size(), 0);
    let config = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 32,
        sequence_len,
        vocab_size,
        diffusion_steps,
        vector_dims: 0,
        autoencoder: None,
        short_conv,
        architecture: Default::default(),
    };
    with_random_weights(config, vocab)
}

/// The same of a GPT.
fn gpt(vocab: &Vocab, sequence_len: usize, bias: bool) -> SavedModel {
    let original = model(vocab, sequence_len, 0).config;
    with_random_weights(ModelConfig { architecture: Architecture::Gpt { bias }, ..original }, vocab)
}

fn with_random_weights(config: ModelConfig, vocab: &Vocab) -> SavedModel {
    let n = Params::new(&config).len();
    let random = (0..n.div_ceil(4)).flat_map(|i| normals(philox(5, Stream::Init, 9, i as u32)));
    let weights = random.take(n).map(|z| 0.3 * z).collect();
    let process = ProcessConfig::Autoregressive { mask_token_id: vocab.mask_id() };
    SavedModel { config, process, vocab: vocab.clone(), weights, step: 0 }
}

fn denoiser(model: &SavedModel, batch: usize) -> Denoiser {
    Denoiser::new(model, DType::F32, batch, &Device::Cpu).unwrap()
}

fn corpus_of(text: &str) -> Arc<Corpus> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Arc::new(Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap())
}

#[test]
fn the_likelihoods_of_all_texts_sum_to_one() {
    // All texts of three symbols, one after another: as many windows as texts start where these do.
    let symbols = ['a', 'b', 'c'];
    let texts: String = (0..27).flat_map(|i| [symbols[i / 9], symbols[i / 3 % 3], symbols[i % 3]]).collect();
    let corpus = corpus_of(&texts);
    for model in [model(corpus.vocab(), 3, 0), model(corpus.vocab(), 3, 3), gpt(corpus.vocab(), 3, true)] {
        let mut model = denoiser(&model, 27);
        model.bind_corpus(&corpus).unwrap();
        let costs = model.likelihood(&(0..81), 27, 0, 27).unwrap();
        assert!(costs.iter().all(|&[_, counted]| counted == 3.0));
        let sum: f64 = costs.iter().map(|&[cost, _]| f64::from(-cost).exp()).sum();
        // 27 terms, each of three cross-entropies in f32.
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
}

#[test]
fn every_token_of_a_text_counts_once_whatever_the_stride() {
    let corpus = corpus_of(&"To be, or not to be: that is the question. ".repeat(9));
    let mut model = denoiser(&model(corpus.vocab(), 16, 0), 5);
    let mut nats = Vec::new();
    for (range, stride) in [(3..380, 1), (3..380, 7), (3..380, 16), (3..19, 8)] {
        let windows = eval::windows_of_stride(&range, 16, stride).unwrap();
        let found = eval::likelihood(&mut model, &corpus, &range, windows, &mut |_, _, _| {}).unwrap();
        assert_eq!((found.tokens, found.windows), (range.end - range.start, windows));
        assert!(found.stride <= stride as u64);
        nats.push(found.nll.nats);
    }
    // Of the last range one window is enough: its likelihood is the sum that the pass gives.
    model.bind_corpus(&corpus).unwrap();
    let [cost, _] = model.likelihood(&(3..19), 1, 0, 1).unwrap()[0];
    assert_eq!(nats[3], f64::from(cost) / 16.0);
    // And that of a text of its own. A longer one costs what its first window does, and of each further one the second half; a
    // text costs the same beside others. Sums of up to 40 costs of about 3, in f32 in one way and in f64 in the other.
    let ids = |range: std::ops::Range<usize>| corpus.tokens().window(range);
    let texts = [ids(3..19), ids(3..43), ids(0..5)];
    let [alone, long, short] = eval::score_texts(&mut model, &texts, &mut |_, _, _| {}).unwrap()[..] else { panic!() };
    assert!((alone - f64::from(cost)).abs() < 1e-4, "{alone} {cost}");
    let parts = [(3..19, 0), (11..27, 8), (19..35, 8), (27..43, 8)];
    let behind = |(range, given)| eval::score_from_left(&mut model, &[ids(range)], given).unwrap()[0];
    let sum: f64 = parts.map(behind).iter().sum();
    assert!((long - sum).abs() < 1e-4, "{long} {sum}");
    assert_eq!(short, eval::score_texts(&mut model, &[ids(0..5)], &mut |_, _, _| {}).unwrap()[0]);
    for stride in [0, 17] {
        let error = eval::windows_of_stride(&(0..100), 16, stride).unwrap_err().to_string();
        assert!(error.contains("wanted 1 to 16"), "{error}");
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

fn ids(list: &serde_json::Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn greedy_texts_are_those_of_the_golden() {
    let set: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(golden("ar.json")).unwrap()).unwrap();
    let (config, process) = ProcessConfig::read_with_model(&set["config"].to_string()).unwrap();
    let weights =
        tempest::store::read_weights(&TensorFile::open(golden("ar_weights.safetensors")).unwrap(), &config).unwrap();
    let process = Family::Autoregressive.config(process.mask_token_id());
    let mut model = denoiser(&SavedModel { config, process, vocab: Vocab::ascii(), weights, step: 0 }, 1);
    let texts = set["greedy"].as_array().unwrap().iter().filter(|text| text["convention"] == "start");
    let texts: Vec<_> = texts.map(|text| (ids(&text["prompt"]), ids(&text["tokens"]))).collect();
    assert_eq!(texts.len(), 3);
    for past in [Past::Kept, Past::Recomputed] {
        let plain = SampleConfig::new(Policy::top_k(1), 1, &process);
        let config = SampleConfig { temperature: 0.0, past, ..plain };
        for (prompt, tokens) in &texts {
            let given = prompt.iter().map(|&id| Some(id));
            let start: Start = given.chain(std::iter::repeat_n(None, tokens.len())).collect();
            let text = sample::sample(&mut model, &config, &[start], 0, Watch::Progress(&mut |_| {})).unwrap();
            assert_eq!(text[0].tokens, [&prompt[..], tokens].concat(), "{past:?}");
        }
    }
}

/// nanoGPT's model reads no symbol in front of a text. This is that model with a symbol more, in front of a window whose first
/// token it stands for: it has that token's row of the table.
fn that_begins_with(first: u32, config: &ModelConfig, weights: &[f32]) -> SavedModel {
    let wider = ModelConfig { vocab_size: config.vocab_size + 1, ..config.clone() };
    let (own, all, c) = (Params::new(config), Params::new(&wider), config.n_embd);
    let mut to = vec![0.0; all.len()];
    for (from, to_param) in own.iter().zip(all.iter()) {
        assert_eq!(from.name, to_param.name);
        let len = from.shape[0] * from.shape[1];
        to[to_param.offset..][..len].copy_from_slice(&weights[from.offset..][..len]);
        if to_param.shape != from.shape {
            let row = from.offset + first as usize * c;
            to[to_param.offset + len..][..c].copy_from_slice(&weights[row..][..c]);
        }
    }
    let process = ProcessConfig::Autoregressive { mask_token_id: config.vocab_size as u32 };
    SavedModel { config: wider, process, vocab: Vocab::ascii(), weights: to, step: 0 }
}

#[test]
fn greedy_texts_of_gpts_are_those_of_the_goldens_beyond_a_window_too() {
    for name in ["gpt_bias", "gpt_nobias"] {
        let set = std::fs::read_to_string(golden(&format!("{name}.json"))).unwrap();
        let set: serde_json::Value = serde_json::from_str(&set).unwrap();
        let size = |key: &str| set["config"][key].as_u64().unwrap() as usize;
        let config = ModelConfig {
            n_layer: size("n_layer"),
            n_head: size("n_head"),
            n_embd: size("n_embd"),
            sequence_len: size("block_size"),
            vocab_size: size("vocab_size"),
            diffusion_steps: 0,
            vector_dims: 0,
            autoencoder: None,
            short_conv: 0,
            architecture: Architecture::Gpt { bias: set["config"]["bias"].as_bool().unwrap() },
        };
        let weights = TensorFile::open(golden(&format!("{name}_weights.safetensors"))).unwrap();
        let weights = tempest::store::read_weights(&weights, &config).unwrap();
        // What follows a window, as many tokens as there are places for.
        let greedy = |window: &[u32], count: usize, past| {
            let model = that_begins_with(window[0], &config, &weights);
            let plain = SampleConfig::new(Policy::top_k(1), 1, &model.process);
            let start = window[1..].iter().map(|&id| Some(id)).chain(std::iter::repeat_n(None, count)).collect();
            let wanted = SampleConfig { temperature: 0.0, past, ..plain };
            let mut model = denoiser(&model, 1);
            let texts = sample::sample(&mut model, &wanted, &[start], 0, Watch::Progress(&mut |_| {})).unwrap();
            texts[0].tokens[window.len() - 1..].to_vec()
        };
        let mut crossing = 0;
        for text in set["greedy"].as_array().unwrap() {
            let (prompt, wanted) = (ids(&text["prompt"]), ids(&text["tokens"]));
            for past in [Past::Kept, Past::Recomputed] {
                let room = config.sequence_len + 1 - prompt.len();
                let mut tokens = [&prompt[..], &greedy(&prompt, room.min(wanted.len()), past)].concat();
                while tokens.len() < prompt.len() + wanted.len() {
                    // nanoGPT's window moves by a token, and each of it to another position.
                    crossing += 1;
                    let next = greedy(&tokens[tokens.len() - config.sequence_len..], 1, past);
                    tokens.extend(next);
                }
                assert_eq!(tokens[prompt.len()..], wanted, "{name} after {prompt:?}, {past:?}");
            }
        }
        assert!(crossing > 0, "{name} has a text that is longer than a window");
    }
}

/// Some texts, their prompts of every length and none, in several ways and of two windows each.
fn texts(model: &SavedModel, batch: usize, numbers: std::ops::Range<u32>, past: Past) -> Vec<Text> {
    let length = model.config.sequence_len;
    let plain = SampleConfig::new(Policy::top_k(1), 9, &model.process);
    let config = SampleConfig { past, blocks: 2, overlap: 11, ..plain };
    let request = |number: u32| {
        let known = number as usize * 5 % length;
        let start: Start = (0..length).map(|p| (p < known).then_some((number + p as u32) % 60 + 33)).collect();
        let (temperature, top_p) = [(1.0, 1.0), (0.0, 1.0), (0.8, 0.9)][number as usize % 3];
        Request { temperature, top_p, ..config.request(start) }
    };
    let requests: Vec<Request> = numbers.clone().map(request).collect();
    let watch = Watch::Progress(&mut |_| {});
    sample::sample_each(&mut denoiser(model, batch), &config, &requests, numbers.start, watch).unwrap()
}

#[test]
fn keeping_keys_and_values_changes_no_token_of_one_or_of_many_texts() {
    for model in [model(&Vocab::ascii(), 37, 0), gpt(&Vocab::ascii(), 37, true)] {
        let alone: Vec<Text> = (0..7).flat_map(|number| texts(&model, 1, number..number + 1, Past::Kept)).collect();
        for count in [1, 7, 64] {
            let kept = texts(&model, count as usize, 0..count, Past::Kept);
            assert_eq!(kept, texts(&model, count as usize, 0..count, Past::Recomputed), "{count} texts");
            let some = alone.len().min(kept.len());
            assert_eq!(kept[..some], alone[..some], "a text is the same in any batch");
            assert!(kept.iter().all(|text| text.tokens.len() == 2 * 37 - 11 && !text.tokens.contains(&0)));
        }
    }
}

#[test]
fn a_model_that_convolves_writes_by_computing_its_window_anew() {
    let model = model(&Vocab::ascii(), 19, 3);
    let [kept, recomputed] = [Past::Kept, Past::Recomputed].map(|past| texts(&model, 4, 0..4, past));
    assert_eq!(kept, recomputed);
}

#[test]
fn known_tokens_behind_open_ones_are_refused() {
    let model = model(&Vocab::ascii(), 8, 0);
    let config = SampleConfig::new(Policy::top_k(1), 9, &model.process);
    let start = vec![Some(65), None, Some(66), None];
    let watch = Watch::Progress(&mut |_| {});
    let error = sample::sample(&mut denoiser(&model, 1), &config, &[start], 0, watch).unwrap_err().to_string();
    assert!(error.contains("a text with 1 open tokens before known ones"), "{error}");
}

fn run() -> (RunConfig, Arc<Corpus>) {
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap());
    let mut config = Preset::Nano.run(DType::F32);
    config.model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, sequence_len: 24, ..config.model };
    config.model.vocab_size = corpus.vocab().size();
    config.process = Family::Autoregressive.config(corpus.vocab().mask_id());
    config.objective = config.process.family().objective(config.objective);
    (config.train.steps, config.train.batch, config.train.accumulate) = (60, 8, 2);
    config.train.batch_growth = BatchGrowth::default();
    (config, corpus)
}

fn make_steps(trainer: &mut Trainer, count: usize) {
    for _ in 0..count {
        trainer.step().unwrap();
    }
}

#[test]
fn a_run_learns_and_goes_on_as_if_it_had_never_stopped() {
    let (config, corpus) = run();
    learns_and_goes_on(&config, &corpus);
    let model = ModelConfig { short_conv: 0, architecture: Architecture::Gpt { bias: true }, ..config.model.clone() };
    // What it drops is the same after a restart.
    let optimizer = OptimizerConfig { dropout: 0.1, ..config.optimizer.clone() };
    learns_and_goes_on(&RunConfig { model, optimizer, ..config }, &corpus);
}

fn learns_and_goes_on(config: &RunConfig, corpus: &Arc<Corpus>) {
    let trainer = || Trainer::new(config, Arc::clone(corpus), &Device::Cpu).unwrap();
    let mut whole = trainer();
    let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
    // It begins with the logarithm of as many symbols as there are without the mask; how often each occurs alone takes it to 3.3.
    assert!((losses[0] - (config.model.vocab_size as f32 - 1.0).ln()).abs() < 0.02, "{}", losses[0]);
    assert!(losses[55..].iter().sum::<f32>() / 5.0 < 3.3, "{losses:?}");
    let mut first = trainer();
    make_steps(&mut first, 25);
    let mut second = trainer();
    second.restore(&first.state().unwrap()).unwrap();
    make_steps(&mut second, 35);
    assert_eq!(second.state().unwrap(), whole.state().unwrap());
}

#[test]
fn an_objective_and_a_process_that_do_not_belong_together_are_refused() {
    let (config, corpus) = run();
    let refused = |config: RunConfig| {
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    let masked = Family::Masked.config(config.process.mask_token_id());
    let error = refused(RunConfig { process: masked, ..config.clone() });
    assert!(error.contains("the objective nll is of --process ar"), "{error}");
    let simple = Preset::Nano.training().objective;
    let error = refused(RunConfig { objective: simple, ..config.clone() });
    assert!(error.contains("the objective simple is of masked diffusion"), "{error}");
    let model = ModelConfig { diffusion_steps: 5, ..config.model.clone() };
    let error = refused(RunConfig { model, ..config });
    assert!(error.contains("5 timesteps for an autoregressive model"), "{error}");
}
