//! Signals: what stops a run, how soon, and what is left of it.

#![cfg(unix)]

mod common;

use common::{figures, succeed, tempest, tiny_run, wait_for_steps};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{RunConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::files::atomic::Existing;
use tempest::report::{All, RunLog};
use tempest::stop::Stop;
use tempest::store::RunFolder;
use tempest::train::{self, Event, Inspector, Observer, Outcome, Trainer};

const STEPS: u32 = 300;
const SIGTERM: i32 = 15;

/// What must not depend on how a run got to its end.
fn remains(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["state.safetensors", "model.safetensors", "samples/step-0000050.txt", "samples/step-0000300.txt"]
        .map(|name| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    files.into_iter().chain([figures(folder).into_bytes()]).collect()
}

fn resume(folder: &Path) -> Command {
    tempest([Path::new("train"), Path::new("--resume"), folder])
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// As `timeout` does: a command and, in the same moment, the group that it is in.
fn signal_twice(child: &Child, name: &str) {
    let kill = format!("kill -s {name} {0}; kill -s {name} {0}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// A shell that ignores these signals and becomes a run, which has made some steps.
fn run_that_ignores(signals: &str, folder: &Path) -> Child {
    common::let_signals_end_children();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' {signals}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_tempest")]);
    let mut child =
        shell.args(tiny_run(folder, STEPS)).env("TEMPEST_DEVICE", "cpu").stderr(Stdio::piped()).spawn().unwrap();
    wait_for_steps(&mut child, folder, 20);
    child
}

#[test]
fn what_was_ignored_when_a_run_began_does_not_stop_it() {
    let temp = tempfile::tempdir().unwrap();
    let (nohup, background) = (temp.path().join("nohup"), temp.path().join("background"));
    // As nohup does; and as a shell without job control does for what it starts with &.
    for (ignored, folder) in [("HUP", &nohup), ("INT", &background)] {
        let mut child = run_that_ignores(ignored, folder);
        signal(&child, ignored);
        assert_eq!(child.wait().unwrap().code(), Some(0), "SIG{ignored}");
    }
    assert!(remains(&nohup) == remains(&background));
}

#[test]
fn the_exit_code_names_the_signal_that_stopped_a_run_and_two_at_once_are_one() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    succeed(&mut tempest(tiny_run(&whole, STEPS)));
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        let folder = temp.path().join(name);
        let mut child = run_that_ignores("QUIT", &folder);
        signal_twice(&child, name);
        let mut said = String::new();
        child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
        assert!(said.contains(&format!("go on with: tempest train --resume {}", folder.display())), "{said}");
        succeed(&mut resume(&folder));
        assert!(remains(&whole) == remains(&folder), "stopped by SIG{name} and resumed, it differs");
    }
}

#[test]
fn a_stop_does_not_wait_for_the_end_of_a_long_step() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("run");
    // Micro-batches of a millisecond, and a step of many minutes.
    let mut args = tiny_run(&folder, 2);
    let at = args.iter().position(|arg| arg == "--accumulate").unwrap();
    common::let_signals_end_children();
    args[at + 1] = "10000000".into();
    let mut child = tempest(args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(|line| line.ok());
    assert!(lines.by_ref().any(|line| line.starts_with("a step takes about ")), "a long step is announced");
    signal(&child, "TERM");
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.starts_with("stopped after step 0 and saved")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Asks to stop when something happens.
struct Asks<'a> {
    stop: &'a Stop,
    when: fn(&Event<'_>) -> bool,
}

impl Observer for Asks<'_> {
    fn event(&mut self, event: &Event<'_>) -> tempest::Result<()> {
        if (self.when)(event) {
            self.stop.ask(SIGTERM);
        }
        Ok(())
    }
}

#[test]
fn a_run_that_is_stopped_while_its_model_is_looked_at_misses_nothing_in_the_end() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    succeed(&mut tempest(tiny_run(&whole, STEPS)));
    let config: RunConfig = toml::from_str(&std::fs::read_to_string(whole.join("config.toml")).unwrap()).unwrap();
    let corpus = Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap());
    // Before the validation, before the sample, before the checkpoint, each in the middle and at the end.
    let moments: [fn(&Event<'_>) -> bool; 5] = [
        |event| matches!(event, Event::Step(report) if report.step == 50),
        |event| matches!(event, Event::Validation { step: 50, .. }),
        |event| matches!(event, Event::Step(report) if report.step == 300),
        |event| matches!(event, Event::Validation { step: 300, .. }),
        |event| matches!(event, Event::Sample { step: 300, .. }),
    ];
    for (i, when) in moments.into_iter().enumerate() {
        let path = temp.path().join(i.to_string());
        let folder = RunFolder::create(&path, Existing::Keep, &config).unwrap();
        let mut trainer = Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        let mut inspector = Inspector::new(&config, &corpus, &Device::Cpu).unwrap();
        let (stop, mut log) = (Stop::default(), RunLog::create(folder.paths()).unwrap());
        let mut asks = Asks { stop: &stop, when };
        let mut observer = All(vec![&mut log, &mut asks]);
        let outcome = train::run(&mut trainer, &folder, &mut inspector, &mut observer, &stop).unwrap();
        assert_eq!(outcome, Outcome::Interrupted(SIGTERM), "moment {i}");
        drop(folder);
        succeed(&mut resume(&path));
        assert!(remains(&whole) == remains(&path), "stopped at moment {i} and resumed, it differs");
    }
}
