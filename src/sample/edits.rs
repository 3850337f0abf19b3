//! Tokens that are written, replaced again, of a process whose noise are other symbols: it has learned to see that some are wrong.
//!
//! Noise of a low rate is said to be there; that gives the posterior of each token, and one is replaced where another is more probable
//! than the one threshold and it itself less than the other (LLaDA 2.1's two thresholds). Again, until nothing changes.

use crate::error::{Error, Result};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// When tokens are replaced again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edits {
    /// What stands there must be less probable than this,
    pub least: f32,
    /// and what takes its place at least as probable as this.
    pub sure: f32,
    /// Most times that a text is gone through.
    pub rounds: u32,
}

impl Edits {
    /// As a model of such a process repairs best: `tempest bench-repair`.
    pub const USUAL: Edits = Edits { least: 0.2, sure: 0.5, rounds: 3 };

    /// The share of wrong tokens that such a model is told of.
    pub const ERRORS: f32 = 0.05;

    /// Refuses what replaces nothing.
    pub fn validate(self) -> Result<()> {
        for (what, p) in [("least", self.least), ("sure", self.sure)] {
            if !(0.0..=1.0).contains(&p) {
                return Err(Error::input(format!("edits whose {what} is {p}; wanted a probability, 0 to 1")));
            }
        }
        match self.rounds {
            0 => Err(Error::input("edits of 0 rounds replace nothing; wanted at least 1")),
            _ => Ok(()),
        }
    }
}

impl FromStr for Edits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wanted = || {
            Error::input(format!(
                "{text}: no thresholds of edits; wanted LEAST, LEAST:SURE or LEAST:SURE:ROUNDS, such as {}",
                Edits::USUAL
            ))
        };
        let mut parts = text.split(':');
        let mut probability = |unless: f32| parts.next().map_or(Ok(unless), |part| part.parse().map_err(|_| wanted()));
        let (least, sure) = (probability(Edits::USUAL.least)?, probability(Edits::USUAL.sure)?);
        let rounds = parts.next().map_or(Ok(Edits::USUAL.rounds), |part| part.parse().map_err(|_| wanted()))?;
        if parts.next().is_some() {
            return Err(wanted());
        }
        let edits = Edits { least, sure, rounds };
        edits.validate().map(|()| edits)
    }
}

impl Display for Edits {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.least, self.sure, self.rounds)
    }
}
