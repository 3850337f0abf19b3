//! Every option of every command with values that nobody should give, and models, states and configurations in which
//! something was changed: whatever comes, a command does its work or says in words why not.
//!
//! Cases follow from a seed. `TEMPEST_FUZZ_SEED` names another one, `TEMPEST_FUZZ_CASES` how many there are, and
//! `TEMPEST_FUZZ_PATIENCE_S` after how many seconds a command is stopped that does its work; from 20 on a silence as long as
//! that is a fault. What went wrong is printed as a command line.

#![cfg(target_os = "linux")]

mod common;

use common::{succeed, tempest, tiny_run};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempest::files::atomic::Existing;
use tempest::files::tensors::{self, Tensor, TensorFile};

/// Done, differs, input, and the signals that ask a command to end.
const GOOD_EXITS: [i32; 6] = [0, 1, 2, 130, 141, 143];

/// Of addresses, in KiB: 2 GB.
const MOST_MEMORY_KIB: u64 = 2_000_000;

/// Longest silence, and longest time between a request to end and the end.
const SILENCE: Duration = Duration::from_secs(20);

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

/// Numbers at the edges of every type, and what is no number.
const NUMBERS: [&str; 30] = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "16",
    "17",
    "64",
    "100",
    "1000",
    "65535",
    "65536",
    "1000000",
    "1000000000",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "0.5",
    "0.999",
    "1e-40",
    "1e38",
    "1e39",
    "nan",
    "inf",
    "-0.0",
];

/// Words.
const WORDS: [&str; 8] = ["", "x", "a b", "naïve", "\u{1b}[2J\r", "___", "--", "ROMEO:"];

/// One option, as its command's help describes it.
struct Choice {
    name: String,
    takes_value: bool,
    /// The values that it names; none where any may be given.
    values: Vec<String>,
}

/// Every option of a command, from its help.
fn choices(command: &str) -> Vec<Choice> {
    let output = succeed(tempest([command, "--help"]).env("COLUMNS", "500"));
    let help = String::from_utf8(output.stdout).unwrap();
    let mut list: Vec<Choice> = Vec::new();
    let mut named = false;
    for line in help.lines().map(str::trim_start) {
        // Short ones first: `-h, --help`.
        let line = line.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(line, |(_, long)| long);
        if let Some(option) = line.strip_prefix("--") {
            let name: String = option.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            list.push(Choice { takes_value: option[name.len()..].starts_with(" <"), name, values: Vec::new() });
            named = false;
        }
        let Some(last) = list.last_mut() else { continue };
        if let Some((_, values)) = line.split_once("[possible values: ") {
            last.values.extend(values.split(']').next().unwrap_or_default().split(", ").map(String::from));
        }
        named |= line.starts_with("Possible values:");
        if let Some(value) = line.strip_prefix("- ").filter(|_| named) {
            last.values.push(value.split(':').next().unwrap_or_default().to_owned());
        }
    }
    // The first two print and end; the last would spoil what the other cases read.
    list.retain(|choice| !["help", "version", "force"].contains(&choice.name.as_str()));
    list
}

/// What the cases work on.
struct Harness {
    folder: tempfile::TempDir,
    commands: BTreeMap<&'static str, Vec<Choice>>,
}

impl Harness {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        succeed(&mut tempest(tiny_run(&folder.path().join("run"), 3)));
        std::fs::write(folder.path().join("text.txt"), "To be, or not to be: that is the question.\r\n".repeat(50))
            .unwrap();
        std::fs::write(folder.path().join("short.txt"), "a").unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0, 1, 2]).unwrap();
        let names = [
            "train",
            "sample",
            "eval",
            "fill",
            "repair",
            "rewrite",
            "report",
            "compare",
            "replay",
            "plot",
            "bench-fill",
            "bench-repair",
            "export",
            "import",
            "check",
            "devices",
            "profile",
        ];
        Harness { commands: names.map(|name| (name, choices(name))).into(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The run, copied.
    fn copied_run(&self) -> PathBuf {
        let copy = self.path("copy");
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir(&copy).unwrap();
        for name in ["config.toml", "model.safetensors", "state.safetensors", "metrics.jsonl"] {
            std::fs::copy(self.path("run").join(name), copy.join(name)).unwrap();
        }
        copy
    }

    /// A command that would do something small.
    fn sensible(&self, command: &str, run: &Path) -> Vec<(String, Option<String>)> {
        let run = run.display().to_string();
        let text = match command {
            "train" => "--layers 1 --heads 2 --width 16 --positions 16 --batch 2 --steps 2 --eval-windows 4 --out new"
                .to_owned(),
            "sample" => format!("--run {run} --texts 2"),
            "eval" => format!("--run {run} --windows 4 --passes 1 --duel-windows 1"),
            "check" => format!("--run {run} --batch 1"),
            "profile" => format!("--run {run} --batch 1 --steps 1"),
            "import" => "--heads 2 --positions 16 --context 0 --out imported".to_owned(),
            "export" => format!("--run {run} --out exported"),
            "fill" => format!("--run {run} --tries 1 --longest 2"),
            "repair" => format!("--run {run} --rounds 1"),
            "rewrite" => format!("--run {run} --strength 0.5"),
            "replay" => format!("--run {run} --texts 1 --out replayed.html"),
            "report" => "--texts 2 --length 8".to_owned(),
            "compare" => "--texts 2 --length 8 --windows 2 --duel-windows 1 --steps 2".to_owned(),
            "plot" => "--out plotted.svg".to_owned(),
            "bench-fill" => format!("--run {run} --words 1 --around 4 --longest 1 --tries 1 --grams 2"),
            "bench-repair" => format!("--run {run} --texts 1 --length 8 --rates 10"),
            _ => String::new(),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        words.chunks(2).map(|pair| (pair[0][2..].to_owned(), Some(pair[1].to_owned()))).collect()
    }

    /// What stands behind a command's options.
    fn given(&self, command: &str, run: &Path) -> Vec<String> {
        let run = |name: &str| run.join(name).display().to_string();
        match command {
            "import" => vec![run("model.safetensors")],
            "fill" => vec!["To be, __ not _* be".to_owned()],
            "repair" | "rewrite" => vec!["To be, or not to be".to_owned()],
            "report" | "plot" => vec![run("")],
            "compare" => vec![run(""), run("")],
            _ => Vec::new(),
        }
    }

    /// A value for an option: one of those that it names, a number, a word, a place.
    fn value(&self, choice: &Choice, random: &mut Random) -> String {
        if choice.name == "device" {
            // Not the virtual GPU, which maps more than 2 GB.
            return random.pick(&["cpu", "cuda", "cuda:1", "cuda:18446744073709551615", "gpu", ""]).to_owned();
        }
        if !choice.values.is_empty() && !random.chance(8) {
            return choice.values[random.below(choice.values.len())].clone();
        }
        let places =
            ["run", "text.txt", "short.txt", "binary", "none", "run/model.safetensors", "run/config.toml", "."];
        match random.below(8) {
            0 => random.pick(&WORDS).to_owned(),
            1 => self.path(random.pick(&places)).display().to_string(),
            2 => random.pick(&["/dev/null", "/", "x".repeat(300).as_str()]).to_owned(),
            3 => format!("{},{}", random.pick(&NUMBERS), random.pick(&NUMBERS)),
            4 if choice.name == "duel" => format!("{}:{}", random.pick(&["top-k", "threshold"]), random.pick(&NUMBERS)),
            _ => random.pick(&NUMBERS).to_owned(),
        }
    }

    /// A sensible command in which a few options have other values.
    fn odd_options(&self, random: &mut Random) -> Vec<String> {
        let names: Vec<&str> = self.commands.keys().copied().collect();
        let command = random.pick(&names);
        let (choices, mut given) = (&self.commands[command], self.sensible(command, &self.path("run")));
        for _ in 0..1 + random.below(3) {
            if choices.is_empty() {
                break;
            }
            let choice = &choices[random.below(choices.len())];
            let value = choice.takes_value.then(|| self.value(choice, random));
            given.retain(|(name, _)| *name != choice.name);
            if ["data", "model", "preset", "resume"].contains(&&choice.name[..]) {
                given.retain(|(name, _)| (name != "run" && name != "out") || choice.name == "data");
            }
            given.push((choice.name.clone(), value));
        }
        let mut args = vec![command.to_owned()];
        args.extend(self.given(command, &self.path("run")));
        args.extend(given.into_iter().map(|(name, value)| match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        }));
        args
    }

    /// A command that reads a run in one of whose files something was changed.
    fn odd_files(&self, random: &mut Random) -> Vec<String> {
        let run = self.copied_run();
        let file = run.join(random.pick(&["config.toml", "model.safetensors", "state.safetensors"]));
        if file.ends_with("config.toml") {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, odd_text(&text, random)).unwrap();
        } else if random.chance(2) {
            odd_bytes(&file, random);
        } else {
            odd_tensors(&file, random);
        }
        let command = random.pick(&["train", "sample", "eval", "report", "check", "profile", "import"]);
        let run = run.display().to_string();
        match command {
            "train" => return ["train", "--resume", &run].map(String::from).into(),
            "import" => {
                return ["import", &format!("{run}/model.safetensors"), "--preset=original", "--force"]
                    .map(String::from)
                    .into();
            }
            _ => {}
        }
        let given = self.sensible(command, Path::new(&run)).into_iter();
        let args = given.map(|(name, value)| format!("--{name}={}", value.unwrap_or_default()));
        [command.to_owned()].into_iter().chain(args).chain(self.given(command, Path::new(&run))).collect()
    }
}

/// A text with other numbers, or without a line, or with one twice.
fn odd_text(text: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for _ in 0..1 + random.below(2) {
        let at = random.below(lines.len());
        match random.below(6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines[at] = random.pick(&WORDS).to_owned(),
            _ => {
                if let Some((name, _)) = lines[at].split_once(" = ") {
                    lines[at] = format!("{name} = {}", random.pick(&NUMBERS));
                }
            }
        }
    }
    lines.join("\n") + "\n"
}

/// A file cut, lengthened, or with other bytes.
fn odd_bytes(file: &Path, random: &mut Random) {
    let mut bytes = std::fs::read(file).unwrap();
    match random.below(5) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => bytes.extend([0; 9]),
        // The length of the header.
        2 => bytes[random.below(8)] = random.next() as u8,
        _ => {
            // Mostly in the header, which is text.
            let end = if random.chance(4) { bytes.len() } else { bytes.len().min(2000) };
            for _ in 0..1 + random.below(4) {
                let at = random.below(end);
                bytes[at] = if random.chance(2) { b'0' + random.below(10) as u8 } else { random.next() as u8 };
            }
        }
    }
    std::fs::write(file, bytes).unwrap();
}

/// A whole file, with its checksum, of other tensors and other metadata.
fn odd_tensors(file: &Path, random: &mut Random) {
    let bytes = std::fs::read(file).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = tensors::metadata(file).unwrap();
    metadata.remove(tensors::CHECKSUM);
    let open = TensorFile::open(file).unwrap();
    let mut list: Vec<(String, Vec<usize>, Vec<f32>)> = header
        .tensors()
        .into_iter()
        .map(|(name, info)| (name.clone(), info.shape.clone(), open.get_any::<f32>(&name).unwrap()))
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    let at = random.below(list.len());
    match random.below(6) {
        0 => drop(list.remove(at)),
        1 => list[at].0 = "other".into(),
        2 => {
            let (_, shape, data) = &mut list[at];
            let value: f32 = random.pick(&["nan", "inf", "1e38", "-1e38", "1e-40", "0"]).parse().unwrap();
            let first = random.below(data.len());
            let all = random.chance(2);
            data.iter_mut().skip(first).take(if all { usize::MAX } else { 1 }).for_each(|x| *x = value);
            if random.chance(4) {
                *shape = vec![data.len()];
            }
        }
        _ => {
            let keys: Vec<String> = metadata.keys().cloned().collect();
            let value = metadata.get_mut(&keys[random.below(keys.len())]).unwrap();
            // One of its numbers becomes another.
            let digits: Vec<usize> = value.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(i, _)| i).collect();
            *value = match digits.is_empty() {
                true => random.pick(&WORDS).to_owned(),
                false => {
                    let start = digits[random.below(digits.len())];
                    let rest = value[start..].trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
                    format!("{}{}{rest}", &value[..start], random.pick(&NUMBERS))
                }
            };
        }
    }
    let tensors: Vec<Tensor<'_>> = list.iter().map(|(name, shape, data)| Tensor { name, shape, data }).collect();
    tensors::write(file, Existing::Replace, &tensors, &metadata).unwrap();
}

/// Runs a command; its exit code, or what is wrong with how it ended. Stops it when it has worked long enough.
fn outcome(harness: &Harness, args: &[String], patience: Duration) -> Result<i32, String> {
    let _ = std::fs::remove_dir_all(harness.path("new"));
    for name in ["imported", "exported", "replayed.html", "plotted.svg"] {
        let _ = std::fs::remove_file(harness.path(name));
    }
    let mut shell = Command::new("sh");
    let limited = format!("ulimit -v {MOST_MEMORY_KIB}; exec \"$@\"");
    shell.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_tempest")]).args(args);
    shell.env("TEMPEST_DEVICE", "cpu").env("RUST_BACKTRACE", "0").current_dir(harness.folder.path());
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (heard, words) = mpsc::channel();
    let pipes: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for mut pipe in pipes {
        let heard = heard.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                let _ = heard.send(bytes[..n].to_vec());
            }
        });
    }
    drop(heard);
    // The end of both pipes is the end of the command.
    let (mut said, mut asked, mut left) = (Vec::new(), false, patience);
    let silent = loop {
        let start = std::time::Instant::now();
        match words.recv_timeout(left.min(SILENCE)) {
            Ok(bytes) => said.extend(bytes),
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) if asked || left > SILENCE => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        left = left.saturating_sub(start.elapsed());
        if left.is_zero() && !asked {
            let kill = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
            assert!(kill.is_ok());
            (asked, left) = (true, SILENCE);
        } else if left.is_zero() {
            break true;
        }
    };
    if silent {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    // A command that saves nothing leaves signals to the system.
    let code = status.code().or_else(|| std::os::unix::process::ExitStatusExt::signal(&status).map(|n| 128 + n));
    let said = String::from_utf8_lossy(&said).into_owned();
    let code = code.unwrap_or(-1);
    let what = if silent {
        "says nothing, or does not end when asked to".to_owned()
    } else if !GOOD_EXITS.contains(&code) {
        format!("exit {code}")
    } else if said.contains("panicked at") {
        "panic".to_owned()
    } else if code != 0 && code < 128 && said.trim().is_empty() {
        "no word".to_owned()
    } else {
        return Ok(code);
    };
    let shown: String = said.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect();
    Err(format!("{what}: tempest {args:?}\n{shown}"))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_is_given_a_command_works_or_says_why_not() {
    let (seed, cases) = (number("TEMPEST_FUZZ_SEED", 1), number("TEMPEST_FUZZ_CASES", 300));
    // A command that is at work after this long has got past all checks.
    let patience = Duration::from_secs_f64(match number("TEMPEST_FUZZ_PATIENCE_S", 0) {
        0 => 0.4,
        seconds => seconds as f64,
    });
    let harness = Harness::new();
    let (mut faults, mut ends) = (Vec::new(), BTreeMap::new());
    for case in 0..cases {
        let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(case));
        let args = if random.chance(3) { harness.odd_files(&mut random) } else { harness.odd_options(&mut random) };
        match outcome(&harness, &args, patience) {
            Ok(code) => *ends.entry(code).or_insert(0) += 1,
            Err(fault) => faults.push(format!("case {case}: {fault}")),
        }
    }
    println!("cases by exit code: {ends:?}");
    assert!(faults.is_empty(), "seed {seed}: {} of {cases} cases:\n\n{}", faults.len(), faults.join("\n"));
    // Of cases that are all refused, or all fine, nobody learns anything.
    let share = |code: i32| ends.get(&code).map_or(0, |n| n * 100 / cases);
    assert!(cases < 100 || (share(0) >= 10 && share(2) >= 20), "{ends:?}");
}
