//! `tempest sample --hybrid`: two models that share the work.

use super::model::{Loaded, SavedModelArgs};
use super::useless;
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;
use tempest::config::Family;
use tempest::denoiser::{Denoiser, Start};
use tempest::sample::hybrid::{Hybrid, Pair, Refine, Verified};
use tempest::sample::{Policy, Progress, SampleConfig, Text};
use tempest::{Error, Result, terminal};

/// How a second model joins in.
#[derive(Args, Debug)]
#[command(next_help_heading = "Hybrids")]
pub(crate) struct HybridArgs {
    /// A run of masked diffusion, beside the one that --run or --model names: a folder, or a name in runs/; of the same symbols
    /// and as long a window
    #[arg(long, value_name = "RUN", requires = "hybrid")]
    with: Option<PathBuf>,
    /// refine: the first one, of any process, drafts, the second masks again what it finds least likely and fills it in. verify:
    /// the second drafts, the first, an autoregressive one, accepts or replaces token by token; the law is exactly its own
    #[arg(long, value_enum, requires = "with")]
    hybrid: Option<Kind>,
    /// How often --hybrid refine does it [default: 3]
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Share of the text that --hybrid refine masks again [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    remask: Option<f32>,
    /// Passes in which --hybrid refine finds how likely tokens are, each with every N-th of them masked [default: 8]
    #[arg(long, value_name = "N")]
    stripes: Option<usize>,
    /// How the first one drafts for --hybrid refine, one of the samplers of its process [default: ancestral]
    #[arg(long, value_name = "SAMPLER")]
    draft_sampler: Option<Policy>,
    /// Tokens that --hybrid verify drafts at once [default: 4]
    #[arg(long, value_name = "N")]
    draft: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Refine,
    Verify,
}

impl HybridArgs {
    /// What is asked for, if anything is; of which part of which model the options of sampling are is [`HybridArgs::part`]'s to
    /// say.
    pub(crate) fn hybrid(&self) -> Result<Option<Hybrid>> {
        let of_refine = [
            ("--rounds", self.rounds.is_some()),
            ("--remask", self.remask.is_some()),
            ("--stripes", self.stripes.is_some()),
            ("--draft-sampler", self.draft_sampler.is_some()),
        ];
        let of_verify = [("--draft", self.draft.is_some())];
        if self.hybrid != Some(Kind::Refine) {
            super::refuse_said(&of_refine, "is for --hybrid refine")?;
        }
        if self.hybrid != Some(Kind::Verify) {
            super::refuse_said(&of_verify, "is for --hybrid verify")?;
        }
        let hybrid = self.hybrid.map(|kind| match kind {
            Kind::Refine => Hybrid::Refine(Refine {
                rounds: self.rounds.unwrap_or(3),
                share: self.remask.unwrap_or(0.2),
                stripes: self.stripes.unwrap_or(8),
                draft: self.draft_sampler,
            }),
            Kind::Verify => Hybrid::Verify { draft: self.draft.unwrap_or(4) },
        });
        hybrid.map_or(Ok(()), Hybrid::validate).map(|()| hybrid)
    }

    /// The second model.
    pub(crate) fn second(&self) -> Result<Option<Loaded>> {
        self.with.as_ref().map(|run| SavedModelArgs::of_run(run).load(None)).transpose()
    }
}

/// Whose options those of sampling are.
pub(crate) fn part(hybrid: Hybrid) -> Family {
    match hybrid {
        Hybrid::Refine(_) => Family::Masked,
        Hybrid::Verify { .. } => Family::Autoregressive,
    }
}

/// Two models at work.
pub(crate) struct Team {
    hybrid: Hybrid,
    masked: Denoiser,
    verified: Verified,
    started: Instant,
}

impl Team {
    /// The second model on the first one's device. Refuses two that cannot work together, and what one text more than a window
    /// would need.
    pub(crate) fn new(hybrid: Hybrid, config: &SampleConfig, masked: Denoiser, first: &mut Denoiser) -> Result<Self> {
        let mut team = Team { hybrid, masked, verified: Verified::default(), started: Instant::now() };
        Pair { first, masked: &mut team.masked }.check(hybrid)?;
        if config.blocks > 1 {
            return Err(Error::input(
                "a --hybrid writes one window; leave --blocks out, and --length where it is longer",
            ));
        }
        if config.greedy_tail > 0.0 && matches!(hybrid, Hybrid::Verify { .. }) {
            return Err(useless("--greedy-tail", "has no law to verify by"));
        }
        Ok(team)
    }

    /// Samples a batch.
    pub(crate) fn sample(
        &mut self,
        first: &mut Denoiser,
        config: &SampleConfig,
        starts: &[Start],
        number: u32,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Text>> {
        let mut pair = Pair { first, masked: &mut self.masked };
        match self.hybrid {
            Hybrid::Refine(refine) => pair.refine(refine, config, starts, number, tell),
            Hybrid::Verify { draft } => {
                let (texts, found) = pair.verify(draft, config, starts, number, tell)?;
                self.verified.add(found);
                Ok(texts)
            }
        }
    }

    /// Says how verifying went.
    pub(crate) fn tell(&self, unit: &str) {
        let Verified { drafted, accepted, written, passes } = self.verified;
        if written > 0 {
            let share = 100.0 * accepted as f64 / drafted.max(1) as f64;
            let rate = written as f64 / self.started.elapsed().as_secs_f64();
            terminal::say(format!(
                "verified  {share:.1} % of {drafted} drafted {unit}s accepted, {:.2} {unit}s a pass of both models, {} {unit}s/s",
                written as f64 / passes.max(1) as f64,
                terminal::thousands(rate as u64)
            ));
        }
    }
}
