//! What users bring as text, through the commands: line ends of Windows, byte order marks, folders that hold the run, devices,
//! and texts that are not what they were.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

/// A run on a text, in the text's folder.
fn train(out: &Path, data: &Path, extra: &[&str]) -> Command {
    let mut command = tempest(tiny_run(out, 20));
    command.arg("--data").arg(data).args(extra);
    command
}

fn said(mut command: Command) -> String {
    String::from_utf8(succeed(&mut command).stderr).unwrap()
}

fn eval(run: &Path, extra: &[&str]) -> Command {
    let mut command = tempest(["eval", "--windows", "4", "--passes", "1", "--duel-windows", "0", "--steps", "1"]);
    command.arg("--run").arg(run).args(extra);
    command
}

fn windows_text() -> String {
    format!("\u{feff}{}", "To be, or not to be:\r\nthat is the question.\r\n".repeat(50))
}

#[test]
fn a_text_from_windows_trains_the_model_that_the_same_text_from_unix_trains() {
    let f = Folder::new();
    let (unix, windows) = (windows_text().replace("\r\n", "\n").replace('\u{feff}', ""), windows_text());
    let (unix, windows) = (f.file("unix.txt", unix), f.file("windows.txt", windows));
    assert!(!said(train(&f.path("u"), &unix, &[])).contains("CR LF"));
    let note = "100 line ends of CR LF read as LF (--newlines keep reads both)";
    let told = said(train(&f.path("w"), &windows, &[]));
    assert!(told.contains(note) && told.contains(" vocabulary of 19,"), "{told}");
    let model = |run| fs::read(f.path(run).join("model.safetensors")).unwrap();
    assert!(model("u") == model("w"), "the same symbols, the same model");
    let kept = said(train(&f.path("k"), &windows, &["--newlines", "keep"]));
    assert!(kept.contains(" vocabulary of 20,") && !kept.contains("CR LF"), "{kept}");

    // Each run's text is read again as the run read it, and other texts as its model has learned to read.
    for (run, vocabulary) in [("w", "vocabulary of 19,"), ("k", "vocabulary of 20,")] {
        let own = said(eval(&f.path(run), &[]));
        assert!(own.contains(vocabulary), "{own}");
        let other = said(eval(&f.path(run), &["--data", windows.to_str().unwrap()]));
        assert_eq!(other.contains(note), run == "w", "{other}");
    }
}

/// Runs from before there was `--newlines` read every byte, and their configuration does not mention it.
#[test]
fn a_run_from_before_the_choice_goes_on_with_the_symbols_that_it_began_with() {
    let f = Folder::new();
    let data = f.file("text.txt", windows_text());
    let kept = ["--newlines", "keep"];
    said(train(&f.path("new"), &data, &kept));
    let config = fs::read_to_string(f.path("new/config.toml")).unwrap();
    assert!(config.contains("newlines = \"keep\"\n"), "{config}");
    // What such a run has: the configuration alone, as at its start.
    let old = config.replace("newlines = \"keep\"\n", "").replace("vocab_size = 20", "vocab_size = 21");
    let old = old.replace("mask_token_id = 19", "mask_token_id = 20");
    f.file("old/config.toml", &old);
    let mut resume = tempest(["train", "--resume"]);
    resume.arg(f.path("old"));
    let told = said(resume);
    assert!(told.contains(" vocabulary of 21,"), "CR and the byte order mark are symbols there: {told}");
    assert_eq!(fs::read_to_string(f.path("old/config.toml")).unwrap(), old);
}

#[test]
fn a_run_may_lie_within_its_text() {
    let f = Folder::new();
    let text = "to be, or not to be\n".repeat(60);
    f.file("texts/a.txt", &text);
    let data = f.path("texts");
    let run = f.path("texts/runs/1");
    said(train(&run, &data, &[]));
    let mut resume = tempest(["train", "--resume"]);
    resume.arg(&run);
    let told = said(resume);
    assert!(told.contains("all 20 steps of this run are done") && told.contains("1 run folder left out"), "{told}");
    // The next run reads the same text.
    let told = said(train(&f.path("texts/runs/2"), &data, &[]));
    assert!(told.contains("1,200 characters") && told.contains("1 run folder left out"), "{told}");
    assert!(said(eval(&run, &[])).contains("1,200 characters"));
}

#[test]
fn a_device_is_refused_at_once() {
    let f = Folder::new();
    let told = fail(&mut train(&f.path("run"), Path::new("/dev/zero"), &[]), 2);
    assert!(told.contains("/dev/zero: this is a device; give a text file, a folder or a pipe"), "{told}");
    assert!(!f.path("run").exists());
}

#[test]
fn a_run_is_not_measured_on_a_text_that_has_changed() {
    let f = Folder::new();
    let data = f.file("text.txt", "to be, or not to be\n".repeat(60));
    let run = f.path("run");
    // Windows that begin with given tokens, so that sampling takes beginnings from the text.
    said(train(&run, &data, &["--context", "4"]));
    f.file("text.txt", "to be, or not to be\n".repeat(61));
    let told = fail(&mut eval(&run, &[]), 2);
    assert!(told.contains("text.txt: the text has changed since the run began (SHA-256 "), "{told}");
    assert!(told.contains("name the text to measure on with --data"), "{told}");
    let mut sample = tempest(["sample", "--length", "16", "--run"]);
    let told = fail(sample.arg(&run), 2);
    assert!(told.contains("the text has changed since the run began"), "{told}");
    // Whoever names a text means it.
    said(eval(&run, &["--data", data.to_str().unwrap()]));
    let mut sample = tempest(["sample", "--length", "16", "--data", data.to_str().unwrap(), "--run"]);
    sample.arg(&run);
    said(sample);
}

#[test]
fn newlines_are_a_choice_of_texts_that_the_user_names() {
    let f = Folder::new();
    let data = f.file("text.txt", "to be, or not to be\n".repeat(60));
    said(train(&f.path("run"), &data, &[]));
    let told = fail(&mut eval(&f.path("run"), &["--newlines", "keep"]), 2);
    assert!(told.contains("--data"), "{told}");
}

#[test]
fn packed_texts_and_lines_of_json_train_what_the_same_text_trains() {
    let f = Folder::new();
    let lines: Vec<String> = (0..80).map(|i| format!("line {i}: to be, or \"not\" to be")).collect();
    let plain = f.file("plain.txt", lines.join("\n") + "\n");
    let pack = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    // As a string, and as a part of an object with more in it; blank lines are no records.
    let record = |(i, line): (usize, &String)| match i % 2 {
        0 => serde_json::json!(line).to_string() + "\n",
        _ => serde_json::json!({ "id": i, "text": line }).to_string() + "\n\n",
    };
    let records: String = lines.iter().enumerate().map(record).collect();
    let whole = lines.join("\n") + "\n";
    let (first, second) = whole.split_at(whole.len() / 2);
    let texts = [
        plain,
        f.file("packed.txt.gz", pack(&whole)),
        // Two packed files behind each other, as they are appended, are one.
        f.file("two.gz", [pack(first), pack(second)].concat()),
        f.file("records.jsonl", &records),
        f.file("records.JSONL.gz", pack(&records)),
    ];
    let models = texts.iter().enumerate().map(|(i, text)| {
        let run = f.path(&format!("run-{i}"));
        succeed(&mut train(&run, text, &[]));
        fs::read(run.join("model.safetensors")).unwrap()
    });
    let models: Vec<_> = models.collect();
    assert!(models.iter().all(|model| *model == models[0]));

    let run = f.path("refused");
    for (name, content, part) in [
        ("a.jsonl", "{\"text\": \"a\"}\n{\"content\": \"b\"}\n", "a.jsonl, line 2: holds no text; wanted a string, or"),
        ("b.jsonl", "\"a\"\n\nto be\n", "b.jsonl, line 3: expected"),
        ("c.txt.gz", "to be, or not to be", "c.txt.gz: cannot read the corpus: invalid gzip header"),
    ] {
        let said = fail(&mut train(&run, &f.file(name, content), &[]), 2);
        assert!(said.contains(part), "{name}: {said}");
        assert!(!run.exists());
    }
}
