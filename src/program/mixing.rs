//! What noise turns tokens into, rate by rate.
//!
//! At noise rate μ, α = 1 - μ, a token x is z with probability `q(z|x) = α·1[z=x] + b(z)`, `Σ b = μ` (interpolating diffusion, GIDD, von
//! Rütte et al. 2025). With one [`Mixing`] for all rates b = μ·π. GIDD's own is less at either end: with a time t and k = 2p/(1-p),
//! w = k·√(t(1-t)), `α = (1-t)/(1+w)`, `b(mask) = t/(1+w)`, and `w/(1+w)`, at most p, is shared by all other symbols. Time is no number here:
//! of a rate it is the lesser solution of `(1+a)·t² - (a+2μ)·t + μ² = 0`, a = k²α², and what is left of it to 1 the same with α for μ.
//!
//! Rates are whole multiples of 2⁻²⁴, so that the law is exactly that of what was drawn. All is computed in operations that every device
//! rounds alike.

use crate::config::MaskShare;
use crate::rng::{UNIFORM_STEPS, threshold, uniform24};

/// π, what a token becomes that noise hits: the mask by a share of them, else one of all other symbols, each as likely.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Mixing {
    /// The mask; of noise without one any id that no text has.
    pub mask: u32,
    /// All other symbols, how many.
    pub symbols: u32,
    /// π(mask) at rate 1, in units of 2⁻²⁴.
    pub mask_share: u32,
    /// k of GIDD's; 0 where π is that of rate 1 at all rates.
    pub hump: f32,
}

/// q(z|x) of one noise rate.
#[derive(Clone, Copy, Debug)]
pub struct Marginal {
    /// α.
    pub keep: f32,
    /// b of the mask, and of each other symbol.
    pub noise: [f32; 2],
}

/// From one noise rate to a higher one: `q(z_t=z|z_s=j) = stays·1[z=j] + moves(z)`.
#[derive(Clone, Copy, Debug)]
pub struct Transition {
    /// α_t/α_s.
    pub stays: f32,
    /// Of the mask, and of each other symbol.
    pub moves: [f32; 2],
}

/// A time of GIDD's.
struct Time {
    /// t.
    past: f32,
    /// 1 - t.
    left: f32,
    /// √(t(1-t)).
    mean: f32,
}

/// A share of this many steps of 2⁻²⁴.
fn share(steps: u32) -> f32 {
    steps as f32 * (1.0 / UNIFORM_STEPS as f32)
}

impl Mixing {
    /// The mask alone: absorbing noise (D3PM, Austin et al. 2021).
    pub const fn mask(mask: u32) -> Self {
        Mixing { mask, symbols: 0, mask_share: UNIFORM_STEPS, hump: 0.0 }
    }

    /// All symbols but the mask, the token itself among them: uniform noise (ibid.).
    pub const fn uniform(mask: u32, symbols: u32) -> Self {
        Mixing { mask, symbols, mask_share: 0, hump: 0.0 }
    }

    /// The mask and all other symbols.
    pub fn new(mask: u32, symbols: u32, masks: MaskShare) -> Self {
        let [mask_share, hump] = match masks {
            MaskShare::Constant(share) => [share, 0.0],
            MaskShare::Gidd(others) => [1.0, 2.0 * others / (1.0 - others)],
        };
        Mixing { mask, symbols, mask_share: threshold(mask_share.into()), hump }
    }

    /// Whether every symbol that there is has a column of so many.
    pub(in crate::program) fn fits(self, columns: usize) -> bool {
        self.mask_share == 0 || (self.mask as usize) < columns
    }

    /// Whether other symbols are in it at all.
    pub(in crate::program) fn has_others(self) -> bool {
        self.symbols > 0 && (self.mask_share < UNIFORM_STEPS || self.hump > 0.0)
    }

    /// Of a symbol's two numbers, the mask's and each other symbol's, the one that is its.
    pub fn of<T: Copy>(self, symbol: u32, [mask, other]: [T; 2]) -> T {
        if symbol == self.mask { mask } else { other }
    }

    /// The law of a noise rate in units of 2⁻²⁴.
    pub fn marginal(self, rate: u32) -> Marginal {
        let (keep, noise) = (share(UNIFORM_STEPS - rate), share(rate));
        if self.hump > 0.0 {
            let Time { past, mean, .. } = self.time(rate);
            let whole = 1.0 + self.hump * mean;
            return Marginal { keep, noise: self.apart([past / whole, self.hump * mean / whole]) };
        }
        Marginal { keep, noise: self.pi().map(|pi| noise * pi) }
    }

    /// Where tokens go that are hit while the rate grows by next to nothing, in all 1: `α·λ(z)`, λ(z) the rate of jumps to z in the noise
    /// rate. Of rates below 1, in units of 2⁻²⁴.
    pub fn jumps(self, rate: u32) -> [f32; 2] {
        if self.hump > 0.0 {
            let Time { left, mean, .. } = self.time(rate);
            let (masks, others) = (2.0 * mean, self.hump * left);
            return self.apart([masks / (masks + others), others / (masks + others)]);
        }
        self.pi()
    }

    /// What happens between two rates, the second not above the first and below 1.
    pub fn transition(self, from: u32, to: u32) -> Transition {
        let (late, early) = (self.marginal(from), self.marginal(to));
        let stays = late.keep / early.keep;
        let moves = if self.hump > 0.0 {
            [0, 1].map(|i| (late.noise[i] - stays * early.noise[i]).max(0.0))
        } else {
            self.pi().map(|pi| pi * (early.keep - late.keep) / early.keep)
        };
        Transition { stays, moves }
    }

    /// The share of masks among what tokens become that noise of a rate hits, in units of 2⁻²⁴.
    pub fn masks_at(self, rate: u32) -> u32 {
        if self.hump > 0.0 {
            let Time { past, mean, .. } = self.time(rate.max(1));
            return (past / (past + self.hump * mean) * UNIFORM_STEPS as f32) as u32;
        }
        self.mask_share
    }

    /// The same of what becomes of them between two rates, the second not above the first and below 1.
    pub fn masks_between(self, from: u32, to: u32) -> u32 {
        let [mask, other] = self.transition(from, to).moves.map(f64::from);
        let others = other * f64::from(self.symbols);
        if self.hump > 0.0 && mask + others > 0.0 { threshold(mask / (mask + others)) } else { self.mask_share }
    }

    /// What is drawn by two words of a position: the first says which symbol, the second whether it is the mask instead, which so many of
    /// 2²⁴ are.
    pub fn draw(self, symbol: u32, mask: u32, masks: u32) -> u32 {
        if uniform24(mask) < masks {
            return self.mask;
        }
        let symbol = ((u64::from(symbol) * u64::from(self.symbols)) >> 32) as u32;
        symbol + u32::from(symbol >= self.mask)
    }

    /// π at rate 1 of the mask, and of each other symbol.
    fn pi(self) -> [f32; 2] {
        self.apart([share(self.mask_share), share(UNIFORM_STEPS - self.mask_share)])
    }

    /// Of the mask and all other symbols together that of each of them.
    fn apart(self, [mask, others]: [f32; 2]) -> [f32; 2] {
        [mask, others / self.symbols.max(1) as f32]
    }

    /// The time at which GIDD's noise has this rate: sums of what is not negative, which lose no digits at either end.
    fn time(self, rate: u32) -> Time {
        let (keep, noise) = (share(UNIFORM_STEPS - rate), share(rate));
        let a = (self.hump * keep) * (self.hump * keep);
        let root = (a * (a + 4.0 * (noise * keep))).sqrt();
        let past = 2.0 * (noise * noise) / ((a + 2.0 * noise) + root);
        let left = ((a + 2.0 * keep) + root) / (2.0 * (1.0 + a));
        Time { past, left, mean: (past * left).sqrt() }
    }
}
