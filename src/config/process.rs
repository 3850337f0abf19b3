//! What is minimised.

use super::Schedule;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Objective {
    /// The original's: timesteps, mean cross-entropy over all masked tokens of the batch. Not a bound on likelihood.
    #[serde(rename = "seed", alias = "original")]
    Original,
    /// The continuous-time NELBO (MDLM/MD4), stratified levels.
    Nelbo {
        /// α(u).
        schedule: Schedule,
    },
    /// The NELBO with an exact number of masked tokens per text, stratified.
    NelboCount,
    /// Every masked token counts the same, stratified levels.
    Simple {
        /// α(u).
        schedule: Schedule,
    },
}

impl Objective {
    /// The word that options use.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Original => "original",
            Objective::Nelbo { .. } => "nelbo",
            Objective::NelboCount => "nelbo-count",
            Objective::Simple { .. } => "simple",
        }
    }

    /// The same over another schedule; none where it has no schedule.
    pub fn with_schedule(self, schedule: Schedule) -> Option<Self> {
        match self {
            Objective::Nelbo { .. } => Some(Objective::Nelbo { schedule }),
            Objective::Simple { .. } => Some(Objective::Simple { schedule }),
            Objective::Original | Objective::NelboCount => None,
        }
    }
}

impl ValueEnum for Objective {
    fn value_variants<'a>() -> &'a [Self] {
        const SCHEDULE: Schedule = Schedule::Linear;
        &[
            Objective::Original,
            Objective::Nelbo { schedule: SCHEDULE },
            Objective::NelboCount,
            Objective::Simple { schedule: SCHEDULE },
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Objective::Original => value.alias("seed").help("The original's masked cross-entropy over its timesteps"),
            Objective::Nelbo { .. } => value.help("The continuous-time bound on likelihood"),
            Objective::NelboCount => value.help("The same bound with an exact number of masks per text"),
            Objective::Simple { .. } => value.help(
                "Mean cross-entropy of masked tokens: learns fastest, and is validated by the bound all the same",
            ),
        })
    }
}
