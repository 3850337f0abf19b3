//! How fast and how far a way of training learns: trains every entry, a run's config.toml, with several seeds as a user would,
//! and evaluates each result on unseen text.
//!
//! ```sh
//! cargo bench --bench speedrun -- benches/speedrun/nano.toml --seeds 3
//! ```
//!
//! Seconds are those of the whole training command: the start, all steps and the writing of the model.

use clap::Parser;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

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

/// One training.
struct Score {
    seconds: f64,
    nats: f64,
    standard_error: f64,
}

/// What `tempest eval --json` says, as far as it is wanted.
#[derive(Deserialize)]
struct Report {
    nelbo: Nelbo,
}

#[derive(Deserialize)]
struct Nelbo {
    nats: f64,
    standard_error: f64,
}

/// An entry, as far as it is shown.
#[derive(Deserialize)]
struct Entry {
    train: Train,
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
            println!("\n| entry | steps | seconds | NELBO, nats/char | s.e. over windows | sd over seeds |");
            println!("|---|---|---|---|---|---|\n{}", rows.join("\n"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("speedrun: {why}");
            ExitCode::from(2)
        }
    }
}

/// Trains an entry with every seed; its row of the table.
fn run(entry: &Path, args: &Args) -> Result<String, String> {
    let name = entry.file_stem().unwrap_or_default().to_string_lossy();
    let text = std::fs::read_to_string(entry).map_err(|e| format!("cannot read {}: {e}", entry.display()))?;
    let steps = toml::from_str::<Entry>(&text).map_err(|e| format!("{}: {e}", entry.display()))?.train.steps;
    let mut scores = Vec::new();
    for seed in 1..=args.seeds {
        let score = train(entry, seed, args)?;
        let Score { seconds, nats, standard_error } = score;
        println!(
            "{name}, seed {seed}: {steps} steps in {seconds:.0} s, NELBO {nats:.4} ± {standard_error:.4} nats/char"
        );
        scores.push(score);
    }
    let mean = |of: fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
    let (seconds, nats, standard_error) = (mean(|s| s.seconds), mean(|s| s.nats), mean(|s| s.standard_error));
    let squares = scores.iter().map(|s| (s.nats - nats).powi(2)).sum::<f64>();
    // One seed has no spread.
    let spread = match scores.len() {
        1 => "n/a".to_owned(),
        n => format!("{:.4}", (squares / (n - 1) as f64).sqrt()),
    };
    Ok(format!("| {name} | {steps} | {seconds:.0} | {nats:.4} | {standard_error:.4} | {spread} |"))
}

/// Trains once and evaluates.
fn train(entry: &Path, seed: u64, args: &Args) -> Result<Score, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder for the run: {e}"))?;
    let run = folder.path().join("run");
    let start = Instant::now();
    let seed = seed.to_string();
    tempest(args, &["train", "--config", &path(entry)?, "--seed", &seed, "--out", &path(&run)?])?;
    let seconds = start.elapsed().as_secs_f64();
    let passes = args.passes.to_string();
    let json = tempest(args, &["eval", "--run", &path(&run)?, "--passes", &passes, "--duel-windows", "0", "--json"])?;
    let report: Report =
        serde_json::from_slice(&json).map_err(|e| format!("what eval says is not as expected: {e}"))?;
    Ok(Score { seconds, nats: report.nelbo.nats, standard_error: report.nelbo.standard_error })
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

fn path(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no UTF-8", path.display()))
}
