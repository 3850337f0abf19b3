//! Dropout.

use super::Kind::{F32, Numbers};
use super::{Contract, DType, Describe, Mat, sumsq_slots};

/// Which numbers are dropped: each with a probability, by a lot of its own.
///
/// Number i of a sequence's, at one of several places in a step, is kept if
/// `uniform24(philox(args.seed, Dropout, args.step·2³² + sequence·places + place, i/4)[i mod 4])` is at least
/// [`threshold`](crate::rng::threshold)`(rate)`, sequences counted from `args.sequence`. So forward and backward draw the same,
/// nothing is stored, and lots do not depend on how a step is cut into micro-batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lots {
    /// At least 0 and below 1.
    pub rate: f32,
    /// Which of a step's places it is.
    pub place: u32,
    /// How many there are.
    pub places: u32,
}

impl Lots {
    /// What a kept number is multiplied by.
    pub fn scale(self) -> f32 {
        1.0 / (1.0 - self.rate)
    }

    /// Lots below this drop.
    pub fn threshold(self) -> u32 {
        crate::rng::threshold(self.rate.into())
    }

    /// Refuses what is no probability, or no place among them.
    pub(super) fn check(self, contract: &mut Contract) {
        let Lots { rate, place, places } = self;
        let holds = (0.0..1.0).contains(&rate) && place < places;
        contract.require(holds, || format!("{rate} is dropped at place {place} of {places}"));
    }
}

/// `y = [residual +] x·k/(1 - rate)`, k = 1 where [`Lots`] keep a number and 0 where they drop it (Srivastava et al. 2014,
/// inverted). Without a residual it is its own backward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// `[N, C]`, whose numbers are counted row by row within a sequence.
    pub x: Mat,
    /// `[N, C]`, stored as y is.
    pub residual: Option<Mat>,
    pub positions: u32,
    /// B. Where there are more than B·T rows, each sequence has further T behind those of all, and its numbers count on:
    /// block diffusion's texts without noise.
    pub sequences: u32,
    pub lots: Lots,
    pub y: Mat,
    /// `[N, ⌈C/128⌉]` sums of squares of y as it is stored, where they are wanted.
    pub sumsq: Option<Mat>,
}

impl Describe for Dropout {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("residual", self.residual, [n, c], Numbers);
        contract.write("y", self.y, [n, c], Numbers);
        contract.write("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.units = |_, output| if output == DType::F32 { 2.0 } else { 0.0 };
        contract.whole_sequences(n, self.positions as usize * self.sequences as usize);
        self.lots.check(contract);
    }
}
