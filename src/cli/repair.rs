//! `tempest repair`.

use super::diff::{coloured, unified};
use super::given::{Given, TextArgs, show};
use super::machine::Machine;
use super::model::SavedModelArgs;
use super::{Reader, refuse_said};
use clap::Args;
use std::process::ExitCode;
use tempest::Result;
use tempest::config::Family;
use tempest::edit::{self, Lines, RepairConfig, Repaired};
use tempest::stop::Stop;
use tempest::terminal::{self, Activity, counted};

/// Replace improbable characters of texts by what should stand there
#[derive(Args, Debug)]
#[command(after_help = super::help::REPAIR)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    how: Repairing,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    machine: Machine,
}

/// How.
#[derive(Args, Debug)]
#[command(next_help_heading = "Repair")]
pub(crate) struct Repairing {
    /// A character may be replaced where its probability given the rest is below this [default: 0.0003; of uniform and mixed
    /// noise 0.2]
    #[arg(long, value_name = "P")]
    least: Option<f32>,
    /// By one whose probability is at least this [default: 0.98; of uniform and mixed noise 0.5]
    #[arg(long, value_name = "P")]
    sure: Option<f32>,
    /// Most times that a text is gone through
    #[arg(long, value_name = "N", default_value_t = RepairConfig::default().rounds)]
    rounds: u32,
    /// Of a model of masks: passes that judge all characters, each with every N-th of them masked [default: 8]
    #[arg(long, value_name = "N")]
    stripes: Option<usize>,
    /// Of a model of uniform or mixed noise: the share of wrong characters that it is told of [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    errors: Option<f32>,
    /// Newlines may be replaced, too, and become of other characters
    #[arg(long)]
    newlines: bool,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N")]
    pub(crate) block_length: Option<usize>,
}

/// What comes out.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Print what would change, line by line, in colours on a terminal
    #[arg(long, conflicts_with_all = ["patch", "json"])]
    diff: bool,
    /// Print a patch that `patch` applies
    #[arg(long, conflicts_with = "json")]
    patch: bool,
    /// One line of JSON a text: number, text, and each edit with its probabilities
    #[arg(long)]
    json: bool,
    /// Exit with code 1 if anything would change; prints the names of such texts unless asked for more
    #[arg(long)]
    check: bool,
}

impl Repairing {
    /// For a model of a process whose noise are masks, or other symbols.
    pub(crate) fn config(&self, family: Family) -> Result<RepairConfig> {
        let usual = RepairConfig::of(family);
        let of_masks = [("--stripes", self.stripes.is_some())];
        let of_symbols = [("--errors", self.errors.is_some())];
        match family.has_policies() {
            true => {
                refuse_said(&of_symbols, "is for a model of --process uniform or mixed, and this one's noise are masks")
            }
            false => refuse_said(&of_masks, "is for a model of masks, and this one's noise are other symbols"),
        }?;
        let config = RepairConfig {
            least: self.least.unwrap_or(usual.least),
            sure: self.sure.unwrap_or(usual.sure),
            rounds: self.rounds,
            stripes: self.stripes.unwrap_or(usual.stripes),
            errors: self.errors.unwrap_or(usual.errors),
            lines: if self.newlines { Lines::Free } else { Lines::Kept },
        };
        config.validate().map(|()| config)
    }
}

pub(crate) fn run(args: &RepairArgs) -> Result<ExitCode> {
    let given = args.texts.read()?;
    let loaded = args.model.load_or_built_in(None)?.of_blocks(args.how.block_length)?;
    let config = args.how.config(loaded.saved.process.family())?;
    let mut denoiser = loaded.denoiser(&args.machine, args.texts.batch)?;
    denoiser.heed(&Stop::on_signals()?);
    let (mut number, mut changed, mut replaced) = (0, 0, 0);
    for given_now in given.chunks(args.texts.batch) {
        let mut tell = |what: &str, done: usize, of: usize| {
            let (done_texts, all) = (number as u64, given.len() as u64);
            let facts = vec![format!("{what} {done}/{of}")];
            terminal::show(Activity { what: "texts".into(), done: done_texts, of: all, facts });
        };
        let texts: Vec<&str> = given_now.iter().map(|given| &given.text[..]).collect();
        for (given_one, repaired) in given_now.iter().zip(edit::repair(&mut denoiser, &config, &texts, &mut tell)?) {
            changed += usize::from(!repaired.edits.is_empty());
            replaced += repaired.edits.len() as u64;
            if show(&args.output.of(&args.texts, given_one, number, &repaired, given.len() > 1))? == Reader::Gone {
                return Ok(ExitCode::SUCCESS);
            }
            number += 1;
        }
    }
    terminal::rest();
    let would = if args.output.check || args.output.diff || args.output.patch { "would be " } else { "" };
    terminal::say(format!(
        "{} {would}replaced in {} of {}",
        counted(replaced, loaded.saved.vocab.kind().unit()),
        changed,
        counted(given.len() as u64, "text")
    ));
    Ok(if args.output.check && changed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

impl Output {
    /// What is printed of a text.
    fn of(&self, texts: &TextArgs, given: &Given, number: usize, repaired: &Repaired, many: bool) -> String {
        let is_changed = !repaired.edits.is_empty();
        if texts.in_lines(self.json) && !self.diff && !self.patch {
            let Repaired { text, edits } = repaired;
            return given.line(serde_json::json!({ "number": number, "text": text, "edits": edits }));
        }
        match (self.diff, self.patch, self.check) {
            (true, ..) => coloured(&given.name, &given.text, &repaired.text),
            (_, true, _) => unified(&given.name, &given.text, &repaired.text),
            (.., true) if is_changed => format!("{}\n", given.name),
            (.., true) => String::new(),
            _ => given.plain(&repaired.text, many),
        }
    }
}
