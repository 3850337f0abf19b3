//! `tempest bench-repair`.

use super::machine::Machine;
use super::model::SavedModelArgs;
use super::print;
use super::repair::Repairing;
use super::table::table;
use clap::Args;
use std::path::PathBuf;
use tempest::config::Unknown;
use tempest::data::Corpus;
use tempest::edit::bench::{Outcome, bench};
use tempest::edit::typos::Slips;
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};
use tempest::{Error, Result};

/// Measure how well a model repairs texts whose errors are known
#[derive(Args, Debug)]
#[command(after_help = super::help::BENCH_REPAIR)]
pub(crate) struct BenchRepairArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    texts: Texts,
    #[command(flatten)]
    how: Repairing,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// What errors are made in.
#[derive(Args, Debug)]
#[command(next_help_heading = "Texts")]
struct Texts {
    /// A text file or folder; its part that training does not see is taken [default: the run's text, else Tiny Shakespeare]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Passages, evenly spaced
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    texts: usize,
    /// Tokens of each [default: the model's window]
    #[arg(short, long, value_name = "N")]
    length: Option<usize>,
    /// Percentages of the characters that go wrong
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "1,5,10,20,30")]
    rates: Vec<f32>,
    /// Errors of typing (keys beside the right one, left out, hit twice, in the wrong order), or of reading by machine
    #[arg(long, value_enum, value_delimiter = ',', default_value = "typing,reading")]
    errors_of: Vec<Kind>,
    /// Key of every random number: the same seed makes the same errors
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Texts that are worked on at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Typing,
    Reading,
}

pub(crate) fn run(args: &BenchRepairArgs) -> Result<()> {
    let loaded = args.model.load_or_built_in(args.texts.data.as_ref())?.of_blocks(args.how.block_length)?;
    let config = args.how.config(loaded.saved.process.family())?;
    let corpus = loaded.corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
    let length = args.texts.length.unwrap_or(loaded.saved.config.sequence_len);
    let texts = passages(&corpus, args.texts.texts, length)?;
    let slips = args.texts.errors_of.iter().map(|kind| match kind {
        Kind::Typing => Slips::Typing,
        Kind::Reading => Slips::Reading,
    });
    let slips: Vec<Slips> = slips.collect();
    let wrong = args.texts.rates.iter().find(|rate| !(**rate > 0.0 && **rate <= 100.0));
    if let Some(rate) = wrong {
        return Err(Error::input(format!("--rates {rate}; wanted percentages above 0 and at most 100")));
    }
    // As they are written in decimals.
    let shares: Vec<f64> = args.texts.rates.iter().map(|rate| (f64::from(*rate) * 100.0).round() / 1e4).collect();
    terminal::say(format!("text      {}", corpus.describe()));
    let mut denoiser = loaded.denoiser(&args.machine, args.texts.batch)?;
    denoiser.heed(&Stop::on_signals()?);
    let mut tell = |what: &str, done: usize, of: usize| {
        let (done, of) = (done as u64, of as u64);
        terminal::show(Activity { what: format!("{what}, texts"), done, of, ..Activity::default() });
    };
    let outcomes = bench(&mut denoiser, &config, &texts, (&slips, &shares), args.texts.seed, &mut tell)?;
    terminal::rest();
    match args.json {
        true => print(&(serde_json::to_string_pretty(&outcomes).expect("numbers and strings are always JSON") + "\n")),
        false => print(&(in_rows(&outcomes) + LEGEND)),
    }
}

/// Evenly spaced passages of what training did not see.
fn passages(corpus: &Corpus, wanted: usize, length: usize) -> Result<Vec<String>> {
    let range = corpus.validation();
    let room = (range.end - range.start) as usize;
    if wanted == 0 || length == 0 || length > room {
        return Err(Error::input(format!(
            "{wanted} passages of {length} tokens out of {room} that training did not see; wanted at least 1 passage of 1 to {room}"
        )));
    }
    let text = |i: usize| {
        let first = range.start as usize + i * (room - length) / (wanted - 1).max(1);
        corpus.text(first as u64..(first + length) as u64)
    };
    Ok((0..wanted).map(text).collect())
}

fn in_rows(outcomes: &[Outcome]) -> String {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let or = |share: Option<f64>| share.map_or("n/a".into(), |share| format!("{:.1} %", 100.0 * share));
    let head = ["errors", "of", "CER before", "after", "edits", "precision", "recall", "damage"];
    let row = |outcome: &Outcome| {
        vec![
            outcome.slips.map_or("none".into(), |slips| slips.to_string()),
            outcome.slips.map_or("-".into(), |_| format!("{} %", 100.0 * outcome.share)),
            percent(outcome.before),
            percent(outcome.after),
            outcome.edits.to_string(),
            or(outcome.precision),
            or(outcome.recall),
            percent(outcome.damage),
        ]
    };
    let head: Vec<String> = head.map(String::from).into();
    table(&std::iter::once(head).chain(outcomes.iter().map(row)).collect::<Vec<_>>(), 1)
}

const LEGEND: &str = "
CER        edits between a text and what it should be, over its characters, before and after the repair
precision  replaced characters that became what they should be
recall     errors that were put right; keys left out or hit twice no replacement puts right
damage     right characters that were replaced
";
