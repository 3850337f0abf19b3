//! `tempest rewrite`.

use super::given::{Given, TextArgs, show};
use super::machine::Machine;
use super::model::SavedModelArgs;
use super::{Reader, refuse_said};
use clap::Args;
use tempest::config::Policy;
use tempest::edit::{self, Lines, Passage, RewriteConfig};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity};
use tempest::{Error, Result};

/// Write texts anew: put noise on a part of each and take it away again
#[derive(Args, Debug)]
#[command(after_help = super::help::REWRITE)]
pub(crate) struct RewriteArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    how: How,
    /// One line of JSON a text: number and text
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// How.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rewriting")]
struct How {
    /// The noise rate that a text gets: above 0, where little changes, to 1, where all is new
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    strength: f32,
    /// Characters at the beginning of each text that stay as they are
    #[arg(long, value_name = "N", conflicts_with = "prompt")]
    keep: Option<usize>,
    /// What stands before each text, and stays as it is
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Newlines stay where they are
    #[arg(long)]
    keep_lines: bool,
    /// How the noise is taken away, as of `tempest sample` [default: ancestral; of uniform and mixed ancestral:32]
    #[arg(long, value_name = "SAMPLER")]
    sampler: Option<Policy>,
    /// Below 1 likelier symbols are preferred, 0 always takes the likeliest
    #[arg(long, value_name = "T", default_value_t = tempest::sample::CAREFUL)]
    temperature: f32,
    /// Key of every random number: the same seed gives the same texts
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N")]
    block_length: Option<usize>,
}

pub(crate) fn run(args: &RewriteArgs) -> Result<()> {
    let given = args.texts.read()?;
    let passages = given.iter().map(|given| args.how.passage(given)).collect::<Result<Vec<Passage>>>()?;
    let loaded = args.model.load_or_built_in(None)?.of_blocks(args.how.block_length)?;
    let usual = RewriteConfig::new(&loaded.saved.process, args.how.strength, args.how.seed);
    let config = RewriteConfig {
        policy: args.how.sampler.unwrap_or(usual.policy),
        temperature: args.how.temperature,
        lines: if args.how.keep_lines { Lines::Kept } else { Lines::Free },
        ..usual
    };
    config.validate()?;
    if !loaded.saved.process.family().has_policies() {
        let is_ancestral = matches!(config.policy, Policy::Ancestral { .. });
        let said = [("--sampler", args.how.sampler.is_some() && !is_ancestral)];
        refuse_said(&said, "other than ancestral:STEPS is for masks, and this model's noise are other symbols")?;
    }
    let mut denoiser = loaded.denoiser(&args.machine, args.texts.batch)?;
    denoiser.heed(&Stop::on_signals()?);
    let mut first = 0;
    for (given_now, passages) in given.chunks(args.texts.batch).zip(passages.chunks(args.texts.batch)) {
        let mut tell = |what: &str, done: usize, of: usize| {
            let facts = vec![format!("{what} {done}/{of}")];
            let all = given.len() as u64;
            terminal::show(Activity { what: "texts".into(), done: u64::from(first), of: all, facts });
        };
        let texts = edit::rewrite(&mut denoiser, &config, passages, first, &mut tell)?;
        for (given_one, text) in given_now.iter().zip(&texts) {
            let shown = match args.texts.in_lines(args.json) {
                true => given_one.line(serde_json::json!({ "number": first, "text": text })),
                false => given_one.plain(text, given.len() > 1),
            };
            if show(&shown)? == Reader::Gone {
                return Ok(());
            }
            first += 1;
        }
    }
    Ok(())
}

impl How {
    fn passage(&self, given: &Given) -> Result<Passage> {
        let Some(keep) = self.keep else {
            let kept = self.prompt.clone().unwrap_or_default();
            return Ok(Passage { kept, text: given.text.clone() });
        };
        let characters = given.text.chars().count();
        if keep >= characters {
            let message = format!("--keep {keep} leaves nothing of a text of {characters} characters; wanted fewer");
            return Err(given.named(Error::input(message)));
        }
        let at = given.text.char_indices().nth(keep).map_or(given.text.len(), |(at, _)| at);
        let (kept, text) = given.text.split_at(at);
        Ok(Passage { kept: kept.into(), text: text.into() })
    }
}
