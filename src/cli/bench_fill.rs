//! `tempest bench-fill`.

use super::fill::Filling;
use super::machine::Machine;
use super::model::SavedModelArgs;
use super::print;
use super::table::table;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempest::config::{Unknown, VocabKind};
use tempest::edit::cloze::{Difference, MEASURES, Outcome, by_counts, by_model, words};
use tempest::quality::interpolated::Interpolated;
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};
use tempest::{Error, Result};

/// Measure how well a model fills gaps whose words are known, beside counts of n-grams
#[derive(Args, Debug)]
#[command(after_help = super::help::BENCH_FILL)]
pub(crate) struct BenchFillArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    texts: Texts,
    #[command(flatten)]
    how: Filling,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// What words are taken out of.
#[derive(Args, Debug)]
#[command(next_help_heading = "Texts")]
struct Texts {
    /// A text file or folder; words are taken out of the part that training does not see, n-grams counted in the other [default:
    /// the run's text, else Tiny Shakespeare]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Words of 2 to 9 letters, evenly spaced
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200)]
    words: usize,
    /// Characters that are given before and behind each [default: 60, or as many as the model's window has room for]
    #[arg(long, value_name = "N")]
    around: Option<usize>,
    /// Characters of the n-grams beside the model
    #[arg(long, value_name = "N", default_value_t = 5)]
    grams: usize,
    /// Texts that are worked on at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
}

pub(crate) fn run(args: &BenchFillArgs) -> Result<()> {
    let loaded = args.model.load_or_built_in(args.texts.data.as_ref())?.of_blocks(args.how.block_length)?;
    if loaded.saved.vocab.kind() != VocabKind::Chars {
        return Err(Error::input(format!(
            "the model's tokens are {}s; words are taken out character by character, and wanted is a model of --vocab chars",
            loaded.saved.vocab.kind().unit()
        )));
    }
    let corpus = loaded.corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
    let config = args.how.config(&loaded, 1)?;
    let window = loaded.saved.config.sequence_len;
    config.validate(window)?;
    let around = args.texts.around.unwrap_or(window.saturating_sub(config.longest).min(120) / 2);
    if args.texts.words == 0 || around == 0 {
        return Err(Error::input(format!("{} words, {around} characters around; wanted at least 1", args.texts.words)));
    }
    let words = words(&corpus.text(corpus.validation()), args.texts.words, around)?;
    let counts = Interpolated::of(&corpus.text(corpus.train()), args.texts.grams).ok_or_else(|| {
        Error::input(format!("--grams {}; wanted 1 to the number of characters of the text", args.texts.grams))
    })?;
    terminal::say(format!("text      {}", corpus.describe()));
    let mut denoiser = loaded.denoiser(&args.machine, args.texts.batch)?;
    denoiser.heed(&Stop::on_signals()?);
    let mut tell = |what: &str, done: usize, of: usize| {
        terminal::show(Activity { what: what.into(), done: done as u64, of: of as u64, ..Activity::default() });
    };
    let model = by_model(&mut denoiser, &config, &words, &mut tell)?;
    let counted = by_counts(&counts, &config, &words, &mut tell);
    terminal::rest();
    let (grams, above) = (format!("{}-grams by counts", args.texts.grams), model.above(&counted));
    if args.json {
        let above: BTreeMap<&str, Difference> = MEASURES.into_iter().zip(above).collect();
        let outcomes =
            serde_json::json!({ "model": model, "counts": counted, "grams": args.texts.grams, "difference": above });
        return print(&(serde_json::to_string_pretty(&outcomes).expect("numbers are always JSON") + "\n"));
    }
    print(&(in_rows(&[("the model", &model), (&grams, &counted)], above) + LEGEND))
}

fn in_rows(outcomes: &[(&str, &Outcome)], above: [Difference; MEASURES.len()]) -> String {
    let head = ["fills by", "words", "exact", "characters", "exact, length unknown", "length found", "within one"];
    let row = |(name, outcome): &(&str, &Outcome)| {
        let of = |part: usize, whole: usize| format!("{:.1} %", 100.0 * part as f64 / whole as f64);
        vec![
            name.to_string(),
            outcome.words.to_string(),
            of(outcome.exact, outcome.words),
            of(outcome.characters_right, outcome.characters),
            of(outcome.exact_unknown, outcome.words),
            of(outcome.length_found, outcome.words),
            of(outcome.length_within_one, outcome.words),
        ]
    };
    let head: Vec<String> = head.map(String::from).into();
    let difference = above.map(|Difference { share, standard_error }| {
        let error = standard_error.map_or(String::new(), |error| format!(" ± {:.1}", 100.0 * error));
        format!("{:+.1}{error} %", 100.0 * share)
    });
    let last = ["difference".into(), outcomes[0].1.words.to_string()].into_iter().chain(difference).collect();
    let rows = std::iter::once(head).chain(outcomes.iter().map(row)).chain([last]);
    table(&rows.collect::<Vec<_>>(), 1)
}

const LEGEND: &str = "
exact       words that came back as they were, where the gap's length was given
characters  of these gaps, those that came back at their place
difference  the model less the n-grams, ± its standard error over words, each word paired with itself
within one  gaps of unknown length of which it was found, or one more or one less
";
