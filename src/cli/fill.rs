//! `tempest fill`.

use super::given::{Given, TextArgs, show};
use super::machine::Machine;
use super::model::{Loaded, SavedModelArgs};
use super::{Reader, refuse_said, useless};
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;
use tempest::Result;
use tempest::config::{Family, Policy, Unknown};
use tempest::edit::{self, Candidate, FillConfig, Gapped, LengthPrior};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};

/// Fill the gaps of texts, of known or unknown length
///
/// Each _ stands for one unknown character, and _* for any number of them: 'To be ____ to be', 'What is the _* of it?'. The model
/// sees what stands on both sides.
#[derive(Args, Debug)]
#[command(after_help = super::help::FILL)]
pub(crate) struct FillArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    gaps: Gaps,
    #[command(flatten)]
    how: Filling,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    machine: Machine,
}

/// Where they are.
#[derive(Args, Debug)]
#[command(next_help_heading = "Gaps")]
struct Gaps {
    /// The character that marks a gap
    #[arg(long, value_name = "CHAR", default_value_t = '_')]
    hole: char,
    /// A text file or folder whose words --prior words counts [default: the run's text, else Tiny Shakespeare]
    #[arg(short, long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// How they are filled.
#[derive(Args, Debug)]
#[command(next_help_heading = "Gaps")]
pub(crate) struct Filling {
    /// Most tokens of a gap of unknown length: 0 to N are tried [default: 12, at most half the window]
    #[arg(long, value_name = "N")]
    longest: Option<usize>,
    /// How probable a gap's length is by itself: flat, geometric:MEAN, or words (as often as words of that length stand in the
    /// text of --data) [default: geometric:5]
    #[arg(long, value_name = "PRIOR")]
    prior: Option<Prior>,
    /// Fills of each length: the N likeliest that a search from either end finds, or N that --sampler draws
    #[arg(long, value_name = "N", default_value_t = 4)]
    tries: usize,
    /// Draw fills instead of searching for them, in the order of this sampler of `tempest sample` [default: of blocks top-k:1, of
    /// uniform, mixed and relaxed ancestral:32]
    #[arg(long, value_name = "SAMPLER")]
    sampler: Option<Policy>,
    /// Of a model of --process uniform, mixed or relaxed: make each step so often, with its noise given again in between, so that a
    /// fill fits its text better (RePaint)
    #[arg(long, value_name = "N", default_value_t = 1)]
    resample: u32,
    /// Of all draws but the first of a length, which takes the likeliest symbols [default: 0.5]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Rank fills by the exact likelihood of this sampler [default: by the mean of those from left to right and from right to left;
    /// of blocks top-k:1]
    #[arg(long, value_name = "SAMPLER")]
    score: Option<Policy>,
    /// Key of every random number: the same seed gives the same fills
    #[arg(short, long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N")]
    pub(super) block_length: Option<usize>,
}

/// What comes out.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Most candidates of a text, the best first, with their shares of the probability of all that were tried
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    candidates: usize,
    /// One line of JSON a text: number, text, candidates with gaps, lengths, scores and shares
    #[arg(long)]
    json: bool,
}

/// A prior as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Prior {
    Flat,
    Geometric(f64),
    Words,
}

impl FromStr for Prior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number))) {
            ("flat", None) => Ok(Prior::Flat),
            ("words", None) => Ok(Prior::Words),
            ("geometric", None) => Ok(Prior::Geometric(FillConfig::MEAN)),
            ("geometric", Some(mean)) => {
                mean.parse().map(Prior::Geometric).map_err(|_| format!("{mean:?} is no number; wanted geometric:5"))
            }
            _ => Err("wanted flat, geometric:MEAN or words".into()),
        }
    }
}

pub(crate) fn run(args: &FillArgs) -> Result<()> {
    let given = args.texts.read()?;
    let loaded = args.model.load_or_built_in(args.gaps.data.as_ref())?.of_blocks(args.how.block_length)?;
    let vocab = &loaded.saved.vocab;
    let gapped = |given: &Given| Gapped::parse(vocab, &given.text, args.gaps.hole).map_err(|e| given.named(e));
    let gapped = given.iter().map(gapped).collect::<Result<Vec<Gapped>>>()?;
    if !gapped.iter().any(|text| text.unknown() > 0) {
        let said = [("--longest", args.how.longest.is_some()), ("--prior", args.how.prior.is_some())];
        let why = format!("is for gaps of unknown length, written {}*, and there is none", args.gaps.hole);
        refuse_said(&said, &why)?;
    } else if args.how.prior.is_none() {
        args.how.tell_prior(&loaded);
    }
    if args.gaps.data.is_some() && args.how.prior != Some(Prior::Words) {
        return Err(useless("--data", "is where --prior words counts words"));
    }
    let config = args.how.config(&loaded, args.output.candidates)?;
    config.validate(loaded.saved.config.sequence_len)?;
    let batch = args.texts.batch;
    let mut denoiser = loaded.denoiser(&args.machine, batch)?;
    denoiser.heed(&Stop::on_signals()?);
    let mut first = 0;
    for (given_now, texts) in given.chunks(batch).zip(gapped.chunks(batch)) {
        let all = gapped.len() as u64;
        let mut tell = |what: &str, done: usize, of: usize| {
            let facts = vec![format!("{what} {done}/{of}")];
            terminal::show(Activity { what: "texts".into(), done: first, of: all, facts });
        };
        let found = edit::fill(&mut denoiser, &config, texts, first as u32, &mut tell)?;
        for (i, (given, candidates)) in given_now.iter().zip(found).enumerate() {
            let shown = if args.texts.in_lines(args.output.json) {
                let best = candidates.first().map_or("", |best| &best.text);
                let number = first as usize + i;
                given.line(serde_json::json!({ "number": number, "text": best, "candidates": candidates }))
            } else {
                plain(given, &candidates, gapped.len() > 1)
            };
            if show(&shown)? == Reader::Gone {
                return Ok(());
            }
        }
        first += texts.len() as u64;
    }
    Ok(())
}

/// The only candidate, or all of them, each under its figures.
fn plain(given: &Given, candidates: &[Candidate], many: bool) -> String {
    if let [best] = candidates {
        return given.plain(&best.text, many);
    }
    let of = |candidate: &Candidate| {
        let gaps: Vec<String> = candidate.gaps.iter().map(|gap| format!("{gap:?}")).collect();
        let (share, score) = (100.0 * candidate.share, candidate.score);
        format!("--- {share:.1} %, {score:.2} nats: {} ---\n{}", gaps.join(" "), given.plain(&candidate.text, false))
    };
    let all: String = candidates.iter().map(of).collect();
    if many { format!("=== {} ===\n{all}", given.name) } else { all }
}

impl Filling {
    fn longest(&self, loaded: &Loaded) -> usize {
        let usual = FillConfig::new(self.seed).longest;
        self.longest.unwrap_or(usual.min(loaded.saved.config.sequence_len / 2))
    }

    /// Says what lengths are tried where nothing was said of it.
    pub(super) fn tell_prior(&self, loaded: &Loaded) {
        terminal::say(format!(
            "note: gaps of unknown length have up to {} {}s (--longest), {} on average (--prior)",
            self.longest(loaded),
            loaded.saved.vocab.kind().unit(),
            FillConfig::MEAN
        ));
    }

    pub(super) fn config(&self, loaded: &Loaded, candidates: usize) -> Result<FillConfig> {
        let usual = FillConfig::new(self.seed);
        let has_policies = loaded.saved.process.family().has_policies();
        if self.score.is_some() && !has_policies {
            let why = "is a sampler with an exact likelihood, and this model's texts have none: a bound ranks them";
            return Err(useless("--score", why));
        }
        let draws = self.sampler.is_some() || !matches!(loaded.saved.process.family(), Family::Masked | Family::Joint);
        if self.temperature.is_some() && !draws {
            return Err(useless(
                "--temperature",
                "is of fills that are drawn, and these are searched for; draw them with --sampler",
            ));
        }
        let prior = match self.prior {
            None => usual.prior,
            Some(Prior::Flat) => LengthPrior::Flat,
            Some(Prior::Geometric(mean)) => LengthPrior::Geometric { mean },
            Some(Prior::Words) => {
                let corpus = loaded.corpus(Unknown::Replace, None, "restore it, or name a text with --data")?;
                LengthPrior::of_words(&corpus.text(corpus.train()))
            }
        };
        Ok(FillConfig {
            candidates,
            tries: self.tries,
            longest: self.longest(loaded),
            prior,
            policy: self.sampler,
            temperature: self.temperature.unwrap_or(usual.temperature),
            resample: self.resample,
            scored_by: self.score,
            seed: self.seed,
        })
    }
}
