//! `./prove-gpu run`, rehearsed on the virtual GPU: what it says of parts that pass, fail, hang or lack a tool.

#![cfg(all(unix, kernels))]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const TEMPEST: &str = env!("CARGO_BIN_EXE_tempest");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A line of the summary.
#[derive(Debug, PartialEq)]
struct Part {
    name: String,
    verdict: String,
    /// `rc=0`.
    code: String,
    note: String,
}

/// What a run said.
struct Summary {
    parts: Vec<Part>,
    last: String,
    code: Option<i32>,
}

impl Summary {
    #[track_caller]
    fn part(&self, name: &str) -> &Part {
        self.parts.iter().find(|part| part.name == name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.parts))
    }
}

/// `./prove-gpu` with these arguments, which proves this program.
fn prove<A: AsRef<std::ffi::OsStr>>(program: &Path, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(root().join("prove-gpu"));
    command.args(args).env("TEMPEST", program).env_remove("TEMPEST_CUDA_DRIVER").env_remove("TEMPEST_DEVICE");
    command
}

/// `./prove-gpu run --device vgpu --out folder` and these arguments.
#[track_caller]
fn rehearse(program: &Path, folder: &Path, args: &[&str]) -> Summary {
    let output =
        prove(program, ["run", "--device", "vgpu", "--out"]).arg(folder).args(args).output().expect("bash runs");
    let said = String::from_utf8(output.stdout).unwrap();
    let written = fs::read_to_string(folder.join("summary.txt")).unwrap_or_default();
    assert!(written.ends_with(&said), "it says what it writes:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.join("results.tar.gz").is_file(), "{said}");
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop().unwrap_or_default().to_owned();
    assert!(lines[0].starts_with("== date=") && lines[0].contains(" device=vgpu "), "{said}");
    let parts = lines[1..].iter().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, verdict, code) = (words[0].into(), words[1].into(), words[2].into());
        Part { name, verdict, code, note: words[4..].join(" ") }
    });
    Summary { parts: parts.collect(), last, code: output.status.code() }
}

/// What a check of nano found on the virtual GPU, and what it said.
#[track_caller]
fn both_steps_agree_op_by_op(dtype: &str, found: &Value, told: &str) {
    assert_eq!((&found["device"]["kind"], &found["dtype"]), (&"virtual".into(), &dtype.into()));
    // Both steps have five blocks.
    let qkv = &found["kernels"]["qkv_mma_small"];
    assert_eq!((&qkv["launches"], &qkv["failed"]), (&10.into(), &0.into()));
    let ratios = found["outputs"].as_array().unwrap().iter().filter(|output| output["op"] == "qkv");
    let ratios = ratios.map(|output| output["error"].as_f64().unwrap() / output["tolerance"].as_f64().unwrap());
    let (worst, largest) = (qkv["worst"]["ratio"].as_f64().unwrap(), ratios.fold(0.0, f64::max));
    // Decimals are read to within a last bit or two.
    assert!((worst - largest).abs() < 1e-12 * largest, "{worst} {largest}");
    // These compute nothing.
    assert_eq!(found["kernels"]["next_step"]["worst"], Value::Null);
    for part in ["train step", "denoise step", dtype, "adamw_step", "commit_tokens", "outputs agree"] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    let zeros = told.lines().filter(|line| line.ends_with("(all zero)"));
    // A model without a time embedding has timesteps of 0; nothing else may be empty.
    assert!(zeros.clone().all(|line| line.contains("corrupt")), "{:?}", zeros.collect::<Vec<_>>());
}

/// A program that does what these lines of bash do first, and then what tempest does.
fn tempest_but(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("tempest");
    fs::write(&path, format!("#!/usr/bin/env bash\n{lines}\nexec '{TEMPEST}' \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_rehearsal_passes_every_part_that_needs_no_card() {
    let temp = tempfile::tempdir().unwrap();
    let found = rehearse(Path::new(TEMPEST), &temp.path().join("proof"), &["600"]);
    let bad: Vec<&Part> = found.parts.iter().filter(|part| !["ok", "skipped"].contains(&&part.verdict[..])).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(found.code, Some(0), "{}", found.last);
    assert!(found.last.ends_with("exit code 0: every part that ran passed"), "{}", found.last);
    for (name, note) in [
        ("devices", "vgpu the tests' virtual GPU, "),
        ("check_f16", "all "),
        ("check_bf16", "all "),
        ("golden_f16", "all 49 quantities agree"),
        ("golden_bf16", "all 49 quantities agree"),
        ("same_repeated", "the same bits"),
        ("same_sync", "the same bits"),
        ("same_resumed", "the same bits"),
        ("sample", "the same texts four times"),
        ("eval", "NELBO "),
        ("time_train_f16", "counted, not timed"),
        ("time_denoise_512", "counted, not timed"),
        ("learn", "4 steps in "),
        ("learn_original", "4 steps in "),
    ] {
        let part = found.part(name);
        assert!(part.verdict == "ok" && part.code == "rc=0" && part.note.starts_with(note), "{part:?}");
    }
    let results = temp.path().join("proof/results.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(&results).arg("-C").arg(temp.path()).status().unwrap();
    assert!(unpacked.success());
    for dtype in ["f16", "bf16"] {
        let read = |file: &str| fs::read_to_string(temp.path().join("results").join(file)).unwrap();
        let figures = read(&format!("figures/check_{dtype}.json"));
        let told = read(&format!("logs/check_{dtype}.log"));
        both_steps_agree_op_by_op(dtype, &serde_json::from_str(&figures).unwrap(), &told);
    }
    // Named in the table of parts, and none of them missing.
    let table = Command::new(root().join("prove-gpu")).arg("parts").output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let names: Vec<&str> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, found.parts.iter().map(|part| &part.name[..]).collect::<Vec<_>>());
}

#[test]
fn a_program_that_computes_something_else_fails_its_part_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    // Goldens whose gradients are weights.
    let goldens = temp.path().join("goldens");
    fs::create_dir(&goldens).unwrap();
    for name in ["", "_weights", "_io", "_grads", "_after1", "_after5"] {
        let ending = if name.is_empty() { "json" } else { "safetensors" };
        let from = if name == "_grads" { "_weights" } else { name };
        let from = root().join(format!("tests/data/golden/config_a{from}.{ending}"));
        fs::copy(from, goldens.join(format!("config_a{name}.{ending}"))).unwrap();
    }
    let swap = format!("set -- \"${{@/%*golden\\/config_a/{}/config_a}}\"", goldens.display());
    let program = tempest_but(temp.path(), &swap);
    let found = rehearse(&program, &temp.path().join("proof"), &["--only", "^(machine|golden_f16|devices)$"]);
    assert_eq!(found.code, Some(1));
    assert_eq!(found.last, "2 passed, 1 failed, 0 skipped, 0 unfinished; exit code 1: failed: golden_f16");
    let part = found.part("golden_f16");
    assert_eq!((&part.verdict[..], &part.code[..]), ("FAILED", "rc=1"), "{part:?}");
    assert!(part.note.ends_with(" of 49 quantities differ beyond their tolerance"), "{part:?}");
}

#[test]
fn a_part_that_hangs_is_stopped_at_its_limit_and_what_has_no_time_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let program = tempest_but(temp.path(), "[[ $1 != devices ]] || exec tail -f /dev/null");
    let found = rehearse(&program, &temp.path().join("proof"), &["6", "--only", "^(machine|devices|check_f16)$"]);
    assert_eq!(found.code, Some(1));
    let part = found.part("devices");
    assert_eq!((&part.verdict[..], &part.code[..]), ("FAILED", "rc=124"), "{part:?}");
    assert!(part.note.starts_with("stopped after its limit of "), "{part:?}");
    let part = found.part("check_f16");
    assert_eq!((&part.verdict[..], &part.code[..]), ("skipped", "rc=-"), "{part:?}");
    assert!(part.note.starts_with("no time: "), "{part:?}");
    assert_eq!(found.last, "1 passed, 1 failed, 1 skipped, 0 unfinished; exit code 1: failed: devices");
}

#[test]
fn what_the_machine_lacks_is_skipped_and_named() {
    let temp = tempfile::tempdir().unwrap();
    // The tools of a plain system, and none of NVIDIA's.
    let tools = temp.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !["compute-sanitizer", "ncu", "nsys", "nvcc"].contains(&name.to_str().unwrap_or_default()) {
                let _ = std::os::unix::fs::symlink(entry.path(), tools.join(&name));
            }
        }
    }
    let out = temp.path().join("proof");
    let args = ["run", "--device", "vgpu", "--only", "^(machine|san_memcheck|ncu|nsys)$", "--out"];
    let output = prove(Path::new(TEMPEST), args).arg(&out).env("PATH", &tools).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    for (part, why) in [("san_memcheck", ["no", "compute-sanitizer"]), ("ncu", ["no", "ncu"])] {
        // All but the seconds that it took to find out.
        let is_skipped = |l: &[&str]| l.len() == 6 && l[..3] == [part, "skipped", "rc=77"] && l[4..] == why;
        assert!(lines.iter().any(|line| is_skipped(line)), "{part}\n{said}");
    }
    assert!(said.ends_with("1 passed, 0 failed, 3 skipped, 0 unfinished; exit code 0: every part that ran passed\n"));
}

#[test]
fn another_call_with_the_same_folder_adds_to_its_results() {
    let temp = tempfile::tempdir().unwrap();
    let program =
        tempest_but(temp.path(), &format!("[[ $1 != devices || -e {0}/mended ]] || exit 1", temp.path().display()));
    let out = temp.path().join("proof");
    assert_eq!(rehearse(&program, &out, &["--only", "^(machine|devices)$"]).code, Some(1));
    fs::write(temp.path().join("mended"), "").unwrap();
    assert_eq!(rehearse(&program, &out, &["--only", "^devices$"]).code, Some(0));
    let table =
        Command::new("tar").arg("xzOf").arg(out.join("results.tar.gz")).arg("results/parts.tsv").output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').take(3).collect()).collect();
    assert_eq!(rows, [["machine", "ok", "0"], ["devices", "ok", "0"]]);
}

#[test]
fn a_learning_run_that_has_no_more_time_goes_on_in_the_next_call() {
    let temp = tempfile::tempdir().unwrap();
    // More steps than there is time for.
    let program = tempest_but(temp.path(), "set -- \"${@/#4/1000000}\"");
    let out = temp.path().join("proof");
    let mut before = 0;
    for call in ["16", "17"] {
        let found = rehearse(&program, &out, &[call, "--only", "^(machine|learn)$"]);
        let part = found.part("learn");
        assert_eq!((&part.verdict[..], &part.code[..]), ("unfinished", "rc=75"), "{part:?}");
        assert!(part.note.ends_with(" steps; given again with the same folders, it goes on"), "{part:?}");
        let steps: usize = part.note.split(' ').next().unwrap().parse().unwrap();
        assert!(steps > before, "{steps} after {before}");
        before = steps;
        assert_eq!(found.last, "1 passed, 0 failed, 0 skipped, 1 unfinished; exit code 0: every part that ran passed");
    }
}

#[test]
fn wrong_use_is_said_before_anything_runs() {
    for (args, word) in [
        (&["run", "--fast"][..], "--fast"),
        (&["run", "--only", "nothing_like_this"], "nothing_like_this"),
        (&["run", "--device", "tpu"], "cuda, cuda:N or vgpu"),
        (&["run", "--out"], "--out wants a value"),
        (&["pack", "--archs", "hopper"], "--archs is hopper"),
        (&["report", "nowhere"], "results.tar.gz"),
    ] {
        let output = prove(Path::new(TEMPEST), args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.starts_with("prove-gpu: ") && said.contains(word), "{args:?}: {said}");
    }
}
