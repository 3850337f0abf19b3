//! What relaxed tokens are, and how soft over a run.

use crate::error::{Error, Result};
use crate::rng::{exp, ln};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What soft tokens are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relaxation {
    /// A softmax.
    #[default]
    Soft,
    /// 1 for its largest number and 0 for the others, a draw; the gradient is the softmax's (straight-through, Jang et al. 2017).
    StraightThrough,
}

/// τ of Gumbel-softmax, from its first value to its last over so many steps of training, by the same factor each; then it stays.
///
/// Written `1:0.1:1000`; the steps may be left out where a run's are known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[repr(C)]
pub struct Temperatures {
    /// In step 0.
    pub first: f32,
    /// From step `steps` on.
    pub last: f32,
    /// How long it takes; 0 where nothing is said, and the last one holds from the beginning.
    pub steps: u32,
}

impl Temperatures {
    /// From tokens that are hardly decided to those that nearly are.
    pub const USUAL: Temperatures = Temperatures { first: 1.0, last: 0.1, steps: 0 };

    /// τ of step 0, 1, ….
    pub fn at(self, step: u64) -> f32 {
        let done = (step as f32 / self.steps as f32).min(1.0);
        if self.steps == 0 || done == 1.0 { self.last } else { self.first * exp(ln(self.last / self.first) * done) }
    }

    /// Refuses those that a softmax cannot be divided by.
    pub(super) fn validate(self) -> Result<()> {
        // Logarithms of probabilities and Gumbel numbers are at most 40: divided by less than this they leave f32's precision.
        let is_one = |tau: f32| (0.001..=1000.0).contains(&tau);
        if is_one(self.first) && is_one(self.last) {
            return Ok(());
        }
        Err(Error::input(format!(
            "temperatures {self} of soft tokens; wanted --tau between 0.001 and 1000, such as 1:0.1"
        )))
    }
}

impl fmt::Display for Temperatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, self.last)?;
        if self.steps > 0 { write!(f, ":{}", self.steps) } else { Ok(()) }
    }
}

impl FromStr for Temperatures {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wanted = || {
            Error::input(format!(
                "temperatures {text:?}; wanted FIRST:LAST or FIRST:LAST:STEPS, such as 1:0.1 or 1:0.1:2000"
            ))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (numbers, steps) = match parts[..] {
            [first, last] => ([first, last], 0),
            [first, last, steps] => ([first, last], steps.parse().map_err(|_| wanted())?),
            _ => return Err(wanted()),
        };
        let [first, last] = numbers.map(|number| number.parse::<f32>());
        let taus = Temperatures { first: first.map_err(|_| wanted())?, last: last.map_err(|_| wanted())?, steps };
        taus.validate().map(|()| taus)
    }
}

impl TryFrom<String> for Temperatures {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Temperatures> for String {
    fn from(temperatures: Temperatures) -> Self {
        temperatures.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_fall_by_one_factor_and_stay() {
        let taus: Temperatures = "1:0.01:4".parse().unwrap();
        for (step, wanted) in [(0, 1.0), (1, 0.316_227_77), (2, 0.1), (3, 0.031_622_78), (4, 0.01), (900, 0.01)] {
            assert!((taus.at(step) / wanted - 1.0).abs() < 1e-6, "{step}: {}", taus.at(step));
        }
        assert_eq!(Temperatures::USUAL.at(0), 0.1);
        assert_eq!(taus.to_string().parse::<Temperatures>().unwrap(), taus);
        for bad in ["1", "1:0", "x:0.1", "1:0.1:-3", "1:0.1:2:3", "inf:0.1"] {
            assert!(bad.parse::<Temperatures>().is_err(), "{bad}");
        }
    }
}
