//! Options do something, or say why they cannot; and what a message advises is an option of the command that gave it.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A small run, made once.
fn run() -> &'static str {
    static RUN: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        succeed(&mut tempest(tiny_run(&run, 20)));
        let name = run.display().to_string();
        (folder, name)
    });
    run
}

/// The arguments of a command line, `RUN` being the run.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "RUN" { run() } else { word }).collect()
}

fn stdout(line: &str) -> String {
    String::from_utf8(succeed(&mut tempest(words(line))).stdout).unwrap()
}

#[test]
fn an_option_that_would_do_nothing_is_refused_and_says_what_it_is_for() {
    let cases = [
        (
            "sample --run RUN --sampler threshold --k 4",
            "--k 4 is for --sampler top-k, and this is threshold:0.9; leave it out",
        ),
        ("sample --run RUN --sampler ancestral --threshold 0.5", "--threshold 0.5 is for --sampler threshold"),
        ("sample --run RUN --sampler top-k --steps 9", "--steps 9 is for --sampler ancestral, and this is top-k:1"),
        ("sample --run RUN --sampler threshold --schedule linear", "--schedule linear is for --sampler ancestral"),
        ("sample --run RUN --threshold 0.5 --k 4", "--k 4 is for --sampler top-k, and this is threshold:0.5"),
        ("sample --run RUN --sampler top-k:3 --k 4", "--k 4 is said by --sampler top-k:3 already"),
        (
            "sample --run RUN --sampler threshold:0.9 --threshold 0.5",
            "--threshold 0.5 is said by --sampler threshold:0.9 already",
        ),
        (
            "sample --run RUN --sampler ancestral:cosine --schedule linear",
            "--schedule linear is said by --sampler ancestral:cosine already",
        ),
        ("sample --run RUN --hole x", "--template"),
        ("sample --run RUN --data x.txt", "this model needs none; leave it out"),
        ("sample --run RUN --data x.txt --prompt a", "--prompt gives one; leave it out"),
        ("sample --run RUN --data x.txt --template a_", "--template gives one; leave it out"),
        ("sample --run RUN --top-p 0.9 --temperature 0", "--temperature 0 takes the likeliest symbol; leave it out"),
        (
            "sample --run RUN --top-symbols 4 --temperature 0",
            "--temperature 0 takes the likeliest symbol; leave it out",
        ),
        ("sample --run RUN --guidance 1", "by what is given, and nothing is; wanted a --prompt or a --template"),
        ("sample --run RUN --guidance 101 --prompt a", "a guidance of 101; wanted 0 (none) to 100"),
        ("sample --run RUN --guidance NaN --prompt a", "a guidance of NaN; wanted 0 (none) to 100"),
        ("sample --run RUN --guidance 1 --prompt a --order original", "leave --order out, or --guidance"),
        ("train --out nowhere --prompt-drop 0.1", "give --context N"),
        ("train --out nowhere --context 4 --prompt-drop 1", "wanted --prompt-drop from 0 to less than 1"),
        (
            "train --out nowhere --process block --prompt-drop 0.1",
            "--prompt-drop is for --process masked with a --context",
        ),
        ("sample --run RUN --resample 3", "wanted uniform, mixed, relaxed, gaussian or latent"),
        ("sample --run RUN --resample 0", "give --resample at least 1"),
        ("sample --run RUN --top-symbols 0", "--top-symbols 0 leaves nothing to draw; wanted at least 1"),
        ("sample --run RUN --top-p 0.9 --order original", "--order original takes the likeliest symbol; leave it out"),
        (
            "sample --run RUN --temperature 0.9 --order original --steps 4",
            "--temperature shapes how sure a prediction is",
        ),
        ("sample --run RUN --overlap 3", "give --blocks 2 or more"),
        ("sample --run RUN --sync", "--sync waits for kernels of a GPU, and this runs on the CPU"),
        ("sample --run RUN --rung plain", "--rung chooses among kernels of a GPU, and this runs on the CPU"),
        ("eval --run RUN --nvtx", "--nvtx names programs on a GPU, and this runs on the CPU"),
        ("eval --run RUN --duel top-k:2 --duel-windows 0", "on no windows by --duel-windows 0; leave it out"),
        ("eval --run RUN --unknown replace", "is for another text by --data"),
        ("eval --run RUN --newlines keep", "--data"),
        (
            "train --out nowhere --preset original --schedule cosine",
            "is for --objective nelbo, simple and squared, and this is original",
        ),
        ("train --out nowhere --objective nelbo-count --schedule linear", "and this is nelbo-count; leave it out"),
        (
            "train --out nowhere --lr-schedule constant --min-lr 1e-5",
            "is where --lr-schedule cosine, linear and wsd end",
        ),
        ("train --out nowhere --preset original --min-lr 1e-5", "and this is constant; leave it out"),
        (
            "train --out nowhere --optimizer adamw --muon-lr 0.02",
            "--muon-lr is for --optimizer muon, and this is adamw; leave it out",
        ),
        (
            "train --out nowhere --stage joint",
            "--stage is for --process latent, and this is --process masked; leave it out",
        ),
        ("train --out nowhere --process gaussian --pool 4", "--pool is for --process latent"),
        (
            "train --out nowhere --process latent --char-drop 0.1",
            "is for --stage autoencoder, and this is joint; leave it out",
        ),
        ("train --out nowhere --process latent --positions 30", "wanted a --pool that divides it"),
        ("train --out nowhere --process latent --objective simple", "wanted --objective nelbo or squared"),
        ("train --out nowhere --unknown replace", "one of chars lacks none; leave it out"),
        ("train --out nowhere --vocab bytes --unknown replace", "one of bytes lacks none; leave it out"),
        ("train --force", "--out"),
        ("train --resume RUN --seed 2", "--seed"),
        ("check --against x --batch 3", "--batch"),
        ("check --force", "--json"),
        ("profile --force", "--force is for files that --trace and --json write; leave it out"),
        ("check --preset nano --run RUN", "--preset"),
        ("plot RUN --out - --smooth 0", "wanted at least 1, which is every step alone"),
        (
            "plot RUN --out - --show loss,norm",
            "norm: no figure of a run; wanted some of loss, validation, lr, grad-norm",
        ),
        ("plot nowhere --out -", "nowhere: holds no run"),
        ("replay --run RUN --stop a", "--stop ends what is printed of a text, and a page shows all that is written"),
        ("replay --run RUN --texts 99999", "wanted 200000 tokens at most: give a lower --texts or --length"),
        ("replay --run RUN --out nowhere/page.html", "there is no folder nowhere"),
        ("replay --run RUN --out page.jpg", "page.jpg: a name that ends in .jpg; wanted .html or .svg or .gif or .png"),
        ("plot RUN --out curves.png", "curves.png: a name that ends in .png; wanted .svg"),
        ("judge make RUN --out sheet.txt", "wanted .html"),
        ("report RUN --html -", "standard output has the figures"),
        ("report RUN --length 9999", "a text of 9999 tokens; wanted 1 to 16, this model's window\n"),
        (
            "sample --run RUN --edits 0.2",
            "edits by 0.2:0.5:3 (--edits) of a model of --process masked; wanted uniform, mixed",
        ),
        ("serve --listen here", "wanted an address and a port, such as 127.0.0.1:8000"),
        ("fill a_ --hole ab", "wanted one character"),
        ("judge make RUN RUN", "is named twice"),
        ("judge make RUN --texts 2000", "more than 1000 pairs; give a lower --texts, or fewer runs"),
        ("judge make RUN --texts 0", "--texts is 0; wanted at least 1"),
        ("judge count nowhere.json", "nowhere.json: cannot read the answers"),
        ("report RUN --steps 4 --sampler top-k:1", "cannot be used with"),
        ("report RUN --steps 0", "0"),
        ("report RUN --windows 4", "--html"),
        ("report RUN --html nowhere/page.html", "there is no folder nowhere"),
    ];
    for (line, part) in cases {
        let said = fail(&mut tempest(words(line)), 2);
        assert!(said.contains(part), "{line}: {part:?} is not in: {said}");
    }
    assert!(!Path::new("nowhere").exists());
}

#[test]
fn an_option_chooses_what_it_implies() {
    for (short, whole) in [
        ("--k 8", "--sampler top-k:8"),
        ("--sampler top-k --k 8", "--sampler top-k:8"),
        ("--threshold 0.1", "--sampler threshold:0.1"),
        ("--steps 5", "--sampler ancestral:5"),
        ("--schedule linear", "--sampler ancestral:16:linear"),
        ("--schedule linear --steps 5", "--sampler ancestral:5:linear"),
        ("--sampler top-k", "--sampler top-k:1"),
        ("", "--sampler ancestral:16:cosine"),
        ("--order seed --k 3", "--order original --sampler top-k:3"),
    ] {
        let sample = |how: &str| stdout(&format!("sample --run RUN --json --texts 2 {how}"));
        assert_eq!(sample(short), sample(whole), "{short:?} and {whole:?}");
    }
}

#[test]
fn curves_are_drawn_on_standard_output_or_into_a_file_that_stays() {
    let svg = stdout("plot RUN --out - --show loss,grad-norm --x seconds");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!((svg.matches("role=\"img\"").count(), svg.matches("seconds of training</text>").count()), (2, 2));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("curves.svg");
    let plot = |force: &[&str]| {
        let mut command = tempest(words("plot RUN RUN --smooth 4"));
        command.arg("--out").arg(&place).args(force);
        command
    };
    succeed(&mut plot(&[]));
    let once = std::fs::read(&place).unwrap();
    assert!(fail(&mut plot(&[]), 2).contains("curves.svg: exists already; replace it with --force"));
    succeed(&mut plot(&["--force"]));
    assert!(std::fs::read(&place).unwrap() == once, "the same metrics, the same picture");
}

#[test]
fn a_report_is_a_page_too_that_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str| {
        let place = folder.path().join(name);
        let how = "report RUN --texts 2 --length 16 --steps 2,4 --windows 4 --html";
        let table = succeed(tempest(words(how)).arg(&place)).stdout;
        (String::from_utf8(table).unwrap(), std::fs::read_to_string(place).unwrap())
    };
    let (table, once) = page("a.html");
    assert!(table.contains("at 1, 2 steps") && table.contains("at 1, 4 steps"), "{table}");
    // Loss, validation, levels, bounds, and three figures over steps.
    assert_eq!(once.matches("<svg ").count(), 7, "{once}");
    assert!(!once.contains("<script") && !once.contains("nothing was measured"), "{once}");
    assert!(page("b.html") == (table, once), "the same seed, the same page");
    let how = "report RUN --texts 2 --length 16 --sampler top-k:8,top-k:4 --seconds --json";
    let found: serde_json::Value = serde_json::from_str(&stdout(how)).unwrap();
    let columns: Vec<(Option<&str>, bool)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["sampler"].as_str(), column["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)))
        .collect();
    assert_eq!(columns, [(None, false), (Some("top-k:8"), true), (Some("top-k:4"), true)]);
}

#[test]
fn a_replay_ends_with_the_texts_that_sample_prints() {
    let folder = tempfile::tempdir().unwrap();
    let page = |how: &str| {
        let place = folder.path().join("page.html");
        succeed(tempest(words(how)).arg("--force").arg("--out").arg(&place));
        std::fs::read_to_string(place).unwrap()
    };
    let printed = stdout("replay --run RUN --texts 3 --batch 2 --seed 5 --out -");
    assert!(printed == page("replay --run RUN --texts 3 --batch 2 --seed 5"), "{printed}");
    for how in
        ["--texts 3 --batch 2 --seed 5", "--template a_b_ --length 8", "--length 40 --overlap 4 --sampler top-k:2"]
    {
        let once = page(&format!("replay --run RUN {how}"));
        let json = once.split("id=\"recording\">").nth(1).unwrap().split("</script>").next().unwrap();
        let found: serde_json::Value = serde_json::from_str(json).unwrap();
        let written = stdout(&format!("sample --run RUN {how} --json"));
        let written: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found["texts"].as_array().unwrap().len(), written.len(), "{how}");
        for (text, written) in found["texts"].as_array().unwrap().iter().zip(&written) {
            let numbers = |list: &serde_json::Value| -> Vec<i64> {
                list.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect()
            };
            let mut state = numbers(&text["start"]);
            for step in text["steps"].as_array().unwrap() {
                for change in numbers(step).chunks_exact(3) {
                    state.resize(state.len().max(change[0] as usize + 1), -1);
                    state[change[0] as usize] = change[1];
                    assert!((0..=100).contains(&change[2]), "{change:?}");
                }
            }
            let shown = state.iter().map(|&id| found["symbols"][usize::try_from(id).unwrap()].as_str().unwrap());
            assert_eq!(shown.collect::<String>(), written["text"].as_str().unwrap(), "{how}");
        }
        assert!(page(&format!("replay --run RUN {how}")) == once, "the same seed, the same page");
    }
}

#[test]
fn a_sheet_is_made_and_its_answers_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    succeed(tempest(words("judge make RUN --texts 2 --length 16")).arg("--out").arg(file("sheet.html")));
    let page = std::fs::read_to_string(file("sheet.html")).unwrap();
    let json = page.split("id=\"pairs\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(data["pairs"].as_array().unwrap().len(), 2);
    assert!(!page.contains(run()), "the run's name is not on it");
    // What the page saves.
    let answers = serde_json::json!({ "key": data["key"], "answers": ["tie", null] });
    std::fs::write(file("answers.json"), answers.to_string()).unwrap();
    let told = |flags: &[&str]| {
        let counted = succeed(tempest(["judge", "count"]).arg(file("answers.json")).args(flags));
        String::from_utf8(counted.stdout).unwrap()
    };
    let table = told(&[]);
    assert!(table.contains("real text") && table.contains("n/a") && table.contains("0.0 to 100.0 %"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&told(&["--json"])).unwrap();
    assert_eq!(
        (&json[0]["ties"], &json[0]["wins"], &json[0]["rate"]),
        (&1.into(), &0.into(), &serde_json::Value::Null)
    );
}

#[test]
fn a_number_that_is_none_gets_told_what_was_wanted() {
    let whole = "wanted a whole number from 0 to ";
    for (line, part) in [
        ("train --steps -1", whole),
        ("train --batch -1", whole),
        ("train --layers 99999999999999999999", whole),
        ("train --seed -1", "wanted a whole number from 0 to 18446744073709551615"),
        ("train --seed 9223372036854775808", "wanted at most 9223372036854775807, the largest that config.toml holds"),
        ("train --accumulate 1e3", whole),
        ("train --lr x", "wanted a number, such as 0.5 or 1e-3"),
        ("train --lr -1", "lr is -1; wanted a finite number above 0"),
        ("train --lr inf", "lr is inf; wanted a finite number above 0"),
        ("train --optimizer muon --muon-lr 0", "muon_lr is 0; wanted a finite number above 0"),
        ("train --clip inf", "clip is inf; wanted a finite number of at least 0"),
        ("sample --run RUN --k -1", "wanted a whole number from 0 to 4294967295"),
        ("sample --run RUN --texts -1", whole),
        (
            "sample --run RUN --temperature -1",
            "temperature of -1; wanted 0 (the most probable symbol) or a finite number",
        ),
        (
            "sample --run RUN --temperature inf",
            "temperature of inf; wanted 0 (the most probable symbol) or a finite number",
        ),
        ("sample --run RUN --threads -2", whole),
        ("eval --run RUN --passes -1", whole),
        ("eval --run RUN --steps 4,-1", whole),
        ("import x --heads -1", whole),
        ("check --batch -1", whole),
        ("profile --steps -1", whole),
    ] {
        let said = fail(&mut tempest(words(line)), 2);
        assert!(said.contains(part), "{line}: {part:?} is not in: {said}");
    }
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    let devices = |value: &str| {
        let mut command = tempest(words("sample --run RUN"));
        command.env("TEMPEST_DEVICE", value).env("TEMPEST_CUDA_DRIVER", "");
        command
    };
    succeed(&mut devices(""));
    let said = fail(&mut devices("gpu"), 2);
    assert!(said.contains("TEMPEST_DEVICE is \"gpu\"; wanted auto, cpu, cuda, cuda:N or vgpu"), "{said}");
    // An option beats it.
    succeed(devices("gpu").args(["--device", "cpu"]));
}

/// Options that a command's own help shows.
fn options_of(command: &str) -> Vec<String> {
    let help = String::from_utf8(succeed(&mut tempest([command, "--help"])).stdout).unwrap();
    let listed = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    listed
        .flat_map(|line| {
            line.split([' ', ',', '=']).filter(|w| w.starts_with("--")).map(String::from).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn what_a_message_advises_is_an_option_of_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let accents = file("accents.txt", &"thé ".repeat(200)).display().to_string();
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/trained_small.safetensors");
    let original = original.display().to_string();
    let long = "x".repeat(17);
    let cases: [(&str, &[&str], &str); 9] = [
        ("sample", &["--run", run(), "--prompt", "naïve"], "leave it out, or train a model on text that has it"),
        ("sample", &["--run", run(), "--template", "naïve_"], "leave it out"),
        ("sample", &["--run", run(), "--template", &long], "the template has 17 tokens, a text has 16; shorten it\n"),
        ("sample", &["--run", run(), "--length", "9", "--template", "to be or __"], "or give --length 11 or more"),
        ("eval", &["--run", run(), "--data", &accents], "with --unknown replace, or train a model on text that has it"),
        (
            "train",
            &["--out", "nowhere", "--vocab", "ascii", "--data", &accents],
            "--unknown replace, or choose --vocab chars or bytes",
        ),
        ("train", &["--out", "nowhere", "--heads", "3"], "try --width 126, or another --heads"),
        ("import", &[&original, "--preset", "original", "--heads", "5"], "give other --heads"),
        ("train", &["--out", "nowhere", "--objective", "original"], "--timesteps 128 or another --objective"),
    ];
    for (command, args, part) in cases {
        let said = fail(tempest([command]).args(args), 2);
        assert!(said.contains(part), "{command} {args:?}: {part:?} is not in: {said}");
        let known = options_of(command);
        for word in said.split([' ', ',', ';', '\n']).filter(|w| w.starts_with("--") && w.len() > 2) {
            assert!(known.iter().any(|option| option == word), "{command} {args:?} advises {word}: {said}");
        }
    }
}

#[test]
fn quiet_says_nothing_but_errors_and_verbose_says_more() {
    let temp = tempfile::tempdir().unwrap();
    let quiet = succeed(tempest(tiny_run(&temp.path().join("quiet"), 20)).arg("-q"));
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "");
    let said = fail(&mut tempest(["sample", "--quiet", "--run", "nowhere"]), 2);
    assert!(said.contains("nowhere: holds no run"), "{said}");
    let text = |words: &[&str]| succeed(&mut tempest(words)).stdout;
    assert_eq!(text(&["sample", "-q", "-r", run()]), text(&["sample", "-v", "-r", run()]));
    assert!(fail(&mut tempest(["devices", "-q", "-v"]), 2).contains("cannot be used with"));
}

#[test]
fn colours_are_for_terminals_or_as_asked_for() {
    let coloured = |words: &[&str]| succeed(&mut tempest(words)).stdout.contains(&0x1b);
    assert!(!coloured(&["train", "--help"]));
    assert!(coloured(&["train", "--color", "always", "--help"]));
    assert!(coloured(&["--color=always", "train", "--help"]));
    assert!(!coloured(&["train", "--color=never", "--help"]));
}

#[test]
fn help_shows_what_the_presets_are() {
    let help = stdout("train --help");
    let row = |option: &str| {
        let row = help.lines().find(|line| line.trim_start().starts_with(option) && line.matches("  ").count() > 3);
        row.unwrap_or_else(|| panic!("no row {option} in {help}")).split_whitespace().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(row("--width"), ["128", "192", "384", "384", "384", "128"]);
    assert_eq!(row("--objective")[3], "original");
    assert!(help.contains("Examples:") && stdout("--help").contains("Exit codes:"));
}

#[test]
fn shells_complete_every_command_and_each_has_a_page() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&format!("completions {shell}"));
        assert!(script.contains("checkpoint-every"), "{shell}: {script}");
    }
    let temp = tempfile::tempdir().unwrap();
    let pages = temp.path().join("man");
    succeed(tempest(["man", "--out"]).arg(&pages));
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert!(page("tempest.1").contains("Exit codes:"), "{}", page("tempest.1"));
    for command in ["train", "sample", "eval", "import", "check", "devices", "profile"] {
        let text = page(&format!("tempest-{command}.1"));
        assert!(text.starts_with(".ie") || text.contains(".TH"), "{text}");
    }
    assert_eq!(stdout("man"), page("tempest.1"));
}

#[test]
fn a_replay_shows_the_order_in_which_texts_of_another_time_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // Of several windows, each with steps of its own; the tokens of one are written with it.
    let line = stdout("sample --run RUN --prompt to --length 150 --sampler top-k:3 --json");
    std::fs::write(file("texts.jsonl"), &line).unwrap();
    let out = file("page.html");
    let replay = |more: &str| {
        let line = format!("replay --run RUN --force --out {out} {more}");
        succeed(&mut tempest(words(&line)));
        let page = std::fs::read_to_string(&out).unwrap();
        let json = page.split("id=\"recording\">").nth(1).unwrap().split("</script>").next().unwrap().to_owned();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["texts"][0].take()
    };
    let fresh = replay("--prompt to --length 150 --sampler top-k:3");
    let again = replay(&format!("--from-json {}", file("texts.jsonl")));
    // Position and symbol of each change are the same, how sure the model was is not in the file.
    let changes = |text: &serde_json::Value| {
        let steps = text["steps"].as_array().unwrap().clone().into_iter();
        let steps = steps
            .map(|step| step.as_array().unwrap().chunks(3).map(|c| [c[0].clone(), c[1].clone()]).collect::<Vec<_>>());
        steps.filter(|step| !step.is_empty()).collect::<Vec<_>>()
    };
    assert!(changes(&fresh).len() > 40, "{fresh}");
    assert_eq!(changes(&fresh), changes(&again));
    let refused = |content: &str, says: &str| {
        std::fs::write(file("broken.jsonl"), content).unwrap();
        let line = format!("replay --run RUN --force --out {out} --from-json {}", file("broken.jsonl"));
        let told = fail(&mut tempest(words(&line)), 2);
        assert!(told.contains(says), "{told}");
    };
    refused("", "holds no text");
    refused(&format!("{line}{line}"), "broken.jsonl:2: there is a text 0 before");
    refused("{\"number\": 0}", "wanted a line as tempest sample --json writes it");
    refused(&line.replacen("\"text\":\"to", "\"text\":\"ot", 1), "the tokens say another text");
    let line = format!("replay --run RUN --from-json x --seed 3 --out {out}");
    assert!(fail(&mut tempest(words(&line)), 2).contains("--seed"));
}

#[test]
fn a_game_of_life_writes_texts_anew_that_depend_on_their_numbers_alone() {
    let sample = |more: &str| stdout(&format!("sample --run RUN --prompt to --sampler top-k:8 --json {more}"));
    let lines = sample("--texts 3 --life 3");
    assert_eq!(lines, sample("--texts 3 --life 3 --batch 1"));
    assert!(lines.ends_with(&sample("--first 2 --life 3")));
    let text = |json: &str| serde_json::from_str::<serde_json::Value>(json.lines().next().unwrap()).unwrap();
    let (before, after) = (text(&sample("--texts 3")), text(&lines));
    let tokens = |text: &serde_json::Value| text["tokens"].as_array().unwrap().clone();
    assert!(tokens(&before)[..2] == tokens(&after)[..2] && tokens(&before) != tokens(&after));
    // The order of all of it: what lives no more keeps its step, what was written anew has a later one.
    let steps = |text: &serde_json::Value| -> Vec<Option<u64>> {
        text["committed_at"].as_array().unwrap().iter().map(serde_json::Value::as_u64).collect()
    };
    let first = before["steps"][0].as_u64().unwrap();
    let (before, after) = (steps(&before), steps(&after));
    let fine = |(was, is): (&Option<u64>, &Option<u64>)| was == is || is.is_some_and(|step| step >= first);
    assert!(before.iter().zip(&after).all(fine) && before != after, "{before:?} {after:?}");
    for (more, says) in [
        ("--life 0", "--life 0 plays no generation"),
        ("--life 2 --length 300", "is for texts of one window"),
        ("--life 2 --stop x", "--stop ends them before"),
    ] {
        let line = format!("sample --run RUN {more}");
        let told = fail(&mut tempest(words(&line)), 2);
        assert!(told.contains(says), "{told}");
    }
}
