//! Block diffusion: its bounds, its likelihood, and that texts do not depend on how they are computed.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use serde_json::Value;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempest::backend::{Backend, Cpu, Device};
use tempest::config::{
    DType, Family, Levels, ModelConfig, Objective, Preset, ProcessConfig, RunConfig, Schedule, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::edit::{self, Lines, RepairConfig};
use tempest::eval::{self, EvalConfig};
use tempest::files::tensors::TensorFile;
use tempest::model::{Keep, Params, Use};
use tempest::process::{Batch, Process};
use tempest::program::{Builder, CrossEntropy, Mat, Plan, Program, SamplingParams, StepArgs, Storage};
use tempest::rng::{Stream, normals, philox};
use tempest::sample::{self, Policy, SampleConfig, Text, Watch};
use tempest::store::SavedModel;
use tempest::train::Trainer;

/// One pass over texts with noise and without: what training computes of them.
struct Pass {
    cpu: Cpu,
    program: Program,
    batch: Batch,
    logits: Mat,
    cross_entropy: Mat,
}

impl Pass {
    fn new(process: &ProcessConfig, config: &ModelConfig, weights: &[f32], sequences: usize) -> Self {
        let mut plan = Plan::new();
        let process = Process::new(&mut plan, process, config, Storage::wide_stream(DType::F32), Use::Inference);
        let mut b = Builder::new(&mut plan, "pass");
        let part = process.parts()[0].generative();
        let batch = part.batch(&mut b, sequences);
        let last = part.forward(&mut b, batch, Keep::Last).last.first(batch.x0.len());
        let logits = process.model().head_logits(&mut b, last);
        let cross_entropy = b.alloc(process.model().memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target: batch.x0, drop: None, cross_entropy });
        let program = b.finish();
        let mut cpu = Cpu::new(Arc::new(plan));
        <dyn Backend>::write_f32(&mut cpu, process.model().memory.weights, weights).unwrap();
        Pass { cpu, program, batch, logits, cross_entropy }
    }

    /// Logits and cross-entropies of every token.
    fn run(&mut self, xt: &[u32], x0: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let cpu: &mut dyn Backend = &mut self.cpu;
        cpu.write_u32(self.batch.x0, x0).unwrap();
        cpu.write_u32(self.batch.xt, xt).unwrap();
        cpu.run(&self.program, &StepArgs::default()).unwrap();
        (cpu.read_f32(self.logits).unwrap(), cpu.read_f32(self.cross_entropy).unwrap())
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

/// The golden's weights over blocks of a length, and its texts.
struct Golden {
    set: Value,
    config: ModelConfig,
    mask: u32,
    weights: Vec<f32>,
    x0: Vec<u32>,
}

impl Golden {
    fn open() -> Self {
        let set: Value = serde_json::from_str(&std::fs::read_to_string(golden("block.json")).unwrap()).unwrap();
        let (config, process) = ProcessConfig::read_with_model(&set["config"].to_string()).unwrap();
        let weights = TensorFile::open(golden("ar_weights.safetensors")).unwrap();
        let weights = tempest::store::read_weights(&weights, &config).unwrap();
        let io = TensorFile::open(golden("block_io.safetensors")).unwrap();
        let x0 = io.get_any::<i32>("x0").unwrap().iter().map(|&id| id as u32).collect();
        Golden { set, config, mask: process.mask_token_id(), weights, x0 }
    }

    fn pass(&self, block_length: usize) -> Pass {
        let process = ProcessConfig::Block { mask_token_id: self.mask, block_length: block_length.into() };
        Pass::new(&process, &self.config, &self.weights, self.x0.len() / self.config.sequence_len)
    }

    /// The texts, where a bit of each block's positions says what is masked.
    fn noised(&self, length: usize, bits: usize) -> Vec<u32> {
        let noised = |(i, &id)| if bits >> (i % length) & 1 == 1 { self.mask } else { id };
        self.x0.iter().enumerate().map(noised).collect()
    }

    fn per_sequence(&self, of: &Value) -> Vec<f64> {
        let list = of["per_sequence"].as_array().unwrap();
        list.iter().map(|x| x.as_f64().unwrap()).collect()
    }
}

/// Sums in f64 of cross-entropies in f32, each of which is off by a few of its roundings, 6e-8.
fn assert_close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-6 * wanted, "{found}, wanted {wanted}");
}

#[test]
fn bounds_are_those_of_the_golden_and_lie_above_what_they_bound() {
    let golden = Golden::open();
    let t = golden.config.sequence_len;
    for length in [1, 2, 4] {
        let mut pass = golden.pass(length);
        // By what is masked in each block: all blocks at once, because none sees another's noise.
        let costs: Vec<Vec<f32>> =
            (0..1 << length).map(|bits| pass.run(&golden.noised(length, bits), &golden.x0).1).collect();
        let masked = |bits: usize| (0..length).filter(move |i| bits >> i & 1 == 1);
        let bound = |block: usize| -> f64 {
            let of = |bits: usize| masked(bits).map(|i| f64::from(costs[bits][block * length + i])).sum::<f64>();
            let choices = |k: u32| (1..1 << length).filter(move |bits: &usize| bits.count_ones() == k);
            let mean = |k: u32| choices(k).map(of).sum::<f64>() / choices(k).count() as f64;
            (1..=length as u32).map(|k| mean(k) * length as f64 / f64::from(k)).sum::<f64>() / length as f64
        };
        // -ln p of a block where each order to reveal its tokens in is as likely.
        let exact = |block: usize| -> f64 {
            let mut law = vec![0.0; 1 << length];
            law[0] = 1.0;
            for bits in 1..1 << length {
                let step = |i: usize| f64::from(-costs[bits][block * length + i]).exp() * law[bits & !(1 << i)];
                law[bits] = masked(bits).map(step).sum::<f64>() / f64::from(bits.count_ones());
            }
            -f64::ln(law[(1 << length) - 1])
        };
        let wanted = golden.per_sequence(&golden.set["exact_bound_nats"][format!("L{length}")]);
        for (text, wanted) in wanted.into_iter().enumerate() {
            let blocks = text * t / length..(text + 1) * t / length;
            assert_close(blocks.clone().map(bound).sum(), wanted);
            assert!(blocks.map(exact).sum::<f64>() <= wanted + 1e-6 * wanted, "blocks of {length}");
        }
    }
}

#[test]
fn blocks_of_one_token_are_the_likelihood_of_a_causal_model_that_masks_ask() {
    let golden = Golden::open();
    let (_, costs) = golden.pass(1).run(&golden.noised(1, 1), &golden.x0);
    let wanted = golden.per_sequence(&golden.set["exact_causal_nll_query_is_the_mask"]);
    for (costs, wanted) in costs.chunks_exact(golden.config.sequence_len).zip(wanted) {
        assert_close(costs.iter().map(|&cost| f64::from(cost)).sum(), wanted);
    }
}

#[test]
fn one_block_is_masked_diffusion() {
    let golden = Golden::open();
    let t = golden.config.sequence_len;
    let xt = golden.noised(t, 0b1011_0010_1110_0101_0001_1101);
    let masked = ProcessConfig::Masked { mask_token_id: golden.mask, context_len: 0, prompt_drop: 0.0 };
    let mut masked = Pass::new(&masked, &golden.config, &golden.weights, golden.x0.len() / t);
    let [(ours, _), (wanted, _)] = [&mut golden.pass(t), &mut masked].map(|pass| pass.run(&xt, &golden.x0));
    // Logits of up to about ten, of sums that are cut elsewhere.
    let error = ours.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 1e-5, "{error}");
}

/// A small model whose predictions are far from uniform.
fn model(vocab: &Vocab, sequence_len: usize, block_length: usize) -> SavedModel {
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
        short_conv: 0,
        architecture: Default::default(),
    };
    let n = Params::new(&config).len();
    let random = (0..n.div_ceil(4)).flat_map(|i| normals(philox(5, Stream::Init, 9, i as u32)));
    let weights = random.take(n).map(|z| 0.3 * z).collect();
    let process = ProcessConfig::Block { mask_token_id: vocab.mask_id(), block_length: block_length.into() };
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
    // All texts of four of three symbols.
    let texts: Vec<Vec<u32>> = (0..81).map(|i| vec![i / 27, i / 9 % 3, i / 3 % 3, i % 3]).collect();
    let corpus = corpus_of("abcabc");
    for block_length in [1, 2, 4] {
        let mut denoiser = denoiser(&model(corpus.vocab(), 4, block_length), 81);
        for policy in ["top-k:1", "threshold:0.5", "top-k:1:margin"] {
            let scores = eval::score(&mut denoiser, &texts, 0, policy.parse().unwrap(), 1.0).unwrap();
            let sum: f64 = scores.iter().map(|&(cost, _)| f64::from(-cost).exp()).sum();
            // 81 terms, each of four cross-entropies in f32.
            assert!((sum - 1.0).abs() < 1e-5, "blocks of {block_length} by {policy}: {sum}");
        }
        if block_length > 1 {
            let cut = eval::score(&mut denoiser, &[vec![0; 3]], 0, Policy::top_k(1), 1.0).unwrap_err().to_string();
            assert!(cut.contains(&format!("3 tokens; wanted whole blocks of {block_length}")), "{cut}");
        }
    }
}

#[test]
fn evaluation_finds_the_exact_likelihood_where_a_block_is_one_token() {
    let corpus = corpus_of(&"To be, or not to be: that is the question. ".repeat(9));
    let model = model(corpus.vocab(), 16, 1);
    let mut denoiser = denoiser(&model, 5);
    let config = EvalConfig::nelbo_only(&model.config, &model.process, 0..320, 0, 7);
    let found = eval::passes(&mut denoiser, &corpus, &config, &mut |_, _, _| {}).unwrap().nelbo().unwrap();
    let texts: Vec<Vec<u32>> = (0..20).map(|i| corpus.tokens().window(i * 16..(i + 1) * 16)).collect();
    let scores = texts.chunks(5).flat_map(|texts| eval::score(&mut denoiser, texts, 0, Policy::top_k(1), 1.0).unwrap());
    let exact = scores.map(|(cost, _)| f64::from(cost)).sum::<f64>() / 320.0;
    // Both add up the same 320 costs, computed with kept keys and values and without.
    assert!((found.nats - exact).abs() < 1e-5, "{} and {exact}", found.nats);
}

#[test]
fn a_bound_is_the_exact_likelihood_where_a_block_is_one_token() {
    let texts: Vec<Vec<u32>> = (0..3).map(|text| (0..8).map(|p| (text * 5 + p) % 60 + 33).collect()).collect();
    for (block_length, given) in [(1, 0), (1, 3), (4, 5)] {
        let model = model(&Vocab::ascii(), 16, block_length);
        let bounds = eval::bounds(&mut denoiser(&model, 5), &texts, given, 7, 1).unwrap();
        let alone = eval::bounds(&mut denoiser(&model, 1), &texts[1..2], given, 7, 1).unwrap();
        assert_eq!(bounds[1], alone[0], "blocks of {block_length}");
        if block_length > 1 {
            assert!(bounds.iter().all(|bound| bound.standard_error > 0.0), "{bounds:?}");
            continue;
        }
        let exact = eval::score(&mut denoiser(&model, 3), &texts, given, Policy::top_k(1), 1.0).unwrap();
        for (bound, (exact, _)) in bounds.iter().zip(exact) {
            // The same eight costs of a few nats, in f64 and in f32.
            assert!((bound.nats - f64::from(exact)).abs() < 1e-4 && bound.standard_error < 1e-9, "{bound:?}, {exact}");
        }
    }
    let refused = eval::bounds(&mut denoiser(&model(&Vocab::ascii(), 16, 4), 1), &[vec![40; 6]], 0, 2, 1).unwrap_err();
    assert!(refused.to_string().contains("6 tokens; wanted whole blocks of 4"), "{refused}");
}

/// Prompts of no length, of some and of whole blocks, and a length that blocks do not fill.
const PROMPTS: [usize; 4] = [0, 3, 8, 13];
const LENGTH: usize = 18;

fn config(model: &SavedModel, policy: Policy) -> SampleConfig {
    SampleConfig::new(policy, 9, &model.process)
}

fn start(number: usize, length: usize) -> Start {
    let known = PROMPTS[number % PROMPTS.len()];
    (0..length).map(|p| (p < known).then_some((number + p) as u32 % 60 + 33)).collect()
}

fn texts(model: &SavedModel, config: &SampleConfig, batch: usize, numbers: Range<u32>) -> Vec<Text> {
    let starts: Vec<Start> = numbers.clone().map(|number| start(number as usize, LENGTH)).collect();
    let watch = Watch::Progress(&mut |_| {});
    sample::sample(&mut denoiser(model, batch), config, &starts, numbers.start, watch).unwrap()
}

#[test]
fn what_is_written_block_by_block_is_what_a_pass_over_the_whole_predicts() {
    let model = model(&Vocab::ascii(), 20, 5);
    let mask = model.process.mask_token_id();
    let greedy = SampleConfig { temperature: 0.0, ..config(&model, Policy::top_k(2)) };
    let whole: Vec<Start> = (0..4).map(|number| start(number, 20)).collect();
    let watch = Watch::Progress(&mut |_| {});
    let texts = sample::sample(&mut denoiser(&model, 4), &greedy, &whole, 0, watch).unwrap();
    let x0: Vec<u32> = texts.iter().flat_map(|text| text.tokens.clone()).collect();
    let committed: Vec<Option<u32>> = texts.iter().flat_map(|text| text.committed_at.clone()).collect();
    let mut pass = Pass::new(&model.process, &model.config, &model.weights, 4);
    for step in 0..3 {
        // What stood there before the step: in every block at once.
        let before = |(&id, at): (&u32, &Option<u32>)| if at.is_none_or(|at| at < step) { id } else { mask };
        let xt: Vec<u32> = x0.iter().zip(&committed).map(before).collect();
        let (logits, _) = pass.run(&xt, &x0);
        for (i, logits) in logits.chunks_exact(model.config.vocab_size).enumerate() {
            if committed[i] == Some(step) {
                let symbols = (0..logits.len()).filter(|&id| id as u32 != mask);
                let best = symbols.max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
                assert_eq!(best as u32, x0[i], "token {i} in step {step}");
            }
        }
    }
    assert!(committed.iter().flatten().max() == Some(&2), "two of five at a time");
}

#[test]
fn a_text_is_the_same_alone_and_among_others_by_every_kind_of_policy() {
    let model = model(&Vocab::ascii(), 20, 5);
    for policy in ["ancestral:4", "top-k:2", "first-hitting", "remdm-cap:0.2:8"] {
        let config = SampleConfig { blocks: 2, overlap: 7, ..config(&model, policy.parse().unwrap()) };
        let together = texts(&model, &config, 7, 0..7);
        let alone: Vec<Text> = (0..7).flat_map(|number| texts(&model, &config, 1, number..number + 1)).collect();
        assert_eq!(together, alone, "{policy}");
        for (number, text) in together.iter().enumerate() {
            assert_eq!(text.tokens.len(), 2 * LENGTH - 7);
            assert_eq!(text.steps.len(), 2 * 4, "steps of every block of two windows");
            let given: Vec<u32> = start(number, LENGTH).into_iter().flatten().collect();
            assert!(text.tokens.starts_with(&given) && !text.tokens.contains(&model.process.mask_token_id()));
        }
    }
}

#[test]
fn who_watches_sees_the_whole_text_so_far() {
    let model = model(&Vocab::ascii(), 20, 5);
    let config = SampleConfig { blocks: 2, overlap: 7, ..config(&model, Policy::top_k(2)) };
    let mut frames: Vec<Vec<u32>> = Vec::new();
    let watch = Watch::Steps(&mut |frame| frames.push(frame.first_text()));
    let text = sample::sample(&mut denoiser(&model, 1), &config, &[start(1, LENGTH)], 1, watch).unwrap().remove(0);
    let mask = model.process.mask_token_id();
    for (frame, next) in frames.iter().zip(&frames[1..]) {
        // What is written stays, and what is new is the block that is being written.
        let stays = frame.iter().zip(next).all(|(&id, &then)| id == mask || id == then);
        assert!(stays && frame.len() <= next.len(), "{frame:?}, {next:?}");
    }
    assert_eq!(frames[0].len(), 5);
    assert_eq!(frames.last(), Some(&text.tokens));
}

#[test]
fn known_tokens_behind_an_open_block_are_refused() {
    let model = model(&Vocab::ascii(), 20, 5);
    let of = |known: usize| {
        let start: Start = (0..LENGTH).map(|p| (p < 2 || p == known).then_some(65)).collect();
        let watch = Watch::Progress(&mut |_| {});
        sample::sample(&mut denoiser(&model, 1), &config(&model, Policy::top_k(1)), &[start], 0, watch)
    };
    assert_eq!(of(4).unwrap()[0].tokens[4], 65);
    let error = of(5).unwrap_err().to_string();
    assert!(error.contains("a text with 3 open tokens before known ones"), "{error}");
}

/// What a block model thinks of a text's tokens when it is repaired keeps what stands before each block, once for all stripes and
/// texts. Here it is computed again for each stripe of each text alone.
#[test]
fn a_repair_judges_by_what_a_pass_over_all_that_stands_before_says() {
    let model = model(&Vocab::ascii(), 20, 5);
    let (mask, symbols) = (model.vocab.mask_id(), model.vocab.size());
    let text: String = (0..33).map(|i| char::from(33 + (i * 37 % 90) as u8)).collect();
    // What a window sees, and what of it is judged: of a long text, of one that fills a window, and of short ones.
    let windows = [vec![(0..20, 0..15), (10..30, 15..25), (13..33, 25..33)], vec![(0..20, 0..20)], vec![(0..7, 0..7)]];
    let texts = [&text[..], &text[..20], &text[9..16]];
    let config =
        RepairConfig { least: 1.0, sure: 0.0, rounds: 1, stripes: 3, lines: Lines::Free, ..Default::default() };
    let repaired = edit::repair(&mut denoiser(&model, 4), &config, &texts, &mut |_, _, _| {}).unwrap();
    let mut alone = denoiser(&model, 1);
    let mut judged = 0;
    for ((text, windows), repaired) in texts.iter().zip(windows).zip(repaired) {
        let tokens = model.vocab.encode(text).unwrap();
        for edit in &repaired.edits {
            let (seen, own) = windows.iter().find(|(_, own)| own.contains(&edit.at)).unwrap();
            let first = edit.at - (edit.at - seen.start) % 5;
            let hidden = |at: usize| own.contains(&at) && at % 3 == edit.at % 3;
            let start: Start = (first..first + 5).map(|at| tokens.get(at).copied().filter(|_| !hidden(at))).collect();
            let mut canvas = alone.canvas(&[start], &[SamplingParams::MOST_PROBABLE]).unwrap();
            canvas.stand_at(first - seen.start).unwrap();
            if first > seen.start {
                canvas.keep_before(&[&tokens[seen.start..first]]).unwrap();
            }
            let here = edit.at - first..edit.at - first + 1;
            let logits = canvas.logits(Family::Block, std::slice::from_ref(&here)).unwrap().remove(0);
            let logit = |id: usize| if id == mask as usize { f64::NEG_INFINITY } else { f64::from(logits[id]) };
            let most = (0..symbols).map(logit).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..symbols).map(|id| (logit(id) - most).exp()).sum();
            let p = (logit(tokens[edit.at] as usize) - most).exp() / sum;
            assert_eq!(edit.before, p, "{edit:?} of {text:?}");
            judged += 1;
        }
    }
    assert!(judged > 30, "{judged} of 60");
}

fn run() -> (RunConfig, Arc<Corpus>) {
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap());
    let mut config = Preset::Nano.run(DType::F32);
    config.model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, sequence_len: 24, short_conv: 0, ..config.model };
    config.model.vocab_size = corpus.vocab().size();
    let block_length = "4,12".parse().unwrap();
    config.process = ProcessConfig::Block { mask_token_id: corpus.vocab().mask_id(), block_length };
    (config.train.steps, config.train.batch, config.train.accumulate) = (60, 8, 2);
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
    let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
    let mut whole = trainer();
    let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
    // It begins with the logarithm of as many symbols as there are without the mask; how often each occurs alone takes it to 3.3.
    assert!((losses[0] - (config.model.vocab_size as f32 - 1.0).ln()).abs() < 0.3, "{}", losses[0]);
    assert!(losses[50..].iter().sum::<f32>() / 10.0 < 3.4, "{losses:?}");
    let mut first = trainer();
    make_steps(&mut first, 25);
    let mut second = trainer();
    second.restore(&first.state().unwrap()).unwrap();
    make_steps(&mut second, 35);
    assert_eq!(second.state().unwrap(), whole.state().unwrap());
}

#[test]
fn a_step_of_several_lengths_is_one_of_blocks_of_the_length_that_is_drawn() {
    let (config, corpus) = run();
    let trainer = |config: &RunConfig| Trainer::new(config, Arc::clone(&corpus), &Device::Cpu).unwrap();
    let mut mixed = trainer(&config);
    let mut alone =
        [4, 12].map(|length| trainer(&RunConfig { process: config.process.of_blocks(length), ..config.clone() }));
    let mut drawn = [0; 2];
    for step in 0..6 {
        let part = config.process.part_of_step(config.seed, step);
        drawn[part] += 1;
        alone[part].restore(&mixed.state().unwrap()).unwrap();
        assert_eq!(mixed.step().unwrap(), alone[part].step().unwrap());
        assert_eq!(mixed.state().unwrap(), alone[part].state().unwrap(), "step {step}");
    }
    assert!(drawn[0] > 0 && drawn[1] > 0, "{drawn:?}");
}

#[test]
fn lengths_are_read_and_written_as_one_or_several() {
    let process =
        |of: &str| ProcessConfig::read(&format!(r#"{{"kind": "block", "mask_token_id": 0, "block_length": {of}}}"#));
    for (file, option) in [("16", "16"), ("[4,16]", "4,16")] {
        let ProcessConfig::Block { block_length, .. } = process(file).unwrap() else { panic!("of blocks") };
        assert_eq!(block_length, option.parse().unwrap());
        assert_eq!(serde_json::to_string(&block_length).unwrap(), file);
    }
    for wrong in ["[]", "[4,4]", "\"four\"", "[1,2,3,4,5,6,7,8,9]"] {
        let error = process(wrong).unwrap_err().to_string();
        assert!(error.contains("wanted"), "{wrong}: {error}");
    }
}

#[test]
fn what_blocks_cannot_have_is_refused() {
    let (config, corpus) = run();
    let refused = |config: RunConfig| {
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    let with = |model: ModelConfig| RunConfig { model, ..config.clone() };
    let model = config.model.clone();
    let error = refused(with(ModelConfig { short_conv: 5, ..model.clone() }));
    assert!(error.contains("--short-conv 0"), "{error}");
    let error = refused(with(ModelConfig { diffusion_steps: 8, ..model.clone() }));
    assert!(error.contains("leave --timesteps out"), "{error}");
    let error = refused(with(ModelConfig { sequence_len: 26, ..model }));
    assert!(error.contains("blocks of 4 tokens in a window of 26"), "{error}");
    let error = refused(RunConfig { process: config.process.of_blocks(5), ..config.clone() });
    assert!(error.contains("blocks of 5 tokens in a window of 24"), "{error}");
    let levels: Levels = "learned".parse().unwrap();
    let objective = Objective::Nelbo { schedule: Schedule::Linear, levels };
    let error = refused(RunConfig { objective, ..config.clone() });
    assert!(error.contains("blocks have levels of their own"), "{error}");
    let error = refused(RunConfig { objective: Objective::Nll, ..config });
    assert!(error.contains("is of --process ar"), "{error}");
    assert_eq!(Family::Block.objective(Objective::Nll), Objective::simple(Schedule::Linear));
}

#[test]
fn commands_use_a_model_of_several_lengths_as_one_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(tempest(tiny_run(&run, 20)).args(["--process", "block", "--block-length", "4,8"]));
    let said = |line: &str| {
        let run = run.display().to_string();
        tempest(line.split(' ').map(|word| if word == "RUN" { run.as_str() } else { word }))
    };
    let text = |line: &str| String::from_utf8(succeed(&mut said(line)).stdout).unwrap();
    let eval = "eval --run RUN --windows 8 --passes 8 --steps 2 --duel-windows 0 --json";
    let [first, shorter, longer] =
        ["", " --block-length 4", " --block-length 8"].map(|of| text(&format!("{eval}{of}")));
    assert!(first == shorter && first != longer, "{first}, {longer}");
    let [first, shorter] = ["", " --block-length 4"].map(|of| text(&format!("sample --run RUN --prompt ROMEO{of}")));
    assert_eq!(first, shorter);
    succeed(&mut said("check --run RUN"));
    for (line, want) in [
        ("sample --run RUN --block-length 5", "blocks of 5 tokens in a window of 16"),
        ("sample --model built-in --block-length 4", "--block-length is for a model of --process block"),
        ("train --process block --block-length 4,4", "block lengths [4, 4]; wanted 1 to 8 of them"),
    ] {
        let error = fail(&mut said(line), 2);
        assert!(error.contains(want), "{line}: {error}");
    }
}
