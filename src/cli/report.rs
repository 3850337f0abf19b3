//! `tempest report`.

use super::machine::Machine;
use super::model::{Loaded, SavedModelArgs};
use super::place::Place;
use super::print;
use super::table::table;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tempest::backend::Device;
use tempest::config::{Family, Measure, Policy, Schedule, Unknown};
use tempest::data::Corpus;
use tempest::denoiser::Denoiser;
use tempest::eval::{self, ByLevel, Estimate, EvalConfig};
use tempest::page::{self, Origin, Trained};
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
    /// How models of masked diffusion write, as sample --sampler has it; of several, each has texts of its own
    #[arg(long, value_name = "SAMPLER,…", value_delimiter = ',', default_value = "ancestral")]
    sampler: Vec<Policy>,
    /// Key of every random number
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Texts at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Numbers of steps, each with texts of its own, written by ancestral sampling: what few steps cost
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "sampler")]
    steps: Vec<u32>,
    /// Measure how long texts take too, and draw figures over it: no two reports are then the same
    #[arg(long)]
    seconds: bool,
    /// A run that texts are judged by, one that predicts each token from those before (--process ar or joint): what they cost it
    #[arg(long, value_name = "RUN")]
    judge: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write a page too: curves of training, bounds by noise and by steps, these figures, texts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace that file if it is there already
    #[arg(long, requires = "html")]
    force: bool,
    /// Windows of the page's bounds [default: 64]
    #[arg(long, value_name = "N", requires = "html")]
    windows: Option<usize>,
    #[command(flatten)]
    machine: Machine,
}

/// Texts of one origin.
#[derive(Serialize)]
struct Column {
    /// A run, or none for real text.
    run: Option<String>,
    temperature: Option<f32>,
    /// Steps that they were written in, where that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u32>,
    /// The sampler that they were written by, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<Policy>,
    /// Seconds that a text took.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    quality: Quality,
    /// What a character costs the judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    nll: Option<Estimate>,
    #[serde(skip)]
    samples: Vec<String>,
}

/// Windows of the page's bounds, unless said.
const WINDOWS: usize = 64;

/// Ranges of levels of noise that the page shows.
const LEVELS: usize = 12;

/// Texts of each origin on the page.
const SHOWN: usize = 3;

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    for (option, number) in [("--texts", args.texts), ("--batch", args.batch), ("--length", args.length.unwrap_or(1))] {
        if number == 0 {
            return Err(Error::input(format!("{option} is 0; wanted at least 1")));
        }
    }
    let place = args.html.as_ref().map(|page| Place::beside_output(page, args.force, &["html"])).transpose()?;
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
    let reference = Reference::new(&corpus.text(corpus.train()), held);
    // Before signals are waited for: nothing here asks whether there was one.
    let quality = reference.judge(&others);
    let count = others.len();
    let (device, stop) = (args.machine.open()?, Stop::on_signals()?);
    let ways = ways(args, &loaded)?;
    let mut judge = args.judge.as_ref().map(|run| Judge::open(run, args, (&device, &stop))).transpose()?;
    let mut judged = |texts: &[String]| judge.as_mut().map(|judge| judge.judge(texts)).transpose();
    let nll = judged(&others)?;
    let real = Column {
        run: None,
        temperature: None,
        steps: None,
        sampler: None,
        seconds: None,
        quality,
        nll,
        samples: shown(others),
    };
    let mut columns = vec![real];
    for model in &loaded {
        for &temperature in &args.temperature {
            for &Way { policy, steps, sampler } in &ways {
                let wanted = Wanted { policy, temperature, length, texts: count, seed: args.seed, batch: args.batch };
                let drawn = write(model, &args.machine, &wanted, &corpus, (&device, &stop))?;
                let (quality, nll) = (reference.judge(&drawn.texts), judged(&drawn.texts)?);
                columns.push(Column {
                    run: Some(model.name()),
                    temperature: Some(temperature),
                    steps,
                    sampler,
                    seconds: args.seconds.then_some(drawn.seconds / count as f64),
                    quality,
                    nll,
                    samples: shown(drawn.texts),
                });
            }
        }
    }
    if let Some(place) = place {
        let judge = args.judge.iter().map(|run| format!("Judged by {}.", run.display()));
        let facts = vec![
            format!("Text: {}.", corpus.describe()),
            format!(
                "{count} texts of {length} tokens of each, beside as many of text that training did not see; seed {}.",
                args.seed
            ),
        ];
        let facts = facts.into_iter().chain(judge).collect();
        let bounds = bounds(&loaded, args, &corpus, (&device, &stop))?;
        let page = page::report(&page::Report {
            facts,
            trained: loaded.iter().filter_map(trained).collect(),
            bounds,
            unit: corpus.vocab().kind().unit(),
            origins: columns.iter().map(Column::origin).collect(),
        })?;
        terminal::rest();
        place.write("write the page", "page", "", page.as_bytes())?;
    }
    terminal::rest();
    if args.json {
        return print(&(serde_json::to_string_pretty(&columns).expect("numbers and strings are always JSON") + "\n"));
    }
    print(&(in_columns(&columns) + LEGEND))
}

/// Real texts that training did not see, twice as many as wanted, evenly spaced: those to hold others against, and between them
/// those to be held against them. Fewer where the text has no room for all.
pub(crate) fn real_texts(corpus: &Corpus, wanted: usize, length: usize) -> Result<[Vec<String>; 2]> {
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
        corpus.text(first as u64..(first + length) as u64)
    };
    Ok([0, 1].map(|which| (0..pairs).map(|i| text(2 * i + which)).collect()))
}

/// How models of diffusion write.
struct Way {
    policy: Policy,
    /// As --steps says,
    steps: Option<u32>,
    /// or one of several samplers.
    sampler: Option<Policy>,
}

/// How models of masked diffusion write: as --sampler says, or in each number of --steps.
fn ways(args: &ReportArgs, loaded: &[Loaded]) -> Result<Vec<Way>> {
    let several = args.sampler.len() > 1;
    if args.steps.is_empty() && !several {
        return Ok(args.sampler.iter().map(|&policy| Way { policy, steps: None, sampler: None }).collect());
    }
    if let Some(model) = loaded.iter().find(|model| model.saved.process.family() == Family::Autoregressive) {
        let option = if several { "several of --sampler are" } else { "--steps is" };
        return Err(Error::input(format!(
            "{option} for models of diffusion, and {} writes a token a step; leave it, or the run, out",
            model.name()
        )));
    }
    let in_steps = |&steps: &u32| {
        let policy = Policy::Ancestral { steps: Some(steps), schedule: Schedule::Cosine };
        Way { policy, steps: Some(steps), sampler: None }
    };
    let ways: Vec<Way> = match several {
        true => args.sampler.iter().map(|&policy| Way { policy, steps: None, sampler: Some(policy) }).collect(),
        false => args.steps.iter().map(in_steps).collect(),
    };
    ways.iter().try_for_each(|way| way.policy.validate())?;
    Ok(ways)
}

/// Those that the page shows.
fn shown(texts: Vec<String>) -> Vec<String> {
    texts.into_iter().take(SHOWN).collect()
}

impl Column {
    fn origin(&self) -> Origin {
        Origin {
            run: self.run.clone(),
            temperature: self.temperature.unwrap_or(1.0),
            steps: self.steps,
            sampler: self.sampler.map(|sampler| sampler.to_string()),
            seconds: self.seconds,
            quality: self.quality.clone(),
            nll: self.nll,
            samples: self.samples.clone(),
        }
    }
}

/// What tells how likely texts are.
struct Judge {
    name: String,
    denoiser: Denoiser,
}

impl Judge {
    fn open(run: &Path, args: &ReportArgs, (device, stop): (&Device, &Stop)) -> Result<Self> {
        let model = SavedModelArgs::of_run(run).load(None)?;
        let family = model.saved.process.family();
        if !family.measures().contains(&Measure::Nll) {
            return Err(Error::input(format!(
                "--judge {}: a model of process {family}, which has bounds alone; wanted is one whose likelihood is exact, of --process \
                 ar or joint",
                run.display()
            )));
        }
        let mut denoiser = model.denoiser_on(device, &args.machine, args.batch.min(args.texts))?;
        denoiser.heed(stop);
        Ok(Judge { name: model.name(), denoiser })
    }

    /// What a character of these texts costs, all together; its standard error is over texts.
    fn judge(&mut self, texts: &[String]) -> Result<Estimate> {
        let vocab = self.denoiser.vocab().clone();
        let name = format!("text for {}", self.name);
        let ids = texts.iter().map(|text| Ok(vocab.encode_as(&name, text, Unknown::Error)?.ids));
        let ids = ids.collect::<Result<Vec<Vec<u32>>>>()?;
        let costs = eval::score_texts(&mut self.denoiser, &ids, &mut |what, done, all| {
            let (what, done, of) = (format!("{}: {what}, window", self.name), done as u64, all as u64);
            terminal::show(Activity { what, done, of, ..Activity::default() });
        })?;
        let costs = costs.into_iter().zip(texts).map(|(cost, text)| [cost, text.chars().count() as f64]);
        Ok(eval::ratio(&costs.collect::<Vec<_>>()))
    }
}

/// How a model's run trained, where it is that of a run whose metrics are there.
fn trained(model: &Loaded) -> Option<Trained> {
    let folder = model.folder()?;
    let found = super::plot::read(folder);
    if let Err(e) = &found {
        terminal::say(format!("note: {e}; the page shows no curve of it"));
    }
    found.ok()
}

/// The bounds of all models that have one, on text that training did not see.
fn bounds(
    loaded: &[Loaded],
    args: &ReportArgs,
    corpus: &Arc<Corpus>,
    (device, stop): (&Device, &Stop),
) -> Result<Vec<(String, ByLevel)>> {
    let mut found = Vec::new();
    for model in loaded.iter().filter(|model| model.saved.process.family().measures().contains(&Measure::Nelbo)) {
        let name = model.name();
        if corpus.vocab() != &model.saved.vocab {
            terminal::say(format!(
                "note: {name}: its symbols are not those of the text; the page shows no bound of it"
            ));
            continue;
        }
        let window = model.saved.config.sequence_len;
        let config = EvalConfig {
            range: corpus.validation(),
            windows: args.windows.unwrap_or(WINDOWS),
            passes: None,
            seed: args.seed,
            steps: (0..).map(|i| 1 << i).take_while(|&steps| steps <= window as u32).collect(),
            schedule: Schedule::Cosine,
            duel: Vec::new(),
            duel_temperature: 1.0,
            duel_windows: 0,
        };
        let mut denoiser = model.denoiser_on(device, &args.machine, args.batch.min(config.windows.max(1)))?;
        denoiser.heed(stop);
        let mut tell = |what: &str, done: usize, all: usize| {
            let (what, done, of) = (format!("{name}: {what}, window"), done as u64, all as u64);
            terminal::show(Activity { what, done, of, ..Activity::default() });
        };
        let bounds = eval::by_level(&mut denoiser, corpus, &config, LEVELS, &mut tell)?;
        found.push((name.clone(), bounds));
    }
    Ok(found)
}

/// Texts that are wanted of a model.
pub(crate) struct Wanted {
    pub(crate) policy: Policy,
    pub(crate) temperature: f32,
    /// Tokens of a text.
    pub(crate) length: usize,
    /// How many.
    pub(crate) texts: usize,
    pub(crate) seed: u64,
    /// At a time.
    pub(crate) batch: usize,
}

/// Texts that were written.
pub(crate) struct Drawn {
    pub(crate) texts: Vec<String>,
    /// How long it took to write them all.
    pub(crate) seconds: f64,
}

/// Texts of a model; where it wants a beginning, out of a text.
pub(crate) fn write(
    model: &Loaded,
    machine: &Machine,
    wanted: &Wanted,
    corpus: &Corpus,
    (device, stop): (&Device, &Stop),
) -> Result<Drawn> {
    let &Wanted { policy, temperature, length, texts, seed, batch } = wanted;
    let (process, vocab) = (&model.saved.process, &model.saved.vocab);
    let config = SampleConfig { temperature, ..SampleConfig::new(policy, seed, process) };
    config.validate(length)?;
    let context = process.context_len();
    let start = |number: u32| match context {
        0 => Ok(sample::open(length)),
        _ => sample::from_corpus(corpus, corpus.validation(), context, length, seed, number),
    };
    if context > 0 && corpus.vocab() != vocab {
        return Err(Error::input(format!(
            "{}: wants a beginning of {context} tokens, and its symbols are not those of the text; name its text with --data",
            model.name()
        )));
    }
    let batch = batch.min(texts);
    let mut denoiser = model.denoiser_on(device, machine, batch)?;
    denoiser.heed(stop);
    let mut drawn = Drawn { texts: Vec::with_capacity(texts), seconds: 0.0 };
    for first in (0..texts as u32).step_by(batch) {
        let end = (first + batch as u32).min(texts as u32);
        let starts = (first..end).map(start).collect::<Result<Vec<_>>>()?;
        let mut tell = |progress: &Progress| {
            let what = format!("{} at {temperature}, texts", model.name());
            let (done, of) = (u64::from(progress.texts.start), texts as u64);
            terminal::show(Activity { what, done, of, ..Activity::default() });
        };
        let began = Instant::now();
        let texts = sample::sample(&mut denoiser, &config, &starts, first, Watch::Progress(&mut tell))?;
        drawn.seconds += began.elapsed().as_secs_f64();
        drawn.texts.extend(texts.into_iter().map(|text| vocab.decode(&text.tokens)));
    }
    Ok(drawn)
}

/// A line for each figure, a column for each origin.
fn in_columns(columns: &[Column]) -> String {
    let origins: Vec<Origin> = columns.iter().map(Column::origin).collect();
    let head = std::iter::once(String::new()).chain(origins.iter().map(Origin::name)).collect();
    let rows = page::figures(&origins).into_iter().map(|(what, values)| [vec![what], values].concat());
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), 1)
}

const LEGEND: &str = "
divergence  Jensen-Shannon, in nats, from real text that training did not see: lower is nearer, 0.6931 shares nothing
coverage    share of that text's n-grams of characters that these texts have too
known       words that the training text has; distinct: different ones among all
self-BLEU   how alike the texts are, 0 to 100
NLL         by the model that --judge names: read it beside the entropy of 3-grams, since what repeats itself is probable
seconds     that a text took, in a batch of --batch, on this machine
copied      longest stretch that the training text has too: beside that of real text, more is memory
real text   as many texts of what training did not see, beside those that all are held against
";
