//! `tempest eval`.

use super::machine::Machine;
use super::model::SavedModelArgs;
use super::print;
use clap::Args;
use std::path::PathBuf;
use tempest::config::{Newlines, Policy, Schedule, Unknown, VocabKind};
use tempest::eval::{self, Estimate, EvalConfig, Report};
use tempest::terminal::{self, Activity};
use tempest::{Error, Result};

/// Measure how well a model predicts text
#[derive(Args, Debug)]
#[command(after_help = super::help::EVAL)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    measure: Measure,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    /// What training does not see: the last tenth, or as `tempest train --validation` said.
    Validation,
    /// What it sees.
    Train,
    /// Everything.
    All,
}

/// What is predicted.
#[derive(Args, Debug)]
#[command(next_help_heading = "Text")]
struct Text {
    /// A text file or folder [default: the run's text, else Tiny Shakespeare]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// What to do with characters that the model's vocabulary lacks
    #[arg(long, value_enum, default_value = "error")]
    unknown: Unknown,
    /// How lines end in that text [default: as the model learned them]
    #[arg(long, value_enum, requires = "data")]
    newlines: Option<Newlines>,
    /// Which part of it
    #[arg(long, value_enum, default_value = "validation")]
    split: Split,
}

/// How it is measured.
#[derive(Args, Debug)]
#[command(next_help_heading = "Measuring")]
struct Measure {
    /// Windows, evenly spaced; never more than cover the text once
    #[arg(long, value_name = "N", default_value_t = 1024)]
    windows: usize,
    /// Passes over them, each with other masks [default: as many as short texts need, and at least 4]
    #[arg(long, value_name = "N")]
    passes: Option<u32>,
    /// Numbers of steps whose bound is wanted
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16, 32, 64, 128])]
    steps: Vec<u32>,
    /// How much noise each of those steps takes away
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: Schedule,
    /// Samplers whose exact likelihood is wanted, as `sample --sampler` has them: top-k:N, threshold:P
    /// [default: top-k:1,top-k:4,threshold:0.9]
    #[arg(long, value_name = "SAMPLER,…", value_delimiter = ',')]
    duel: Option<Vec<Policy>>,
    /// Temperature of those samplers
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    duel_temperature: f32,
    /// Windows for each of them, which cost up to as many passes as they have tokens; 0 for none
    #[arg(long, value_name = "N", default_value_t = 16)]
    duel_windows: usize,
    /// Windows at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Key of every random number
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
}

impl Measure {
    /// The policies whose exact likelihood is wanted.
    fn policies(&self) -> Result<Vec<Policy>> {
        match &self.duel {
            Some(_) if self.duel_windows == 0 => {
                Err(super::useless("--duel", "is measured on no windows by --duel-windows 0"))
            }
            None if self.duel_windows == 0 => Ok(Vec::new()),
            Some(policies) => Ok(policies.clone()),
            None => Ok(vec![Policy::top_k(1), Policy::top_k(4), Policy::threshold(0.9)]),
        }
    }
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let loaded = args.model.load(args.text.data.as_ref())?;
    if args.text.unknown == Unknown::Replace && loaded.reads_own_text() {
        return Err(super::useless(
            "--unknown replace",
            "is for another text by --data, and the run's own is read as in training",
        ));
    }
    let corpus = loaded.corpus(
        args.text.unknown,
        args.text.newlines,
        "restore it, or name the text to measure on with --data (what the model has seen of it is not unseen)",
    )?;
    let range = match args.text.split {
        Split::Validation => corpus.validation(),
        Split::Train => corpus.train(),
        Split::All => 0..corpus.tokens().len() as u64,
    };
    let m = &args.measure;
    let config = EvalConfig {
        range,
        windows: m.windows,
        passes: m.passes,
        seed: m.seed,
        steps: m.steps.clone(),
        schedule: m.schedule,
        duel: m.policies()?,
        duel_temperature: m.duel_temperature,
        duel_windows: m.duel_windows,
    };
    config.validate()?;
    if m.batch == 0 {
        return Err(Error::input("--batch is 0; wanted at least 1"));
    }
    // No more at a time than there are windows.
    let windows = eval::windows_in(&config.range, loaded.saved.config.sequence_len);
    let batch = m.batch.min(m.windows.max(config.duel_windows).min(windows).max(1));
    let mut denoiser = loaded.denoiser(&args.machine, batch)?;
    let report = eval::evaluate(&mut denoiser, &corpus, &config, &mut |what, done, all| {
        let (done, of) = (done as u64, all as u64);
        terminal::show(Activity { what: format!("{what}, window"), done, of, ..Activity::default() });
    })?;
    terminal::rest();
    if args.json {
        let json = serde_json::to_string_pretty(&report).expect("numbers and strings are always JSON");
        return print(&format!("{json}\n"));
    }
    terminal::say(format!("text      {}", corpus.describe()));
    terminal::say(format!("model     {}, after {} steps", loaded.saved.config.describe(), loaded.saved.step));
    print(&table(&report, &config, corpus.vocab().kind()))
}

fn table(report: &Report, config: &EvalConfig, vocab: VocabKind) -> String {
    let unit = vocab.unit();
    let mut lines = vec![("NELBO".to_owned(), report.nelbo)];
    lines.push(("masked cross-entropy".into(), report.masked_cross_entropy));
    let bounds = report.step_bounds.iter();
    lines
        .extend(bounds.map(|b| (format!("NELBO of {} step{}", b.steps, if b.steps == 1 { "" } else { "s" }), b.bound)));
    let exact = report.duel.iter();
    lines.extend(exact.map(|d| (format!("exact, {} ({:.1} steps)", d.policy, d.steps), Some(d.nll))));
    let width = lines.iter().map(|l| l.0.chars().count()).max().unwrap_or(0);
    let (nats, bits) = (format!("nats/{unit}"), format!("bits/{unit}"));
    let mut out = format!("{:width$}  {nats:>9}  {:>7}  {bits:>9}  {:>10}\n", "", "± s.e.", "perplexity");
    for (what, estimate) in lines {
        let Some(Estimate { nats, bits, standard_error }) = estimate else {
            out += &format!("{what:width$}  n/a, needs {} passes\n", report.passes_needed);
            continue;
        };
        let error = standard_error.map_or("-".to_owned(), |e| format!("{e:.4}"));
        out += &format!("{what:width$}  {nats:>9.4}  {error:>7}  {bits:>9.4}  {:>10.3}\n", nats.exp());
    }
    out += &format!(
        "\n{} windows of {} measured tokens, {} pass{} (exact likelihoods: {} windows), seed {}\n",
        report.windows,
        report.tokens_per_window,
        report.passes,
        if report.passes == 1 { "" } else { "es" },
        report.duel.first().map_or(0, |d| d.windows),
        config.seed
    );
    out + &legend(unit)
}

/// What the lines of the table are, a line each.
fn legend(unit: &str) -> String {
    format!(
        "\n\
         NELBO       at most what a {unit} costs, -log p, sampled in ever more steps; lower is better\n\
         of T steps  the same where each text is sampled in T steps: what few steps cost\n\
         masked …    the mean cost of a masked {unit}, from nearly none masked to all\n\
         exact       what a {unit} costs when that sampler writes the text, no bound (DUEL)\n\
         perplexity  as unsure as between so many {unit}s that are equally likely: e^nats, 2^bits\n"
    )
}
