//! How fast and how far a way of training learns: trains every entry, a run's config.toml, with several seeds as a user would,
//! and evaluates each result on unseen text.
//!
//! ```sh
//! cargo bench --bench speedrun -- benches/speedrun/nano.toml --seeds 3
//! ```
//!
//! Seconds are those of the whole training command: the start, all steps and the writing of the model.

use clap::{Parser, ValueEnum};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use tempest::config::{Family, Measure};

/// Trains entries with several seeds and says what they reach.
#[derive(Parser)]
struct Args {
    /// Entries: files like a run's config.toml
    entries: Vec<PathBuf>,

    /// Each entry is trained with the seeds 1, 2, … up to this
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// Passes over every window of the validation split
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,

    /// A sampler whose exact likelihood is wanted beside the bound, as `tempest eval --duel` has them, of models that have one
    #[arg(long)]
    duel: Option<String>,

    /// Windows for that
    #[arg(long, default_value_t = 0, requires = "duel")]
    duel_windows: u32,

    /// What trains and evaluates
    #[arg(long, default_value = "auto")]
    device: String,

    /// Worker threads of a CPU [default: all cores]
    #[arg(long)]
    threads: Option<usize>,

    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// One training, and every figure of what it reached.
struct Score {
    seconds: f64,
    figures: Vec<(String, Estimate)>,
}

/// A figure of `tempest eval --json`.
#[derive(Clone, Copy, Deserialize)]
struct Estimate {
    nats: f64,
    /// None of few windows.
    standard_error: Option<f64>,
}

/// What that says, as far as it is wanted: of a model of two parts each stands under its own name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Both { nelbo: Bounds, nll: Estimate },
    Bounds(Bounds),
    Exact(Estimate),
}

#[derive(Deserialize)]
struct Bounds {
    nelbo: Estimate,
    duel: Vec<Duel>,
}

#[derive(Deserialize)]
struct Duel {
    policy: String,
    #[serde(flatten)]
    nll: Estimate,
}

/// An entry, as far as it is needed.
#[derive(Deserialize)]
struct Entry {
    process: Process,
    train: Train,
}

#[derive(Deserialize)]
struct Process {
    kind: String,
}

#[derive(Deserialize)]
struct Train {
    steps: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.entries.is_empty() {
        // `cargo test --benches` only asks whether it starts.
        println!("nothing to train; name entries: cargo bench --bench speedrun -- benches/speedrun/nano.toml");
        return ExitCode::SUCCESS;
    }
    match args.entries.iter().map(|entry| run(entry, &args)).collect::<Result<Vec<_>, _>>() {
        Ok(rows) => {
            println!("\n| entry | steps | seconds | | nats/char | s.e. over windows | sd over seeds |");
            println!("|---|---|---|---|---|---|---|\n{}", rows.join("\n"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("speedrun: {why}");
            ExitCode::from(2)
        }
    }
}

/// Trains an entry with every seed; its rows of the table, one for each figure.
fn run(path: &Path, args: &Args) -> Result<String, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let entry: Entry = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let steps = entry.train.steps;
    let mut scores = Vec::new();
    for seed in 1..=args.seeds {
        let score = train(path, &entry, seed, args)?;
        let figures =
            score.figures.iter().map(|(what, of)| format!("{what} {:.4} ± {}", of.nats, digits(of.standard_error)));
        let figures = figures.collect::<Vec<_>>().join(", ");
        println!("{name}, seed {seed}: {steps} steps in {:.0} s, nats/char: {figures}", score.seconds);
        scores.push(score);
    }
    let mean = |of: &dyn Fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
    let seconds = mean(&|score| score.seconds);
    let rows = scores[0].figures.iter().enumerate().map(|(i, (what, _))| {
        let nats = mean(&|s| s.figures[i].1.nats);
        let errors = scores.iter().map(|s| s.figures[i].1.standard_error).sum::<Option<f64>>();
        let error = digits(errors.map(|sum| sum / scores.len() as f64));
        let squares = scores.iter().map(|s| (s.figures[i].1.nats - nats).powi(2)).sum::<f64>();
        // One seed has no spread.
        let spread = digits((scores.len() > 1).then(|| (squares / (scores.len() - 1) as f64).sqrt()));
        format!("| {name} | {steps} | {seconds:.0} | {what} | {nats:.4} | {error} | {spread} |")
    });
    Ok(rows.collect::<Vec<_>>().join("\n"))
}

fn digits(figure: Option<f64>) -> String {
    figure.map_or("n/a".to_owned(), |figure| format!("{figure:.4}"))
}

/// Trains once and evaluates.
fn train(path: &Path, entry: &Entry, seed: u64, args: &Args) -> Result<Score, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder for the run: {e}"))?;
    let run = folder.path().join("run");
    let start = Instant::now();
    let seed = seed.to_string();
    tempest(args, &["train", "--config", &name_of(path)?, "--seed", &seed, "--out", &name_of(&run)?])?;
    let seconds = start.elapsed().as_secs_f64();
    let (run, passes, windows) = (name_of(&run)?, args.passes.to_string(), args.duel_windows.to_string());
    let mut words = vec!["eval", "--run", &run, "--json"];
    let family = Family::from_str(&entry.process.kind, false).map_err(|e| format!("{}: {e}", path.display()))?;
    if family.measures().contains(&Measure::Nelbo) {
        words.extend(["--passes", &passes]);
    }
    if family.has_policies() {
        words.extend(["--duel-windows", &windows]);
        args.duel.iter().for_each(|sampler| words.extend(["--duel", sampler]));
    }
    let json = tempest(args, &words)?;
    let report = serde_json::from_slice(&json).map_err(|e| format!("what eval says is not as expected: {e}"))?;
    Ok(Score { seconds, figures: figures(report) })
}

/// Each figure by its name.
fn figures(report: Report) -> Vec<(String, Estimate)> {
    let (bounds, exact) = match report {
        Report::Both { nelbo, nll } => (Some(nelbo), Some(nll)),
        Report::Bounds(bounds) => (Some(bounds), None),
        Report::Exact(exact) => (None, Some(exact)),
    };
    let mut figures = Vec::new();
    if let Some(Bounds { nelbo, duel }) = bounds {
        figures.push(("NELBO".to_owned(), nelbo));
        figures.extend(duel.into_iter().map(|of| (format!("exact, {}", of.policy), of.nll)));
    }
    figures.extend(exact.map(|nll| ("NLL".to_owned(), nll)));
    figures
}

/// Runs a command; what it prints.
fn tempest(args: &Args, words: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tempest"));
    command.args(words).args(["--device", &args.device]);
    if let Some(threads) = args.threads {
        command.arg(format!("--threads={threads}"));
    }
    let output = command.stderr(Stdio::piped()).output().map_err(|e| format!("cannot start tempest: {e}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("tempest {} ended with {}: {}", words.join(" "), output.status, said.trim_end()))
}

fn name_of(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no UTF-8", path.display()))
}
