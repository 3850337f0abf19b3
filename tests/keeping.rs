//! A run belongs to its owner: it moves, goes on for longer, and is the beginning of another.

mod common;

use common::{fail, figures, succeed, tempest, tiny_run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A command that starts in it.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = tempest(args);
        command.current_dir(self.0.path());
        command
    }
}

fn resume(run: &Path) -> Command {
    let mut command = tempest(["train", "--resume"]);
    command.arg(run);
    command
}

fn stderr(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stderr).unwrap()
}

fn configuration(run: &Path) -> String {
    fs::read_to_string(run.join("config.toml")).unwrap()
}

/// What a run leaves that does not depend on when it was made.
fn remains(run: &Path) -> Vec<Vec<u8>> {
    let files = ["config.toml", "state.safetensors", "model.safetensors"]
        .map(|name| fs::read(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    files.into_iter().chain([figures(run).into_bytes()]).collect()
}

#[test]
fn a_run_goes_on_in_another_folder_with_its_text_at_another_path() {
    let place = Place::new();
    let (text, run) = (place.text("text.txt", &"to be, or not to be\n".repeat(100)), place.at("run"));
    succeed(tempest(tiny_run(&run, 20)).arg("--data").arg(&text));
    let (moved, away) = (place.at("moved.txt"), place.at("away"));
    fs::rename(&text, &moved).unwrap();
    fs::rename(&run, &away).unwrap();
    let said = fail(&mut resume(&away), 2);
    assert!(said.contains("text.txt: the text of the run is not there any more") && said.contains("--data"), "{said}");
    // Another text is none, wherever it lies.
    let other = place.text("other.txt", &"to do, or not to do\n".repeat(100));
    let said = fail(resume(&away).arg("--data").arg(&other), 2);
    assert!(said.contains("other.txt: the text has changed since the run began"), "{said}");
    let before = configuration(&away);
    succeed(resume(&away).arg("--data").arg(&moved));
    assert_eq!(configuration(&away), before.replace("text.txt", "moved.txt"));
    // From now on it is found there.
    succeed(&mut resume(&away));
}

#[test]
fn a_run_that_goes_on_for_longer_is_equal_to_one_that_was_as_long_from_the_start() {
    let place = Place::new();
    let (run, whole) = (place.at("run"), place.at("whole"));
    // Where the learning rate does not depend on how long the run is.
    let how = ["--lr-schedule", "constant"];
    let args = |out: &Path, steps| {
        let mut args = tiny_run(out, steps);
        for flag in ["--eval-every", "--sample-every"] {
            let at = args.iter().position(|arg| arg == flag).unwrap();
            args[at + 1] = "20".into();
        }
        args
    };
    succeed(tempest(args(&run, 20)).args(how));
    succeed(tempest(args(&whole, 40)).args(how));
    let said = stderr(resume(&run).args(["--steps", "40"]));
    assert!(said.contains("from step 20") && !said.contains("note: over"), "{said}");
    assert!(remains(&run) == remains(&whole));
    // Fewer than are done are none.
    let said = fail(resume(&run).args(["--steps", "30"]), 2);
    assert!(said.contains("--steps is 30, and 40 steps of this run are done; give 40 or more"), "{said}");
    assert!(remains(&run) == remains(&whole));
}

#[test]
fn other_lengths_and_intervals_are_kept_and_what_they_do_to_the_learning_rate_is_said() {
    let place = Place::new();
    let run = place.at("run");
    succeed(&mut tempest(tiny_run(&run, 20)));
    let before = configuration(&run);
    let said = stderr(resume(&run).args(["--steps", "30", "--eval-every", "10", "--checkpoint-every", "5"]));
    assert!(
        said.contains("note: over 30 steps the next learning rate is 0.00") && said.contains("over 20 it was 0"),
        "{said}"
    );
    assert!(said.contains("step 25: checkpoint written"), "{said}");
    let changed = before
        .replace("steps = 20", "steps = 30")
        .replace("eval_every = 50", "eval_every = 10")
        .replace("checkpoint_every = 20", "checkpoint_every = 5");
    assert_eq!(configuration(&run), changed);
    for option in ["--lr=1", "--batch=1", "--seed=1", "--layers=1", "--out=x", "--from=x", "--set=seed=1"] {
        let said = fail(resume(&run).arg(option), 2);
        assert!(said.contains("cannot be used with"), "{option}: {said}");
    }
}

#[test]
fn a_run_begins_with_the_weights_of_another_on_another_text() {
    let place = Place::new();
    let first = place.text("first.txt", &"to be, or not to be\n".repeat(100));
    let second = place.text("second.txt", &"to bet on one bet\n".repeat(100));
    let (run, tuned) = (place.at("run"), place.at("tuned"));
    succeed(tempest(tiny_run(&run, 20)).arg("--data").arg(&first));
    let model = run.join("model.safetensors");
    let tune = |text: &Path| {
        let mut command = tempest(["train", "--steps", "10", "--eval-windows", "8", "--batch", "4", "--from"]);
        command.arg(&run).arg("--data").arg(text).arg("--out").arg(&tuned);
        command
    };
    // The model decides on the symbols, and the text may have none that it lacks.
    let accents = place.text("accents.txt", &"to bé\n".repeat(100));
    let said = fail(&mut tune(&accents), 2);
    assert!(
        said.contains("\"é\" (U+00E9) is not in the chars vocabulary") && said.contains("--unknown replace"),
        "{said}"
    );
    assert!(!tuned.exists());
    succeed(&mut tune(&second));
    let config = configuration(&tuned);
    assert!(config.contains("n_embd = 16") && config.contains("[from]\nmodel = "), "{config}");
    let symbols = |run: &Path| {
        let bytes = fs::read(run.join("model.safetensors")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        header.metadata().as_ref().unwrap()["vocab"].clone()
    };
    assert_eq!(symbols(&tuned), symbols(&run));
    // Its configuration makes it again; and it needs its first model no more.
    let again = place.at("again");
    succeed(tempest(["train", "--config"]).arg(&tuned).arg("--out").arg(&again));
    assert!(remains(&tuned) == remains(&again));
    fs::write(&model, "").unwrap();
    succeed(resume(&tuned).args(["--steps", "15"]));
    let said = fail(tempest(["train", "--config"]).arg(tuned.join("config.toml")).args(["--out", "nowhere"]), 2);
    assert!(said.contains("model.safetensors"), "{said}");
}

#[test]
fn weights_to_begin_with_are_learned_from_at_once() {
    let place = Place::new();
    let (run, tuned) = (place.at("run"), place.at("tuned"));
    succeed(&mut tempest(tiny_run(&run, 100)));
    let first_loss = |run: &Path| {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        serde_json::from_str::<serde_json::Value>(text.lines().next().unwrap()).unwrap()["loss"].as_f64().unwrap()
    };
    succeed(
        tempest(["train", "--steps", "1", "--eval-windows", "8", "--batch", "4", "--out"])
            .arg(&tuned)
            .arg("--from")
            .arg(run.join("model.safetensors")),
    );
    // Random weights predict every symbol alike; these have learned for 100 steps which are frequent.
    assert!(first_loss(&tuned) < 0.9 * first_loss(&run), "{} {}", first_loss(&run), first_loss(&tuned));
}

#[test]
fn runs_are_listed_named_and_found() {
    let place = Place::new();
    let said = stderr(&mut place.command(&["runs"]));
    assert!(said.contains("runs: holds no runs; `tempest train` makes one"), "{said}");
    for command in ["eval", "export"] {
        let said = fail(&mut place.command(&[command]), 2);
        assert!(said.contains("runs: holds no trained run") && said.contains("--model"), "{said}");
    }
    let train = |steps: u32, name: &str| {
        let args = tiny_run(Path::new(name), steps);
        let (args, name) = (args[..args.len() - 2].to_vec(), ["--name", name]);
        let mut command = tempest(args);
        command.args(name).current_dir(place.0.path());
        command
    };
    succeed(&mut train(20, "older"));
    succeed(&mut train(40, "newer"));
    let said = fail(&mut train(20, "older"), 2);
    assert!(said.contains("runs/older: holds a run already"), "{said}");
    assert!(fail(&mut train(20, "a/b"), 2).contains("wanted the name of a folder; a path goes to --out"));
    let listed = String::from_utf8(succeed(&mut place.command(&["runs"])).stdout).unwrap();
    let rows: Vec<_> = listed.lines().collect();
    assert!(rows[0].starts_with("run") && rows.len() == 3, "{listed}");
    assert!(
        rows[1].starts_with("runs/older  Tiny Shakespeare  20 of 20  ") && rows[2].contains("40 of 40"),
        "{listed}"
    );
    assert!(rows[1].contains(" nats/char  5,408  ") && rows[1].ends_with(" ago"), "{listed}");
    // The newest is meant where none is named, and it is said which.
    let newest = succeed(&mut place.command(&["sample"]));
    assert!(String::from_utf8_lossy(&newest.stderr).contains("run       runs/newer"));
    assert_eq!(newest.stdout, succeed(&mut place.command(&["sample", "--run", "newer"])).stdout);
    assert_ne!(newest.stdout, succeed(&mut place.command(&["sample", "--run", "older"])).stdout);
    assert!(stderr(&mut place.command(&["train", "--resume", "older"])).contains("all 20 steps of this run are done"));
    let said = fail(&mut place.command(&["sample", "--run", "none"]), 2);
    assert!(said.contains("none: holds no run") && said.contains("`tempest runs`"), "{said}");
}

#[test]
fn without_a_run_the_built_in_model_writes_and_it_is_said() {
    let place = Place::new();
    let sample = succeed(&mut place.command(&["sample"]));
    let said = String::from_utf8_lossy(&sample.stderr).into_owned();
    assert!(said.contains("model     built in, ") && said.contains("tempest train --data FILE"), "{said}");
    assert_eq!(sample.stdout, succeed(&mut place.command(&["sample", "--model", "built-in"])).stdout);
    let said = fail(&mut place.command(&["sample", "--ema", "0.9"]), 2);
    assert!(said.contains("--ema is for a run, and there is none"), "{said}");
    // It has learned more than which two characters follow each other: that alone is 2.48 nats a
    // character, counted in the training split with half a pair more of each.
    let words = ["eval", "--model", "built-in", "--windows", "32", "--duel-windows", "0", "--json"];
    let report: serde_json::Value = serde_json::from_slice(&succeed(&mut place.command(&words)).stdout).unwrap();
    let nats = report["nelbo"]["nats"].as_f64().unwrap();
    assert!(nats < 2.48, "{nats}");
}

#[test]
fn a_text_from_standard_input_is_kept_in_its_run() {
    let place = Place::new();
    let text = place.text("text.txt", &"to be, or not to be\n".repeat(100));
    let run = place.at("run");
    let piped = |command: &mut Command| {
        command.stdin(fs::File::open(&text).unwrap());
        succeed(command);
    };
    let constant = ["--lr-schedule", "constant"];
    piped(tempest(tiny_run(&run, 20)).args(constant).args(["--data", "-"]));
    let listed = succeed(place.command(&["runs"]).arg(place.0.path())).stdout;
    assert!(String::from_utf8(listed).unwrap().contains("  standard input  20 of 20  "));
    let away = place.at("away");
    fs::rename(&run, &away).unwrap();
    succeed(resume(&away).args(["--steps", "40"]));
    succeed(tempest(["eval", "--windows", "8", "--duel-windows", "0", "--run"]).arg(&away));
    assert!(fail(resume(&away).args(["--data", "-"]), 2).contains("--data - is for a new run"));
    // The weights are those that the text in a file gives.
    let whole = place.at("whole");
    succeed(tempest(tiny_run(&whole, 40)).args(constant).arg("--data").arg(&text));
    let weights = |run: &Path| fs::read(run.join("model.safetensors")).unwrap();
    assert!(weights(&away) == weights(&whole));
    // Another run in its place leaves nothing of it.
    succeed(tempest(tiny_run(&away, 20)).arg("--force"));
    assert!(!away.join("stdin.txt").exists());
}

#[test]
fn what_a_run_validates_on_is_part_of_it() {
    let place = Place::new();
    let text = place.text("text.txt", &"to be, or not to be\n".repeat(100));
    let (unseen, run) = (place.text("unseen.txt", &"or not\n".repeat(20)), place.at("run"));
    let train = || {
        let mut command = tempest(tiny_run(&run, 20));
        command.arg("--data").arg(&text);
        command
    };
    let said = fail(train().args(["--validation", "0.001"]), 2);
    assert!(
        said.contains("the validation split has 2 tokens, one window needs 16; give at least 16,000 tokens"),
        "{said}"
    );
    let said = fail(train().args(["--include", "*.txt"]), 2);
    assert!(said.contains("--include chooses among the files of a folder, and this text is none"), "{said}");
    let said = stderr(train().arg("--validation").arg(&unseen));
    assert!(said.contains("2,000 tokens to train on and 140 to validate"), "{said}");
    assert!(fail(resume(&run).args(["--validation", "0.2"]), 2).contains("--validation may only say where"));
    let moved = place.at("moved.txt");
    fs::rename(&unseen, &moved).unwrap();
    let said = fail(&mut resume(&run), 2);
    assert!(said.contains("unseen.txt: the text of the run is not there any more"), "{said}");
    succeed(resume(&run).args(["--steps", "30", "--validation"]).arg(&moved));
    assert!(configuration(&run).contains("moved.txt"));
}

#[test]
fn what_runs_write_is_held_against_real_text() {
    let place = Place::new();
    let [one, other] = ["one", "other"].map(|name| place.at(name));
    succeed(&mut tempest(tiny_run(&one, 5)));
    succeed(tempest(tiny_run(&other, 5)).args(["--process", "ar"]));
    let report = |args: &[&str]| {
        let mut command = tempest(["report", "--texts", "5", "--length", "12", "--json"]);
        command.arg(&one).arg(&other).args(args);
        command
    };
    let figures =
        |args: &[&str]| -> serde_json::Value { serde_json::from_slice(&succeed(&mut report(args)).stdout).unwrap() };
    let found = figures(&["--temperature", "0.5,1"]);
    let columns: Vec<(Option<&str>, Option<f64>)> =
        found.as_array().unwrap().iter().map(|of| (of["run"].as_str(), of["temperature"].as_f64())).collect();
    let [one_name, other_name] = [&one, &other].map(|run| Some(run.to_str().unwrap()));
    let runs = [one_name, other_name].into_iter().flat_map(|run| [(run, Some(0.5)), (run, Some(1.0))]);
    assert_eq!(columns, [(None, None)].into_iter().chain(runs).collect::<Vec<_>>());
    let of = |column: usize, what: &str| found[column]["quality"][what].clone();
    assert_eq!((of(0, "texts"), of(0, "characters")), (5.into(), 60.into()));
    // Untrained models write less like real text than real text does.
    for column in 1..5 {
        assert!(of(column, "divergence")[1].as_f64() > of(0, "divergence")[1].as_f64(), "{found}");
        assert!(of(column, "known_words").as_f64() < of(0, "known_words").as_f64(), "{found}");
    }
    assert_eq!(found, figures(&["--temperature", "0.5,1", "--batch", "2"]), "a text depends on its batch");
    judged(&place, &mut report(&[]), [&one, &other], &found);
    compare(&place, [&one, &other]);
    let said =
        fail(&mut report(&["--data", place.text("short.txt", &"to be or not\n".repeat(12)).to_str().unwrap()]), 2);
    assert!(said.contains("tokens of text that training did not see") && said.contains("--length"), "{said}");
}

/// What texts cost an autoregressive run: the same figures beside it, and a chart more on the page. The other kind judges nothing.
fn judged(place: &Place, report: &mut Command, [masked, ar]: [&Path; 2], unjudged: &serde_json::Value) {
    let page = place.at("judged.html");
    report.args(["--temperature", "0.5,1"]).arg("--html").arg(&page).arg("--judge").arg(ar);
    let mut found: serde_json::Value = serde_json::from_slice(&succeed(report).stdout).unwrap();
    for column in found.as_array_mut().unwrap() {
        let nll = column.as_object_mut().unwrap().remove("nll").unwrap();
        // A model that has hardly learned: no symbol of 66 is much likelier than others.
        assert!((2.5..5.0).contains(&nll["nats"].as_f64().unwrap()), "{nll}");
    }
    assert_eq!(&found, unjudged);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("Likelihood against variety") && page.contains("NLL by the judge"), "{page}");
    let said = fail(tempest(["report", "--judge"]).arg(masked).arg(ar), 2);
    assert!(said.contains("which has bounds alone") && said.contains("--process ar or joint"), "{said}");
}

/// Those runs beside one another: the bound and exact likelihoods are those of `eval`, texts have steps where they are written in
/// some.
fn compare(place: &Place, [one, other]: [&Path; 2]) {
    let json = |args: &mut Command| -> serde_json::Value { serde_json::from_slice(&succeed(args).stdout).unwrap() };
    let [page, charts] = ["page.html", "charts.svg"].map(|name| place.at(name));
    let arguments = "compare --texts 5 --length 12 --windows 8 --duel-windows 2 --steps 2,4 --json";
    let mut command = tempest(arguments.split(' '));
    command.arg(one).arg(other).arg("--html").arg(&page).arg("--svg").arg(&charts);
    let found = json(&mut command);
    let eval = |run: &Path, args: &str| json(tempest(["eval", "--json", "--run"]).arg(run).args(args.split(' ')));
    let bounds = eval(one, "--windows 8 --duel top-k:1 --duel-windows 2 --steps 2,4");
    let [masked, ar] = [0, 1].map(|i| found["models"][i].clone());
    assert_eq!((&masked["process"], &ar["process"]), (&"masked".into(), &"ar".into()));
    assert_eq!((&masked["nelbo"], &masked["exact"][1]["nats"]), (&bounds["nelbo"], &bounds["duel"][0]["nats"]));
    let steps = |model: &serde_json::Value| -> Vec<(u64, serde_json::Value)> {
        let written = model["written"].as_array().unwrap().iter();
        written.map(|of| (of["steps"].as_u64().unwrap(), of["bound"]["nats"].clone())).collect()
    };
    let bound = |i: usize| bounds["step_bounds"][i]["nats"].clone();
    assert_eq!(steps(&masked), [(2, bound(0)), (4, bound(1))]);
    assert_eq!(ar["nll"]["nats"], eval(other, "--stride 16")["nats"]);
    assert_eq!(steps(&ar), [(12, serde_json::Value::Null)], "a token a step");
    // Untrained models write less like real text than counts of its 3-grams do.
    let names: Vec<&str> = found["others"].as_array().unwrap().iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["real text", "3-grams by counts"]);
    let divergence = |of: &serde_json::Value| of["divergence"][0].as_f64().unwrap();
    assert!(divergence(&masked["written"][1]) > divergence(&found["others"][1]), "{found}");
    let (page, charts) = (fs::read_to_string(page).unwrap(), fs::read_to_string(charts).unwrap());
    assert!(page.contains("(masked): ") && charts.contains("(ar)") && !page.contains("://"), "{page}");
    let said = fail(&mut command, 2);
    assert!(said.contains("page.html") && said.contains("--force"), "{said}");
}
