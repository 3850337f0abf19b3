//! Bad input gets a message that names the thing, what was found, what was wanted and the cure, and exit code 2.

mod common;

use clap::ValueEnum;
use common::{fail, succeed, tempest, tiny_run};
use std::path::{Path, PathBuf};
use tempest::config::Family;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn run(&self) -> PathBuf {
        self.0.path().join("run")
    }
}

/// The message of a training run with these extra arguments; nothing may be left of the run.
#[track_caller]
fn refused(folder: &Folder, extra: &[&str]) -> String {
    let said = fail(tempest(tiny_run(&folder.run(), 5)).args(extra), 2);
    assert!(!folder.run().exists(), "a refused run left a folder");
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn a_corpus_must_be_there_readable_and_not_empty() {
    let f = Folder::new();
    says(&refused(&f, &["--data", "/nowhere/text.txt"]), &["/nowhere/text.txt", "check the path"]);
    let empty = f.file("empty.txt", "");
    says(&refused(&f, &["--data", empty.to_str().unwrap()]), &["empty.txt", "empty"]);
    let binary = f.file("binary.txt", [b'a', 0xff, 0xfe]);
    says(&refused(&f, &["--data", binary.to_str().unwrap()]), &["binary.txt", "UTF-8"]);
}

#[test]
fn a_corpus_must_hold_a_window() {
    let f = Folder::new();
    let short = f.file("short.txt", "to be or not to be");
    says(&refused(&f, &["--data", short.to_str().unwrap()]), &["short.txt", "16"]);
}

#[test]
fn unknown_characters_are_located_and_can_be_replaced() {
    let f = Folder::new();
    let text = "to be, or not to be\n".repeat(40) + "thé end\n";
    let data = f.file("accent.txt", text);
    let data = ["--data", data.to_str().unwrap(), "--vocab", "ascii"];
    says(&refused(&f, &data), &["line 41", "column 3", "U+00E9", "--unknown replace"]);
    succeed(tempest(tiny_run(&f.run(), 2)).args(data).args(["--unknown", "replace"]));
}

#[test]
fn sizes_of_zero_are_refused() {
    let f = Folder::new();
    for (flag, what, wanted) in [
        ("--batch", "batch is 0", "at least 1"),
        ("--steps", "steps is 0", "at least 1"),
        ("--layers", "0 layers", "at least 1"),
        ("--heads", "0 heads", "at least 1"),
        ("--width", "0 width", "at least 1"),
        ("--positions", "0 positions", "at least 1"),
        ("--accumulate", "accumulate is 0", "at least 1"),
        ("--checkpoint-every", "checkpoint_every is 0", "at least 1"),
        ("--threads", "--threads is 0", "at least 1"),
        ("--lr", "lr is 0", "above 0"),
    ] {
        let mut args = tiny_run(&f.run(), 5);
        match args.iter().position(|a| a == flag) {
            Some(at) => args[at + 1] = "0".into(),
            None => args.extend([flag, "0"].map(String::from)),
        }
        says(&fail(&mut tempest(args), 2), &[what, wanted]);
        assert!(!f.run().exists());
    }
}

#[test]
fn dimensions_that_do_not_fit_are_refused() {
    let f = Folder::new();
    let args = |flag: &str, value: &str| {
        let mut args = tiny_run(&f.run(), 5);
        let at = args.iter().position(|a| a == flag).unwrap();
        args[at + 1] = value.into();
        args
    };
    says(
        &fail(&mut tempest(args("--heads", "3")), 2),
        &["3 heads do not divide a width of 16", "try --width 12, or another --heads"],
    );
    says(&refused(&f, &["--context", "16"]), &["context of 16", "16 positions"]);
    says(&refused(&f, &["--preset", "huge"]), &["huge", "nano, small, large, original"]);
    says(&refused(&f, &["--objective", "original"]), &["diffusion_steps = 0", "--timesteps"]);
}

#[test]
fn a_run_folder_must_be_free_and_writable() {
    let f = Folder::new();
    succeed(&mut tempest(tiny_run(&f.run(), 2)));
    says(&fail(&mut tempest(tiny_run(&f.run(), 2)), 2), &["holds a run already", "--resume", "--out"]);
    let file = f.file("file", "");
    says(&fail(&mut tempest(tiny_run(&file.join("run"), 2)), 2), &["file"]);
    says(&fail(&mut tempest(["train", "--resume", f.0.path().to_str().unwrap()]), 2), &["holds no run"]);
}

#[test]
fn a_checkpoint_of_another_configuration_is_not_resumed() {
    let f = Folder::new();
    succeed(&mut tempest(tiny_run(&f.run(), 20)));
    let config = f.run().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("lr = 0.012", "lr = 0.001")).unwrap();
    let said = fail(&mut tempest(["train", "--resume", f.run().to_str().unwrap()]), 2);
    says(&said, &["state.safetensors", "another configuration"]);
    std::fs::write(&config, text.replace("n_layer", "n_layers")).unwrap();
    says(&fail(&mut tempest(["train", "--resume", f.run().to_str().unwrap()]), 2), &["config.toml", "n_layers"]);
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let f = Folder::new();
    succeed(&mut tempest(tiny_run(&f.run(), 20)));
    let state = f.run().join("state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 100]).unwrap();
    let said = fail(&mut tempest(["train", "--resume", f.run().to_str().unwrap()]), 2);
    says(&said, &["state.safetensors"]);
}

#[test]
fn a_text_that_changed_is_not_resumed() {
    let f = Folder::new();
    let data = f.file("text.txt", "to be, or not to be\n".repeat(100));
    let args = ["--data", data.to_str().unwrap()];
    succeed(tempest(tiny_run(&f.run(), 5)).args(args));
    f.file("text.txt", "to be, or not to do\n".repeat(100));
    says(&fail(&mut tempest(["train", "--resume", f.run().to_str().unwrap()]), 2), &["text.txt", "has changed"]);
}

#[test]
fn a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint() {
    let f = Folder::new();
    let mut args = tiny_run(&f.run(), 400);
    // Every step makes the weights 9 times as large, with another sign.
    args.extend(["--lr", "1", "--weight-decay", "10", "--lr-schedule", "constant", "--clip", "0"].map(String::from));
    let warmup = args.iter().position(|a| a == "--warmup").unwrap();
    args[warmup + 1] = "0".into();
    let every = args.iter().position(|a| a == "--checkpoint-every").unwrap();
    args[every + 1] = "1".into();
    let said = fail(&mut tempest(args), 1);
    says(&said, &["step ", "the checkpoint of step ", "is kept in", "lower --lr or lower --muon-lr or set --clip 1"]);
    // What is kept is whole and was written before the step that failed.
    let state = std::fs::read(f.run().join("state.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&state).unwrap();
    let weights: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor("weights").unwrap().data());
    assert!(weights.iter().all(|w| w.is_finite()));
    // Its model predicts numbers.
    let run = f.run().display().to_string();
    succeed(&mut tempest(["eval", "--run", &run, "--windows", "4", "--duel-windows", "2"]));
    succeed(&mut tempest(["sample", "--run", &run]));
}

#[test]
fn weights_that_no_loss_has_seen_are_not_kept_where_they_predict_no_numbers() {
    let f = Folder::new();
    let mut args = tiny_run(&f.run(), 5);
    args.extend(["--optimizer", "adamw", "--lr", "1e30"].map(String::from));
    let every = args.iter().position(|a| a == "--checkpoint-every").unwrap();
    args[every + 1] = "1".into();
    let said = fail(&mut tempest(args), 1);
    says(&said, &["step 1: a prediction is NaN", "there is no checkpoint yet", "lower --lr or lower --clip (now 1)"]);
    assert!(!f.run().join("model.safetensors").exists() && !f.run().join("state.safetensors").exists());
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_written_file() {
    let f = Folder::new();
    // A limit on file sizes fails like a full disk: in the middle of a write.
    let command = tiny_run(&f.run(), 20).join(" ");
    let script = format!("trap '' XFSZ; ulimit -f 8; exec {} {command}", env!("CARGO_BIN_EXE_tempest"));
    let said = fail(std::process::Command::new("sh").args(["-c", &script]), 2);
    says(&said, &["safetensors", "cannot"]);
    let left: Vec<_> = std::fs::read_dir(f.run()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| Path::new(name).extension().is_none_or(|e| e != "tmp")), "{left:?}");
    assert!(!f.run().join("state.safetensors").exists());
}

#[test]
fn golden_sets_that_are_missing_or_damaged_are_named() {
    let f = Folder::new();
    says(&fail(tempest(["check", "--against"]).arg(f.0.path().join("none")), 2), &["none.json", "check the path"]);
    f.file("bad.json", "{}");
    says(&fail(tempest(["check", "--against"]).arg(f.0.path().join("bad")), 2), &["bad.json", "n_layer"]);
}

#[test]
fn a_process_that_is_not_known_is_refused_wherever_it_is_named() {
    let f = Folder::new();
    let known: Vec<String> = Family::value_variants().iter().map(Family::to_string).collect();
    let known = known.join(", ");
    says(&refused(&f, &["--process", "another"]), &["'another'", &format!("[possible values: {known}]")]);
    succeed(tempest(tiny_run(&f.run(), 2)).args(["--process", "masked"]));
    let config = f.run().join("config.toml");
    let other = std::fs::read_to_string(&config).unwrap().replace("kind = \"masked\"", "kind = \"another\"");
    std::fs::write(&config, other).unwrap();
    for command in [["train", "--resume"], ["sample", "--run"]] {
        let said = fail(tempest(command).arg(f.run()), 2);
        let wanted = format!("the process is \"another\", and this version knows {known}; bring tempest up to date");
        says(&said, &["config.toml", &wanted]);
    }
}

#[test]
fn an_objective_that_a_model_cannot_be_trained_by_is_refused() {
    let said = refused(&Folder::new(), &["--objective", "original"]);
    says(&said, &["the original objective draws timesteps, but this model has none", "--timesteps 128"]);
}
