//! Policies against the original's own texts, and what every policy promises.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempest::backend::{Backend, Cpu, Device};
use tempest::config::{ModelConfig, ProcessConfig, Schedule, Score, Unknown, VocabKind};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, MOST_PROGRAMS, Start};
use tempest::files::tensors::TensorFile;
use tempest::model::{Params, Use};
use tempest::process::{Process, ReverseStep};
use tempest::program::{Builder, DType, Plan, SamplingParams, StepArgs, Storage, TimeOrder};
use tempest::sample::{self, Frame, Policy, Request, SampleConfig, Text, Watch, Written};
use tempest::store::SavedModel;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

fn small_model() -> SavedModel {
    let json = std::fs::read_to_string(golden("trained_small.json")).unwrap();
    let (config, process) = ProcessConfig::read_with_model(&json).unwrap();
    let file = TensorFile::open(golden("trained_small.safetensors")).unwrap();
    let weights = tempest::store::read_weights(&file, &config).unwrap();
    SavedModel { config, process, vocab: Vocab::ascii(), weights, step: 0 }
}

fn trained_small(batch: usize) -> Denoiser {
    Denoiser::new(&small_model(), DType::F32, batch, &Device::Cpu).unwrap()
}

/// A small model whose predictions are far from uniform: every weight random, also those that training starts from zero.
fn random_model(diffusion_steps: usize, context_len: usize, batch: usize, dtype: DType) -> Denoiser {
    let process = ProcessConfig::Masked { mask_token_id: 0, context_len, prompt_drop: 0.0 };
    model_of(process, diffusion_steps, batch, dtype)
}

fn model_of(process: ProcessConfig, diffusion_steps: usize, batch: usize, dtype: DType) -> Denoiser {
    let config = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 32,
        sequence_len: 24,
        vocab_size: 128,
        diffusion_steps,
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    };
    let weights = random_weights(&config, 5);
    let model = SavedModel { config, process, vocab: Vocab::ascii(), weights, step: 0 };
    Denoiser::new(&model, dtype, batch, &Device::Cpu).unwrap()
}

fn random_weights(config: &ModelConfig, seed: u64) -> Vec<f32> {
    use tempest::rng::{Stream, normals, philox};
    let n = Params::new(config).len();
    (0..n.div_ceil(4)).flat_map(|i| normals(philox(seed, Stream::Init, 9, i as u32))).take(n).map(|z| 0.3 * z).collect()
}

fn quiet(denoiser: &mut Denoiser, config: &SampleConfig, starts: &[Start], first: u32) -> Vec<Text> {
    sample::sample(denoiser, config, starts, first, Watch::Progress(&mut |_| {})).unwrap()
}

#[test]
fn the_original_order_reproduces_every_token_and_step_of_the_original() {
    let file = TensorFile::open(golden("sampler.safetensors")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(file.metadata("cases").unwrap()).unwrap();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 5);
    let mut denoiser = trained_small(3);
    for (name, case) in cases {
        let ints = |part: &str| file.get_any::<i32>(&format!("{name}.{part}")).unwrap();
        let batch = case["batch"].as_u64().unwrap() as usize;
        let policy = match case["method"].as_str().unwrap() {
            "confidence" => Policy::threshold(case["confidence_threshold"].as_f64().unwrap() as f32),
            _ => Policy::top_k(case["k"].as_u64().unwrap() as u32),
        };
        let config = SampleConfig {
            temperature: case["temperature"].as_f64().unwrap() as f32,
            original_order: true,
            ..SampleConfig::new(policy, 0, denoiser.process_config())
        };
        let context = ints("context");
        let starts: Vec<Start> = context
            .chunks_exact(16)
            .map(|given| {
                let mut start: Start = given.iter().map(|&id| Some(id as u32)).collect();
                start.resize(128, None);
                start
            })
            .collect();
        let texts = quiet(&mut denoiser, &config, &starts, 0);
        let tokens: Vec<i32> = texts.iter().flat_map(|t| &t.tokens).map(|&id| id as i32).collect();
        assert_eq!(tokens, ints("tokens"), "{name}");
        let steps: Vec<i32> =
            texts.iter().flat_map(|t| &t.committed_at).map(|at| at.map_or(-1, |step| step as i32)).collect();
        assert_eq!(steps, ints("decode_step"), "{name}");
        assert_eq!(batch, texts.len());
        assert_eq!(texts.iter().map(|t| t.steps[0] as i32).max(), Some(ints("steps")[0]), "{name}");
    }
}

#[test]
fn the_first_logits_are_the_originals() {
    let file = TensorFile::open(golden("sampler.safetensors")).unwrap();
    let SavedModel { config, process, weights, .. } = small_model();
    for name in ["confidence_t1_thr09", "topk_k4_t1"] {
        let mut plan = Plan::new();
        let process = Process::new(&mut plan, &process, &config, Storage::wide_stream(DType::F32), Use::Inference);
        let mut b = Builder::new(&mut plan, "reverse step");
        let state = process.sample_state(&mut b, 1);
        let logits = process.diffusion().reverse_step(
            &mut b,
            state,
            ReverseStep { order: TimeOrder::Original, drop: None, is_guided: false },
        );
        let program = b.finish();
        let mut backend: Box<dyn Backend> = Box::new(Cpu::new(Arc::new(plan)));
        backend.write_f32(process.model().memory.weights, &weights).unwrap();
        let context = file.get_any::<u32>(&format!("{name}.context")).unwrap();
        backend.write_u32(state.x, &[context.as_slice(), &[0; 112]].concat()).unwrap();
        backend.write_u32(state.masked, &[[0; 16].as_slice(), &[1; 112]].concat()).unwrap();
        backend.write_u32(state.remaining, &[112]).unwrap();
        let params = SamplingParams::greedy("top-k".parse().unwrap(), 112);
        backend.write_f32(state.params, bytemuck::cast_slice(&[params])).unwrap();
        backend.run(&program, &StepArgs::default()).unwrap();
        let want = file.get::<f32>(&format!("{name}.logits_step0"), &[1, 128, 128]).unwrap();
        let got = backend.read_f32(logits).unwrap();
        let largest = want.iter().fold(0.0_f32, |m, y| m.max(y.abs()));
        let worst = got.iter().zip(&want).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        // Both are f32 runs of a model whose f32 run is within 1.4e-6 of f64 at random weights; trained ones are larger.
        assert!(worst <= 1e-5 * largest, "{name}: {worst} of {largest}");
    }
}

fn policies() -> [Policy; 7] {
    [
        Policy::threshold(0.3),
        Policy::top_k(5),
        Policy::TopK(Some(4), Score::Random),
        Policy::Factor(1.0, Score::Candidate),
        Policy::EntropyBounded(5.0),
        Policy::Ancestral { steps: Some(7), schedule: Schedule::Cosine },
        Policy::Ancestral { steps: Some(40), schedule: Schedule::Linear },
    ]
}

#[test]
fn a_text_is_the_same_whatever_the_batch_and_its_place_in_it() {
    for dtype in [DType::F32, DType::Bf16] {
        for (timesteps, blocks) in [(0, 1), (10, 1), (0, 3)] {
            for policy in policies() {
                let sampled = |batch: usize, first: u32, n: usize| {
                    let mut denoiser = random_model(timesteps, 0, batch, dtype);
                    let config = SampleConfig {
                        temperature: 0.8,
                        top_p: 0.9,
                        blocks,
                        overlap: 4,
                        ..SampleConfig::new(policy, 11, denoiser.process_config())
                    };
                    let starts: Vec<Start> = (first..first + n as u32)
                        .map(|i| sample::prompt(denoiser.vocab(), &"abcdefgh"[..i as usize], 24).unwrap())
                        .collect();
                    quiet(&mut denoiser, &config, &starts, first)
                };
                let all = sampled(7, 0, 7);
                assert_eq!(sampled(3, 0, 7), all, "{policy:?}");
                assert_eq!(sampled(1, 5, 1), all[5..6], "{policy:?}");
                assert_eq!(sampled(2, 2, 3), all[2..5], "{policy:?}");
                assert!(all.iter().any(|t| t.tokens[8..] != all[0].tokens[8..]));
            }
        }
    }
}

/// A text of each policy, at temperatures and shares of their own.
fn mixed(vocab: &Vocab) -> Vec<Request> {
    let of = |i: usize, (policy, temperature): (Policy, f32)| Request {
        start: sample::prompt(vocab, &"abcdefghij"[..i], 24).unwrap(),
        policy,
        temperature,
        top_p: [1.0, 0.9, 0.5][i % 3],
        min_p: [0.0, 0.05][i % 2],
        top_symbols: [0, 0, 7, 0, 2][i % 5],
        greedy_tail: [0.0, 0.2, 0.0, 0.1][i % 4],
        guidance: 0.0,
    };
    let temperatures = [0.8, 0.0, 1.1, 0.4, 1.0, 0.0, 0.7, 0.9, 0.0, 1.0, 0.8];
    let policies = policies().into_iter().chain([Policy::top_k(1), Policy::threshold(0.9)]);
    let policies = policies.chain(["remdm-cap:0.3:9", "remdm-confidence:1:9"].map(|text| text.parse().unwrap()));
    policies.zip(temperatures).enumerate().map(|(i, way)| of(i, way)).collect()
}

#[test]
fn each_text_of_a_mixed_batch_is_the_one_that_is_sampled_alone() {
    for (dtype, timesteps, blocks, original_order) in
        [(DType::F32, 0, 1, false), (DType::Bf16, 10, 1, false), (DType::F32, 0, 3, false), (DType::F32, 10, 1, true)]
    {
        let sampled = |batch: usize, first: usize, n: usize| {
            let mut denoiser = random_model(timesteps, 0, batch, dtype);
            let base = SampleConfig::new("top-k".parse().unwrap(), 11, denoiser.process_config());
            let config = SampleConfig { blocks, overlap: 4, original_order, ..base };
            let requests = mixed(denoiser.vocab());
            let quiet = Watch::Progress(&mut |_| {});
            sample::sample_each(&mut denoiser, &config, &requests[first..first + n], first as u32, quiet).unwrap()
        };
        let together = sampled(10, 0, 10);
        assert_eq!(sampled(4, 0, 10), together);
        for (number, text) in together.iter().enumerate() {
            assert_eq!(sampled(1, number, 1)[0], *text, "{number}");
        }
    }
}

#[test]
fn a_guided_text_is_the_one_that_is_sampled_alone_and_none_where_its_guidance_is_0() {
    let process = ProcessConfig::Masked { mask_token_id: 0, context_len: 4, prompt_drop: 0.5 };
    for (timesteps, blocks) in [(0, 3), (10, 1)] {
        let sampled = |batch: usize, range: std::ops::Range<usize>, weights: [f32; 6]| {
            let mut denoiser = model_of(process, timesteps, batch, DType::F32);
            let base = SampleConfig::new("ancestral:9".parse().unwrap(), 11, denoiser.process_config());
            let config = SampleConfig { blocks, overlap: 4, temperature: 0.8, ..base };
            let request = |i: usize| {
                let start = sample::prompt(denoiser.vocab(), &"abcdefgh"[..1 + i], 24).unwrap();
                Request { guidance: weights[i], ..config.request(start) }
            };
            let (first, requests) = (range.start as u32, range.map(request).collect::<Vec<_>>());
            sample::sample_each(&mut denoiser, &config, &requests, first, Watch::Progress(&mut |_| {})).unwrap()
        };
        let (guided, plain) = ([1.5, 1.5, 4.0, 0.0, 0.0, 0.5], [0.0; 6]);
        let (all, without) = (sampled(12, 0..6, guided), sampled(6, 0..6, plain));
        assert_eq!(sampled(5, 0..6, guided), all, "batches of two texts");
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| sampled(12, 0..6, guided)), all, "one thread");
        for number in 0..6 {
            assert_eq!(sampled(2, number..number + 1, guided)[0], all[number], "{number}");
            assert_eq!(all[number] == without[number], guided[number] == 0.0, "{number}");
        }
    }
}

#[test]
fn guidance_is_refused_where_a_model_has_no_text_without_what_is_given() {
    use tempest::config::{Autoencoder, Family};
    let base = random_model(0, 0, 1, DType::F32);
    let vocab = base.vocab().clone();
    let refused = |process: ProcessConfig, text: &str| {
        let family = process.family();
        let autoencoder = (family == Family::Latent).then_some(Autoencoder { pool: 3, n_layer: 1 });
        let config = ModelConfig { vector_dims: family.vector_dims(), autoencoder, ..base.config().clone() };
        let storage = Storage::wide_stream(DType::F32);
        let process_of = Process::new(&mut Plan::new(), &process, &config, storage, Use::Inference);
        let sampling = SampleConfig { guidance: 1.0, ..SampleConfig::new("ancestral".parse().unwrap(), 1, &process) };
        let request = sampling.request(sample::prompt(&vocab, text, 24).unwrap());
        sample::check(&process_of, &sampling, &[request]).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for family in
        [Family::Uniform, Family::Mixed, Family::Relaxed, Family::Gaussian, Family::Latent, Family::Autoregressive]
    {
        let error = refused(family.config(0), "ab");
        assert!(
            error.contains(&format!("of a model of --process {family}; wanted masked or joint")),
            "{family}: {error}"
        );
    }
    assert!(
        refused(Family::Block.config(0).of_blocks(8), "ab").contains("wanted one of masked diffusion of whole texts")
    );
    assert!(refused(Family::Masked.config(0), "").contains("nothing is; wanted a --prompt"));
    let with = |prompt_drop| ProcessConfig::Masked { mask_token_id: 0, context_len: 4, prompt_drop };
    assert!(refused(with(0.0), "ab").contains("no text without its first 4 tokens"));
    for process in [with(0.1), Family::Masked.config(0), Family::Joint.config(0)] {
        assert_eq!(refused(process, "ab"), "", "{process:?}");
    }
    // A guided text takes the place of two.
    let mut denoiser = random_model(0, 0, 1, DType::F32);
    let config = SampleConfig { guidance: 1.0, ..SampleConfig::new(Policy::top_k(1), 1, denoiser.process_config()) };
    let starts = [sample::prompt(&vocab, "ab", 24).unwrap()];
    let error = sample::sample(&mut denoiser, &config, &starts, 0, Watch::Progress(&mut |_| {})).unwrap_err();
    assert!(error.to_string().contains("wanted --batch 2 or more"), "{error}");
}

#[test]
fn texts_of_several_lengths_are_those_that_are_sampled_alone() {
    let mut denoiser = trained_small(3);
    let config = SampleConfig::new("top-k".parse().unwrap(), 11, denoiser.process_config());
    let lengths = [20, 20, 20, 20, 9, 20, 1, 9, 9];
    let requests = mixed(denoiser.vocab()).into_iter().cycle().zip(lengths);
    let requests: Vec<Request> = requests
        .map(|(mut request, length)| {
            request.start.truncate(length);
            request.start.resize(length, None);
            request
        })
        .collect();
    let mut sampled = |range: std::ops::Range<usize>| {
        let (first, quiet) = (range.start as u32, Watch::Progress(&mut |_| {}));
        sample::sample_each(&mut denoiser, &config, &requests[range], first, quiet)
    };
    let together = sampled(0..9).unwrap();
    assert_eq!(together.iter().map(|text| text.tokens.len()).collect::<Vec<_>>(), lengths);
    for (number, text) in together.iter().enumerate() {
        assert_eq!(sampled(number..number + 1).unwrap()[0], *text, "{number}");
    }
}

#[test]
fn ten_thousand_requests_of_all_kinds_leave_few_programs() {
    let config = ModelConfig {
        n_layer: 1,
        n_head: 1,
        n_embd: 2,
        sequence_len: 80,
        vocab_size: 3,
        diffusion_steps: 0,
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    };
    let process = ProcessConfig::Masked { mask_token_id: 2, context_len: 0, prompt_drop: 0.0 };
    let weights = random_weights(&config, 5);
    let model = SavedModel { config, process, vocab: Vocab::chars("ab").unwrap(), weights, step: 0 };
    let mut denoiser = Denoiser::new(&model, DType::F32, 2, &Device::Cpu).unwrap();
    let base = SampleConfig::new("top-k".parse().unwrap(), 11, denoiser.process_config());
    let mut random = (0..).map(|i| tempest::rng::philox(7, tempest::rng::Stream::Init, i, 0));
    for request in 0..10_000 {
        let [kind, length, steps, number] = random.next().unwrap();
        let (length, steps) = (1 + length as usize % 80, 1 + steps % 3);
        let uniform = |bits: u32| tempest::rng::uniform(number.rotate_left(bits));
        let policy = match kind % 3 {
            0 => Policy::threshold(uniform(0) / 2.0),
            1 => Policy::top_k(length as u32 / steps + 1),
            _ => Policy::Ancestral { steps: Some(steps), schedule: Schedule::Linear },
        };
        let (temperature, top_p) = (uniform(8), 1.0 - uniform(16));
        let config = SampleConfig { policy, temperature, top_p, original_order: kind % 7 == 0, ..base.clone() };
        quiet(&mut denoiser, &config, &vec![sample::open(length); 1 + kind as usize / 3 % 2], request);
        assert!(denoiser.kept()[0] <= MOST_PROGRAMS);
    }
    assert_eq!(denoiser.kept(), [MOST_PROGRAMS, 0], "all lengths were asked for, and the CPU keeps nothing");
}

#[test]
fn another_seed_gives_other_texts_and_the_same_seed_the_same() {
    let mut denoiser = random_model(0, 0, 2, DType::F32);
    for policy in policies() {
        let mut texts = |seed| {
            let config = SampleConfig::new(policy, seed, denoiser.process_config());
            quiet(&mut denoiser, &config, &[sample::open(24)], 0)
        };
        assert_eq!(texts(1), texts(1));
        assert_ne!(texts(1), texts(2));
    }
}

#[test]
fn committed_tokens_never_change_and_given_ones_stay() {
    let mut denoiser = random_model(10, 0, 3, DType::F32);
    for policy in policies() {
        let config = SampleConfig { temperature: 0.7, ..SampleConfig::new(policy, 3, denoiser.process_config()) };
        let starts = [
            sample::template(&Vocab::ascii(), "To be __ not to b_", '_', 24, 24).unwrap(),
            sample::open(24),
            sample::prompt(&Vocab::ascii(), "Q", 24).unwrap(),
        ];
        let given: Start = starts.concat();
        let mut known = given.clone();
        let mut steps = 0;
        let texts = sample::sample(
            &mut denoiser,
            &config,
            &starts,
            0,
            Watch::Steps(&mut |frame: &Frame<'_>| {
                assert!(frame.step > steps, "lots that fall in no step leave it out");
                steps = frame.step;
                for (i, known) in known.iter_mut().enumerate() {
                    match known {
                        Some(token) => assert_eq!((frame.tokens[i], frame.masked[i]), (*token, 0), "{policy:?} {i}"),
                        None if frame.masked[i] == 0 => *known = Some(frame.tokens[i]),
                        None => assert_eq!(frame.tokens[i], 0),
                    }
                }
            }),
        )
        .unwrap();
        let tokens: Vec<u32> = texts.iter().flat_map(|t| t.tokens.clone()).collect();
        assert_eq!(known, tokens.iter().map(|&t| Some(t)).collect::<Vec<_>>());
        assert!(tokens.iter().all(|&t| t != 0), "the mask is never written");
        let committed_at: Vec<bool> = texts.iter().flat_map(|t| &t.committed_at).map(Option::is_none).collect();
        assert_eq!(committed_at, given.iter().map(Option::is_some).collect::<Vec<_>>());
        assert_eq!(texts.iter().map(|t| t.steps[0]).max(), Some(steps), "stops when nothing remains");
    }
}

#[test]
fn a_text_is_handed_over_as_soon_as_it_is_finished() {
    let mut denoiser = random_model(0, 0, 3, DType::F32);
    let config = SampleConfig::new(Policy::top_k(1), 3, denoiser.process_config());
    let holes = |n: usize| sample::template(&Vocab::ascii(), &"_".repeat(n), '_', 24, 24).unwrap();
    let filled = |start: Start, open: usize| -> Start {
        start.into_iter().enumerate().map(|(i, token)| if i < open { token } else { Some(65) }).collect()
    };
    // Of 24, 2 and 9 steps.
    let starts = [holes(24), filled(holes(24), 2), filled(holes(24), 9)];
    let all = quiet(&mut denoiser, &config, &starts, 7);
    let (steps, mut handed_over) = (std::cell::Cell::new(0), Vec::new());
    sample::sample_as_finished(
        &mut denoiser,
        &config,
        &starts,
        7,
        Watch::Steps(&mut |frame: &Frame<'_>| steps.set(frame.step)),
        &mut |written| handed_over.extend(written.whole().map(|text| (steps.get(), text))),
    )
    .unwrap();
    let order: Vec<_> = handed_over.iter().map(|(step, text)| (*step, text.number)).collect();
    assert_eq!(order, [(2, 8), (9, 9), (24, 7)]);
    handed_over.sort_by_key(|(_, text)| text.number);
    assert!(handed_over.into_iter().map(|(_, text)| text).eq(all));
    // Where nobody waits for every step, in the same order.
    let mut numbers = Vec::new();
    let (unseen, mut finished) =
        (Watch::Progress(&mut |_| {}), |w: Written<'_>| numbers.extend(w.whole().map(|text| text.number)));
    sample::sample_as_finished(&mut denoiser, &config, &starts, 7, unseen, &mut finished).unwrap();
    assert_eq!(numbers, [8, 9, 7]);
}

#[test]
fn remasking_takes_back_and_ends_with_a_whole_text() {
    let mut denoiser = random_model(10, 0, 2, DType::F32);
    let policy = "remdm-rescale:1:12".parse().unwrap();
    let config = SampleConfig::new(policy, 3, denoiser.process_config());
    let starts = [sample::prompt(&Vocab::ascii(), "To be", 24).unwrap(), sample::open(24)];
    let (mut known, mut back, mut frames) = (vec![0; 48], 0, 0);
    let watch = Watch::Steps(&mut |frame: &Frame<'_>| {
        for (p, known) in known.iter_mut().enumerate() {
            back += usize::from(frame.masked[p] == 1 && *known != 0);
            *known = frame.tokens[p];
            assert_eq!(frame.masked[p] == 1, *known == 0, "what is masked holds the mask");
        }
        assert_eq!(Vocab::ascii().decode(&frame.tokens[..5]), "To be");
        frames += 1;
    });
    let texts = sample::sample(&mut denoiser, &config, &starts, 0, watch).unwrap();
    assert_eq!(frames, 12, "a text without masks is not finished before its last step");
    assert!(back > 8, "{back} of 43 were taken back");
    assert!(texts.iter().all(|text| !text.tokens.contains(&0)));
    let unseen = Watch::Progress(&mut |_| {});
    assert_eq!(sample::sample(&mut denoiser, &config, &starts, 0, unseen).unwrap(), texts);
}

#[test]
fn each_block_begins_with_the_end_of_the_one_before() {
    let mut denoiser = random_model(0, 6, 2, DType::F32);
    let base = SampleConfig::new(Policy::top_k(3), 4, denoiser.process_config());
    assert_eq!(base.overlap, 6, "the model's context");
    let config = SampleConfig { blocks: 4, ..base };
    let starts: Vec<Start> =
        ["Hello ", "Ah sir"].iter().map(|p| sample::prompt(&Vocab::ascii(), p, 24).unwrap()).collect();
    let texts = quiet(&mut denoiser, &config, &starts, 0);
    for text in &texts {
        assert_eq!((text.tokens.len(), text.steps.as_slice()), (24 + 3 * 18, &[6, 6, 6, 6][..]));
    }
    // A block is what its beginning and its own numbers make of it: the same text falls out of one block at a time.
    let alone = quiet(&mut denoiser, &SampleConfig { blocks: 1, ..config.clone() }, &starts, 0);
    assert_eq!(alone[0].tokens, texts[0].tokens[..24]);
    let greedy = SampleConfig { temperature: 0.0, ..config };
    let texts = quiet(&mut denoiser, &greedy, &starts, 0);
    let mut again: Start = texts[1].tokens[18..24].iter().map(|&t| Some(t)).collect();
    again.resize(24, None);
    let second = quiet(&mut denoiser, &SampleConfig { blocks: 1, ..greedy }, &[again], 0);
    assert_eq!(second[0].tokens[6..], texts[1].tokens[24..42]);
}

#[test]
fn steps_are_as_many_as_the_sampler_needs() {
    let mut denoiser = random_model(0, 0, 1, DType::F32);
    let mut steps = |policy, length| {
        let config = SampleConfig::new(policy, 1, denoiser.process_config());
        quiet(&mut denoiser, &config, &[sample::open(length)], 0)[0].steps[0]
    };
    assert_eq!(steps(Policy::top_k(5), 24), 5);
    assert_eq!(steps(Policy::top_k(1), 7), 7);
    assert_eq!(steps(Policy::top_k(100), 24), 1);
    assert_eq!(steps(Policy::threshold(0.0), 24), 1);
    assert_eq!(steps(Policy::threshold(1.0), 24), 24);
    assert_eq!(steps(Policy::Ancestral { steps: Some(1), schedule: Schedule::LogLinear }, 24), 1);
    assert!((1..=300).contains(&steps(Policy::Ancestral { steps: Some(300), schedule: Schedule::Cosine }, 3)));
}

#[test]
fn towards_temperature_zero_every_policy_does_what_it_does_at_zero() {
    let mut denoiser = trained_small(2);
    let context: Start = "First Citizen:\nB".chars().map(|c| Some(c as u32)).collect();
    let mut start = context;
    start.resize(64, None);
    for policy in [Policy::threshold(0.25), Policy::threshold(0.9), Policy::top_k(4)] {
        let mut texts = |temperature| {
            let config = SampleConfig { temperature, ..SampleConfig::new(policy, 1, denoiser.process_config()) };
            quiet(&mut denoiser, &config, std::slice::from_ref(&start), 0)
        };
        let zero = texts(0.0);
        for temperature in [1e-40, 1e-6] {
            assert_eq!(texts(temperature), zero, "{policy:?} at {temperature}");
        }
        // A cool draw is no surer than the model: it takes about as many steps.
        let (cool, steps) = (texts(0.01)[0].steps[0], zero[0].steps[0]);
        assert!(cool.abs_diff(steps) <= steps / 4, "{policy:?}: {cool} steps at 0.01, {steps} at 0");
        // Positions are chosen by p alone: the exact likelihood takes the same steps over this text.
        let scored = tempest::eval::score(&mut denoiser, &[zero[0].tokens.clone()], 16, policy, 1.0).unwrap();
        assert_eq!(scored[0].1, steps, "{policy:?}");
    }
}

#[test]
fn predictions_that_are_no_numbers_end_sampling_and_measuring_with_exit_code_1() {
    let mut denoiser = random_model(0, 0, 2, DType::F32);
    // In range one by one; the square in the MLP of their products is not.
    let weights: Vec<f32> = random_weights(denoiser.config(), 5).iter().map(|w| w * 1e15).collect();
    denoiser.set_weights(&weights).unwrap();
    let broken = |error: tempest::Error| {
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("predicts what is not a number; its training diverged"), "{error}");
    };
    for policy in policies() {
        for temperature in [0.0, 0.5, 1.0] {
            let config = SampleConfig { temperature, ..SampleConfig::new(policy, 3, denoiser.process_config()) };
            let starts = [sample::open(24), sample::prompt(&Vocab::ascii(), "Q", 24).unwrap(), sample::open(24)];
            let unseen: Watch<'_> = Watch::Progress(&mut |_| {});
            broken(sample::sample(&mut denoiser, &config, &starts, 0, unseen).unwrap_err());
            let mut frames = 0;
            let watched = Watch::Steps(&mut |_: &Frame<'_>| frames += 1);
            broken(sample::sample(&mut denoiser, &config, &starts, 0, watched).unwrap_err());
            assert_eq!(frames, 0, "nothing is shown of it");
        }
    }
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap());
    let config =
        tempest::eval::EvalConfig::nelbo_only(denoiser.config(), denoiser.process_config(), corpus.validation(), 4, 1);
    broken(tempest::eval::passes(&mut denoiser, &corpus, &config, &mut |_, _, _| {}).unwrap_err());
    broken(tempest::eval::score(&mut denoiser, &[vec![65; 24]], 0, Policy::top_k(3), 1.0).unwrap_err());
}

#[test]
fn a_fixed_model_is_sampled_in_its_own_proportions() {
    // Zero weights everywhere but the head's: with x = 0 the logits are 0, every symbol but the mask has 1/127.
    let mut denoiser = random_model(0, 0, 64, DType::F32);
    let zeros = vec![0.0; Params::new(denoiser.config()).len()];
    denoiser.set_weights(&zeros).unwrap();
    let policy = Policy::Ancestral { steps: Some(9), schedule: Schedule::Linear };
    let config = SampleConfig::new(policy, 2, denoiser.process_config());
    let texts = quiet(&mut denoiser, &config, &vec![sample::open(24); 640], 0);
    let mut counts = [0.0_f64; 128];
    texts.iter().flat_map(|t| &t.tokens).for_each(|&t| counts[t as usize] += 1.0);
    assert_eq!(counts[0], 0.0);
    let want = 640.0 * 24.0 / 127.0;
    let chi2: f64 = counts[1..].iter().map(|n| (n - want) * (n - want) / want).sum();
    // 126 degrees of freedom: mean 126, standard deviation √252 = 15.9; five of them.
    assert!((chi2 - 126.0).abs() < 80.0, "{chi2}");
    // The linear grid takes away as much in every step: 640·24/9 positions each, ± 5 binomial standard errors.
    let mut steps = [0.0_f64; 9];
    texts.iter().flat_map(|t| &t.committed_at).for_each(|at| steps[at.unwrap() as usize] += 1.0);
    let (n, p) = (640.0 * 24.0, 1.0_f64 / 9.0);
    for count in steps {
        assert!((count - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "{steps:?}");
    }
    // A nucleus of 10 % keeps the first ⌈12.7⌉ of equal symbols.
    let texts = quiet(&mut denoiser, &SampleConfig { top_p: 0.1, ..config }, &vec![sample::open(24); 64], 0);
    let mut seen: Vec<u32> = texts.iter().flat_map(|t| t.tokens.clone()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (1..=13).collect::<Vec<u32>>());
}

#[test]
fn a_beginning_from_the_corpus_is_text_of_that_range() {
    let corpus = Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap();
    let range = corpus.validation();
    let starts: Vec<Start> =
        (0..50).map(|i| sample::from_corpus(&corpus, range.clone(), 16, 128, 1, i).unwrap()).collect();
    let validation = corpus.vocab().decode(&corpus.tokens().window(range.start as usize..range.end as usize));
    for start in &starts {
        let given: Vec<u32> = start.iter().map_while(|&t| t).collect();
        assert_eq!((given.len(), start.len()), (16, 128));
        assert!(validation.contains(&corpus.vocab().decode(&given)));
    }
    assert_ne!(starts[0], starts[1]);
    assert!(sample::from_corpus(&corpus, 0..10, 16, 128, 1, 0).is_err());
}

#[test]
fn bad_requests_are_refused_with_what_was_wanted() {
    let vocab = Vocab::ascii();
    let said = |result: tempest::Result<Start>| result.unwrap_err().to_string();
    let long = "x".repeat(24);
    assert_eq!(
        said(sample::prompt(&vocab, &long, 24)),
        "the prompt has 24 tokens and leaves nothing to write of a text of 24; shorten it to 23 or less"
    );
    assert!(said(sample::prompt(&vocab, "naïve", 24)).contains("prompt"));
    assert!(said(sample::template(&vocab, &"_".repeat(25), '_', 24, 24)).contains("has 25 tokens, a text has 24"));
    assert!(said(sample::template(&vocab, &long, '_', 24, 24)).contains("nothing to write"));
    assert!(said(sample::template(&vocab, "ü_", '_', 24, 24)).contains("template"));

    let mut denoiser = random_model(0, 0, 1, DType::F32);
    let good = SampleConfig::new(Policy::top_k(1), 1, denoiser.process_config());
    let mut refused = |config: SampleConfig, length: usize| {
        sample::sample(&mut denoiser, &config, &[sample::open(length)], 0, Watch::Progress(&mut |_| {}))
            .unwrap_err()
            .to_string()
    };
    let policy = |policy| SampleConfig { policy, ..good.clone() };
    assert!(refused(good.clone(), 25).contains("25 tokens; wanted 1 to 24, this model's window"));
    assert!(refused(good.clone(), 0).contains("0 tokens"));
    assert!(refused(policy(Policy::top_k(0)), 24).contains("is top-k:0; wanted at least 1 token a step"));
    assert!(
        refused(policy(Policy::threshold(f32::NAN)), 24).contains("is threshold:NaN; wanted a threshold of 0 to 1")
    );
    assert!(
        refused(policy(Policy::Ancestral { steps: Some(0), schedule: Schedule::Linear }), 24)
            .contains("wanted at least 1 step")
    );
    assert!(refused(SampleConfig { temperature: -1.0, ..good.clone() }, 24).contains("temperature of -1"));
    assert!(refused(SampleConfig { temperature: f32::INFINITY, ..good.clone() }, 24).contains("temperature of inf"));
    assert!(refused(SampleConfig { top_p: 0.0, ..good.clone() }, 24).contains("top-p of 0"));
    assert!(refused(SampleConfig { blocks: 0, ..good.clone() }, 24).contains("--blocks at least 1"));
    assert!(refused(SampleConfig { blocks: 2, overlap: 24, ..good.clone() }, 24).contains("wanted 1 to 23"));

    let mut weights = vec![0.0; Params::new(denoiser.config()).len()];
    weights[130] = f32::NAN;
    let error = denoiser.set_weights(&weights).unwrap_err().to_string();
    assert!(error.contains("\"token_emb.weight\" holds NaN at position 130"), "{error}");
    weights[130] = 1e20;
    let error = denoiser.set_weights(&weights).unwrap_err();
    assert!(error.to_string().contains("holds 100000000000000000000 at position 130"), "{error}");
    assert_eq!(error.exit_code(), 1);
}
