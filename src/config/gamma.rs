//! Levels of Gaussian noise, as the logarithm γ of noise over signal: `z = αx + σε` with α² = sigmoid(-γ), σ² = sigmoid(γ)
//! (VDM, Kingma et al. 2021).

use super::{DENSITY_CELLS, Levels, Schedule};
use crate::error::{Error, Result};
use crate::rng::UNIFORM_STEPS;
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_PI_2;

/// The ends of a process's noise, from hardly any to hardly anything else. Written `[-4.0, 3.0]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 2]", into = "[f32; 2]")]
pub struct Gamma {
    /// Where a text ends, and its tokens are read off.
    pub least: f32,
    /// Where it begins.
    pub most: f32,
}

impl From<[f32; 2]> for Gamma {
    fn from([least, most]: [f32; 2]) -> Self {
        Gamma { least, most }
    }
}

impl From<Gamma> for [f32; 2] {
    fn from(gamma: Gamma) -> Self {
        [gamma.least, gamma.most]
    }
}

impl Gamma {
    /// For vectors of length 1: at its least two of them that are at right angles lie five σ apart on either side, at its most
    /// 0.03 nats of a token are left. Where it ends says around which levels a density of them lies
    /// (docs/families.md).
    pub const USUAL: Gamma = Gamma { least: -4.0, most: 3.0 };

    /// For latents, of length 1 as well: at its least each of 32 numbers has nearly five times as much signal as noise, e⁵/32; at its
    /// most 0.004 nats of a latent are left.
    pub const OF_LATENTS: Gamma = Gamma { least: -5.0, most: 5.0 };

    /// Beyond these f32 has no room for what a squared error is multiplied by.
    const BEYOND: f32 = 20.0;

    /// γ at time u, 0 to 1, of a schedule that begins and ends where it does; linear in γ itself (VDM), or where α is a cosine
    /// (Nichol & Dhariwal 2021) or α² one less a root (Diffusion-LM, Li et al. 2022). Panics of others, which [`Gamma::check`] refuses.
    pub fn at(self, schedule: Schedule, u: f64) -> f64 {
        let [least, most] = [self.least, self.most].map(f64::from);
        let between = |from: f64, to: f64| from + (to - from) * u;
        match schedule {
            Schedule::Linear => between(least, most),
            Schedule::Cosine => {
                // α = cos(φ): γ = 2 ln tan(φ).
                let angle = |gamma: f64| (0.5 * gamma).exp().atan();
                2.0 * between(angle(least), angle(most)).min(FRAC_PI_2).tan().ln()
            }
            Schedule::Sqrt => {
                // α² = 1 - √(t + s), s such that it begins at its least noise: σ⁴ grows evenly. 10⁻⁴ of γ = -4.595, as there.
                let fourth = |gamma: f64| Gamma::squares(gamma)[1].powi(2);
                let sigma2 = between(fourth(least), fourth(most)).sqrt();
                (sigma2 / (1.0 - sigma2)).ln()
            }
            Schedule::LogLinear | Schedule::Quadratic => panic!("refused by Gamma::check"),
        }
    }

    /// Refuses a schedule that Gaussian noise does not have.
    pub fn check(schedule: Schedule) -> Result<()> {
        match schedule {
            Schedule::Linear | Schedule::Cosine | Schedule::Sqrt => Ok(()),
            Schedule::LogLinear | Schedule::Quadratic => {
                Err(Error::input(format!("the schedule {schedule} of Gaussian noise; wanted linear, cosine or sqrt")))
            }
        }
    }

    /// `[α², σ²]` at some γ.
    pub fn squares(gamma: f64) -> [f64; 2] {
        [1.0 / (1.0 + gamma.exp()), 1.0 / (1.0 + (-gamma).exp())]
    }

    /// KL(q(z_1|x) ‖ N(0, I)) of a token whose vector has `dims` numbers and length 1, in nats.
    pub fn prior_nats(self, dims: usize) -> f64 {
        let [alpha2, sigma2] = Gamma::squares(self.most.into());
        0.5 * (dims as f64 * (sigma2 - 1.0 - sigma2.ln()) + alpha2)
    }

    /// The places between its ends, in units of 2⁻²⁴, that `i/256` of all drawn levels lie below: times drawn by a density, in a
    /// schedule.
    pub fn quantiles(self, schedule: Schedule, levels: Levels) -> [u32; DENSITY_CELLS + 1] {
        let times = levels.density.quantiles();
        if let (Schedule::Linear, Some(times)) = (schedule, times) {
            return times;
        }
        let [least, most] = [self.least, self.most].map(f64::from);
        std::array::from_fn(|i| match i {
            0 => 0,
            DENSITY_CELLS => UNIFORM_STEPS,
            _ => {
                let even = i as f64 / DENSITY_CELLS as f64;
                let time = times.map_or(even, |times| f64::from(times[i]) / f64::from(UNIFORM_STEPS));
                let place = (self.at(schedule, time) - least) / (most - least);
                (place.clamp(0.0, 1.0) * f64::from(UNIFORM_STEPS)) as u32
            }
        })
    }

    /// Refuses ends that are none.
    pub fn validate(self) -> Result<()> {
        let Gamma { least, most } = self;
        let within = |x: f32| (-Gamma::BEYOND..=Gamma::BEYOND).contains(&x);
        if within(least) && within(most) && least < most {
            return Ok(());
        }
        Err(Error::input(format!(
            "noise from gamma {least} to {most}; wanted a number and a larger one between -{0} and {0}",
            Gamma::BEYOND
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_begin_and_end_where_they_should_and_grow() {
        for schedule in [Schedule::Linear, Schedule::Cosine, Schedule::Sqrt] {
            let places = Gamma::USUAL.quantiles(schedule, Levels::UNIFORM);
            assert!(places.is_sorted_by(|a, b| a < b), "{schedule}");
            for (u, wanted) in [(0.0, -4.0), (1.0, 3.0)] {
                assert!((Gamma::USUAL.at(schedule, u) - wanted).abs() < 1e-9, "{schedule} at {u}");
            }
        }
        // α of a cosine goes through √½ at half the angle between its ends.
        let symmetric = Gamma { least: -5.0, most: 5.0 };
        assert!(symmetric.at(Schedule::Cosine, 0.5).abs() < 1e-9);
        // Diffusion-LM's own: α² = 1 - √(t + 10⁻⁴), to where it ends at 1 - 2·10⁻⁴.
        let own = |t: f64| (t + 1e-4).sqrt();
        let of = |sigma2: f64| (sigma2 / (1.0 - sigma2)).ln() as f32;
        let gamma = Gamma { least: of(own(0.0)), most: of(own(1.0 - 2e-4)) };
        for u in [0.0, 0.001, 0.5, 1.0] {
            let [alpha2, sigma2] = Gamma::squares(gamma.at(Schedule::Sqrt, u));
            let wanted = own(u * (1.0 - 2e-4));
            // γ's ends are f32.
            assert!((sigma2 / wanted - 1.0).abs() < 1e-6 && (alpha2 + sigma2 - 1.0).abs() < 1e-12, "at {u}: {sigma2}");
        }
    }
}
