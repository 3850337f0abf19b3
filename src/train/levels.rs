//! A density of noise levels that is learned while a run goes on.
//!
//! The bound is an integral over levels. Drawn with density p and divided by it, the estimate of one sequence has a second moment
//! of ∫E[x²|u]/p(u) du, x its loss at level u. That is least for p ∝ √E[x²|u].

use crate::backend::stratified_level;
use crate::config::{DENSITY_CELLS, Density};
use crate::error::{Error, Result};
use crate::program::StepArgs;
use crate::rng::UNIFORM_STEPS;

/// Cells of equal width that levels are told apart by.
const CELLS: usize = 32;

/// Steps from one density to the next. Between them all devices are ahead of the host as ever.
pub(super) const EVERY: u64 = 100;

/// What a new loss weighs in its cell's second moment: it forgets what the model was some fifty losses ago.
const RATE: f32 = 0.02;

/// The least density, of the mean one: what is hardly drawn would be hardly known, and weigh as much as this is small.
const FLOOR: f64 = 0.1;

/// What was learned so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LearnedLevels {
    /// Mean square of the losses in each cell; 0 where none was seen.
    moments: [f32; CELLS],
    /// The density that is drawn from.
    quantiles: Vec<u32>,
}

impl LearnedLevels {
    pub(super) fn new() -> Self {
        let even = Density::Learned.quantiles().expect("it has a table");
        LearnedLevels { moments: [0.0; CELLS], quantiles: even.to_vec() }
    }

    /// As the device reads it.
    pub(super) fn quantiles(&self) -> &[u32] {
        &self.quantiles
    }

    /// Takes in one micro-batch of a step of `of` sequences: of each sequence the costs of its tokens, of which there are at most
    /// `most`, and their number. `weight` is what costs count for at a level in [0, 1).
    pub(super) fn record(
        &mut self,
        args: &StepArgs,
        of: u32,
        weight: impl Fn(f32) -> f32,
        most: usize,
        sums: &[[f32; 2]],
    ) {
        for (sequence, [costs, _]) in (args.sequence..).zip(sums) {
            let level = stratified_level(args, sequence, of, &self.quantiles);
            let loss = weight(level as f32 * (1.0 / UNIFORM_STEPS as f32)) * costs / most as f32;
            let moment = &mut self.moments[level as usize / (UNIFORM_STEPS as usize / CELLS)];
            *moment = if *moment == 0.0 { loss * loss } else { *moment + RATE * (loss * loss - *moment) };
        }
    }

    /// Draws from what was learned from now on, once every cell was seen. Sums, products, quotients and roots alone, in one
    /// order: every machine computes the same table.
    pub(super) fn renew(&mut self) {
        if self.moments.contains(&0.0) {
            return;
        }
        let roots = self.moments.map(|moment| f64::from(moment).sqrt());
        let smooth: [f64; CELLS] = std::array::from_fn(|i| {
            let [before, after] = [i.saturating_sub(1), (i + 1).min(CELLS - 1)];
            0.25 * roots[before] + 0.5 * roots[i] + 0.25 * roots[after]
        });
        let mean = smooth.iter().sum::<f64>() / CELLS as f64;
        let floored = smooth.map(|root| root.max(FLOOR * mean));
        let all: f64 = floored.iter().sum();
        let (mut cell, mut below) = (0, 0.0);
        for i in 1..DENSITY_CELLS {
            let share = all * i as f64 / DENSITY_CELLS as f64;
            while cell + 1 < CELLS && below + floored[cell] < share {
                below += floored[cell];
                cell += 1;
            }
            let within = ((share - below) / floored[cell]).clamp(0.0, 1.0);
            self.quantiles[i] = ((cell as f64 + within) / CELLS as f64 * f64::from(UNIFORM_STEPS)) as u32;
        }
    }

    /// As a checkpoint holds it: levels have 24 bits, and an f32 tells them all apart.
    pub(super) fn to_floats(&self) -> Vec<f32> {
        self.moments.into_iter().chain(self.quantiles.iter().map(|&q| q as f32)).collect()
    }

    /// Out of a checkpoint.
    pub(super) fn of_floats(floats: &[f32]) -> Result<Self> {
        let damaged =
            || Error::input("the checkpoint's learned noise levels are damaged; restore it, or start a new run");
        let (moments, quantiles) = floats.split_first_chunk::<CELLS>().ok_or_else(damaged)?;
        let whole = |&q: &f32| (0.0..=UNIFORM_STEPS as f32).contains(&q) && q.fract() == 0.0;
        let good = quantiles.len() == DENSITY_CELLS + 1
            && quantiles.iter().all(whole)
            && quantiles.is_sorted_by(|a, b| a < b)
            && (quantiles[0], quantiles[DENSITY_CELLS]) == (0.0, UNIFORM_STEPS as f32)
            && moments.iter().all(|moment| moment.is_finite() && *moment >= 0.0);
        if !good {
            return Err(damaged());
        }
        Ok(LearnedLevels { moments: *moments, quantiles: quantiles.iter().map(|&q| q as u32).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels whose loss in each cell is `loss`.
    fn learned(loss: impl Fn(usize) -> f32) -> LearnedLevels {
        let mut levels = LearnedLevels::new();
        levels.moments = std::array::from_fn(|i| loss(i) * loss(i));
        levels.renew();
        levels
    }

    /// The share of levels in the first half.
    fn below_half(levels: &LearnedLevels) -> f64 {
        levels.quantiles.iter().filter(|&&q| q <= UNIFORM_STEPS / 2).count() as f64 / DENSITY_CELLS as f64
    }

    #[test]
    fn levels_are_drawn_as_often_as_their_losses_are_large() {
        assert_eq!(learned(|_| 3.0).quantiles, LearnedLevels::new().quantiles);
        // Half of them three times as large; smoothing moves a cell's worth, and a quantile is 1/256.
        let share = below_half(&learned(|i| if i < CELLS / 2 { 3.0 } else { 1.0 }));
        assert!((share - 0.75).abs() < 1.0 / CELLS as f64, "{share}");
        // At least a tenth of the mean, of what never costs anything.
        let share = below_half(&learned(|i| if i < CELLS / 2 { 1e-6 } else { 1.0 }));
        assert!((0.03..0.09).contains(&share), "{share}");
        // A cell that was not seen says nothing.
        assert_eq!(learned(|i| i as f32).quantiles, LearnedLevels::new().quantiles);
    }

    #[test]
    fn what_was_learned_goes_through_a_checkpoint_and_damage_is_refused() {
        let levels = learned(|i| 1.0 + i as f32);
        let floats = levels.to_floats();
        assert_eq!(LearnedLevels::of_floats(&floats).unwrap(), levels);
        let damaged = |at: usize, value: f32| {
            let mut floats = floats.clone();
            floats[at] = value;
            LearnedLevels::of_floats(&floats)
        };
        for (at, value) in [(0, f32::NAN), (3, -1.0), (CELLS, 1.0), (CELLS + 9, 0.5), (CELLS + 9, 0.0)] {
            assert!(damaged(at, value).is_err(), "{at}: {value}");
        }
        assert!(LearnedLevels::of_floats(&floats[1..]).is_err() && LearnedLevels::of_floats(&[]).is_err());
    }
}
