//! Which noise levels training draws, over a whole run.

use super::{Density, Schedule};
use crate::error::{Error, Result};
use crate::rng::UNIFORM_STEPS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A density of noise levels, and how it ends.
///
/// Written `uniform`, `beta:3:5`, `learned`, `beta:3:5:anneal:0.2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Levels {
    /// How often each is drawn.
    pub density: Density,
    /// Share of the run, at its end, over which ever more of the levels are uniform, and all of them in the last step: what
    /// is rare in the density is learned then. 0 for never.
    pub anneal: f32,
}

impl Levels {
    /// Every level as often as every other.
    pub const UNIFORM: Levels = Levels { density: Density::Uniform, anneal: 0.0 };

    /// Whether every level is drawn as often as every other.
    pub fn is_uniform(&self) -> bool {
        self.density.is_uniform()
    }

    /// The share of sequences whose level is uniform in step 0, 1, … of `steps`, in units of 2⁻²⁴.
    pub fn uniform_share(self, step: u64, steps: u64) -> u32 {
        let span = f64::from(self.anneal) * steps as f64;
        if span <= 0.0 {
            return 0;
        }
        let left = steps.saturating_sub(step + 1) as f64;
        ((1.0 - left / span).clamp(0.0, 1.0) * f64::from(UNIFORM_STEPS)) as u32
    }

    /// The share of tokens that a schedule masks on average before it anneals.
    pub fn mean_mask_rate(self, schedule: Schedule) -> f32 {
        self.density.mean_mask_rate(schedule)
    }
}

impl From<Density> for Levels {
    fn from(density: Density) -> Self {
        Levels { density, anneal: 0.0 }
    }
}

impl FromStr for Levels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((density, share)) = text.split_once(":anneal:") else { return text.parse().map(Density::into) };
        let density: Density = density.parse()?;
        if density.is_uniform() {
            return Err(Error::input(format!("{text:?}: uniform levels have nothing to anneal to; leave that out")));
        }
        let anneal = share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
        let anneal = anneal.ok_or_else(|| {
            Error::input(format!("{text:?}: anneals over {share:?} of the run; wanted a share above 0 and at most 1"))
        })?;
        Ok(Levels { density, anneal })
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.anneal {
            0.0 => write!(f, "{}", self.density),
            anneal => write!(f, "{}:anneal:{anneal}", self.density),
        }
    }
}

stored_as_text!(Levels);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written_and_refused_with_what_was_wanted() {
        for text in ["uniform", "beta:3:5", "learned:anneal:0.5", "beta:3:5:anneal:0.2", "beta:2:2:anneal:1"] {
            assert_eq!(text.parse::<Levels>().unwrap().to_string(), text);
        }
        for (text, wanted) in [
            ("beta:3:5:anneal:0", "above 0 and at most 1"),
            ("beta:3:5:anneal:1.5", "above 0 and at most 1"),
            ("beta:3:5:anneal:", "above 0 and at most 1"),
            ("uniform:anneal:0.5", "nothing to anneal to"),
            ("beta:3:anneal:0.5", "no density of noise levels"),
            ("beta:3:5:anneal", "no density of noise levels"),
        ] {
            let error = text.parse::<Levels>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn annealing_begins_where_its_share_does_and_ends_uniform() {
        let levels: Levels = "beta:3:5:anneal:0.25".parse().unwrap();
        let shares = [0, 5, 6, 7].map(|step| levels.uniform_share(step, 8));
        // Two of eight steps: half-way and whole.
        assert_eq!(shares, [0, 0, UNIFORM_STEPS / 2, UNIFORM_STEPS]);
        assert_eq!(Levels::UNIFORM.uniform_share(7, 8), 0);
        assert_eq!(levels.uniform_share(0, 1), UNIFORM_STEPS);
    }
}
