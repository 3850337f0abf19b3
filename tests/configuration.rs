//! A run's configuration goes in as it came out, changed where that is asked for.

mod common;

use common::{fail, figures, succeed, tempest, tiny_run};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{Preset, RunConfig, Training, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::train::Trainer;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The command that trains a run from the configuration of another.
fn train_from(run: &Path, out: &Path) -> std::process::Command {
    let mut command = tempest(["train", "--config"]);
    command.arg(run.join("config.toml")).arg("--out").arg(out);
    command
}

/// What a run leaves, but for how long things took.
fn remains(run: &Path) -> Vec<Vec<u8>> {
    let files = ["config.toml", "state.safetensors", "model.safetensors", "samples/step-0000020.txt"]
        .map(|name| fs::read(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    files.into_iter().chain([figures(run).into_bytes()]).collect()
}

fn configuration(run: &Path) -> String {
    fs::read_to_string(run.join("config.toml")).unwrap()
}

#[test]
fn a_run_from_the_configuration_of_another_is_equal_to_it_bit_by_bit() {
    let place = Place::new();
    let text = place.at("text.txt");
    fs::write(&text, "to be, or not to be\r\n".repeat(100)).unwrap();
    let text = text.to_str().unwrap();
    let ways: [&[&str]; 3] = [
        &[],
        &[
            "--optimizer",
            "muon",
            "--muon-lr",
            "0.02",
            "--lr-schedule",
            "wsd",
            "--levels",
            "beta:3:5",
            "--dtype",
            "bf16",
        ],
        &[
            "--preset",
            "original",
            "--context",
            "4",
            "--data",
            text,
            "--newlines",
            "keep",
            "--seed",
            "9223372036854775807",
        ],
    ];
    for (i, way) in ways.iter().enumerate() {
        let (first, second) = (place.at(&format!("first-{i}")), place.at(&format!("second-{i}")));
        succeed(tempest(tiny_run(&first, 20)).args(*way));
        succeed(&mut train_from(&first, &second));
        assert!(remains(&first) == remains(&second), "{way:?}");
    }
}

#[test]
fn a_dry_run_says_what_the_run_then_has_and_leaves_nothing() {
    let place = Place::new();
    let (run, said) = (place.at("run"), place.at("said.toml"));
    let dry = succeed(tempest(tiny_run(&run, 20)).args(["--optimizer", "adamw", "--dry-run"]));
    assert!(!run.exists());
    let told = String::from_utf8(dry.stderr).unwrap();
    for part in ["5,408 parameters", "memory    ", " of ", "time      about ", " for 20 steps"] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    // What it says is what the run writes, and can be trained.
    fs::write(&said, &dry.stdout).unwrap();
    succeed(tempest(tiny_run(&run, 20)).args(["--optimizer", "adamw"]));
    assert_eq!(String::from_utf8(dry.stdout).unwrap(), configuration(&run));
    let again = place.at("again");
    succeed(tempest(["train", "--config"]).arg(&said).arg("--out").arg(&again));
    assert!(remains(&run) == remains(&again));
}

#[test]
fn options_change_a_configuration_and_set_has_the_last_word() {
    let place = Place::new();
    let (run, other) = (place.at("run"), place.at("other"));
    succeed(tempest(tiny_run(&run, 20)).args(["--lr-schedule", "cosine"]));
    succeed(train_from(&run, &other).args(["--lr", "0.01", "--steps", "5", "--set", "optimizer.lr=0.02"]).args([
        "--set",
        "optimizer.eps=1e-6",
        "--set",
        "data.vocab=bytes",
    ]));
    let expected = configuration(&run)
        .replace("lr = 0.012\n", "lr = 0.02\n")
        .replace("eps = 0.00000001", "eps = 0.000001")
        .replace("steps = 20", "steps = 5")
        .replace("\"chars\"", "\"bytes\"")
        .replace("vocab_size = 66", "vocab_size = 257")
        .replace("mask_token_id = 65", "mask_token_id = 256");
    assert_eq!(configuration(&other), expected);
    // An option that names a part takes that part alone; with Muon goes the higher rate of what it leaves to AdamW.
    let plain = place.at("plain");
    succeed(train_from(&run, &plain).args(["--optimizer", "adamw", "--steps", "5"]));
    let expected = configuration(&run)
        .replace("\n[optimizer.muon]\nlr = 0.03\n", "")
        .replace("lr = 0.012\n", "lr = 0.003\n")
        .replace("steps = 20", "steps = 5");
    assert_eq!(configuration(&plain), expected);
}

#[test]
fn a_configuration_that_cannot_be_trained_is_refused_with_what_was_wanted() {
    let place = Place::new();
    let (run, text) = (place.at("run"), place.at("text.txt"));
    fs::write(&text, "to be, or not to be\n".repeat(100)).unwrap();
    succeed(tempest(tiny_run(&run, 5)).arg("--data").arg(&text));
    let whole = configuration(&run);
    let other = place.at("other");
    let refused = |args: &[&str]| {
        let said = fail(train_from(&run, &other).args(args), 2);
        assert!(!other.exists(), "a refused run left a folder");
        said
    };
    for (args, part) in [
        (&["--set", "optimizer.rate=1"][..], "--set optimizer.rate=1: unknown field `rate`, expected one of `lr`"),
        (&["--set", "optimizer.lr=0"], "lr is 0; wanted a finite number above 0"),
        (&["--set", "lr"], "wanted KEY=VALUE, as in optimizer.lr=1e-3"),
        (&["--set", "data.sha256=0"], "data.sha256 is told by the text and the program"),
        (&["--set", "model.n_head=3"], "try --width 12, or another --heads"),
        (&["--optimizer", "adamw", "--muon-lr", "0.1"], "--muon-lr is for --optimizer muon, and this is adamw"),
        (&["--preset", "small"], "cannot be used with"),
    ] {
        let said = refused(args);
        assert!(said.contains(part), "{args:?}: {part:?} is not in: {said}");
    }
    for (from, to, part) in [
        ("n_layer", "n_layers", "config.toml: TOML parse error at line 6"),
        ("lr = 0.012", "lr = -1.0", "config.toml: lr is -1; wanted a finite number above 0"),
        ("seed = 1\n", "", "missing field `seed`"),
    ] {
        fs::write(run.join("config.toml"), whole.replace(from, to)).unwrap();
        let said = refused(&[]);
        assert!(said.contains(part), "{from}: {part:?} is not in: {said}");
    }
    fs::write(run.join("config.toml"), &whole).unwrap();
    assert!(
        fail(tempest(["train", "--config", "/nowhere/config.toml"]).arg("--out").arg(&other), 2)
            .contains("check the path")
    );
    // The text is another than the one that the configuration names, and is one by name.
    fs::write(&text, "to be, or not to do\n".repeat(100)).unwrap();
    let said = refused(&[]);
    assert!(said.contains("text.txt: the text has changed") && said.contains("with --data"), "{said}");
    succeed(train_from(&run, &other).arg("--data").arg(&text));
}

#[test]
fn every_entry_of_the_speedrun_is_a_whole_configuration() {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let entries: Vec<PathBuf> = (["speedrun", "families"].into_iter())
        .flat_map(|folder| fs::read_dir(benches.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    assert!(!entries.is_empty());
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap());
    for entry in entries {
        let config = RunConfig::open(&entry).unwrap();
        let text = fs::read_to_string(&entry).unwrap();
        let (comment, configuration) = text.split_once("\n\n").unwrap();
        assert!(comment.starts_with("# "), "{}: {comment}", entry.display());
        assert_eq!(config.to_toml(), configuration, "{}", entry.display());
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
    }
}

#[test]
fn the_record_of_nano_is_what_the_preset_trains() {
    let entry = RunConfig::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/speedrun/nano.toml")).unwrap();
    let preset = Preset::Nano;
    let Training { vocab, objective, batch, steps, optimizer } = preset.training();
    assert_eq!(entry.model, preset.model(entry.model.vocab_size));
    assert_eq!((entry.data.vocab, entry.objective, entry.optimizer), (vocab, objective, optimizer));
    assert_eq!((entry.train.batch, entry.train.steps), (batch, steps));
}
