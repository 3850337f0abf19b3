//! Noise schedules: the probability α(u) to keep a token, from 1 at level u = 0 to 0 at u = 1.

use serde::{Deserialize, Serialize};

/// A schedule by name. The NELBO does not depend on it; its variance in training and the steps of sampling do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// α = 1 - u.
    Linear,
    /// α = 1 - (1 - 10⁻³) u: MDLM's log-linear σ, which never keeps a level at exactly 0.
    LogLinear,
    /// α = 1 - cos(π/2·(1 - u)) (MD4).
    Cosine,
    /// α = 1 - u² (GenMD4's polynomial with k = 2).
    Quadratic,
    /// α = 1 - √u (MaskGIT, Chang et al. 2022; of Gaussian noise Diffusion-LM, Li et al. 2022).
    Sqrt,
}

/// Levels closer to 0 than this are drawn as this: keeps 1/μ finite.
const MIN_LEVEL: f32 = 1e-4;

impl Schedule {
    /// All of them.
    pub const ALL: [Schedule; 5] =
        [Schedule::Linear, Schedule::LogLinear, Schedule::Cosine, Schedule::Quadratic, Schedule::Sqrt];

    /// `(μ, -α'/(1-α))` at level u in [0, 1): the mask rate and the NELBO's weight.
    ///
    /// Only exactly rounded operations, so that every device gets the same bits.
    pub fn mask_rate_and_weight(self, u: f32) -> (f32, f32) {
        let u = u.max(MIN_LEVEL);
        match self {
            Schedule::Linear => (u, 1.0 / u),
            Schedule::LogLinear => {
                const SLOPE: f32 = 1.0 - 1e-3;
                (SLOPE * u, 1.0 / u)
            }
            Schedule::Cosine => {
                // μ = cos(π/2·(1-u)) = sin(π/2·u); -α'/(1-α) = π/2·cos(π/2·u)/sin(π/2·u)
                let (sin, cos) = sin_cos_quarter(u);
                (sin, std::f32::consts::FRAC_PI_2 * cos / sin)
            }
            Schedule::Quadratic => (u * u, 2.0 / u),
            Schedule::Sqrt => (u.sqrt(), 0.5 / u),
        }
    }

    /// ∫μ(u) du over [0, 1]: the share of tokens masked on average.
    pub fn mean_mask_rate(self) -> f32 {
        match self {
            Schedule::Linear => 0.5,
            Schedule::LogLinear => 0.5 * (1.0 - 1e-3),
            Schedule::Cosine => std::f32::consts::FRAC_2_PI,
            Schedule::Quadratic => 1.0 / 3.0,
            Schedule::Sqrt => 2.0 / 3.0,
        }
    }

    /// μ at level u, in double precision, for the steps of samplers and bounds on the host.
    pub fn mask_rate(self, u: f64) -> f64 {
        match self {
            Schedule::Linear => u,
            Schedule::LogLinear => (1.0 - 1e-3) * u,
            Schedule::Cosine => (std::f64::consts::FRAC_PI_2 * u).sin(),
            Schedule::Quadratic => u * u,
            Schedule::Sqrt => u.sqrt(),
        }
    }

    /// Mask rate after `i` of `steps` equal steps of the level, from 0 at 0 to exactly 1 at `steps`, where sampling starts.
    pub fn rate_at(self, i: u32, steps: u32) -> f64 {
        self.mask_rate(f64::from(i) / f64::from(steps)) / self.mask_rate(1.0)
    }

    /// Probability that the reverse step from `i` to `i - 1` of `steps` reveals a masked token, (μᵢ - μᵢ₋₁)/μᵢ: all that is
    /// left at i = 1.
    pub fn reveal(self, i: u32, steps: u32) -> f64 {
        1.0 - self.rate_at(i - 1, steps) / self.rate_at(i, steps)
    }
}

/// sin and cos of u·π/2, u in [0, 1]: Taylor series, |error| < 2e-7.
fn sin_cos_quarter(u: f32) -> (f32, f32) {
    let x = u * std::f32::consts::FRAC_PI_2;
    let x2 = x * x;
    let mut sin = -1.0 / 39_916_800.0;
    for c in [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0] {
        sin = sin * x2 + c;
    }
    let mut cos = 1.0 / 479_001_600.0;
    for c in [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0] {
        cos = cos * x2 + c;
    }
    (sin * x, cos)
}
