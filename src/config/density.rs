//! How often each noise level is trained on.

use super::Schedule;
use crate::error::{Error, Result};
use crate::rng::UNIFORM_STEPS;
use std::fmt;
use std::str::FromStr;

/// Density of the noise levels that training draws. Validation stays with the bound, whose levels are uniform.
///
/// Written `uniform`, `beta:3:5`, `learned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Density {
    /// Every level as often as every other.
    #[default]
    Uniform,
    /// Beta(a, b): most often around (a-1)/(a+b-2). a and b are whole so that its distribution function is a polynomial, which
    /// every machine computes to the same bits.
    Beta {
        /// Above 1: few levels with hardly a mask.
        a: u32,
        /// Above 1: few levels with hardly a token.
        b: u32,
    },
    /// The one under which the loss varies least, learned from the losses of a run: uniform at first.
    Learned,
}

/// Cells of equal probability that a density is cut into; within one it is constant.
pub const DENSITY_CELLS: usize = 256;

/// Narrower bells than Beta(64, 64) have cells that 24 bits cannot tell apart.
const LARGEST: u32 = 64;

impl Density {
    /// Whether every level is drawn as often as every other.
    pub fn is_uniform(&self) -> bool {
        *self == Density::Uniform
    }

    /// The levels, in units of 2⁻²⁴, that `i/256` of all drawn levels lie below at the beginning of a run, i = 0, …, 256: what a
    /// uniform level is mapped by, linearly between them. None where nothing is mapped.
    pub fn quantiles(self) -> Option<[u32; DENSITY_CELLS + 1]> {
        let (a, b) = match self {
            Density::Uniform => return None,
            Density::Learned => (1, 1),
            Density::Beta { a, b } => (a, b),
        };
        Some(std::array::from_fn(|i| match i {
            0 => 0,
            DENSITY_CELLS => UNIFORM_STEPS,
            _ => {
                let share = i as f64 / DENSITY_CELLS as f64;
                // The first level with at least this share below it.
                let (mut below, mut from) = (0, UNIFORM_STEPS);
                while from - below > 1 {
                    let middle = below + (from - below) / 2;
                    let x = f64::from(middle) / f64::from(UNIFORM_STEPS);
                    if beta_distribution(a, b, x) < share { below = middle } else { from = middle }
                }
                from
            }
        }))
    }

    /// The share of tokens that a schedule masks on average.
    pub fn mean_mask_rate(self, schedule: Schedule) -> f32 {
        match self.quantiles() {
            None => schedule.mean_mask_rate(),
            Some(quantiles) => mean(&quantiles, |u| schedule.mask_rate(u)) as f32,
        }
    }

    fn read(text: &str) -> Option<Self> {
        if text == "uniform" {
            return Some(Density::Uniform);
        }
        if text == "learned" {
            return Some(Density::Learned);
        }
        let (a, b) = text.strip_prefix("beta:")?.split_once(':')?;
        let shape = |text: &str| text.parse().ok().filter(|n| (1..=LARGEST).contains(n));
        Some(Density::Beta { a: shape(a)?, b: shape(b)? })
    }
}

/// The mean of a function of the level over a density with these quantiles.
fn mean(quantiles: &[u32], of: impl Fn(f64) -> f64) -> f64 {
    /// Midpoints a cell: an error of (cell's width/16)²/24 of the second derivative.
    const POINTS: usize = 16;
    let points = quantiles.windows(2).flat_map(|cell| {
        let [from, to] = [cell[0], cell[1]].map(|q| f64::from(q) / f64::from(UNIFORM_STEPS));
        (0..POINTS).map(move |i| from + (to - from) * (i as f64 + 0.5) / POINTS as f64)
    });
    points.map(of).sum::<f64>() / (DENSITY_CELLS * POINTS) as f64
}

/// P(X ≤ x) for X from Beta(a, b): at least a of a + b - 1 throws hit, each with probability x.
fn beta_distribution(a: u32, b: u32, x: f64) -> f64 {
    let n = a + b - 1;
    // Row by row as Pascal's triangle: k hits in as many throws as have been. Sums and products alone.
    let mut hits = vec![0.0; n as usize + 1];
    hits[0] = 1.0;
    for _ in 0..n {
        for k in (0..hits.len()).rev() {
            let less = if k > 0 { hits[k - 1] } else { 0.0 };
            hits[k] = hits[k] * (1.0 - x) + less * x;
        }
    }
    hits[a as usize..].iter().sum()
}

impl FromStr for Density {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Density::read(text).ok_or_else(|| {
            Error::input(format!(
                "{text:?} is no density of noise levels; wanted uniform, learned, or beta:A:B with whole A and B of 1 to {LARGEST}, \
                 as in beta:3:5"
            ))
        })
    }
}

impl fmt::Display for Density {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Density::Uniform => f.write_str("uniform"),
            Density::Learned => f.write_str("learned"),
            Density::Beta { a, b } => write!(f, "beta:{a}:{b}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELLS: [(u32, u32); 5] = [(3, 5), (2, 2), (1, 1), (64, 64), (1, 64)];

    #[test]
    fn quantiles_rise_and_hold_their_shares() {
        for (a, b) in BELLS {
            let quantiles = Density::Beta { a, b }.quantiles().unwrap();
            for (i, pair) in quantiles.windows(2).enumerate() {
                assert!(pair[0] < pair[1], "beta:{a}:{b}, cell {i}: {pair:?}");
                if pair[1] == UNIFORM_STEPS {
                    continue;
                }
                let [below, at] = [pair[1] - 1, pair[1]].map(|q| f64::from(q) / f64::from(UNIFORM_STEPS));
                let share = (i + 1) as f64 / DENSITY_CELLS as f64;
                assert!(beta_distribution(a, b, below) < share && share <= beta_distribution(a, b, at), "cell {i}");
            }
        }
        assert_eq!(Density::Uniform.quantiles(), None);
        assert_eq!(Density::Learned.quantiles(), Density::Beta { a: 1, b: 1 }.quantiles());
        let even = Density::Beta { a: 1, b: 1 }.quantiles().unwrap();
        assert!(even.iter().enumerate().all(|(i, &q)| q as usize == i * UNIFORM_STEPS as usize / DENSITY_CELLS));
    }

    #[test]
    fn moments_are_those_of_the_beta_distribution() {
        for (a, b) in BELLS {
            let (quantiles, [a, b]) = (Density::Beta { a, b }.quantiles().unwrap(), [a, b].map(f64::from));
            // A cell holds 1/256 of the probability, and within it the mean is off by at most half its width: widths sum to 1.
            let close =
                |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.5 / DENSITY_CELLS as f64, "{a} {b}");
            close(mean(&quantiles, |u| u), a / (a + b));
            close(mean(&quantiles, |u| u * u), a * (a + 1.0) / ((a + b) * (a + b + 1.0)));
        }
        // Beta(1, 1) is uniform. Midpoints of 4096 cells: 1/24/4096² of a second derivative of 2.
        let even = Density::Beta { a: 1, b: 1 }.quantiles().unwrap();
        assert!((mean(&even, |u| u * u) - 1.0 / 3.0).abs() < 6e-9);
    }

    #[test]
    fn a_density_is_read_as_it_is_written_and_refused_with_what_was_wanted() {
        for text in ["uniform", "learned", "beta:3:5", "beta:64:1"] {
            assert_eq!(text.parse::<Density>().unwrap().to_string(), text);
        }
        for text in ["", "beta", "beta:3", "beta:0:5", "beta:3:65", "beta:2.5:2", "beta:3:5:7", "gauss:1:2"] {
            let error = text.parse::<Density>().unwrap_err().to_string();
            assert!(
                error.contains("is no density of noise levels; wanted uniform, learned, or beta:A:B"),
                "{text}: {error}"
            );
        }
    }
}
