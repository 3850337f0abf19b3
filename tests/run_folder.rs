//! What a run's folder holds is never lost, mixed with another's, or older than it says.

mod common;

use common::{fail, figures, succeed, tempest, tiny_run};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder for a run, in one that the test alone uses.
fn place() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    (temp, run)
}

/// Every file under a folder, and its content.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(all(&entry)),
            false => drop(found.insert(entry.clone(), fs::read(&entry).unwrap())),
        }
    }
    found
}

fn resume(run: &Path) -> std::process::Command {
    tempest([Path::new("train"), Path::new("--resume"), run])
}

fn eval(run: &Path) -> std::process::Command {
    let mut command = tempest([Path::new("eval"), Path::new("--run"), run]);
    command.args(["--windows", "4", "--passes", "1", "--duel-windows", "0", "--json"]);
    command
}

fn stderr(output: std::process::Output) -> String {
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

/// A run of 40 steps with checkpoints after 20 and 40, and its model after 20.
fn with_older_model() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (temp, run) = place();
    let shorter = temp.path().join("shorter");
    succeed(&mut tempest(tiny_run(&run, 40)));
    succeed(&mut tempest(tiny_run(&shorter, 20)));
    let older = fs::read(shorter.join("model.safetensors")).unwrap();
    (temp, run, older)
}

#[test]
fn a_model_that_is_older_missing_or_damaged_is_written_anew_from_the_checkpoint() {
    let (_temp, run, older) = with_older_model();
    let model = run.join("model.safetensors");
    let whole = all(&run);
    let flipped = || {
        let mut bytes = whole[&model].clone();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    for (what, bytes) in [("was that of step 20", Some(older)), ("was missing", None), ("damaged", Some(flipped()))] {
        match bytes {
            Some(bytes) => fs::write(&model, bytes).unwrap(),
            None => fs::remove_file(&model).unwrap(),
        }
        let said = stderr(succeed(&mut resume(&run)));
        says(&said, &["model.safetensors: ", what, "written anew from the checkpoint of step 40", "all 40 steps"]);
        assert!(all(&run) == whole, "{what}");
    }
    let said = stderr(succeed(&mut resume(&run)));
    assert!(!said.contains("note: "), "{said}");
}

#[test]
fn those_who_only_read_take_the_checkpoint_where_the_model_is_older_and_say_so() {
    let (_temp, run, older) = with_older_model();
    let model = run.join("model.safetensors");
    let expected = succeed(&mut eval(&run));
    assert!(!stderr(expected.clone()).contains("note: "));
    for older in [Some(older), None] {
        match older {
            Some(bytes) => fs::write(&model, bytes).unwrap(),
            None => fs::remove_file(&model).unwrap(),
        }
        let before = all(&run);
        let found = succeed(&mut eval(&run));
        assert_eq!(found.stdout, expected.stdout);
        says(&stderr(found), &["note: ", "model.safetensors", "the checkpoint of step 40 is used", "train --resume"]);
        assert!(all(&run) == before);
    }
}

#[test]
fn a_model_without_its_checkpoint_is_not_trained_over() {
    let (_temp, run) = place();
    succeed(&mut tempest(tiny_run(&run, 20)));
    let state = run.join("state.safetensors");
    let kept = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    let before = all(&run);
    says(&fail(&mut resume(&run), 2), &["state.safetensors: is missing", "restore it"]);
    assert!(all(&run) == before);
    fs::write(&state, kept).unwrap();
    succeed(&mut resume(&run));
}

#[test]
fn a_model_that_is_newer_than_the_checkpoint_or_of_another_run_stays() {
    let (temp, run, _) = with_older_model();
    let (model, other) = (run.join("model.safetensors"), temp.path().join("other"));
    let own = fs::read(&model).unwrap();
    succeed(tempest(tiny_run(&other, 20)).args(["--vocab", "ascii"]));
    fs::copy(other.join("model.safetensors"), &model).unwrap();
    let before = all(&run);
    says(&fail(&mut resume(&run), 2), &["model.safetensors: is the model of another run", "move it elsewhere"]);
    says(&fail(&mut eval(&run), 2), &["model.safetensors: is not the model that the config.toml", "--model"]);
    assert!(all(&run) == before);

    // A checkpoint that somebody brought back from before.
    let state = older_state(&run);
    fs::write(&model, own).unwrap();
    fs::write(run.join("state.safetensors"), state).unwrap();
    let before = all(&run);
    let said = fail(&mut resume(&run), 2);
    says(&said, &["model.safetensors: is of step 40, the checkpoint beside it of step 20", "restore its state"]);
    assert!(all(&run) == before);
}

/// The state of a run of 40 steps as it was after 20, as far as its file tells.
fn older_state(run: &Path) -> Vec<u8> {
    with_metadata(&run.join("state.safetensors"), |metadata| drop(metadata.insert("step".into(), "20".into())))
}

/// A file with other metadata, as a version wrote it that knew of no checksums.
fn with_metadata(path: &Path, change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let metadata = header["__metadata__"].as_object_mut().unwrap();
    metadata.remove("tempest_checksum").unwrap();
    change(metadata);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[data..]].concat()
}

#[test]
fn a_checkpoint_of_an_earlier_version_is_gone_on_with() {
    let (_temp, run) = place();
    succeed(&mut tempest(tiny_run(&run, 20)));
    let (state, model) = (run.join("state.safetensors"), run.join("model.safetensors"));
    let (whole, expected) = (fs::read(&model).unwrap(), succeed(&mut eval(&run)).stdout);
    fs::write(&state, with_metadata(&state, |metadata| drop(metadata.remove("vocab").unwrap()))).unwrap();
    fs::write(&model, with_metadata(&model, |_| {})).unwrap();
    assert_eq!(succeed(&mut eval(&run)).stdout, expected);
    fs::remove_file(&model).unwrap();
    says(&fail(&mut eval(&run), 2), &["state.safetensors: does not say its symbols", "tempest train --resume"]);
    succeed(&mut resume(&run));
    assert!(fs::read(&model).unwrap() == whole);
}

#[test]
fn figures_that_are_missing_before_a_checkpoint_are_noted() {
    let (_temp, run) = place();
    succeed(&mut tempest(tiny_run(&run, 40)));
    fs::write(run.join("state.safetensors"), older_state(&run)).unwrap();
    fs::remove_file(run.join("model.safetensors")).unwrap();
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let said = stderr(succeed(&mut resume(&run)));
    says(&said, &["metrics.jsonl: ends with step 0 and not with the checkpoint's 20", "from step 20"]);
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_noticed() {
    let (_temp, run) = place();
    succeed(&mut tempest(tiny_run(&run, 20)));
    let state = run.join("state.safetensors");
    let mut bytes = fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&state, bytes).unwrap();
    says(&fail(&mut resume(&run), 2), &["state.safetensors: damaged", "checksum"]);
}

#[test]
fn files_that_no_run_wrote_are_not_replaced_unless_it_is_forced() {
    for name in
        ["model.safetensors", "state.safetensors", "metrics.jsonl", "samples/step-0000005.txt", "events.out.tfevents.1"]
    {
        let (_temp, run) = place();
        fs::create_dir_all(run.join("samples")).unwrap();
        fs::write(run.join(name), "somebody's").unwrap();
        fs::write(run.join("notes.txt"), "somebody's").unwrap();
        let before = all(&run);
        says(&fail(&mut tempest(tiny_run(&run, 5)), 2), &[name, "is of no run", "--out", "--force"]);
        assert!(all(&run) == before, "{name}");
        succeed(tempest(tiny_run(&run, 5)).arg("--force"));
        assert_eq!(fs::read_to_string(run.join("notes.txt")).unwrap(), "somebody's");
        assert!(!all(&run).iter().any(|(path, bytes)| path.ends_with(name) && bytes == b"somebody's"), "{name}");
    }
}

#[test]
fn a_run_is_replaced_whole_where_that_is_forced_and_stays_where_it_is_not() {
    let (temp, run) = place();
    succeed(&mut tempest(tiny_run(&run, 100)));
    let before = all(&run);
    says(&fail(tempest(tiny_run(&run, 40)).args(["--seed", "2"]), 2), &["holds a run already", "--resume", "--force"]);
    // Nor by a command that is wrong in another way.
    fail(tempest(tiny_run(&run, 40)).args(["--force", "--lr", "0"]), 2);
    assert!(all(&run) == before);
    succeed(tempest(tiny_run(&run, 40)).args(["--seed", "2", "--force"]));
    let fresh = temp.path().join("fresh");
    succeed(tempest(tiny_run(&fresh, 40)).args(["--seed", "2"]));
    let named = |folder: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let relative = |(path, bytes): (PathBuf, _)| (path.strip_prefix(folder).unwrap().to_path_buf(), bytes);
        let untimed = |(path, bytes): (PathBuf, _)| match path.ends_with("metrics.jsonl") {
            true => (path, figures(folder).into_bytes()),
            false => (path, bytes),
        };
        all(folder)
            .into_iter()
            .map(relative)
            .map(untimed)
            .filter(|(path, _)| !path.to_str().unwrap().starts_with("events"))
            .collect()
    };
    assert!(named(&run) == named(&fresh), "{:?} {:?}", named(&run).keys(), named(&fresh).keys());
    fail(&mut tempest(["train", "--force"]), 2);
}

#[test]
fn a_start_that_fails_leaves_nothing_and_the_corrected_command_runs() {
    let (temp, run) = place();
    let nested = run.join("deep/run");
    let command = tiny_run(&nested, 5).join(" ");
    // Refused for its text, a number, and a disk that is full when the configuration is written.
    for (before, after) in [("", "--data nowhere"), ("", "--lr 0"), ("ulimit -f 0;", "")] {
        let program = env!("CARGO_BIN_EXE_tempest");
        let script = format!("trap '' XFSZ; {before} exec {program} {command} {after}");
        fail(std::process::Command::new("sh").args(["-c", &script]), 2);
        assert!(all(temp.path()).is_empty(), "{before} {after}");
        assert!(!run.exists(), "{before} {after}");
    }
    succeed(&mut tempest(tiny_run(&nested, 5)));
}

#[test]
fn a_folder_that_was_there_stays_when_a_start_fails() {
    let (_temp, run) = place();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("notes.txt"), "x").unwrap();
    let command = tiny_run(&run, 5).join(" ");
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {} {command}", env!("CARGO_BIN_EXE_tempest"));
    says(&fail(std::process::Command::new("sh").args(["-c", &script]), 2), &["config.toml"]);
    let left: Vec<_> = all(&run).into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(left, [".lock", "notes.txt"]);
}

#[test]
fn a_run_that_diverged_before_its_first_checkpoint_says_how_to_start_again() {
    let (_temp, run) = place();
    let mut args = tiny_run(&run, 5);
    args.extend(["--lr", "1e38", "--warmup", "0"].map(String::from));
    let warm = args.iter().position(|arg| arg == "--warmup").unwrap();
    args.drain(warm..warm + 2);
    says(&fail(&mut tempest(&args), 1), &["there is no checkpoint yet", "in a new run, lower --lr"]);
    // What it measured is worth a look.
    assert!(fs::metadata(run.join("metrics.jsonl")).unwrap().len() > 0);
    says(&fail(&mut tempest(tiny_run(&run, 5)), 2), &["holds a run already", "--out", "--force"]);
    succeed(tempest(tiny_run(&run, 5)).arg("--force"));
}

#[test]
fn runs_that_start_at_once_take_folders_of_their_own() {
    let (temp, _) = place();
    let mut args = tiny_run(Path::new(""), 2);
    args.truncate(args.len() - 2);
    let start = || tempest(&args).current_dir(temp.path()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let children: Vec<_> = (0..6).map(|_| start()).collect();
    assert!(children.into_iter().all(|mut child| child.wait().unwrap().success()));
    let mut folders: Vec<_> = fs::read_dir(temp.path().join("runs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["1", "2", "3", "4", "5", "6"]);
    assert!((1..7).all(|i| temp.path().join(format!("runs/{i}/model.safetensors")).exists()));
}

#[test]
fn import_profile_and_check_replace_no_file_and_make_no_folder() {
    let (temp, _) = place();
    let at = |name: &str| temp.path().join(name).display().to_string();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/trained_small.safetensors");
    let import = |out: &str| {
        let mut command = tempest(["import", golden.to_str().unwrap(), "--out", out]);
        command.args(["--heads", "4", "--positions", "128", "--context", "16"]);
        command
    };
    let profile = |flag: &str, out: &str| {
        let mut command = tempest(["profile", "--batch", "1", "--steps", "1", flag, out]);
        command.args(["--device", "cpu"]);
        command
    };
    fs::write(at("mine"), "mine").unwrap();
    let (mine, typo) = (at("mine"), at("nodir/sub/z"));
    let check = |out: &str| tempest(["check", "--device", "cpu", "--batch", "1", "--json", out]);
    let commands: [&dyn Fn(&str) -> std::process::Command; 4] =
        [&import, &|out| profile("--trace", out), &|out| profile("--json", out), &check];
    for command in commands {
        says(&fail(&mut command(&mine), 2), &["mine: exists already", "--force"]);
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
        says(&fail(&mut command(&typo), 2), &["nodir/sub/z: there is no folder", "check the path"]);
        assert!(!Path::new(&at("nodir")).exists());
        succeed(command(&mine).arg("--force"));
        assert_ne!(fs::read(&mine).unwrap(), b"mine");
        fs::write(&mine, "mine").unwrap();
    }
    // Where standard output is a file, it holds the model and nothing else.
    let piped = at("piped");
    succeed(import("/dev/stdout").stdout(fs::File::create(&piped).unwrap()));
    succeed(&mut import(&at("named")));
    assert!(fs::read(&piped).unwrap() == fs::read(at("named")).unwrap());
    // The default name, too.
    let here = tempfile::tempdir().unwrap();
    let default = import("");
    let args: Vec<_> =
        default.get_args().map(|arg| arg.to_owned()).filter(|arg| arg != "--out" && !arg.is_empty()).collect();
    succeed(tempest(&args).current_dir(here.path()));
    let whole = fs::read(here.path().join("model.safetensors")).unwrap();
    says(&fail(tempest(&args).current_dir(here.path()), 2), &["model.safetensors: exists already"]);
    assert!(fs::read(here.path().join("model.safetensors")).unwrap() == whole);
}

#[test]
fn likelihood_and_speed_are_per_byte_where_symbols_are_bytes() {
    let (_temp, run) = place();
    let said = stderr(succeed(tempest(tiny_run(&run, 5)).args(["--vocab", "bytes"])));
    says(&said, &[" nats/byte (", " bytes/s"]);
    assert!(!said.contains("nats/char") && !said.contains("chars/s"), "{said}");
    let table = succeed(tempest(["eval", "--windows", "4", "--duel-windows", "0", "--run"]).arg(&run)).stdout;
    says(&String::from_utf8(table).unwrap(), &["nats/byte", "bits/byte"]);
    let other = run.with_file_name("chars");
    says(&stderr(succeed(&mut tempest(tiny_run(&other, 5)))), &[" nats/char (", " chars/s"]);
}

#[test]
fn a_model_of_the_longest_name_is_written() {
    let (temp, _) = place();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/trained_small.safetensors");
    let out = temp.path().join("m".repeat(255));
    let shape = ["--heads", "4", "--positions", "128", "--context", "16"];
    succeed(tempest([Path::new("import"), &golden, Path::new("--out"), &out]).args(shape));
    assert!(out.exists());
}

#[test]
fn a_finished_run_says_what_it_came_to_and_keeps_its_times_apart() {
    let (_temp, run) = place();
    let said = stderr(succeed(&mut tempest(tiny_run(&run, 50))));
    says(
        &said,
        &[
            "an upper bound on -log p of unseen text: a choice among",
            "time      ",
            "chars/s",
            "best      NELBO ",
            "after step 50",
        ],
    );
    says(&said, &["samples   ", "curves    tensorboard --logdir ", "figures   "]);
    let curve = said.lines().find(|line| line.starts_with("loss      ")).unwrap();
    assert!(curve.contains('█') && curve.contains('▁'), "{curve}");
    let times = |run: &Path| -> Vec<(u64, f64)> {
        let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let timed = records.filter(|record| record.get("seconds").is_some());
        timed.map(|record| (record["step"].as_u64().unwrap(), record["seconds"].as_f64().unwrap())).collect()
    };
    // With every checkpoint, and as much later as training took.
    let first = times(&run);
    assert_eq!(first.iter().map(|time| time.0).collect::<Vec<_>>(), [20, 40, 50]);
    assert!(first.is_sorted_by(|a, b| a.1 < b.1), "{first:?}");
    // Time goes on where a run does.
    let state = older_state(&run);
    fs::write(run.join("state.safetensors"), state).unwrap();
    fs::remove_file(run.join("model.safetensors")).unwrap();
    succeed(&mut resume(&run));
    let again = times(&run);
    assert!(again.len() >= 3 && again.is_sorted_by(|a, b| a.1 < b.1), "{again:?}");
}

#[test]
fn every_average_that_a_run_keeps_is_the_model_of_a_run_that_keeps_it_alone() {
    let temp = tempfile::tempdir().unwrap();
    let train = |ema: &str| {
        let run = temp.path().join(ema);
        succeed(tempest(tiny_run(&run, 20)).args(["--ema", ema]));
        run
    };
    let of = |run: &Path, ema: &[&str]| {
        let mut command = tempest([Path::new("eval"), Path::new("--run"), run]);
        // As many windows as there are numbers of masks: what is printed has all its digits.
        command.args(["--windows", "16", "--passes", "1", "--duel-windows", "0", "--json"]).args(ema);
        String::from_utf8(succeed(&mut command).stdout).unwrap()
    };
    let (several, [first, second, last]) = (train("0.5,0.9"), ["0.5", "0.9", "0"].map(train));
    assert_eq!(of(&several, &[]), of(&first, &[]));
    assert_eq!(of(&several, &["--ema", "0.9"]), of(&second, &[]));
    assert_eq!(of(&several, &["--ema", "none"]), of(&last, &[]));
    assert_ne!(of(&first, &[]), of(&second, &[]));
    let said = fail(eval(&several).args(["--ema", "0.7"]), 2);
    says(&said, &["state.safetensors", "no average of decay 0.7", "0.5,0.9, or none"]);
    let model = several.join("model.safetensors");
    says(&fail(&mut tempest([Path::new("eval"), Path::new("--model"), &model, Path::new("--ema=0.5")]), 2), &["--ema"]);
}
