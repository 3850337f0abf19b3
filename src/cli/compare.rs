//! `tempest compare`.

use super::machine::Machine;
use super::model::{Loaded, SavedModelArgs};
use super::place::Place;
use super::print;
use super::report::{Drawn, Wanted, real_texts, write};
use super::table::table;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{Family, Measure, Policy, Schedule, Unknown};
use tempest::data::Corpus;
use tempest::denoiser::Denoiser;
use tempest::eval::{self, EvalConfig};
use tempest::page::{Compared, Comparison, GRAMS, LEGEND, Other, Written};
use tempest::plot::{self, Size};
use tempest::quality::chain::Chain;
use tempest::quality::{Quality, Reference};
use tempest::report::Summary;
use tempest::sample;
use tempest::stop::Stop;
use tempest::store::RunPaths;
use tempest::terminal::{self, Activity, thousands};
use tempest::{Error, Result};

/// Put models of several processes beside one another: likelihoods, and what their texts lose by few steps
#[derive(Args, Debug)]
#[command(after_help = super::help::COMPARE)]
pub(crate) struct CompareArgs {
    /// Runs: folders, or names in runs/
    #[arg(required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// The text that they are measured on, what training saw of it and what it did not [default: the first run's]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Numbers of steps that texts are written in, each with its bound
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "4,16,64")]
    steps: Vec<u32>,
    /// Windows of the bounds
    #[arg(long, value_name = "N", default_value_t = 256)]
    windows: usize,
    /// The sampler whose exact likelihood is taken, of models that have one
    #[arg(long, value_name = "SAMPLER", default_value = "top-k:1")]
    duel: Policy,
    /// Windows for it, which cost up to as many passes as they have tokens; 0 for none
    #[arg(long, value_name = "N", default_value_t = 16)]
    duel_windows: usize,
    /// Texts of each, and of real text
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32)]
    texts: usize,
    /// Tokens of a text [default: the window of the first run's model]
    #[arg(short, long, value_name = "N")]
    length: Option<usize>,
    /// Below 1 likelier symbols are preferred
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// Texts or windows at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Key of every random number
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of tables
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print tables in Markdown
    #[arg(long)]
    markdown: bool,
    /// Write a page too, with the tables and charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the charts too, as an SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Replace those files if they are there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Parameters that differ by no more than this share are called equal.
const EQUAL: f64 = 0.02;

pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    args.check()?;
    let place = |file, ending| Place::beside_output(file, args.force, &[ending]);
    let page = args.html.as_ref().map(|file| place(file, "html")).transpose()?;
    let charts = args.svg.as_ref().map(|file| place(file, "svg")).transpose()?;
    let loaded: Vec<Loaded> =
        args.runs.iter().map(|run| SavedModelArgs::of_run(run).load(args.data.as_ref())).collect::<Result<_>>()?;
    let corpus = loaded[0].corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
    if let Some(model) = loaded.iter().find(|model| &model.saved.vocab != corpus.vocab()) {
        return Err(Error::input(format!(
            "{}: its symbols are not those of {}; compare models of one text",
            model.name(),
            loaded[0].name()
        )));
    }
    let length = args.length.unwrap_or(loaded[0].saved.config.sequence_len);
    loaded.iter().try_for_each(|model| sample::check_length(length, &model.saved.config))?;
    let [held, real] = real_texts(&corpus, args.texts, length)?;
    let count = real.len();
    let facts = facts(args, &loaded, &corpus, [count, length]);
    facts.iter().for_each(terminal::say);
    let train = corpus.text(corpus.train());
    let reference = Reference::new(&train, held);
    let mut others = vec![other("real text", &reference.judge(&real))];
    if let Some(chain) = Chain::of(&train, GRAMS[0]) {
        let texts: Vec<String> =
            real.iter().zip(0..).map(|(text, number)| chain.write(args.seed, number, text.chars().count())).collect();
        others.push(other(&format!("{}-grams by counts", GRAMS[0]), &reference.judge(&texts)));
    }
    let (device, stop) = (args.machine.open()?, Stop::on_signals()?);
    let bench =
        Bench { args, corpus: &corpus, reference: &reference, device: &device, stop: &stop, texts: [count, length] };
    let models = loaded.iter().map(|model| bench.measure(model)).collect::<Result<_>>()?;
    terminal::rest();
    let comparison = Comparison { facts, unit: corpus.vocab().kind().unit(), models, others };
    if let Some(page) = page {
        page.write("write the page", "page", "", comparison.page().as_bytes())?;
    }
    if let Some(charts) = charts {
        charts.write("write the charts", "charts", "", plot::file(&comparison.charts(), Size::FILE).as_bytes())?;
    }
    if args.json {
        return print(
            &(serde_json::to_string_pretty(&comparison).expect("numbers and strings are always JSON") + "\n"),
        );
    }
    if args.markdown {
        return print(&comparison.markdown());
    }
    print(&format!("{}\n{}{LEGEND}", table(&comparison.likelihoods(), 2), table(&comparison.texts(), 1)))
}

impl CompareArgs {
    /// Refuses what measures nothing, before anything takes long.
    fn check(&self) -> Result<()> {
        let numbers = [("--texts", self.texts), ("--batch", self.batch), ("--windows", self.windows)];
        if let Some((option, _)) =
            numbers.into_iter().chain([("--length", self.length.unwrap_or(1))]).find(|(_, n)| *n == 0)
        {
            return Err(Error::input(format!("{option} is 0; wanted at least 1")));
        }
        self.steps.iter().try_for_each(|&steps| ancestral(steps).validate())?;
        self.duel.validate()?;
        self.duel.check_likelihood()
    }
}

fn ancestral(steps: u32) -> Policy {
    Policy::Ancestral { steps: Some(steps), schedule: Schedule::Cosine }
}

fn other(name: &str, quality: &Quality) -> Other {
    Other { name: name.into(), divergence: grams(quality) }
}

fn grams(quality: &Quality) -> [f64; 2] {
    GRAMS.map(|n| quality.divergence[n - 1])
}

/// What all are measured on, and what of the models differs that would have to be equal.
fn facts(args: &CompareArgs, loaded: &[Loaded], corpus: &Corpus, [count, length]: [usize; 2]) -> Vec<String> {
    let mut facts = vec![
        format!("text: {}", corpus.describe()),
        format!(
            "texts: {count} of {length} tokens of each way of writing, at temperature {}, beside as many of text that training did \
             not see; seed {}",
            args.temperature, args.seed
        ),
    ];
    let parameters: Vec<usize> = loaded.iter().map(|model| model.saved.weights.len()).collect();
    let (least, most) = (parameters.iter().min().unwrap_or(&0), parameters.iter().max().unwrap_or(&0));
    if *most as f64 > *least as f64 * (1.0 + EQUAL) {
        facts.push(format!("note: models of {} to {} parameters", thousands(*least as u64), thousands(*most as u64)));
    }
    let differ = |what: &str, of: &dyn Fn(&Loaded) -> u64| {
        let found: Vec<u64> = loaded.iter().map(of).collect();
        let unequal = found.iter().any(|value| *value != found[0]);
        let list = || found.iter().map(|&value| thousands(value)).collect::<Vec<_>>().join(", ");
        unequal.then(|| format!("note: {what} differ: {}", list()))
    };
    facts.extend(differ("steps of training", &|model| model.saved.step));
    facts.extend(differ("windows of the models", &|model| model.saved.config.sequence_len as u64));
    facts
}

/// What all models are measured by.
struct Bench<'a> {
    args: &'a CompareArgs,
    corpus: &'a Arc<Corpus>,
    reference: &'a Reference,
    device: &'a Device,
    stop: &'a Stop,
    /// Number and tokens of the texts.
    texts: [usize; 2],
}

impl Bench<'_> {
    fn measure(&self, model: &Loaded) -> Result<Compared> {
        let (args, family) = (self.args, model.saved.process.family());
        let mut denoiser = model.denoiser_on(self.device, &args.machine, args.batch)?;
        denoiser.heed(self.stop);
        let bounds = self.bounds(model, &mut denoiser)?;
        let nll = self.exact(model, &mut denoiser)?;
        drop(denoiser);
        let of =
            |steps: u32| bounds.iter().flat_map(|found| &found.step_bounds).find(|bound| bound.steps == steps)?.bound;
        let written = match family {
            Family::Autoregressive => vec![self.write(model, None, None)?],
            _ => args.steps.iter().map(|&n| self.write(model, Some(n), of(n))).collect::<Result<_>>()?,
        };
        let duel = bounds.as_ref().and_then(|found| found.duel.first());
        Ok(Compared {
            run: model.name(),
            process: family.to_string(),
            parameters: model.saved.weights.len(),
            trained_steps: model.saved.step,
            trained_seconds: model.folder().and_then(|folder| Summary::read(&RunPaths::of(folder)).seconds),
            nelbo: bounds.as_ref().and_then(|found| found.nelbo),
            nll,
            exact: duel.map(|duel| (duel.policy.to_string(), duel.nll)),
            written,
        })
    }

    /// Bounds, and the exact likelihood of a sampler.
    fn bounds(&self, model: &Loaded, denoiser: &mut Denoiser) -> Result<Option<eval::Report>> {
        let (args, family) = (self.args, model.saved.process.family());
        if !family.measures().contains(&Measure::Nelbo) {
            return Ok(None);
        }
        let duel = family.has_policies() && args.duel_windows > 0;
        let config = EvalConfig {
            range: self.corpus.validation(),
            windows: args.windows,
            passes: None,
            seed: args.seed,
            steps: args.steps.clone(),
            schedule: Schedule::Cosine,
            duel: if duel { vec![args.duel] } else { Vec::new() },
            duel_temperature: 1.0,
            duel_windows: args.duel_windows,
        };
        config.validate()?;
        eval::evaluate(denoiser, self.corpus, &config, &mut self.tell(model)).map(Some)
    }

    /// What a token costs given those before it in its window, as the bound counts it: each window from its beginning on.
    fn exact(&self, model: &Loaded, denoiser: &mut Denoiser) -> Result<Option<eval::Estimate>> {
        if !model.saved.process.family().measures().contains(&Measure::Nll) {
            return Ok(None);
        }
        let (range, window) = (self.corpus.validation(), model.saved.config.sequence_len);
        let windows = eval::windows_of_stride(&range, window, window)?;
        eval::likelihood(denoiser, self.corpus, &range, windows, &mut self.tell(model)).map(|found| Some(found.nll))
    }

    /// Texts in so many steps, or a token a step.
    fn write(&self, model: &Loaded, steps: Option<u32>, bound: Option<eval::Estimate>) -> Result<Written> {
        let (args, [texts, length]) = (self.args, self.texts);
        let policy = ancestral(steps.unwrap_or(1));
        let wanted =
            Wanted { policy, temperature: args.temperature, length, texts, seed: args.seed, batch: args.batch };
        let Drawn { texts, seconds } = write(model, &args.machine, &wanted, self.corpus, (self.device, self.stop))?;
        let quality = self.reference.judge(&texts);
        Ok(Written {
            steps: steps.unwrap_or(length as u32),
            bound,
            divergence: grams(&quality),
            seconds,
            characters_per_second: quality.characters as f64 / seconds,
        })
    }

    fn tell(&self, model: &Loaded) -> impl FnMut(&str, usize, usize) + use<> {
        let name = model.name();
        move |what, done, all| {
            let (what, done, of) = (format!("{name}: {what}, window"), done as u64, all as u64);
            terminal::show(Activity { what, done, of, ..Activity::default() });
        }
    }
}
