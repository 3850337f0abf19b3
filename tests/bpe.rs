//! Byte-level BPE: a `tokenizer.json` as a run's vocabulary.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::fs;
use std::path::{Path, PathBuf};
use tempest::config::{ProcessConfig, Unknown};
use tempest::data::{Corpus, Source, TINY_SHAKESPEARE, Vocab};
use tempest::sample::{Policy, SampleConfig, Text};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer, TokenizerBuilder,
};

/// A tokenizer of some of the built-in text, in a file of the folder.
fn tokenizer(folder: &Path, bytes: ByteLevel) -> PathBuf {
    let (text, path) = (folder.join("learned.txt"), folder.join("tokenizer.json"));
    fs::write(&text, &TINY_SHAKESPEARE[..100_000]).unwrap();
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let mut trainer = BpeTrainerBuilder::new().vocab_size(400).show_progress(false).initial_alphabet(alphabet).build();
    TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(bytes.into()))
        .with_decoder(Some(bytes.into()))
        .build()
        .unwrap()
        .train_from_files(&mut trainer, vec![text.display().to_string()])
        .unwrap()
        .save(&path, false)
        .unwrap();
    path
}

fn without_prefix_space() -> ByteLevel {
    ByteLevel::default().add_prefix_space(false)
}

#[test]
fn a_text_has_the_tokens_that_the_crate_gives_it_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = tokenizer(folder.path(), without_prefix_space());
    let vocab = Vocab::bpe(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((vocab.size(), vocab.mask_id()), (401, 400));
    let corpus = Corpus::open(&Source::Embedded, vocab.clone(), Unknown::Error).unwrap();
    let found = corpus.tokens().window(0..corpus.tokens().len());
    let whole = Tokenizer::from_file(&path).unwrap().encode_fast(TINY_SHAKESPEARE, false).unwrap();
    assert!(found == whole.get_ids());
    assert!(vocab.decode(&found) == TINY_SHAKESPEARE);
    assert_eq!(corpus.train().end, (found.len() as f64 * 0.9) as u64);
    // Characters that it has not learned from, and a mask.
    let ids = vocab.encode("naïve 🌍").unwrap();
    assert_eq!(vocab.decode_with(&[&ids[..], &[400], &ids].concat(), "·"), "naïve 🌍·naïve 🌍");
    assert_eq!(Vocab::from_json(&vocab.to_json()).unwrap(), vocab);
}

#[test]
fn a_run_with_a_tokenizer_needs_its_file_no_more_when_it_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (path, run) = (tokenizer(folder.path(), without_prefix_space()), folder.path().join("run"));
    succeed(tempest(tiny_run(&run, 20)).args(["--short-conv", "0", "--tokenizer"]).arg(&path));
    let config = run.join("config.toml");
    let again = |out: &str| {
        let mut command = tempest(["train", "--config"]);
        command.arg(&config).arg("--out").arg(folder.path().join(out));
        command
    };
    succeed(&mut again("again"));
    let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("again"));
    fs::write(&path, "{}").unwrap();
    assert!(fail(&mut again("changed"), 2).contains("tokenizer.json: is another tokenizer than the run's"));
    fs::remove_file(&path).unwrap();
    assert!(fail(&mut again("gone"), 2).contains("tokenizer.json"));
    succeed(tempest(["train", "--steps", "30", "--resume"]).arg(&run));
    let out = |words: &[&str]| String::from_utf8(succeed(tempest(words).arg("--run").arg(&run)).stdout).unwrap();
    let sampled = out(&["sample", "--prompt", "naïve"]);
    assert!(sampled.starts_with("naïve"), "{sampled}");
    let eval = ["eval", "--windows", "8", "--duel-windows", "0"];
    let table = out(&eval);
    assert!(table.contains("nats/token") && table.contains(" bits/char: a token is "), "{table}");
    let report: serde_json::Value = serde_json::from_str(&out(&[&eval[..], &["--json"]].concat())).unwrap();
    assert!(report["characters_per_token"].as_f64().unwrap() > 1.5, "{report}");
    let exported = folder.path().join("out.safetensors");
    assert!(out(&["export", "--out", exported.to_str().unwrap()]).contains("; 400 masks"));
    // Another run begins with its weights and its tokens.
    let tuned = folder.path().join("tuned");
    let mut tune = tempest(["train", "--steps", "5", "--batch", "4", "--from"]);
    succeed(tune.arg(run.join("model.safetensors")).arg("--out").arg(&tuned));
    succeed(tempest(["train", "--steps", "6", "--resume"]).arg(&tuned));
}

#[test]
fn what_does_not_give_every_text_back_is_no_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |json: &str| Vocab::bpe(json).unwrap_err().to_string();
    assert!(refused("{}").starts_with("not a tokenizer.json that can be read: "));
    let spaced = tokenizer(folder.path(), ByteLevel::default().add_prefix_space(true));
    assert!(refused(&fs::read_to_string(spaced).unwrap()).contains("wanted byte-level BPE"));
    let said = fail(tempest(tiny_run(&folder.path().join("run"), 5)).args(["--vocab", "bpe"]), 2);
    assert!(said.contains("a bpe vocabulary is that of a tokenizer.json; name one with --tokenizer"), "{said}");
}

#[test]
fn a_text_ends_before_its_stop_wherever_that_lies_in_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = tokenizer(folder.path(), without_prefix_space());
    let vocab = Vocab::bpe(&fs::read_to_string(&path).unwrap()).unwrap();
    let text = "First Citizen: naïve 🌍, before we proceed any further, hear me speak.";
    let tokens = vocab.encode(text).unwrap();
    let given = tokens.len() / 4;
    let begun = vocab.decode(&tokens[..given]).len();
    let plain = SampleConfig::new(Policy::top_k(1), 1, &ProcessConfig::Autoregressive { mask_token_id: 400 });
    let edges: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for length in [1, 2, 5] {
        for part in edges.windows(length + 1) {
            let stop = &text[part[0]..part[length]];
            let wanted = text[begun..].find(stop).map_or(text, |at| &text[..begun + at]);
            let whole = Text { tokens: tokens.clone(), committed_at: vec![None; tokens.len()], ..Text::default() };
            let config = SampleConfig { stop: Some(stop.into()), ..plain.clone() };
            let stopped = config.stopped(&vocab, whole, given);
            assert_eq!(stopped.decoded(&vocab), wanted, "{stop:?}");
            // No token more than it takes.
            let (less, is_given) = (stopped.tokens.len().saturating_sub(1), stopped.tokens.len() == given);
            assert!(is_given || vocab.decode(&stopped.tokens[..less]) != wanted, "{stop:?}");
        }
    }
}
