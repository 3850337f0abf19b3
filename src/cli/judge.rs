//! `tempest judge`.

use super::machine::Machine;
use super::model::SavedModelArgs;
use super::place::Place;
use super::print;
use super::report::{Wanted, real_texts, write};
use super::table::table;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use tempest::config::{Policy, Unknown};
use tempest::page;
use tempest::quality::blind::{self, Answers, Key};
use tempest::sample;
use tempest::stop::Stop;
use tempest::terminal;
use tempest::{Error, Result};

/// Let people judge texts without knowing where they are from, and count what they say
#[derive(Args, Debug)]
#[command(after_help = super::help::JUDGE)]
pub(crate) struct JudgeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Make(MakeArgs),
    Count(CountArgs),
}

/// Write a sheet: a page with pairs of texts of runs and of real text, that saves the answers
#[derive(Args, Debug)]
struct MakeArgs {
    /// Runs: folders, or names in runs/
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(short, long, value_name = "FILE", default_value = "sheet.html")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
    /// Where real texts are from, of what training did not see [default: the first run's text]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Texts of each run, and of real text: as many pairs of every two of them
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    texts: usize,
    /// Tokens of a text [default: the window of the first run's model]
    #[arg(short, long, value_name = "N")]
    length: Option<usize>,
    /// Below 1 likelier symbols are preferred
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// How models of masked diffusion write, as sample --sampler has it
    #[arg(long, value_name = "SAMPLER", default_value = "ancestral")]
    sampler: Policy,
    /// Key of every random number, of texts and of their order
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Texts at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    #[command(flatten)]
    machine: Machine,
}

/// Count the answers of one person or several: how often each was preferred, with 95 % intervals
#[derive(Args, Debug)]
struct CountArgs {
    /// Files that sheets saved
    #[arg(required = true, value_name = "ANSWERS.json")]
    files: Vec<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Most pairs of a sheet: more than anybody answers.
const MOST_PAIRS: usize = 1000;

/// What real text is called.
const REAL: &str = "real text";

pub(crate) fn run(args: &JudgeArgs) -> Result<()> {
    match &args.what {
        What::Make(args) => make(args),
        What::Count(args) => count(args),
    }
}

fn make(args: &MakeArgs) -> Result<()> {
    for (option, number) in [("--texts", args.texts), ("--batch", args.batch), ("--length", args.length.unwrap_or(1))] {
        if number == 0 {
            return Err(Error::input(format!("{option} is 0; wanted at least 1")));
        }
    }
    let twos = args.runs.len().saturating_mul(args.runs.len() + 1) / 2;
    if args.texts.saturating_mul(twos) > MOST_PAIRS {
        return Err(Error::input(format!(
            "{} texts of {} runs and of real text make more than {MOST_PAIRS} pairs; give a lower --texts, or fewer runs",
            args.texts,
            args.runs.len()
        )));
    }
    let place = Place::of(&args.out, args.force, &["html"])?;
    let loaded: Vec<_> =
        args.runs.iter().map(|run| SavedModelArgs::of_run(run).load(args.data.as_ref())).collect::<Result<_>>()?;
    let names: Vec<String> = loaded.iter().map(|model| model.name()).chain([REAL.into()]).collect();
    if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        return Err(Error::input(format!(
            "{twice}: is named twice, and a text of it cannot be told from another; name it once"
        )));
    }
    let corpus = loaded[0].corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
    let length = args.length.unwrap_or(loaded[0].saved.config.sequence_len);
    loaded.iter().try_for_each(|model| sample::check_length(length, &model.saved.config))?;
    // Of real texts half are enough: nothing else is held against anything here.
    let [real, _] = real_texts(&corpus, args.texts, length)?;
    if real.len() < args.texts {
        return Err(Error::input(format!(
            "{} real texts of {length} tokens, and {} are wanted; give a lower --texts or --length, or more text with --data",
            real.len(),
            args.texts
        )));
    }
    let (device, stop) = (args.machine.open()?, Stop::on_signals()?);
    let wanted = Wanted {
        policy: args.sampler,
        temperature: args.temperature,
        length,
        texts: args.texts,
        seed: args.seed,
        batch: args.batch,
    };
    let written = loaded.iter().map(|model| write(model, &args.machine, &wanted, &corpus, (&device, &stop)));
    let mut texts = written.map(|drawn| drawn.map(|drawn| drawn.texts)).collect::<Result<Vec<_>>>()?;
    texts.push(real);
    terminal::rest();
    let key = Key { pairs: blind::shuffled(names.len(), args.texts, args.seed), sources: names };
    let pairs = key.pairs.len();
    let more = format!(", {pairs} pair{}", if pairs == 1 { "" } else { "s" });
    place.write("write the sheet", "sheet", &more, page::sheet(&key, &texts).as_bytes())
}

fn count(args: &CountArgs) -> Result<()> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(Error::io("read the answers", path))?;
        Answers::parse(&path.display().to_string(), &text)
    };
    let files = args.files.iter().map(read).collect::<Result<Vec<_>>>()?;
    let duels = blind::count(&files);
    if args.json {
        return print(&(serde_json::to_string_pretty(&duels).expect("numbers and names are always JSON") + "\n"));
    }
    let head =
        ["preferred", "over", "wins", "losses", "neither", "win rate", "95 % interval"].map(String::from).to_vec();
    let percent = |x: f64| format!("{:.1}", 100.0 * x);
    let row = |duel: &blind::Duel| {
        let [low, high] = duel.interval.map(percent);
        let rate = duel.rate.map_or("n/a".into(), |rate| format!("{} %", percent(rate)));
        let numbers = [duel.wins, duel.losses, duel.ties].map(|n| n.to_string());
        let names = [duel.source.clone(), duel.against.clone()];
        names.into_iter().chain(numbers).chain([rate, format!("{low} to {high} %")]).collect()
    };
    print(&table(&std::iter::once(head).chain(duels.iter().map(row)).collect::<Vec<_>>(), 2))
}
