//! Two models that share the work: what one verifies has its law, and what one mends keeps what was given.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::io::Write;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{DType, ModelConfig, ProcessConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::model::Params;
use tempest::rng::{Stream, normals, philox};
use tempest::sample::hybrid::{Hybrid, Pair, Refine};
use tempest::sample::{self, Policy, SampleConfig, Text};
use tempest::store::SavedModel;

/// A small model whose predictions are far from uniform.
fn model(vocab: &Vocab, process: ProcessConfig, sequence_len: usize, seed: u64, batch: usize) -> Denoiser {
    let (vocab_size, diffusion_steps, short_conv) = (vocab.size(), 0, 3);
    let config = ModelConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 16,
        sequence_len,
        vocab_size,
        diffusion_steps,
        vector_dims: 0,
        autoencoder: None,
        short_conv,
        architecture: Default::default(),
    };
    let n = Params::new(&config).len();
    let random = (0..n.div_ceil(4)).flat_map(|i| normals(philox(seed, Stream::Init, 9, i as u32)));
    let weights = random.take(n).map(|z| 0.15 * z).collect();
    let model = SavedModel { config, process, vocab: vocab.clone(), weights, step: 0 };
    Denoiser::new(&model, DType::F32, batch, &Device::Cpu).unwrap()
}

fn pair(vocab: &Vocab, length: usize, batch: usize) -> [Denoiser; 2] {
    let mask_token_id = vocab.mask_id();
    [
        model(vocab, ProcessConfig::Autoregressive { mask_token_id }, length, 5, batch),
        model(vocab, ProcessConfig::Masked { mask_token_id, context_len: 0, prompt_drop: 0.0 }, length, 6, batch),
    ]
}

#[test]
fn verified_texts_have_exactly_the_autoregressive_law() {
    // All texts of three symbols: as many windows as texts start where these do.
    let symbols = ['a', 'b', 'c'];
    let texts: String = (0..27).flat_map(|i| [symbols[i / 9], symbols[i / 3 % 3], symbols[i % 3]]).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(texts.as_bytes()).unwrap();
    let corpus = Arc::new(Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap());
    const BATCH: usize = 1000;
    const DRAWS: usize = 20 * BATCH;
    let [mut causal, mut masked] = pair(corpus.vocab(), 3, BATCH);
    causal.bind_corpus(&corpus).unwrap();
    let law: Vec<f64> =
        causal.likelihood(&(0..81), 27, 0, 27).unwrap().iter().map(|&[cost, _]| f64::from(-cost).exp()).collect();
    let order: Vec<Vec<u32>> = corpus.tokens().window(0..81).chunks(3).map(<[u32]>::to_vec).collect();
    let config = SampleConfig::new(Policy::top_k(1), 3, causal.process_config());
    for draft in [1, 2, 3] {
        let (mut counts, mut accepted, mut drafted) = ([0.0; 27], 0, 0);
        for first in (0..DRAWS as u32).step_by(BATCH) {
            let mut pair = Pair { first: &mut causal, masked: &mut masked };
            let starts = vec![sample::open(3); BATCH];
            let (texts, found) = pair.verify(draft, &config, &starts, first, &mut |_| {}).unwrap();
            texts
                .iter()
                .for_each(|text| counts[order.iter().position(|tokens| *tokens == text.tokens).unwrap()] += 1.0);
            (accepted, drafted) = (accepted + found.accepted, drafted + found.drafted);
            assert_eq!(found.written, 3 * BATCH as u64);
        }
        assert!(accepted > drafted / 4 && accepted < drafted * 39 / 40, "{accepted} of {drafted}");
        let chi2: f64 = counts.iter().zip(&law).map(|(n, p)| (n - p * DRAWS as f64).powi(2) / (p * DRAWS as f64)).sum();
        // 26 degrees of freedom, and five of their standard deviations.
        assert!(law.iter().all(|p| p * DRAWS as f64 >= 5.0), "{law:?}");
        assert!(chi2 < 26.0 + 5.0 * 52.0_f64.sqrt(), "drafts of {draft}: χ² {chi2}");
    }
}

/// Texts of prompts of several lengths, in batches of this size.
fn texts(hybrid: Hybrid, batch: usize) -> Vec<Text> {
    let vocab = Vocab::ascii();
    let [mut causal, mut masked] = pair(&vocab, 23, batch);
    let of = if matches!(hybrid, Hybrid::Verify { .. }) { &causal } else { &masked };
    let config = SampleConfig {
        temperature: 0.9,
        top_p: 0.9,
        top_symbols: 30,
        ..SampleConfig::new(Policy::top_k(3), 4, of.process_config())
    };
    let mut pair = Pair { first: &mut causal, masked: &mut masked };
    pair.check(hybrid).unwrap();
    let all: Vec<u32> = (0..5).collect();
    let batches = all.chunks(batch).map(|numbers| {
        let starts: Vec<Start> = numbers.iter().map(|&number| start(number)).collect();
        match hybrid {
            Hybrid::Refine(refine) => pair.refine(refine, &config, &starts, numbers[0], &mut |_| {}).unwrap(),
            Hybrid::Verify { draft } => pair.verify(draft, &config, &starts, numbers[0], &mut |_| {}).unwrap().0,
        }
    });
    batches.flatten().collect()
}

fn start(number: u32) -> Start {
    sample::prompt(&Vocab::ascii(), &"What light"[..number as usize * 2], 23).unwrap()
}

#[test]
fn texts_of_two_models_keep_their_prompts_and_do_not_depend_on_their_batch() {
    for hybrid in
        [Hybrid::Refine(Refine { rounds: 2, share: 0.4, stripes: 3, draft: None }), Hybrid::Verify { draft: 4 }]
    {
        let alone = texts(hybrid, 1);
        assert_eq!(alone, texts(hybrid, 5), "{hybrid:?}");
        for text in &alone {
            let start = start(text.number);
            let kept = |(given, token): (&Option<u32>, &u32)| given.is_none_or(|given| given == *token);
            assert!(start.iter().zip(&text.tokens).all(kept), "{text:?}");
            let known = start.iter().zip(&text.committed_at).all(|(given, at)| given.is_some() == at.is_none());
            assert!(known && text.tokens.iter().all(|&id| id != 0), "{text:?}");
        }
    }
}

#[test]
fn more_rounds_go_on_from_fewer_and_change_no_more_than_their_share() {
    let refine = |rounds| texts(Hybrid::Refine(Refine { rounds, share: 0.25, stripes: 4, draft: None }), 5);
    let [one, two] = [1, 2].map(refine);
    for (one, two) in one.iter().zip(&two) {
        let changed = one.tokens.iter().zip(&two.tokens).filter(|(a, b)| a != b).count();
        let open = start(one.number).iter().filter(|token| token.is_none()).count();
        assert!(changed <= (0.25 * open as f64).round() as usize, "{changed} of {open}");
        assert_eq!(two.steps[..2], one.steps);
    }
    assert_ne!(one, two);
}

#[test]
fn the_command_reports_acceptance_and_refuses_models_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, options: &[&str]| {
        let path = folder.path().join(name);
        let positions = if name == "wide" { "20" } else { "16" };
        let line = tiny_run(&path, 20).into_iter().map(|word| if word == "16" { positions.into() } else { word });
        succeed(tempest(line).args(options));
        path.display().to_string()
    };
    let [causal, masked, wide] = [run("causal", &["--process", "ar"]), run("masked", &[]), run("wide", &[])];
    let bytes = run("bytes", &["--vocab", "bytes"]);
    let [latent, uniform] = ["latent", "uniform"].map(|process| run(process, &["--process", process]));
    let sample = |first: &str, second: &str, more: &[&str]| {
        let mut command = tempest(["sample", "--run", first, "--with", second, "--prompt", "To be", "-n", "3"]);
        command.args(more);
        command
    };
    let verified = succeed(&mut sample(&causal, &masked, &["--hybrid", "verify", "--draft", "3"]));
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(said.contains("drafted chars accepted") && said.contains("chars/s"), "{said}");
    assert!(String::from_utf8_lossy(&verified.stdout).contains("To be"));
    let refined =
        |more: &[&str]| succeed(&mut sample(&causal, &masked, &[&["--hybrid", "refine"], more].concat())).stdout;
    assert_eq!(refined(&[]), refined(&["--batch", "2"]));
    // Any process drafts, in its own way.
    for (first, draft) in [(&latent, "ddim:4"), (&uniform, "ancestral:4"), (&masked, "top-k:2")] {
        let by = |more: &[&str]| {
            let options = [&["--hybrid", "refine", "--draft-sampler", draft, "--rounds", "1"], more].concat();
            succeed(&mut sample(first, &masked, &options)).stdout
        };
        assert!(String::from_utf8_lossy(&by(&[])).contains("To be"), "{first}");
        assert_eq!(by(&[]), by(&["--batch", "1"]), "{first}");
        assert_ne!(by(&[]), by(&["--remask", "1"]), "{first}");
    }
    for (first, second, more, want) in [
        (&masked, &masked, &["--hybrid", "verify"][..], "the first model of a hybrid is of process masked"),
        (&causal, &causal, &["--hybrid", "refine"], "the second model of a hybrid is of process ar"),
        (&causal, &bytes, &["--hybrid", "verify"], "the models have different symbols"),
        (&causal, &wide, &["--hybrid", "verify"], "windows of 16 and 20 tokens; wanted equal ones"),
        (&causal, &masked, &["--hybrid", "verify", "--rounds", "2"], "--rounds is for --hybrid refine"),
        (&causal, &masked, &["--hybrid", "verify", "--sampler", "top-k:4"], "--sampler is for masked diffusion"),
        (&causal, &masked, &["--hybrid", "refine", "--remask", "0"], "a share of 0 to mask again"),
        (&causal, &masked, &["--hybrid", "refine", "--draft-sampler", "top-k:2"], "drafts by the sampler top-k"),
        (
            &uniform,
            &masked,
            &["--hybrid", "refine", "--draft-sampler", "top-k:2"],
            "the sampler top-k chooses which masks",
        ),
        (
            &causal,
            &masked,
            &["--hybrid", "verify", "--draft-sampler", "ddim"],
            "--draft-sampler is for --hybrid refine",
        ),
        (&causal, &masked, &["--hybrid", "refine", "--blocks", "2", "--overlap", "4"], "a --hybrid writes one"),
        (&causal, &masked, &["--hybrid", "verify", "--length", "1000"], "and --length where it is longer"),
    ] {
        let error = fail(&mut sample(first, second, more), 2);
        assert!(error.contains(want), "{more:?}: {error}");
    }
}
