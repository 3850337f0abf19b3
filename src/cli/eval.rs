//! `tempest eval`.

use super::machine::Machine;
use super::model::SavedModelArgs;
use super::print;
use clap::Args;
use serde::Serialize;
use std::ops::Range;
use std::path::PathBuf;
use tempest::config::{Family, Measure, Newlines, Policy, Schedule, Unknown};
use tempest::eval::{self, Estimate, EvalConfig, Likelihood, Report, Share, VectorTerms};
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
    measure: Measuring,
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
struct Measuring {
    /// Windows, evenly spaced; never more than cover the text once [default: 1024]
    #[arg(long, value_name = "N")]
    windows: Option<usize>,
    /// Passes over them, each with other masks [default: as many as short texts need, and at least 4]
    #[arg(long, value_name = "N")]
    passes: Option<u32>,
    /// Numbers of steps whose bound is wanted [default: 1,2,4,8,16,32,64,128]
    #[arg(long, value_name = "T,…", value_delimiter = ',')]
    steps: Option<Vec<u32>>,
    /// How much noise each of those steps takes away [default: cosine; linear of a model of vectors]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Samplers whose exact likelihood is wanted, as `sample --sampler` has them: top-k:N, threshold:P, …
    /// [default: top-k:1,top-k:4,threshold:0.9]
    #[arg(long, value_name = "SAMPLER,…", value_delimiter = ',')]
    duel: Option<Vec<Policy>>,
    /// Temperature of those samplers [default: 1]
    #[arg(long, value_name = "T")]
    duel_temperature: Option<f32>,
    /// Windows for each of them, which cost up to as many passes as they have tokens; 0 for none [default: 16]
    #[arg(long, value_name = "N")]
    duel_windows: Option<usize>,
    /// Of an autoregressive model: every character counts once, with the window less this stride before it [default: half the
    /// model's window]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N")]
    block_length: Option<usize>,
    /// Windows at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Key of every random number
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
}

/// Windows of the bounds, unless said.
const WINDOWS: usize = 1024;

impl Measuring {
    /// What is measured of a process with noise, on a range of a corpus.
    fn bounds(&self, range: Range<u64>, family: Family) -> Result<EvalConfig> {
        let duel_windows = self.duel_windows.unwrap_or(if family.has_policies() { 16 } else { 0 });
        let config = EvalConfig {
            range,
            windows: self.windows.unwrap_or(WINDOWS),
            passes: self.passes,
            seed: self.seed,
            steps: self.steps.clone().unwrap_or_else(|| (0..8).map(|i| 1 << i).collect()),
            schedule: self.schedule.unwrap_or(match family.has_vectors() {
                true => Schedule::Linear,
                false => Schedule::Cosine,
            }),
            duel: self.policies(duel_windows)?,
            duel_temperature: self.duel_temperature.unwrap_or(1.0),
            duel_windows,
        };
        config.validate().map(|()| config)
    }

    /// Refuses what only a measure that the model does not have would want.
    fn check(&self, family: Family) -> Result<()> {
        let measures = family.measures();
        if self.stride.is_some() && !measures.contains(&Measure::Nll) {
            return Err(super::useless("--stride", "is of an autoregressive model, and this is one of diffusion"));
        }
        let exact = [
            ("--duel", self.duel.is_some()),
            ("--duel-temperature", self.duel_temperature.is_some()),
            ("--duel-windows", self.duel_windows.is_some()),
        ];
        if measures.contains(&Measure::Nelbo) && family.has_policies() {
            return Ok(());
        } else if measures.contains(&Measure::Nelbo) {
            let why = "is for samplers that choose which masks to replace, and this model's texts have none";
            return super::refuse_said(&exact, why);
        }
        let said = [
            ("--windows", self.windows.is_some()),
            ("--passes", self.passes.is_some()),
            ("--steps", self.steps.is_some()),
            ("--schedule", self.schedule.is_some()),
        ];
        let why = "is for the bounds and samplers of masked diffusion, and this model is autoregressive: its likelihood is exact, \
                   over the whole text, in windows by --stride";
        super::refuse_said(&said.into_iter().chain(exact).collect::<Vec<_>>(), why)
    }

    /// The policies whose exact likelihood is wanted.
    fn policies(&self, windows: usize) -> Result<Vec<Policy>> {
        match &self.duel {
            Some(_) if windows == 0 => Err(super::useless("--duel", "is measured on no windows by --duel-windows 0")),
            None if windows == 0 => Ok(Vec::new()),
            Some(policies) => Ok(policies.clone()),
            None => Ok(vec![Policy::top_k(1), Policy::top_k(4), Policy::threshold(0.9)]),
        }
    }
}

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let loaded = args.model.load(args.text.data.as_ref())?.of_blocks(args.measure.block_length)?;
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
    let (m, window) = (&args.measure, loaded.saved.config.sequence_len);
    if m.batch == 0 {
        return Err(Error::input("--batch is 0; wanted at least 1"));
    }
    let mut progress = |what: &str, done: usize, all: usize| {
        let (done, of) = (done as u64, all as u64);
        terminal::show(Activity { what: format!("{what}, window"), done, of, ..Activity::default() });
    };
    let unit = corpus.vocab().kind().unit();
    let family = loaded.saved.process.family();
    let measures = family.measures();
    m.check(family)?;
    let bounds = measures.contains(&Measure::Nelbo).then(|| m.bounds(range.clone(), family)).transpose()?;
    let exact = measures.contains(&Measure::Nll).then(|| m.stride.unwrap_or(window.div_ceil(2)));
    let exact = exact.map(|stride| eval::windows_of_stride(&range, window, stride)).transpose()?;
    // No more at a time than there are windows.
    let some = bounds.as_ref().map(|config| config.windows.max(config.duel_windows));
    let some = some.map(|windows| windows.min(eval::windows_in(&range, window)).max(1));
    let batch = m.batch.min(some.max(exact).unwrap_or(1));
    let mut denoiser = loaded.denoiser(&args.machine, batch)?;
    let bounds = match bounds {
        Some(config) => Some((eval::evaluate(&mut denoiser, &corpus, &config, &mut progress)?, config)),
        None => None,
    };
    let exact = exact.map(|windows| eval::likelihood(&mut denoiser, &corpus, &range, windows, &mut progress));
    let exact = exact.transpose()?;
    terminal::rest();
    if args.json {
        return print(&match (&bounds, &exact) {
            (Some((bounds, _)), Some(exact)) => json(&Both { nelbo: bounds, nll: exact }),
            (Some((bounds, _)), None) => json(bounds),
            (None, exact) => json(exact),
        });
    }
    terminal::say(format!("text      {}", corpus.describe()));
    terminal::say(format!("model     {}, after {} steps", loaded.saved.config.describe(), loaded.saved.step));
    let bounds = bounds.map(|(report, config)| table(&report, &config, family, unit));
    let exact = exact.map(|found| exact_table(&found, window, unit));
    print(&bounds.into_iter().chain(exact).collect::<Vec<_>>().join("\n"))
}

/// What is found of a model of two parts.
#[derive(Serialize)]
struct Both<'a> {
    nelbo: &'a Report,
    nll: &'a Likelihood,
}

fn json(found: &impl Serialize) -> String {
    serde_json::to_string_pretty(found).expect("numbers and strings are always JSON") + "\n"
}

fn exact_table(found: &Likelihood, window: usize, unit: &str) -> String {
    let Likelihood { tokens, windows, stride, nll, characters_per_token } = found;
    let rows = rows(vec![("NLL".to_owned(), Some(*nll))], unit, 0) + &per_character(*nll, *characters_per_token, unit);
    format!(
        "{rows}\n\
         all {tokens} {unit}s, in {windows} windows of {window}, each {stride} behind the one before\n\n\
         NLL         what a {unit} costs given those before it in its window, -log p, no bound; lower is better\n{}",
        perplexity(unit)
    )
}

fn table(report: &Report, config: &EvalConfig, family: Family, unit: &str) -> String {
    let mut lines = vec![("NELBO".to_owned(), report.nelbo)];
    if let Some(VectorTerms { prior, diffusion, reconstruction, .. }) = report.terms {
        let prior = Estimate { nats: prior, bits: prior / std::f64::consts::LN_2, standard_error: None };
        let terms = [("  prior", prior), ("  diffusion", diffusion), ("  reconstruction", reconstruction)];
        lines.extend(terms.map(|(name, term)| (name.to_owned(), Some(term))));
    }
    if family.has_policies() {
        lines.push(("masked cross-entropy".into(), report.masked_cross_entropy));
    }
    let bounds = report.step_bounds.iter();
    lines
        .extend(bounds.map(|b| (format!("NELBO of {} step{}", b.steps, if b.steps == 1 { "" } else { "s" }), b.bound)));
    let exact = report.duel.iter();
    lines.extend(exact.map(|d| (format!("exact, {} ({:.1} steps)", d.policy, d.steps), Some(d.nll))));
    let misread = report.terms.and_then(|terms| terms.misread);
    let mut out = misread.map_or(String::new(), |Share { share, standard_error }| {
        let error = standard_error.map_or(String::new(), |e| format!(" ± {:.3}", 100.0 * e));
        format!("{:.3}{error} % of {unit}s are read off wrong, and no denoiser makes up for that\n\n", 100.0 * share)
    });
    out += &rows(lines, unit, report.passes_needed);
    out += &report.nelbo.map_or(String::new(), |nelbo| per_character(nelbo, report.characters_per_token, unit));
    let exact = report.duel.first().map_or(String::new(), |d| format!(" (exact likelihoods: {} windows)", d.windows));
    out += &format!(
        "\n{} windows of {} measured tokens, {} pass{}{exact}, seed {}\n",
        report.windows,
        report.tokens_per_window,
        report.passes,
        if report.passes == 1 { "" } else { "es" },
        config.seed
    );
    out + &legend(family, unit)
}

/// A line for each estimate; where there is none it wants so many passes.
fn rows(lines: Vec<(String, Option<Estimate>)>, unit: &str, passes_needed: u32) -> String {
    let width = lines.iter().map(|l| l.0.chars().count()).max().unwrap_or(0);
    let (nats, bits) = (format!("nats/{unit}"), format!("bits/{unit}"));
    let mut out = format!("{:width$}  {nats:>9}  {:>7}  {bits:>9}  {:>10}\n", "", "± s.e.", "perplexity");
    for (what, estimate) in lines {
        let Some(Estimate { nats, bits, standard_error }) = estimate else {
            out += &format!("{what:width$}  n/a, needs {passes_needed} passes\n");
            continue;
        };
        let error = standard_error.map_or("-".to_owned(), |e| format!("{e:.4}"));
        out += &format!("{what:width$}  {nats:>9.4}  {error:>7}  {bits:>9.4}  {:>10.3}\n", nats.exp());
    }
    out
}

/// What a character costs, where tokens are not characters: a figure to compare vocabularies by.
fn per_character(Estimate { bits, .. }: Estimate, characters: Option<f64>, unit: &str) -> String {
    characters.map_or(String::new(), |characters| {
        format!("\n{:.4} bits/char: a {unit} is {characters:.3} characters of this text\n", bits / characters)
    })
}

/// What the lines of the table are, a line each.
fn legend(family: Family, unit: &str) -> String {
    let bounds = format!(
        "\n\
         NELBO       at most what a {unit} costs, -log p, sampled in ever more steps; lower is better\n\
         of T steps  the same where each text is sampled in T steps: what few steps cost\n"
    );
    let of_masks = match family.has_policies() {
        true => format!(
            "masked …    the mean cost of a masked {unit}, from nearly none masked to all\n\
             exact       what a {unit} costs when that sampler writes the text, no bound (DUEL)\n"
        ),
        false => String::new(),
    };
    let of_vectors = match family.has_vectors() {
        true => format!(
            "prior …     what the most noise leaves, what errors cost, and what reading a {unit} off its vector costs: their sum\n"
        ),
        false => String::new(),
    };
    bounds + &of_masks + &of_vectors + &perplexity(unit)
}

fn perplexity(unit: &str) -> String {
    format!("perplexity  as unsure as between so many {unit}s that are equally likely: e^nats, 2^bits\n")
}
