//! What training minimises.

use super::{Density, Levels, Schedule};
use crate::error::{Error, Result};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// The original's: timesteps, mean cross-entropy over all masked tokens of the batch. Not a bound on likelihood.
    #[serde(alias = "seed")]
    Original,
    /// The continuous-time NELBO (MDLM/MD4), stratified levels; what is drawn more often weighs less.
    Nelbo {
        /// α(u).
        schedule: Schedule,
        /// How often each level is drawn; uniform where nothing is said.
        #[serde(default, skip_serializing_if = "Levels::is_uniform")]
        levels: Levels,
    },
    /// The NELBO with an exact number of masked tokens per text, stratified.
    NelboCount,
    /// Every masked token counts the same, stratified levels; what is drawn more often weighs more.
    Simple {
        /// α(u).
        schedule: Schedule,
        /// How often each level is drawn; uniform where nothing is said.
        #[serde(default, skip_serializing_if = "Levels::is_uniform")]
        levels: Levels,
    },
    /// The squared error of what vectors with noise are made of, every level counting the same (DDPM's simple loss, Ho et al. 2020),
    /// and what it costs to read tokens off their vectors.
    Squared {
        /// Of what.
        #[serde(default)]
        target: Target,
        /// γ(u).
        schedule: Schedule,
        /// How often each level is drawn; uniform where nothing is said.
        #[serde(default, skip_serializing_if = "Levels::is_uniform")]
        levels: Levels,
    },
    /// The exact cost of each token given those before it: mean cross-entropy, the only one of an autoregressive model.
    Nll,
}

/// What [`Objective::Squared`] is the error of. All follow from one another, and differ in how much a level counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// x, the vector itself.
    X0,
    /// ε, the noise.
    #[default]
    Noise,
    /// v = αε - σx (Salimans & Ho 2022).
    V,
}

impl Objective {
    /// The word that options use.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Original => "original",
            Objective::Nelbo { .. } => "nelbo",
            Objective::NelboCount => "nelbo-count",
            Objective::Simple { .. } => "simple",
            Objective::Squared { .. } => "squared",
            Objective::Nll => "nll",
        }
    }

    /// The NELBO, over all levels alike.
    pub const fn nelbo(schedule: Schedule) -> Self {
        Objective::Nelbo { schedule, levels: Levels::UNIFORM }
    }

    /// The mean cross-entropy, over all levels alike.
    pub const fn simple(schedule: Schedule) -> Self {
        Objective::Simple { schedule, levels: Levels::UNIFORM }
    }

    /// The share of sequences whose level is uniform in step 0, 1, … of `steps`, whatever else the objective draws, in units of
    /// 2⁻²⁴.
    pub fn uniform_share(self, step: u64, steps: u64) -> u32 {
        match self {
            Objective::Nelbo { levels, .. } | Objective::Simple { levels, .. } | Objective::Squared { levels, .. } => {
                levels.uniform_share(step, steps)
            }
            Objective::Original | Objective::NelboCount | Objective::Nll => 0,
        }
    }

    /// The schedule of levels whose density is learned.
    pub fn learned_levels(self) -> Option<Schedule> {
        match self {
            Objective::Nelbo { schedule, levels } if levels.density == Density::Learned => Some(schedule),
            _ => None,
        }
    }

    /// Refuses levels that the objective cannot have.
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Objective::Simple { levels, .. } | Objective::Squared { levels, .. }
                if levels.density == Density::Learned =>
            {
                Err(Error::input(format!(
                    "levels are learned so that a bound varies less, and {} is none; use --objective nelbo, or other --levels",
                    self.name()
                )))
            }
            _ => Ok(()),
        }
    }

    /// What says how noise is drawn, to be changed; none where the objective fixes it.
    pub fn noise(&mut self) -> Option<(&mut Schedule, &mut Levels)> {
        match self {
            Objective::Nelbo { schedule, levels }
            | Objective::Simple { schedule, levels }
            | Objective::Squared { schedule, levels, .. } => Some((schedule, levels)),
            Objective::Original | Objective::NelboCount | Objective::Nll => None,
        }
    }
}

impl ValueEnum for Objective {
    fn value_variants<'a>() -> &'a [Self] {
        const LINEAR: Schedule = Schedule::Linear;
        const SQUARED: Objective =
            Objective::Squared { target: Target::Noise, schedule: LINEAR, levels: Levels::UNIFORM };
        const ALL: [Objective; 6] = [
            Objective::Original,
            Objective::nelbo(LINEAR),
            Objective::NelboCount,
            Objective::simple(LINEAR),
            SQUARED,
            Objective::Nll,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Objective::Original => value.alias("seed").help("The original's masked cross-entropy over its timesteps"),
            Objective::Nelbo { .. } => value.help("The continuous-time bound on likelihood"),
            Objective::NelboCount => value.help("The same bound with an exact number of masks per text"),
            Objective::Simple { .. } => value.help(
                "Mean cross-entropy of tokens with noise: learns fastest, and is validated by the bound all the same",
            ),
            Objective::Squared { .. } => value.help(
                "The squared error of the noise, of --process gaussian; of other targets by --set objective.target=x0 or v",
            ),
            Objective::Nll => value.help("The cost of each token given those before it: the one of --process ar"),
        })
    }
}
