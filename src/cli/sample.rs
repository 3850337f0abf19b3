//! `tempest sample`.

use super::hybrid::{self, HybridArgs, Team};
use super::machine::Machine;
use super::model::SavedModelArgs;
use super::texts::{Format, Printer, read_json};
use super::watch::{Onlooker, headline};
use super::{Reader, useless};
use clap::{Args, ValueEnum};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tempest::config::{Family, Policy, ProcessConfig, Schedule, Unknown};
use tempest::denoiser::Start;
use tempest::process::Past;
use tempest::sample::hybrid::Hybrid;
use tempest::sample::life;
use tempest::sample::{self, Edits, Frame, Progress, Recording, SampleConfig, VectorSampling, Watch, Written};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity, counted};
use tempest::{Error, Result};

/// Write texts with a trained model: the newest run's, else the one that is built in
#[derive(Args, Debug)]
#[command(after_help = super::help::SAMPLE)]
pub(crate) struct SampleArgs {
    #[command(flatten)]
    request: Request,
    #[command(flatten)]
    hybrid: HybridArgs,
    #[command(flatten)]
    output: Output,
}

/// Which texts are wanted, wherever they go.
#[derive(Args, Debug)]
pub(crate) struct Request {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    start: Beginning,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    machine: Machine,
}

/// Where texts go.
enum To {
    /// To standard output, whole or as JSON, and as they denoise to a terminal.
    Print {
        /// Lines of JSON.
        json: bool,
        /// Show every step.
        watch: bool,
    },
    /// Nowhere: every step is kept.
    Record,
}

/// What is given.
#[derive(Args, Debug)]
#[command(next_help_heading = "Beginning")]
struct Beginning {
    /// What every text begins with; of one that is longer than the model's window the end is gone on from
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["prompt_file", "template", "template_file"])]
    prompt: Option<String>,
    /// The same out of a file, or from standard input by -, without a newline at its end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["template", "template_file"])]
    prompt_file: Option<PathBuf>,
    /// A text with holes to fill in, such as 'To be ____ to be'; the text goes on behind its end
    #[arg(short, long, value_name = "TEXT", conflicts_with = "template_file")]
    template: Option<String>,
    /// The same out of a file, or from standard input by -, without a newline at its end
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
    /// The character that marks a hole of a template [default: _]
    #[arg(long, value_name = "CHAR")]
    hole: Option<char>,
    /// Where a model that wants a beginning takes one when none is given: a text file or folder [default: the run's text,
    /// else Tiny Shakespeare]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// What is given of every text.
enum Given {
    Prompt(String),
    Template(String),
    Nothing,
}

impl Beginning {
    fn given(&self) -> Result<Given> {
        Ok(match (&self.prompt, &self.prompt_file, &self.template, &self.template_file) {
            (Some(text), ..) => Given::Prompt(text.clone()),
            (_, Some(path), ..) => Given::Prompt(read(path)?),
            (_, _, Some(text), _) => Given::Template(text.clone()),
            (.., Some(path)) => Given::Template(read(path)?),
            _ => Given::Nothing,
        })
    }
}

/// A text out of a file without the newline at its end, which editors and `echo` put there.
fn read(path: &Path) -> Result<String> {
    let text = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()).map_err(Error::io("read the text", "standard input")),
        _ => std::fs::read_to_string(path).map_err(Error::io("read the text", path)),
    }?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

/// Order of timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// As training meant them: many masks, high timestep.
    Trained,
    /// As the original samples: upwards from 0, always the likeliest symbol.
    #[value(alias = "seed")]
    Original,
}

/// A policy, and the words that it was asked for in: they tell a number that was said from one that is the default.
#[derive(Clone, Debug)]
struct Asked {
    text: String,
    policy: Policy,
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Asked { text: text.to_owned(), policy: text.parse()? })
    }
}

/// How.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling")]
struct How {
    /// As what a model of --process joint writes [default: masked]
    #[arg(long = "as", value_name = "PROCESS")]
    part: Option<Family>,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N")]
    block_length: Option<usize>,
    /// Which predictions a step commits, one of those below [default: ancestral; with --order original threshold]
    #[arg(long, value_name = "SAMPLER")]
    sampler: Option<Asked>,
    /// P of --sampler threshold:P
    #[arg(long, value_name = "P", hide = true)]
    threshold: Option<f32>,
    /// N of --sampler top-k:N
    #[arg(long, value_name = "N", hide = true)]
    k: Option<u32>,
    /// STEPS of --sampler ancestral:STEPS
    #[arg(long, value_name = "N", hide = true)]
    steps: Option<u32>,
    /// SCHEDULE of --sampler ancestral:STEPS:SCHEDULE
    #[arg(long, value_enum, hide = true)]
    schedule: Option<Schedule>,
    /// Below 1 likelier symbols are preferred, 0 always takes the likeliest [default: 0.5; with --order original 1]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Draw among the likeliest symbols that together hold this share
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Draw only symbols at least this times as likely as the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Draw among so many of the likeliest symbols, at most
    #[arg(long, value_name = "N")]
    top_symbols: Option<u32>,
    /// Take the likeliest symbols once this share of the text, or less, is unknown
    #[arg(long, value_name = "SHARE")]
    greedy_tail: Option<f32>,
    /// Of a model of masked diffusion: prefer symbols that what is given makes likelier than they are without it, by so much;
    /// each step reads the text both ways [default: 0]
    #[arg(long, value_name = "W")]
    guidance: Option<f32>,
    /// Of a model of --process gaussian or latent: below 1 the way to likelier vectors is longer [default: 1]
    #[arg(long, value_name = "T")]
    score_temperature: Option<f32>,
    /// Of a model of --process gaussian: take the nearest character's vector for what each step makes of a vector; of latent, one
    /// as long as all are
    #[arg(long)]
    clamp: bool,
    /// Of a model of --process uniform, mixed, relaxed, gaussian or latent: make each step so often, with its noise given again in
    /// between, so that what is written fits what is known better (RePaint)
    #[arg(long, value_name = "N", default_value_t = 1)]
    resample: u32,
    /// Of a model of --process uniform, mixed or relaxed: replace characters again once a text is written, where they are less
    /// probable than LEAST and another at least as probable as SURE, up to ROUNDS times; 0.2 is 0.2:0.5:3
    #[arg(long, value_name = "LEAST:SURE:ROUNDS")]
    edits: Option<Edits>,
    /// Order of timesteps; original reproduces tiny-diffusion
    #[arg(long, value_enum, default_value = "trained")]
    order: Order,
    /// Key of every random number: the same seed gives the same texts
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Tokens of a text, or of each of several --blocks; one that is longer than the model's window is written in windows that
    /// continue one another [default: the model's window]
    #[arg(short, long, value_name = "N")]
    length: Option<usize>,
    /// A text ends before this, once it is written
    #[arg(long, value_name = "TEXT")]
    stop: Option<String>,
    /// Play so many generations of Conway's game of life on each text that is written: its characters are cells of a square, and
    /// those that live are masked and written anew
    #[arg(long, value_name = "N")]
    life: Option<u32>,
    /// Blocks that continue one another [default: 1, or as many as --length takes]
    #[arg(long, value_name = "N")]
    blocks: Option<u32>,
    /// Compute the window anew for each character of an autoregressive model, instead of keeping keys and values: the same
    /// text, more slowly
    #[arg(long)]
    recompute: bool,
    /// Tokens that a block takes over from the one before [default: the model's context, else 16; from left to right three
    /// quarters of it]
    #[arg(long, value_name = "N")]
    overlap: Option<usize>,
}

/// Which.
#[derive(Args, Debug)]
#[command(next_help_heading = "Texts")]
struct Which {
    /// Texts
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    texts: usize,
    /// Number of the first text: a text depends on the seed and its number, not on its neighbours
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u32,
    /// Texts at a time [default: all, up to 16]
    #[arg(short, long, value_name = "N")]
    batch: Option<usize>,
}

/// What comes out.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Output {
    /// One line of JSON a text: number, text, tokens, the step that committed each, steps of each block, and where it ends
    #[arg(long)]
    json: bool,
    /// Show on the whole terminal how the texts denoise, coloured by how sure the model is, with keys to pause, step and change the
    /// speed; print them afterwards
    #[arg(short, long, conflicts_with = "json")]
    watch: bool,
}

const DEFAULT_BATCH: usize = 16;

/// Most tokens of the texts of a page: what a browser plays without a stop.
const MOST_ON_PAGE: usize = 200_000;

pub(crate) fn run(args: &SampleArgs) -> Result<()> {
    let Output { json, watch } = args.output;
    write(&args.request, Some(&args.hybrid), To::Print { json, watch }).map(|_| ())
}

/// Samples texts and keeps every step; what made them, a line each.
pub(crate) fn record(args: &Request) -> Result<(Recording, Vec<String>)> {
    let (recording, facts) = write(args, None, To::Record)?;
    Ok((recording.expect("what is recorded comes back"), facts))
}

/// Texts that were written before, and who is said to have made them.
pub(crate) fn written(args: &Request, file: &Path) -> Result<(Recording, Vec<String>)> {
    let loaded = args.model.load_or_built_in(None)?;
    let mut recording = Recording::new(&loaded.saved.vocab, None);
    let texts = read_json(file, &loaded.saved.vocab)?;
    texts.iter().for_each(|text| recording.add(text));
    check_size(recording.tokens())?;
    Ok((recording, vec![format!("By {}: {}.", loaded.name(), loaded.saved.config.describe())]))
}

/// Refuses more tokens than a page can hold.
fn check_size(tokens: usize) -> Result<()> {
    match tokens > MOST_ON_PAGE {
        true => Err(Error::input(format!(
            "{tokens} tokens on a page; wanted {MOST_ON_PAGE} tokens at most: give a lower --texts or --length"
        ))),
        false => Ok(()),
    }
}

/// Samples texts, with a second model where one joins in; every step where that is wanted, and what made the texts.
fn write(args: &Request, hybrid: Option<&HybridArgs>, to: To) -> Result<(Option<Recording>, Vec<String>)> {
    if args.which.texts == 0 {
        return Err(Error::input("--texts is 0; wanted at least 1"));
    }
    let loaded = args.model.load_or_built_in(args.start.data.as_ref())?.of_blocks(args.how.block_length)?;
    let (model, vocab) = (&loaded.saved.config, &loaded.saved.vocab);
    let wanted = args.how.length.unwrap_or(model.sequence_len);
    if wanted > sample::LONGEST {
        return Err(Error::input(format!("--length {wanted}: a text has 1 to {} tokens", sample::LONGEST)));
    }
    let length = wanted.min(model.sequence_len);
    sample::check_length(length, model)?;
    let (hybrid, second) = match hybrid {
        Some(args) => (args.hybrid()?, args.second()?),
        None => (None, None),
    };
    let (json, watch) = match to {
        To::Print { json, watch } => (json, watch),
        To::Record => (false, false),
    };
    if matches!(to, To::Record) {
        if args.how.stop.is_some() {
            return Err(useless("--stop", "ends what is printed of a text, and a page shows all that is written"));
        }
        check_size(args.which.texts.saturating_mul(wanted))?;
    }
    let config = match hybrid.zip(second.as_ref()) {
        None => args.how.config(&loaded.saved.process, args.how.part, length)?,
        Some(_) if watch => {
            return Err(useless("--watch", "shows one model at work, and a --hybrid has two"));
        }
        Some((hybrid, second)) => {
            args.how.hybrid_config(hybrid, &loaded.saved.process, &second.saved.process, length)?
        }
    };
    let numbers =
        args.which.first..args.which.first.saturating_add(u32::try_from(args.which.texts).unwrap_or(u32::MAX));
    if numbers.len() < args.which.texts {
        return Err(Error::input(format!(
            "--first {} and {} texts; numbers end at 2³²",
            numbers.start, args.which.texts
        )));
    }
    let (context, hole) = (loaded.saved.process.context_len(), args.start.hole.unwrap_or('_'));
    let given = args.start.given()?;
    if args.start.data.is_some() {
        let useless =
            |why: &str| Err(super::useless("--data", &format!("is where a beginning is taken from, and {why}")));
        match given {
            Given::Prompt(_) => return useless("--prompt gives one"),
            Given::Template(_) => return useless("--template gives one"),
            Given::Nothing if context == 0 => return useless("this model needs none"),
            Given::Nothing => {}
        }
    }
    if args.start.hole.is_some() && !matches!(given, Given::Template(_)) {
        return Err(useless("--hole", "marks a hole of a --template, and there is none"));
    }
    // What stands before the text that is sampled.
    let (before, given): (Vec<u32>, Option<Start>) = match given {
        Given::Prompt(text) => {
            let (before, start) = sample::end_of_prompt(vocab, &text, length, config.overlap)?;
            (before, Some(start))
        }
        Given::Template(text) => (vec![], Some(sample::template(vocab, &text, hole, length, model.sequence_len)?)),
        Given::Nothing if context > 0 => (vec![], None),
        Given::Nothing => (vec![], Some(sample::open(length))),
    };
    if wanted > length && args.how.blocks.is_some() {
        return Err(useless("--blocks", &format!("is how many windows are written, and --length {wanted} says it")));
    }
    let config = config.of_length(wanted, length);
    if args.how.overlap.is_some() && config.blocks == 1 && before.is_empty() {
        return Err(Error::input(
            "--overlap is what blocks share, and there is one; give --blocks 2 or more, or a longer --length, or leave it out",
        ));
    }
    if !before.is_empty() {
        terminal::say(format!(
            "note: the prompt has {} tokens, a text {length}; it goes on from the last {} of them (--overlap)",
            before.len() + config.overlap,
            config.overlap
        ));
    }
    if let Some(generations) = args.how.life {
        args.how.check_life(generations, &config, hybrid.is_some(), !before.is_empty())?;
    }
    let corpus = match given {
        Some(_) => None,
        None => Some(loaded.corpus(Unknown::Replace, None, "restore it, or name a text with --data")?),
    };
    let start = |number: u32| match (&given, &corpus) {
        (None, Some(corpus)) => sample::from_corpus(corpus, corpus.validation(), context, length, config.seed, number),
        (given, _) => Ok(given.clone().unwrap_or_default()),
    };
    let begun = start(numbers.start)?.iter().take_while(|t| t.is_some()).count();
    if begun < context {
        terminal::say(format!(
            "note: this model learned with {context} tokens given, the text begins with {begun}; more may do better"
        ));
    }
    // No more at a time than there are texts; and no more texts in memory than at a time.
    let batch = args.which.batch.unwrap_or(DEFAULT_BATCH).min(numbers.len());
    let device = args.machine.open()?;
    // A guided text takes the place of two.
    let rows = if config.guidance > 0.0 { batch.saturating_mul(2) } else { batch };
    let mut denoiser = loaded.denoiser_on(&device, &args.machine, rows)?;
    let mut team = match hybrid.zip(second) {
        None => None,
        Some((hybrid, second)) => {
            let masked = second.denoiser_on(&device, &args.machine, batch)?;
            Some(Team::new(hybrid, &config, masked, &mut denoiser)?)
        }
    };
    let stop = Stop::on_signals()?;
    denoiser.heed(&stop);
    let recording = || {
        let score = config.part.has_policies().then(|| config.policy.score());
        Recording::new(vocab, score)
    };
    let mut onlooker = match to {
        To::Record => Some(Onlooker::Recording(recording())),
        To::Print { watch: true, .. } => Onlooker::view(recording(), loaded.name(), numbers.len()),
        To::Print { .. } => None,
    };
    let format = if json { Format::Json } else { Format::Plain { headed: numbers.len() > 1 } };
    let mut printer = Printer::new(vocab, format, numbers.start, config.stop.as_deref());
    let mut sampled = Ok(());
    for first in numbers.clone().step_by(batch) {
        let end = numbers.end.min(first.saturating_add(batch as u32));
        let starts = (first..end).map(start).collect::<Result<Vec<_>>>()?;
        let given: Vec<usize> = starts.iter().map(|start| start.iter().take_while(|t| t.is_some()).count()).collect();
        let alone = starts.len() == 1;
        if let Some(onlooker) = &mut onlooker {
            onlooker.begin(first, &before, &starts);
        }
        let onlooker = RefCell::new(&mut onlooker);
        let mut tell = |progress: &Progress| tell(progress, first - numbers.start, numbers.len() as u32);
        let mut see =
            |frame: &Frame<'_>| onlooker.borrow_mut().iter_mut().for_each(|one| one.see(before.len(), frame, &stop));
        let watch = if onlooker.borrow().is_some() { Watch::Steps(&mut see) } else { Watch::Progress(&mut tell) };
        let mut heard = |written: Written<'_>| match (written, &mut **onlooker.borrow_mut()) {
            (Written::Whole(text), None) => printer.take(text.behind(&before)),
            (Written::Whole(text), Some(onlooker)) => {
                onlooker.take(text.behind(&before)).into_iter().for_each(|text| printer.take(text));
            }
            (Written::Part(text), onlooker) if alone && onlooker.as_ref().is_none_or(Onlooker::lets_print) => {
                printer.take_part(&text.clone().behind(&before));
            }
            (Written::Part(_), _) => {}
        };
        sampled = match (&mut team, watch) {
            (Some(team), Watch::Progress(tell)) => {
                team.sample(&mut denoiser, &config, &starts, first, tell).map(|texts| {
                    let whole = texts.into_iter().zip(&given).map(|(text, &given)| config.stopped(vocab, text, given));
                    whole.for_each(|text| heard(Written::Whole(text)));
                })
            }
            (_, watch) => match args.how.life {
                None => sample::sample_as_finished(&mut denoiser, &config, &starts, first, watch, &mut heard),
                Some(generations) => life::write(&mut denoiser, &config, &starts, first, generations, watch)
                    .map(|texts| texts.into_iter().for_each(|text| heard(Written::Whole(text)))),
            },
        };
        terminal::rest();
        if sampled.is_err() || printer.reader()? == Reader::Gone {
            break;
        }
    }
    let (left, recorded) = onlooker.map_or((Vec::new(), None), |onlooker| onlooker.end(sampled.is_ok(), &stop));
    left.into_iter().for_each(|text| printer.take(text));
    if matches!(sampled, Err(Error::Stopped(_))) {
        let printed = printer.finish()?;
        terminal::say(format!("stopped after {printed} of {}", counted(numbers.len() as u64, "text")));
    }
    sampled?;
    printer.reader()?;
    if let Some(team) = &team {
        team.tell(vocab.kind().unit());
    }
    let how = match config.part.has_policies() {
        true => format!("Sampler {}, temperature", config.policy.for_length(length)),
        false => "Temperature".into(),
    };
    let facts = [
        format!("By {}: {}, after {} steps.", loaded.name(), loaded.saved.config.describe(), loaded.saved.step),
        format!("{how} {}, seed {}.", config.temperature, config.seed),
    ];
    Ok((recorded, facts.into()))
}

impl How {
    /// How two models sample: the options are those of the part that has a choice.
    fn hybrid_config(
        &self,
        hybrid: Hybrid,
        first: &ProcessConfig,
        masked: &ProcessConfig,
        length: usize,
    ) -> Result<SampleConfig> {
        let said = [
            ("--as", self.part.is_some()),
            ("--recompute", self.recompute),
            ("--order original", self.order == Order::Original),
            ("--guidance", self.guidance.is_some()),
            ("--edits", self.edits.is_some()),
        ];
        super::refuse_said(&said, "is for one model, and --hybrid has two")?;
        let wanted = hybrid::part(hybrid);
        let of = |process: &ProcessConfig, wanted| (process.family() == Family::Joint).then_some(wanted);
        match wanted {
            Family::Autoregressive => self.config(first, of(first, wanted), length),
            _ => self.config(masked, of(masked, wanted), length),
        }
    }

    fn config(&self, process: &ProcessConfig, part: Option<Family>, length: usize) -> Result<SampleConfig> {
        let part = super::model::part(process, part)?;
        if part == Family::Autoregressive {
            self.check_left_to_right()?;
        } else if self.recompute {
            return Err(useless(
                "--recompute",
                "is of a model that writes from left to right, a character at a time, and this one writes by diffusion",
            ));
        }
        if !part.has_vectors() {
            let said = [("--score-temperature", self.score_temperature.is_some()), ("--clamp", self.clamp)];
            super::refuse_said(&said, "is of a model of vectors with Gaussian noise, and this one's is of characters")?;
        }
        let original_order = self.order == Order::Original;
        let base = SampleConfig::new(self.policy(length)?, self.seed, process);
        let base = SampleConfig { part, ..base };
        let overlap = base.usual_overlap(length, process);
        let config = SampleConfig {
            temperature: self.temperature.unwrap_or(if original_order { 1.0 } else { sample::CAREFUL }),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            top_symbols: self.top_symbols.unwrap_or(base.top_symbols),
            greedy_tail: self.greedy_tail.unwrap_or(base.greedy_tail),
            guidance: self.guidance.unwrap_or(base.guidance),
            original_order,
            blocks: self.blocks.unwrap_or(base.blocks),
            overlap: self.overlap.unwrap_or(overlap),
            stop: self.stop.clone(),
            past: if self.recompute { Past::Recomputed } else { base.past },
            vectors: VectorSampling {
                score_temperature: self.score_temperature.unwrap_or(base.vectors.score_temperature),
                clamps: self.clamp,
            },
            resample: self.resample,
            edits: self.edits,
            ..base
        };
        config.validate(length)?;
        if self.top_symbols == Some(0) {
            return Err(Error::input("--top-symbols 0 leaves nothing to draw; wanted at least 1"));
        }
        let ancestral = matches!(config.policy, Policy::Ancestral { .. });
        let of_draws = [
            ("--top-p", "limits what is drawn", self.top_p.is_some()),
            ("--min-p", "limits what is drawn", self.min_p.is_some()),
            ("--top-symbols", "limits what is drawn", self.top_symbols.is_some()),
            ("--greedy-tail", "is for a text whose rest is drawn", self.greedy_tail.is_some()),
        ];
        for (option, what, _) in of_draws.into_iter().filter(|(.., given)| *given) {
            let instead = match original_order {
                true => "--order original",
                false if config.temperature == 0.0 => "--temperature 0",
                false => continue,
            };
            return Err(useless(option, &format!("{what}, and {instead} takes the likeliest symbol")));
        }
        if self.temperature.is_some() && original_order && ancestral {
            let why =
                "shapes how sure a prediction is, by which --order original with an ancestral sampler decides nothing";
            return Err(useless("--temperature", why));
        }
        Ok(config)
    }

    /// Refuses a game of life on what has no masks, or is not written at once.
    fn check_life(&self, generations: u32, config: &SampleConfig, is_hybrid: bool, is_continued: bool) -> Result<()> {
        let refuse = |why: &str| Err(useless("--life", why));
        match () {
            () if generations == 0 => {
                Err(Error::input("--life 0 plays no generation; wanted at least 1, or leave it out"))
            }
            () if config.part != Family::Masked => {
                refuse("masks characters and writes them anew, which masked diffusion does")
            }
            () if is_hybrid => refuse("is for one model, and --hybrid has two"),
            () if config.blocks > 1 || is_continued => refuse("is for texts of one window, and these are longer"),
            () if self.stop.is_some() => refuse("plays on whole texts, and --stop ends them before"),
            () => Ok(()),
        }
    }

    /// Refuses what only a process with noise has.
    fn check_left_to_right(&self) -> Result<()> {
        let said = [
            ("--sampler", self.sampler.is_some()),
            ("--threshold", self.threshold.is_some()),
            ("--k", self.k.is_some()),
            ("--steps", self.steps.is_some()),
            ("--schedule", self.schedule.is_some()),
            ("--order original", self.order == Order::Original),
        ];
        let why = "is for masked diffusion, and this model writes as an autoregressive one, from left to right";
        super::refuse_said(&said, why)
    }

    /// The policy, from its own option or from an older one that implies it; for messages, of texts of `length` tokens.
    fn policy(&self, length: usize) -> Result<Policy> {
        let schedule = self.schedule.and_then(|s| s.to_possible_value()).map(|s| s.get_name().to_owned());
        let older = [
            ("--threshold", "threshold", self.threshold.map(|p| p.to_string())),
            ("--k", "top-k", self.k.map(|k| k.to_string())),
            ("--steps", "ancestral", self.steps.map(|n| n.to_string())),
            ("--schedule", "ancestral", schedule),
        ];
        let mut given = older.iter().filter_map(|(option, name, value)| value.as_ref().map(|v| (option, *name, v)));
        let default = if self.order == Order::Original { "threshold" } else { "ancestral" };
        let implied = given.clone().next().map_or(default, |(_, name, _)| name);
        let mut policy = self.sampler.as_ref().map_or_else(|| implied.parse(), |written| Ok(written.policy))?;
        match &mut policy {
            Policy::Threshold(least, _) => *least = self.threshold.unwrap_or(*least),
            Policy::TopK(k, _) => *k = self.k.or(*k),
            Policy::Ancestral { steps, schedule } => {
                (*steps, *schedule) = (self.steps.or(*steps), self.schedule.unwrap_or(*schedule));
            }
            Policy::Factor(..) | Policy::EntropyBounded(_) | Policy::Remdm { .. } | Policy::Ddim { .. } => {}
        }
        given.try_for_each(|(option, name, value)| {
            let why = if name != policy.name() {
                format!("is for --sampler {name}, and this is {}", policy.for_length(length))
            } else if let Some(Asked { text, .. }) = self.sampler.as_ref().filter(|written| written.text.contains(':'))
            {
                format!("is said by --sampler {text} already")
            } else {
                return Ok(());
            };
            Err(useless(&format!("{option} {value}"), &why))
        })?;
        Ok(policy)
    }
}

/// Tells how far a batch is, and how many of all texts are finished where they are more than the batch.
fn tell(progress: &Progress, done: u32, of: u32) {
    let Progress { texts, block, steps, left } = progress;
    let batch = headline(texts, *block, *steps, *left);
    terminal::show(match texts.len() < of as usize {
        true => Activity { what: "texts".into(), done: u64::from(done), of: u64::from(of), facts: vec![batch] },
        false => Activity { what: batch, ..Activity::default() },
    });
}
