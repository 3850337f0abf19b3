//! Texts longer than a window, and texts that end before a string.

mod common;

use common::{succeed, tempest, tiny_run};
use serde_json::Value;
use std::path::Path;

/// A run of masked diffusion and one from left to right, with windows of 16.
fn runs(folder: &Path) -> [String; 2] {
    [("masked", &[][..]), ("ar", &["--process", "ar", "--short-conv", "0"])].map(|(name, options)| {
        let path = folder.join(name);
        succeed(tempest(tiny_run(&path, 20)).args(options));
        path.display().to_string()
    })
}

fn sample(run: &str, more: &[&str]) -> String {
    let output = succeed(tempest(["sample", "--run", run, "--temperature", "1"]).args(more));
    String::from_utf8(output.stdout).unwrap()
}

fn json(run: &str, more: &[&str]) -> Vec<Value> {
    let lines = sample(run, &[more, &["--json"]].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tokens(text: &Value) -> &[Value] {
    text["tokens"].as_array().unwrap()
}

#[test]
fn a_text_of_any_length_is_written_in_windows_and_told_as_they_are_finished() {
    let folder = tempfile::tempdir().unwrap();
    // Half of so short a window is shared; from left to right three quarters.
    for (run, windows) in runs(folder.path()).iter().zip([6, 10]) {
        let long = ["--length", "50", "--prompt", "To be"];
        let text = &json(run, &long)[0];
        assert_eq!((tokens(text).len(), text["steps"].as_array().unwrap().len()), (50, windows), "{run}");
        // Told in parts it is the same text, and so is each of several.
        assert_eq!(sample(run, &long), format!("{}\n", text["text"].as_str().unwrap()));
        let several = json(run, &[&long[..], &["-n", "3"]].concat());
        assert_eq!(&several[0], text);
        // Its first windows are those of a shorter one, whose last window is whole as well.
        let length = if windows == 6 { "40" } else { "36" };
        let shorter = &json(run, &["--length", length, "--prompt", "To be"])[0];
        assert_eq!(tokens(shorter), &tokens(text)[..tokens(shorter).len()]);
    }
}

#[test]
fn a_text_ends_before_the_first_stop_behind_its_prompt() {
    let folder = tempfile::tempdir().unwrap();
    for run in &runs(folder.path()) {
        for length in ["16", "60"] {
            let more = ["--length", length, "--prompt", "e t", "-n", "4"];
            let whole = json(run, &more);
            for at in [3, 9, 15, 40] {
                let text: Vec<char> = whole[1]["text"].as_str().unwrap().chars().collect();
                let Some(stop) = text.get(at..at + 2).map(String::from_iter) else { continue };
                let stopped = json(run, &[&more[..], &["--stop", &stop]].concat());
                for (stopped, whole) in stopped.iter().zip(&whole) {
                    let text = whole["text"].as_str().unwrap();
                    let wanted = text[3..].find(&stop).map_or(text, |at| &text[..3 + at]);
                    assert_eq!(stopped["text"].as_str().unwrap(), wanted, "{run} {stop:?}");
                    assert_eq!(tokens(stopped), &tokens(whole)[..wanted.chars().count()]);
                }
                let one = [&more[..4], &["--first", "1", "--stop", &stop]].concat();
                assert_eq!(sample(run, &one), format!("{}\n", stopped[1]["text"].as_str().unwrap()));
            }
        }
    }
}

#[test]
fn what_is_written_from_left_to_right_is_not_written_behind_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let [_, run] = runs(folder.path());
    let whole = &json(&run, &["--length", "2000"])[0];
    let stop = String::from_iter(whole["text"].as_str().unwrap().chars().skip(20).take(1));
    let stopped = &json(&run, &["--length", "2000", "--stop", &stop])[0];
    let windows = |text: &Value| text["steps"].as_array().unwrap().len();
    assert!(windows(whole) > 400 && windows(stopped) <= 3, "{stopped}");
}
