//! What noise turns tokens into, in double precision and by the papers' formulas; and that the program's is the same.

use serde_json::Value;
use std::path::Path;
use tempest::config::MaskShare;
use tempest::program::{Marginal, Mixing, Transition};
use tempest::rng::{UNIFORM_STEPS, threshold};

/// Noise of the mask and so many other symbols.
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    pub(crate) masks: MaskShare,
    pub(crate) others: f64,
}

/// q(z|x) of one rate.
#[derive(Clone, Copy)]
pub(crate) struct Law {
    /// α.
    pub(crate) keep: f64,
    /// b of the mask, and of each other symbol.
    noise: [f64; 2],
}

impl Law {
    pub(crate) fn noise(self, is_mask: bool) -> f64 {
        self.noise[usize::from(!is_mask)]
    }
}

impl Noise {
    /// At a time from 0 to 1: α = 1 - t of one share for all, and GIDD's eq. 11, with B of its p_u and γ = 1.
    pub(crate) fn at_time(self, t: f64) -> Law {
        match self.masks {
            MaskShare::Constant(share) => {
                let share = f64::from(threshold(share.into())) / f64::from(UNIFORM_STEPS);
                Law { keep: 1.0 - t, noise: [t * share, t * (1.0 - share) / self.others] }
            }
            MaskShare::Gidd(p) => {
                let p = f64::from(p);
                let c = 2.0 * p / (self.others * (1.0 - p)) * (t * (1.0 - t)).sqrt();
                let whole = 1.0 + self.others * c;
                Law { keep: (1.0 - t) / whole, noise: [t / whole, c / whole] }
            }
        }
    }

    /// The time of a noise rate, found by halves: α falls all the way.
    fn time(self, rate: f64) -> f64 {
        let (mut below, mut above) = (0.0, 1.0);
        for _ in 0..100 {
            let middle = 0.5 * (below + above);
            if 1.0 - self.at_time(middle).keep < rate { below = middle } else { above = middle }
        }
        0.5 * (below + above)
    }

    /// At a noise rate.
    pub(crate) fn at(self, rate: f64) -> Law {
        Law { keep: 1.0 - rate, ..self.at_time(self.time(rate)) }
    }

    /// λ of the mask and of each other symbol, the rate of jumps there: `(b' - (α'/α)·b)/μ'`, slopes by central differences in time,
    /// which are off by 10⁻⁹ or so, and by the roundings of numbers near 1 over what lies between them: 10⁻¹⁶ over 2·10⁻⁵ of the nearer end.
    pub(crate) fn jumps(self, rate: f64) -> [f64; 2] {
        let (t, law) = (self.time(rate), self.at(rate));
        let way = 1e-5 * t.min(1.0 - t);
        let [before, after] = [t - way, t + way].map(|t| self.at_time(t));
        let keep = after.keep - before.keep;
        [0, 1].map(|i| ((after.noise[i] - before.noise[i]) - keep / law.keep * law.noise[i]) / -keep)
    }
}

/// Rates from where time is next to nothing to where it nearly is up.
fn rates() -> impl Iterator<Item = u32> {
    (0..24).flat_map(|bit| [1 << bit, UNIFORM_STEPS - (1 << bit)])
}

/// f32 is off by a rounding, 6·10⁻⁸ of a number, in each of about a dozen operations, none of which takes like numbers apart; `more` is
/// what the reference is off by.
fn is_near(found: f32, wanted: f64, more: f64) -> bool {
    (f64::from(found) - wanted).abs() <= (1e-6 + more) * wanted
}

#[test]
fn noise_of_every_rate_is_that_of_the_formulas() {
    for (masks, others) in [(0.0.into(), 3), (0.7.into(), 65), (MaskShare::Gidd(0.01), 65), (MaskShare::Gidd(0.9), 3)] {
        let (noise, mixing) =
            (Noise { masks, others: others as f64 }, Mixing::new(others as u32, others as u32, masks));
        for steps in rates() {
            let rate = f64::from(steps) / f64::from(UNIFORM_STEPS);
            let (Marginal { keep, noise: found }, law) = (mixing.marginal(steps), noise.at(rate));
            assert_eq!(f64::from(keep), 1.0 - rate, "{masks} at {rate}");
            let jumps = noise.jumps(rate).map(|jump| jump * law.keep);
            for i in 0..2 {
                assert!(
                    is_near(found[i], law.noise[i], 1e-16 / rate),
                    "{masks} at {rate}: b {}, wanted {}",
                    found[i],
                    law.noise[i]
                );
                let found = mixing.jumps(steps)[i];
                assert!(
                    is_near(found, jumps[i], 2e-11 / rate.min(1.0 - rate)),
                    "{masks} at {rate}: jumps {found}, wanted {}",
                    jumps[i]
                );
            }
            let share = law.noise[0] / rate;
            let found = f64::from(mixing.masks_at(steps)) / f64::from(UNIFORM_STEPS);
            assert!((found - share).abs() < 1e-6, "{masks} at {rate}: a share of masks of {found}, wanted {share}");
        }
        let ends = [0, UNIFORM_STEPS].map(|steps| mixing.marginal(steps));
        assert_eq!((ends[0].keep, ends[0].noise), (1.0, [0.0; 2]));
        assert_eq!(
            (ends[1].keep, ends[1].noise.map(f64::from)),
            (0.0, noise.at_time(1.0).noise.map(|b| b as f32 as f64))
        );
    }
}

/// What noise between two rates adds to the lower one's is the higher one's. Of b two roundings of numbers below 1 are left.
#[test]
fn noise_between_two_rates_leads_from_one_to_the_other() {
    for masks in [0.4.into(), MaskShare::Gidd(0.2)] {
        let mixing = Mixing::new(9, 9, masks);
        for [from, to] in
            [[0.9, 0.2], [1.0, 0.5], [0.3, 0.0], [0.0011, 0.001], [0.5, 0.5]].map(|pair| pair.map(threshold))
        {
            let (late, early) = (mixing.marginal(from), mixing.marginal(to));
            let Transition { stays, moves } = mixing.transition(from, to);
            assert!((stays + moves[0] + 9.0 * moves[1] - 1.0).abs() < 1e-6, "{masks} from {from} to {to}");
            for ((early, late), moves) in early.noise.into_iter().zip(late.noise).zip(moves) {
                let found = stays * early + moves;
                assert!((found - late).abs() < 2e-7, "{masks} from {from} to {to}: {found}, wanted {late}");
            }
            if from > to {
                let wanted = moves[0] / (moves[0] + 9.0 * moves[1]);
                let found = mixing.masks_between(from, to) as f32 / UNIFORM_STEPS as f32;
                assert!((found - wanted).abs() < 1e-6, "{masks} from {from} to {to}: {found}, wanted {wanted}");
            }
        }
    }
}

#[test]
fn gidd_has_the_law_and_the_jumps_that_were_enumerated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/laws/gidd.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mixing = Mixing::new(3, 3, MaskShare::Gidd(0.2));
    for of_time in file["at_t"].as_object().unwrap().values() {
        let ends = |name: &str| [3, 0].map(|symbol| of_time[name][symbol].as_f64().unwrap());
        // The rate is rounded to 2⁻²⁴, of a noise of at least 0.06.
        let is_near = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() < 3e-6 * wanted;
        let rate = threshold(1.0 - of_time["alpha"].as_f64().unwrap());
        let (b, to) = (ends("b"), ends("rate_to"));
        assert!((0..2).all(|i| is_near(mixing.marginal(rate).noise[i], b[i])), "{b:?}");
        let whole = to[0] + 3.0 * to[1];
        assert!((0..2).all(|i| is_near(mixing.jumps(rate)[i], to[i] / whole)), "{to:?}");
    }
}
