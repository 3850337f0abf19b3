//! Words that nobody can read: standard error is full, closed, or a pipe without a reader; a terminal is none, or narrow.

#![cfg(target_os = "linux")]

mod common;

use common::{succeed, tempest, tiny_run};
use std::fs::{File, OpenOptions};
use std::process::Stdio;

#[test]
fn a_run_ends_well_where_its_words_cannot_be_written() {
    let temp = tempfile::tempdir().unwrap();
    let mut whole = None;
    for (name, stderr) in [
        ("full", Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap())),
        ("unread", Stdio::from(std::io::pipe().unwrap().1)),
        ("read-only", Stdio::from(File::open("/dev/null").unwrap())),
    ] {
        let run = temp.path().join(name);
        let status = tempest(tiny_run(&run, 50)).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
        let model = std::fs::read(run.join("model.safetensors")).unwrap();
        assert!(*whole.get_or_insert(model.clone()) == model, "{name}");
    }
}

#[test]
fn an_error_that_cannot_be_told_is_an_exit_code() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(tempest(["sample", "--model", "nowhere"]).stderr(full).status().unwrap().code(), Some(2));
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let devices = tempest(["devices"]).stdout(full).output().unwrap();
    assert_eq!(devices.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&devices.stderr).contains("standard output: cannot write: No space left"));
}

/// What a command shows in a terminal of some columns. Its standard output goes elsewhere, so that it has no view of the whole
/// terminal.
fn in_terminal(columns: u32, term: Option<&str>, args: &[String]) -> String {
    let words: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let command =
        format!("stty cols {columns} rows 24; exec '{}' {} >/dev/null", env!("CARGO_BIN_EXE_tempest"), words.join(" "));
    let mut script = std::process::Command::new("script");
    script
        .args(["-qefc", &command, "/dev/null"])
        .env("TEMPEST_DEVICE", "cpu")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    match term {
        Some(name) => script.env("TERM", name),
        None => script.env_remove("TERM"),
    };
    let output = succeed(&mut script);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_that_cannot_draw_gets_lines() {
    let temp = tempfile::tempdir().unwrap();
    for (name, term) in [("dumb", Some("dumb")), ("empty", Some("")), ("unset", None)] {
        let shown = in_terminal(80, term, &tiny_run(&temp.path().join(name), 50));
        for said in ["step 1/50  loss", "step 50/50  loss", "validation NELBO", "a sample", "checkpoint written"] {
            assert!(shown.contains(said), "TERM {name}: {said:?} is missing in {shown}");
        }
        assert!(!shown.contains('\u{1b}'), "TERM {name}: {shown:?}");
    }
}

#[test]
fn nothing_that_a_bar_draws_is_wider_than_the_terminal() {
    let temp = tempfile::tempdir().unwrap();
    for columns in [40, 60, 75, 120] {
        let shown = in_terminal(columns, Some("xterm"), &tiny_run(&temp.path().join(columns.to_string()), 50));
        assert!(shown.contains("a sample"), "{shown}");
        // Each is drawn over the one before, and filled up with blanks.
        let drawn = shown.split('\r').map(|line| line.trim_start_matches("\u{1b}[2K").trim());
        let bars: Vec<&str> = drawn.filter(|line| line.contains("step ") && line.contains("/50")).collect();
        let widest = bars.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!((10..columns as usize).contains(&widest), "{widest} of {columns} columns: {shown:?}");
        assert!(bars.iter().all(|line| !line.contains('\u{1b}')), "{shown:?}");
    }
}

#[test]
fn control_characters_of_a_text_do_not_reach_the_terminal() {
    let temp = tempfile::tempdir().unwrap();
    let (text, run) = (temp.path().join("text"), temp.path().join("run"));
    // A vocabulary in which there is hardly anything else.
    std::fs::write(&text, "\u{1b}[2J\u{7}\u{8}\u{9b}".repeat(200)).unwrap();
    let output = succeed(tempest(tiny_run(&run, 2)).arg("--data").arg(&text));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains('␛') && said.contains('␇'), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{8}', '\u{9b}']), "{said:?}");
}
