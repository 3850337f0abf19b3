//! `tempest import`, `sample`, `eval`, and the commands that edit texts, from the outside.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempest::files::tensors::TensorFile;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

/// The golden small model, imported.
fn imported(folder: &Path) -> String {
    let out = folder.join("small.safetensors").display().to_string();
    let from = golden("trained_small.safetensors").display().to_string();
    succeed(&mut tempest(["import", &from, "--out", &out, "--heads", "4", "--positions", "128", "--context", "16"]));
    out
}

fn stdout(output: std::process::Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_imported_checkpoint_samples_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    let model = imported(folder.path());
    let file = TensorFile::open(golden("sampler.safetensors")).unwrap();
    let ints = |name: &str| file.get_any::<i64>(name).unwrap();
    let cases = [
        ("confidence_t1_thr09", "--sampler threshold --threshold 0.9"),
        ("topk_k4_t1", "--sampler top-k --k 4 --temperature 1"),
    ];
    for (case, how) in cases {
        let prompt: String = ints(&format!("{case}.context")).iter().map(|&id| id as u8 as char).collect();
        let mut command = tempest(["sample", "--model", &model, "--order", "original", "--json", "--prompt", &prompt]);
        let line: Value = serde_json::from_str(&stdout(succeed(command.args(how.split(' '))))).unwrap();
        assert_eq!(line["tokens"], serde_json::json!(ints(&format!("{case}.tokens"))), "{case}");
        let decode_step: Vec<Option<i64>> =
            ints(&format!("{case}.decode_step")).into_iter().map(|s| (s >= 0).then_some(s)).collect();
        assert_eq!(line["committed_at"], serde_json::json!(decode_step), "{case}");
        assert_eq!(line["steps"], serde_json::json!(ints(&format!("{case}.steps"))), "{case}");
        assert!(line["text"].as_str().unwrap().starts_with(&prompt));
    }
}

#[test]
fn a_run_is_sampled_and_evaluated_by_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(&mut tempest(tiny_run(&run, 20)));
    let run = run.display().to_string();
    let sample = |more: &[&str]| stdout(succeed(tempest(["sample", "--run", &run]).args(more)));

    let template = sample(&["--template", "To be ____ to", "--seed", "3"]);
    let shape: Vec<char> = template.chars().collect();
    assert_eq!((shape.len(), shape[..6].iter().collect::<String>()), (17, "To be ".into()));
    assert_eq!(shape[10..13].iter().collect::<String>(), " to");
    assert_eq!(
        template,
        sample(&["--template", "To be ####  to".replace("  ", " ").as_str(), "--hole", "#", "--seed", "3"])
    );

    let all = sample(&["--texts", "5", "--batch", "2", "--json"]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(sample(&["--first", "3", "--json"]).trim_end(), lines[3], "a text does not depend on its neighbours");
    let long = sample(&["--blocks", "3", "--overlap", "4", "--json", "--length", "12"]);
    let long: Value = serde_json::from_str(&long).unwrap();
    assert_eq!(long["tokens"].as_array().unwrap().len(), 12 + 2 * 8);
    assert!(sample(&["--texts", "2"]).contains("--- text 1 ---\n"));

    let eval = |more: &[&str]| {
        let small = ["--windows", "20", "--passes", "2", "--duel-windows", "2", "--steps", "1,4", "--duel", "top-k:8"];
        stdout(succeed(tempest(["eval", "--run", &run]).args(small).args(more)))
    };
    let report: Value = serde_json::from_str(&eval(&["--json"])).unwrap();
    assert_eq!((&report["windows"], &report["passes"]), (&Value::from(20), &Value::from(2)));
    for estimate in [&report["nelbo"], &report["step_bounds"][1], &report["duel"][0]] {
        // 66 symbols: an untrained model has ln 65 = 4.17, a trained one less.
        assert!((1.0..5.0).contains(&estimate["nats"].as_f64().unwrap()), "{report}");
    }
    assert!(report["nelbo"]["standard_error"].as_f64().unwrap() > 0.0);
    let table = eval(&["--batch", "3"]);
    let nelbo = table.lines().find(|l| l.starts_with("NELBO ")).unwrap();
    assert!(nelbo.contains(&format!("{:.4}", report["nelbo"]["nats"].as_f64().unwrap())), "{table}");
    assert!(table.contains("NELBO of 1 step ") && table.contains("exact, top-k:8 (2.0 steps)"), "{table}");
}

#[test]
fn a_model_that_wants_a_beginning_takes_one_from_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let model = imported(folder.path());
    let one = |number: &str| {
        let how = ["--sampler", "top-k", "--k", "112", "--json", "--first", number];
        let line: Value =
            serde_json::from_str(&stdout(succeed(tempest(["sample", "--model", &model]).args(how)))).unwrap();
        let given = line["committed_at"].as_array().unwrap().iter().filter(|s| s.is_null()).count();
        (given, line["text"].as_str().unwrap()[..16].to_owned())
    };
    let (first, second) = (one("0"), one("1"));
    assert_eq!((first.0, second.0), (16, 16));
    assert_ne!(first.1, second.1);
    assert!(include_str!("../data/tinyshakespeare.txt").contains(&first.1));
}

#[test]
fn prompts_and_templates_come_from_files_and_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(&mut tempest(tiny_run(&run, 20)));
    let run = run.display().to_string();
    let sample = |more: &[&str], input: &str| {
        let file = folder.path().join("input");
        std::fs::write(&file, input).unwrap();
        let mut command = tempest(["sample", "--run", &run]);
        stdout(succeed(command.args(more).stdin(std::fs::File::open(file).unwrap())))
    };
    let file = folder.path().join("file");
    let path = file.display().to_string();
    for (option, text) in [("--prompt", "To be"), ("--template", "To _e, or_"), ("--prompt", "one\n")] {
        let expected = sample(&[option, text], "");
        let from_file = format!("{option}-file");
        for end in ["\n", "\r\n"] {
            std::fs::write(&file, format!("{text}{end}")).unwrap();
            assert_eq!(sample(&[&from_file, &path], ""), expected, "{option} {text:?}");
            assert_eq!(sample(&[&from_file, "-"], &format!("{text}{end}")), expected, "{option} {text:?}");
        }
    }
}

#[test]
fn a_prompt_that_is_longer_than_a_text_is_gone_on_from_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(&mut tempest(tiny_run(&run, 20)));
    let run = run.display().to_string();
    let sample = |prompt: &str, more: &[&str]| {
        let output = succeed(tempest(["sample", "--run", &run, "--prompt", prompt]).args(more));
        (String::from_utf8_lossy(&output.stderr).into_owned(), stdout(output))
    };
    let long = "It was the best of times, ";
    // Whoever reads only the end writes the same.
    let (said, text) = sample(long, &["--overlap", "7"]);
    assert!(said.contains("note: the prompt has 26 tokens, a text 16; it goes on from the last 7 of them"), "{said}");
    let (_, end) = sample(&long[19..], &[]);
    assert_eq!(text, format!("{}{end}", &long[..19]));
    assert_eq!(text.chars().count(), 19 + 16 + 1);
    let (_, line) = sample(long, &["--overlap", "7", "--json", "--blocks", "2"]);
    let line: Value = serde_json::from_str(&line).unwrap();
    let (tokens, committed) = (line["tokens"].as_array().unwrap(), line["committed_at"].as_array().unwrap());
    assert_eq!((tokens.len(), committed.len()), (19 + 16 + 9, 19 + 16 + 9));
    assert!(committed[..26].iter().all(Value::is_null) && committed[26..].iter().all(|at| !at.is_null()));
}

#[test]
fn samples_on_the_way_begin_as_the_run_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(tempest(tiny_run(&run, 20)).args(["--sample-prompt", "KING: "]));
    let sampled = std::fs::read_to_string(run.join("samples/step-0000020.txt")).unwrap();
    assert!(sampled.starts_with("KING: ") && sampled.chars().count() == 16, "{sampled:?}");
    let before = std::fs::read_to_string(run.join("config.toml")).unwrap();
    let resume = |prompt: &str| {
        let mut command = tempest(["train", "--resume"]);
        command.arg(&run).args(["--steps", "30", "--sample-prompt", prompt]);
        command
    };
    assert!(fail(&mut resume("naïve"), 2).contains("prompt"));
    assert_eq!(std::fs::read_to_string(run.join("config.toml")).unwrap(), before);
    succeed(&mut resume("ROMEO: O, what light"));
    let sampled = std::fs::read_to_string(run.join("samples/step-0000030.txt")).unwrap();
    assert!(sampled.starts_with("ROMEO: O, what light"), "{sampled:?}");
    let other = folder.path().join("other");
    assert!(fail(tempest(tiny_run(&other, 20)).args(["--sample-prompt", "é"]), 2).contains("é") && !other.exists());
}

#[cfg(unix)]
#[test]
fn texts_that_are_finished_stay_when_sampling_is_stopped() {
    use std::io::{BufRead, BufReader, Read};
    common::let_signals_end_children();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(&mut tempest(tiny_run(&run, 20)));
    let many = ["--texts", "1000000", "--json", "--batch", "2", "--run"];
    let mut child = tempest(["sample"])
        .args(many)
        .arg(&run)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // One is there: the end is far.
    lines.next().unwrap().unwrap();
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let texts = 1 + rest.len();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains(&format!("stopped after {texts} of 1,000,000 texts")), "{texts}: {said}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = imported(folder.path());
    let small = golden("trained_small.safetensors").display().to_string();
    let refused = |args: &[&str]| {
        let said = fail(&mut tempest(args), 2);
        said.trim_end().to_owned()
    };
    let sample = |more: &[&str]| refused(&[&["sample", "--model", &model], more].concat());
    let eval = |more: &[&str]| refused(&[&["eval", "--model", &model], more].concat());

    let long = "x".repeat(128);
    assert!(sample(&["--prompt", &long, "--overlap", "128"]).contains("wanted fewer of --overlap"));
    assert!(sample(&["--prompt", "x", "--prompt-file", "f"]).contains("cannot be used with"));
    assert!(sample(&["--prompt-file", "/nowhere"]).contains("/nowhere: cannot read the text"));
    assert!(sample(&["--prompt", "x", "--hole", "-"]).contains("--hole marks a hole of a --template"));
    assert!(sample(&["--prompt", "naïve"]).contains("prompt"));
    assert!(sample(&["--template", "no hole", "--length", "7"]).contains("nothing to write"));
    assert!(sample(&["--template", &"_".repeat(200)]).contains("the template has 200 tokens, a text has 128"));
    assert!(sample(&["--length", "129", "--blocks", "2"]).contains("--blocks is how many windows are written"));
    assert!(sample(&["--stop", ""]).contains("an empty stop"));
    assert!(sample(&["--length", "0"]).contains("wanted"));
    assert!(sample(&["--texts", "0"]).contains("--texts is 0"));
    assert!(sample(&["--batch", "0"]).contains("batch of 0"));
    assert!(sample(&["--temperature=-1"]).contains("temperature of -1"));
    assert!(sample(&["--top-p", "1.5"]).contains("top-p of 1.5"));
    assert!(sample(&["--min-p", "1.5"]).contains("a min-p of 1.5; wanted 0 (every symbol) to 1"));
    assert!(sample(&["--greedy-tail", "2"]).contains("a greedy tail of 2; wanted a share of the text, 0 to 1"));
    assert!(sample(&["--min-p", "0.1", "--temperature", "0"]).contains("--min-p limits what is drawn"));
    assert!(sample(&["--greedy-tail", "0.1", "--order", "original"]).contains("--order original takes the likeliest"));
    assert!(eval(&["--duel", "top-k:4:candidate"]).contains("top-k:4 commits by probabilities and has one"));
    assert!(eval(&["--duel-temperature", "0"]).contains("wanted a finite number above 0"));
    assert!(
        sample(&["--sampler", "threshold", "--threshold", "2"])
            .contains("is threshold:2; wanted a threshold of 0 to 1")
    );
    assert!(sample(&["--sampler", "beam"]).contains("wanted threshold, top-k, factor, "));
    assert!(sample(&["--blocks", "0"]).contains("--blocks"));
    assert!(sample(&["--threads", "0"]).contains("--threads is 0"));
    assert!(eval(&["--windows", "0"]).contains("--windows"));
    assert!(eval(&["--batch", "0"]).contains("--batch is 0"));
    assert!(eval(&["--duel", "left-to-right"]).contains("wanted threshold, top-k, factor, "));
    assert!(refused(&["sample", "--run", "nowhere"]).contains("nowhere"));
    assert!(refused(&["sample", "--model", "nowhere.safetensors"]).contains("nowhere.safetensors"));
    assert!(refused(&["sample", "--model", &small]).contains("tempest import"));
    assert!(refused(&["eval", "--run", &folder.path().display().to_string()]).contains("holds no run"));

    let text = folder.path().join("short.txt");
    std::fs::write(&text, "To be, or not to be").unwrap();
    let text = text.display().to_string();
    assert!(eval(&["--data", &text]).contains("one window of this model needs 128"));
    std::fs::write(&text, "naïve").unwrap();
    assert!(eval(&["--data", &text]).contains("short.txt"));

    let import = |more: &[&str]| refused(&[&["import", &small, "--out", &model], more].concat());
    assert!(import(&["--heads", "4"]).contains("add --positions N, --context N, or --preset original"));
    assert!(import(&["--preset", "original", "--heads", "3"]).contains("3 heads do not divide a width of 128"));
    assert!(
        import(&["--preset", "gpt"]).contains("--preset gpt is of a model like nanoGPT's, and the file holds none")
    );
    assert!(import(&["--preset", "another"]).contains("nano, small, large, original"));
    let broken = folder.path().join("broken.safetensors");
    let bytes = std::fs::read(golden("trained_small.safetensors")).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    assert!(refused(&["import", &broken.display().to_string(), "--preset", "original"]).contains("cut short"));
}

const WRONG: &str = "First Citizen:\nBefore we proceed and further, hear me spesk.\n\nAll:\nSpeak, speak.\n";

#[test]
fn edited_texts_come_from_arguments_files_standard_input_and_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let fill = |more: &[&str]| tempest(["-q", "fill", "-m", "built-in", "--tries", "2"].iter().chain(more));
    let text = "KING ______: My lord, the ____ is come.";
    let filled = stdout(succeed(&mut fill(&[text])));
    assert!(filled.starts_with("KING ") && filled.ends_with(" is come.\n") && !filled.contains('_'), "{filled}");
    let path = file("one", text);
    assert_eq!(stdout(succeed(&mut fill(&["-f", &path]))) + "\n", filled);
    let mut from_stdin = fill(&[]);
    assert_eq!(stdout(succeed(from_stdin.stdin(std::fs::File::open(&path).unwrap()))) + "\n", filled);
    let lines = file("lines", &format!("{{\"id\": 7, \"text\": {text:?}}}\n\n{{\"text\": \"a_\"}}\n"));
    let found = stdout(succeed(&mut fill(&["--jsonl", &lines, "-n", "3"])));
    let first: Value = serde_json::from_str(found.lines().next().unwrap()).unwrap();
    assert_eq!((first["id"].as_u64(), first["number"].as_u64()), (Some(7), Some(0)));
    assert_eq!(first["text"].as_str().unwrap(), filled.trim_end());
    assert_eq!(first["candidates"][0]["lengths"], serde_json::json!([6, 4]));
    assert_eq!(found.lines().count(), 2);
    let several = stdout(succeed(&mut fill(&["My _* lord", "-n", "4", "--longest", "4", "--prior", "flat"])));
    assert!(several.starts_with("--- ") && several.contains(" nats: \""), "{several}");
    let bad = file("bad", "{\"text\": 1}\n");
    assert!(fail(&mut fill(&["--jsonl", &bad]), 2).contains("bad:1: wanted an object with a \"text\""));
    assert!(fail(&mut fill(&["no gap"]), 2).contains("a text without a gap"));
    assert!(fail(&mut fill(&["a_", "--longest", "3"]), 2).contains("--longest is for gaps of unknown length"));
    assert!(fail(&mut fill(&["a_*", "--prior", "x"]), 2).contains("geometric:MEAN"));
    assert!(fail(&mut fill(&["a_", "--score", "ancestral"]), 2).contains("no exact likelihood"));
    assert!(fail(&mut fill(&["a_", "--temperature", "1"]), 2).contains("draw them with --sampler"));
    assert!(fail(&mut fill(&["a_", "--resample", "2"]), 2).contains("wanted uniform, mixed"));
    let kept =
        stdout(succeed(&mut tempest(["-q", "rewrite", "-m", "built-in", "--keep", "14", "-f", &file("w", WRONG)])));
    assert!(kept.starts_with("First Citizen:") && kept != WRONG && kept.chars().count() == WRONG.len(), "{kept}");
    let few =
        ["bench-fill", "-m", "built-in", "-n", "2", "--around", "12", "--longest", "1", "--tries", "1", "--grams", "3"];
    let table = stdout(succeed(&mut tempest(few)));
    assert!(["the model", "3-grams by counts", "difference"].iter().all(|row| table.contains(row)), "{table}");
    let outcomes: Value = serde_json::from_str(&stdout(succeed(tempest(few).arg("--json")))).unwrap();
    assert_eq!((&outcomes["model"]["words"], &outcomes["counts"]["words"]), (&2.into(), &2.into()));
    assert!(fail(&mut tempest(["bench-fill", "-m", "built-in", "--grams", "0"]), 2).contains("--grams 0; wanted 1 to"));
}

#[test]
fn edited_texts_are_shown_as_texts_differences_and_patches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, WRONG).unwrap();
    let repair = |more: &[&str]| {
        let mut command = tempest(["repair", "-m", "built-in", "-f", "letter.txt"].iter().chain(more));
        command.current_dir(folder.path());
        command
    };
    let freely = |more: &[&str]| {
        let mut command = repair(&["--least", "0.001", "--sure", "0.9"]);
        command.args(more);
        command
    };
    assert_eq!(stdout(succeed(&mut repair(&[]))), WRONG, "it is not sure enough");
    let right = WRONG.replace("spesk", "speak");
    assert_eq!(stdout(succeed(&mut freely(&[]))), right);
    let changed = "-Before we proceed and further, hear me spesk.\n+Before we proceed and further, hear me speak.\n";
    let patch = stdout(succeed(&mut freely(&["--patch"])));
    assert!(patch.starts_with("--- letter.txt\n+++ letter.txt\n@@ ") && patch.contains(changed), "{patch}");
    assert_eq!(stdout(succeed(&mut freely(&["--diff"]))), patch, "no colours where there is no terminal");
    let coloured = stdout(succeed(&mut freely(&["--diff", "--color", "always"])));
    assert!(coloured.contains("\u{1b}[32m"), "{coloured:?}");
    let line: Value = serde_json::from_str(&stdout(succeed(&mut freely(&["--json"])))).unwrap();
    assert_eq!((line["edits"][0]["from"].as_str(), line["edits"][0]["to"].as_str()), (Some("s"), Some("a")));
    assert!(fail(&mut freely(&["--check"]), 1).contains("1 char would be replaced in 1 of 1 text"));
    std::fs::write(&path, &right).unwrap();
    assert_eq!(stdout(succeed(&mut freely(&["--check", "--patch"]))), "");
    assert!(fail(&mut repair(&["--errors", "0.1"]), 2).contains("--errors is for a model of --process uniform"));
    assert!(fail(&mut repair(&["--sure", "2"]), 2).contains("sure is 2"));
    for (bytes, code, wanted) in [(&b""[..], 0, "0 chars replaced"), (b"\xff\x00", 2, "; give a file of UTF-8 text")] {
        std::fs::write(&path, bytes).unwrap();
        let (mut command, mut rewrite) = (repair(&[]), tempest(["rewrite", "-m", "built-in", "-f", "letter.txt"]));
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && output.stdout.is_empty() && told.contains(wanted), "{told}");
        assert_eq!(rewrite.current_dir(&folder).output().unwrap().status.code(), Some(code));
    }
    let few = ["bench-repair", "-m", "built-in", "-n", "2", "-l", "64", "--rates", "10", "--errors-of", "typing"];
    let table = stdout(succeed(&mut tempest(few)));
    assert!(table.contains("CER before") && table.contains("typing  10 %"), "{table}");
    let outcomes: Value = serde_json::from_str(&stdout(succeed(tempest(few).arg("--json")))).unwrap();
    assert_eq!((outcomes[0]["edits"].is_u64(), outcomes[1]["slips"].as_str()), (true, Some("typing")));
}

#[test]
fn where_nobody_can_watch_texts_are_the_same_and_it_is_said_why() {
    let sample = |more: &[&str]| succeed(tempest(["sample", "--length", "16", "--texts", "2"]).args(more));
    let alone = sample(&[]).stdout;
    for (more, why) in [(&["--watch"][..], "standard output is no terminal"), (&["--watch", "--plain"], "--plain")] {
        let watched = sample(more);
        let told = String::from_utf8(watched.stderr).unwrap();
        assert!(watched.stdout == alone && told.contains(&format!("note: {why}; --watch shows nothing")), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn the_notebooks_commands_run_and_write_what_it_shows() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("notebooks/first-look.ipynb");
    let notebook = std::fs::read_to_string(file).unwrap();
    assert!(notebook.len() < 300_000, "{} bytes", notebook.len());
    let notebook: Value = serde_json::from_str(&notebook).unwrap();
    assert_eq!([&notebook["nbformat"], &notebook["nbformat_minor"]], [4, 4]);
    let temp = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_tempest")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let (mut commands, mut shown) = (0, 0);
    for cell in notebook["cells"].as_array().unwrap().iter().filter(|cell| cell["cell_type"] == "code") {
        assert!(cell["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty()), "what it showed is stored");
        let lines: String = cell["source"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        for line in lines.lines() {
            if let Some(command) = line.strip_prefix('!') {
                let mut shell = std::process::Command::new("sh");
                shell.args(["-ec", command]).current_dir(&temp).env("PATH", &path);
                succeed(shell.env("STEPS", "20").env("TEMPEST_DEVICE", "cpu"));
                commands += 1;
            } else if let Some((name, _)) = line.split_once("(\"").and_then(|(_, rest)| rest.split_once('"')) {
                let bytes = std::fs::read(temp.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert!(bytes.starts_with(if line.starts_with("SVG") { b"<svg" } else { b"GIF8" }), "{line}");
                shown += 1;
            }
        }
    }
    assert_eq!((commands, shown), (8, 4));
}
