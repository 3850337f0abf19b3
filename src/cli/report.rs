//! `tempest report`.

use super::machine::Machine;
use super::model::{Loaded, SavedModelArgs};
use super::print;
use super::table::table;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tempest::backend::Device;
use tempest::config::{Policy, Unknown};
use tempest::data::Corpus;
use tempest::quality::{Quality, Reference};
use tempest::sample::{self, Progress, SampleConfig, Watch};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};
use tempest::{Error, Result};

/// Compare what models write with real text, by figures of characters and words
#[derive(Args, Debug)]
#[command(after_help = super::help::REPORT)]
pub(crate) struct ReportArgs {
    /// Runs: folders, or names in runs/ [default: the newest there]
    runs: Vec<PathBuf>,
    /// The text that they are held against, what training saw of it and what it did not [default: the first run's]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Texts of each run, and of real text
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32)]
    texts: usize,
    /// Tokens of a text [default: the window of the first run's model]
    #[arg(short, long, value_name = "N")]
    length: Option<usize>,
    /// Temperatures, each with texts of its own: below 1 likelier symbols are preferred
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_value = "1")]
    temperature: Vec<f32>,
    /// How models of masked diffusion write, as sample --sampler has it
    #[arg(long, value_name = "SAMPLER", default_value = "ancestral")]
    sampler: Policy,
    /// Key of every random number
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Texts at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Texts of one origin.
#[derive(Serialize)]
struct Column {
    /// A run, or none for real text.
    run: Option<String>,
    temperature: Option<f32>,
    quality: Quality,
}

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    for (option, number) in [("--texts", args.texts), ("--batch", args.batch), ("--length", args.length.unwrap_or(1))] {
        if number == 0 {
            return Err(Error::input(format!("{option} is 0; wanted at least 1")));
        }
    }
    let named: Vec<SavedModelArgs> = match args.runs.is_empty() {
        true => vec![SavedModelArgs::of_newest()],
        false => args.runs.iter().map(|run| SavedModelArgs::of_run(run)).collect(),
    };
    let loaded = named.iter().map(|run| run.load(args.data.as_ref())).collect::<Result<Vec<_>>>()?;
    let corpus = loaded[0].corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
    let length = args.length.unwrap_or(loaded[0].saved.config.sequence_len);
    loaded.iter().try_for_each(|model| sample::check_length(length, &model.saved.config))?;
    let [held, others] = real_texts(&corpus, args.texts, length)?;
    terminal::say(format!("text      {}", corpus.describe()));
    terminal::say(format!(
        "texts     {} of {length} tokens of each, as many of the text to hold them against",
        held.len()
    ));
    let train = corpus.train();
    let train = corpus.vocab().decode(&corpus.tokens().window(train.start as usize..train.end as usize));
    let reference = Reference::new(&train, held);
    let mut columns = vec![Column { run: None, temperature: None, quality: reference.judge(&others) }];
    let (device, stop) = (args.machine.open()?, Stop::on_signals()?);
    for model in &loaded {
        for &temperature in &args.temperature {
            let texts = write(model, args, (length, temperature, others.len()), &corpus, (&device, &stop))?;
            let quality = reference.judge(&texts);
            columns.push(Column { run: Some(model.name()), temperature: Some(temperature), quality });
        }
    }
    terminal::rest();
    if args.json {
        return print(&(serde_json::to_string_pretty(&columns).expect("numbers and strings are always JSON") + "\n"));
    }
    print(&(in_columns(&columns) + LEGEND))
}

/// Real texts that training did not see, twice as many as wanted, evenly spaced: those to hold others against, and between them
/// those to be held against them. Fewer where the text has no room for all.
fn real_texts(corpus: &Corpus, wanted: usize, length: usize) -> Result<[Vec<String>; 2]> {
    let range = corpus.validation();
    let room = (range.end - range.start) as usize;
    let pairs = wanted.min(room / (2 * length));
    if pairs == 0 {
        return Err(Error::input(format!(
            "{room} tokens of text that training did not see, and 2 texts of {length} are wanted at least; give a lower --length, \
             or more text with --data"
        )));
    }
    let text = |i: usize| {
        let first = range.start as usize + i * (room - length) / (2 * pairs - 1);
        corpus.vocab().decode(&corpus.tokens().window(first..first + length))
    };
    Ok([0, 1].map(|which| (0..pairs).map(|i| text(2 * i + which)).collect()))
}

/// Texts of a model.
fn write(
    model: &Loaded,
    args: &ReportArgs,
    (length, temperature, texts): (usize, f32, usize),
    corpus: &Corpus,
    (device, stop): (&Device, &Stop),
) -> Result<Vec<String>> {
    let (process, vocab) = (&model.saved.process, &model.saved.vocab);
    let config = SampleConfig { temperature, ..SampleConfig::new(args.sampler, args.seed, process) };
    config.validate(length)?;
    let context = process.context_len();
    let start = |number: u32| match context {
        0 => Ok(sample::open(length)),
        _ => sample::from_corpus(corpus, corpus.validation(), context, length, args.seed, number),
    };
    if context > 0 && corpus.vocab() != vocab {
        return Err(Error::input(format!(
            "{}: wants a beginning of {context} tokens, and its symbols are not those of the text; name its text with --data",
            model.name()
        )));
    }
    let batch = args.batch.min(texts);
    let mut denoiser = model.denoiser_on(device, &args.machine, batch)?;
    denoiser.heed(stop);
    let mut written = Vec::new();
    for first in (0..texts as u32).step_by(batch) {
        let end = (first + batch as u32).min(texts as u32);
        let starts = (first..end).map(start).collect::<Result<Vec<_>>>()?;
        let mut tell = |progress: &Progress| {
            let what = format!("{} at {temperature}, texts", model.name());
            let (done, of) = (u64::from(progress.texts.start), texts as u64);
            terminal::show(Activity { what, done, of, ..Activity::default() });
        };
        let texts = sample::sample(&mut denoiser, &config, &starts, first, Watch::Progress(&mut tell))?;
        written.extend(texts.into_iter().map(|text| vocab.decode(&text.tokens)));
    }
    Ok(written)
}

/// A line for each figure, a column for each origin.
fn in_columns(columns: &[Column]) -> String {
    let name = |column: &Column| match (&column.run, column.temperature) {
        (Some(run), Some(temperature)) => format!("{run} at {temperature}"),
        _ => "real text".into(),
    };
    let figures: Vec<Vec<(String, String)>> = columns.iter().map(|column| column.quality.rows()).collect();
    let head = std::iter::once(String::new()).chain(columns.iter().map(name)).collect();
    let rows = figures[0].iter().enumerate().map(|(i, (what, _))| {
        std::iter::once(what.clone()).chain(figures.iter().map(|rows| rows[i].1.clone())).collect()
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 1)
}

const LEGEND: &str = "
divergence  Jensen-Shannon, in nats, from real text that training did not see: lower is nearer, 0.6931 shares nothing
coverage    share of that text's n-grams of characters that these texts have too
known       words that the training text has; distinct: different ones among all
self-BLEU   how alike the texts are, 0 to 100
copied      longest stretch that the training text has too: beside that of real text, more is memory
real text   as many texts of what training did not see, beside those that all are held against
";
