//! A run that was interrupted, at whatever step and in whatever way, ends as one that never was.

#![cfg(unix)]

mod common;

use common::{figures, succeed, tempest, tiny_run, wait_for_steps};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const STEPS: u32 = 300;

/// Everything a finished run leaves that must not depend on how it got there.
fn remains(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["state.safetensors", "model.safetensors", "config.toml", "samples/step-0000050.txt"]
        .map(|name| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    files.into_iter().chain([figures(folder).into_bytes()]).collect()
}

/// Starts a run and waits until it has made `steps` steps.
fn start_until(args: Vec<String>, folder: &Path, steps: usize) -> Child {
    let mut child = tempest(args).stderr(Stdio::null()).spawn().unwrap();
    wait_for_steps(&mut child, folder, steps);
    child
}

fn resume(folder: &Path) -> Vec<String> {
    vec!["train".into(), "--resume".into(), folder.display().to_string(), "--threads".into(), "2".into()]
}

#[test]
fn killed_runs_resume_bitwise_on_any_number_of_threads() {
    for (optimizer, averages, dropout) in [("adamw", "0.99", "0"), ("muon", "0.9,0.99,0.5", "0.1")] {
        let temp = tempfile::tempdir().unwrap();
        let (whole, killed) = (temp.path().join("whole"), temp.path().join("killed"));
        let optimizer = ["--optimizer", optimizer, "--ema", averages, "--dropout", dropout].map(str::to_owned);
        succeed(tempest(tiny_run(&whole, STEPS)).args(&optimizer).args(["--threads", "1"]));
        let mut args: Vec<String> = tiny_run(&killed, STEPS).into_iter().chain(optimizer.clone()).collect();
        // Before the first checkpoint, between two, and at odd steps after resuming.
        for steps in [7, 33, 110, 111, 200] {
            let mut child = start_until(args, &killed, steps);
            child.kill().unwrap();
            child.wait().unwrap();
            args = resume(&killed);
        }
        succeed(&mut tempest(args));
        let same = remains(&whole) == remains(&killed);
        assert!(same, "{optimizer:?}: a killed and resumed run differs from an undisturbed one");
    }
}

#[test]
fn ctrl_c_finishes_the_step_saves_and_says_how_to_go_on() {
    common::let_signals_end_children();
    let temp = tempfile::tempdir().unwrap();
    let (whole, stopped) = (temp.path().join("whole"), temp.path().join("stopped"));
    succeed(&mut tempest(tiny_run(&whole, STEPS)));
    let mut child = tempest(tiny_run(&stopped, STEPS)).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_steps(&mut child, &stopped, 37);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains(&format!("tempest train --resume {}", stopped.display())), "{said}");
    let recorded = std::fs::read_to_string(stopped.join("metrics.jsonl")).unwrap();
    let last = recorded.lines().last().unwrap();
    assert!(said.contains(&format!("stopped after step {}", field(last, "step"))), "{said}\n{last}");
    succeed(&mut tempest(resume(&stopped)));
    assert!(remains(&whole) == remains(&stopped), "a stopped and resumed run differs from an undisturbed one");
}

fn field(line: &str, name: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line).unwrap()[name].as_u64().unwrap()
}

#[test]
fn two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not() {
    let temp = tempfile::tempdir().unwrap();
    let folders = ["a", "b", "c"].map(|name| temp.path().join(name));
    for (folder, seed) in folders.iter().zip(["5", "5", "6"]) {
        succeed(tempest(tiny_run(folder, 50)).args(["--seed", seed]));
    }
    let [a, b, c] = folders.map(|folder| std::fs::read(folder.join("model.safetensors")).unwrap());
    assert!(a == b && a != c);
}

#[test]
fn a_finished_run_says_so_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("run");
    succeed(&mut tempest(tiny_run(&folder, 50)));
    let before = remains(&folder);
    let output = succeed(&mut tempest(resume(&folder)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("all 50 steps of this run are done"));
    assert!(before == remains(&folder));
}
