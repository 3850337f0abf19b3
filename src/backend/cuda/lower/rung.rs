//! Which of an op's kernels runs.

use super::Lowering;
use std::fmt;
use std::str::FromStr;

/// Kernels of one op, from those that run everywhere to those of one generation of cards; a folder of `kernels/` each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Every shape and alignment, without tensor cores: the specification in CUDA.
    Plain,
    /// `mma.sync`, for shapes that are read 16 bytes at a time.
    #[default]
    Mma,
}

impl Rung {
    /// All of them, in order.
    pub const ALL: [Rung; 2] = [Rung::Plain, Rung::Mma];

    /// As `--rung` takes it, and as kernels are named: `qkv_mma`.
    pub fn name(self) -> &'static str {
        match self {
            Rung::Plain => "plain",
            Rung::Mma => "mma",
        }
    }

    /// Compute capability that its kernels need.
    fn needs_sm(self) -> u32 {
        match self {
            Rung::Plain | Rung::Mma => 80,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rung {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Rung::ALL.map(Rung::name).join(" or ");
        Rung::ALL
            .into_iter()
            .find(|rung| rung.name() == text)
            .ok_or_else(|| format!("{text:?} is no rung, but {}", names()))
    }
}

/// What kernels are chosen for.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::cuda) struct Target {
    /// The card's compute capability.
    pub(in crate::backend::cuda) sm: u32,
    /// The highest rung that may be taken.
    pub(in crate::backend::cuda) highest: Rung,
}

impl Lowering<'_> {
    /// The first of these rungs that fits the op, the card and what may be taken; plain kernels fit always.
    pub(super) fn choose(&self, fits: &[(Rung, bool)]) -> Rung {
        let may = |rung: Rung| rung <= self.target.highest && rung.needs_sm() <= self.target.sm;
        fits.iter().find(|&&(rung, fits)| fits && may(rung)).map_or(Rung::Plain, |(rung, _)| *rung)
    }
}
