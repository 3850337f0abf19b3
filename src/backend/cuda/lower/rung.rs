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

    /// Whether a file of kernels, `mma_linear`, is in its folder.
    pub(in crate::backend::cuda) fn has(self, family: &str) -> bool {
        family.strip_prefix(self.name()).is_some_and(|rest| rest.starts_with('_'))
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

/// What kernels are chosen for. The number of multiprocessors is no part of it: sums are cut by shapes alone, so that cards of
/// every size add up in the order that was tested.
#[derive(Clone, Debug)]
pub(in crate::backend::cuda) struct Target {
    /// What may be taken: rungs whose kernels are all loaded, up to the highest that is wanted.
    pub(in crate::backend::cuda) rungs: Vec<Rung>,
}

impl Target {
    /// The highest of an op's rungs that fits it and may be taken; plain kernels fit always.
    pub(super) fn choose(&self, fits: &[(Rung, bool)]) -> Rung {
        let may = fits.iter().filter(|(rung, fits)| *fits && self.rungs.contains(rung));
        may.map(|(rung, _)| *rung).max().unwrap_or(Rung::Plain)
    }
}

impl Lowering<'_> {
    pub(super) fn choose(&self, fits: &[(Rung, bool)]) -> Rung {
        self.target.choose(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_without_images_gives_way_to_the_next_lower_one() {
        let target = |rungs: &[Rung]| Target { rungs: rungs.to_vec() };
        let every = target(&Rung::ALL);
        assert_eq!(every.choose(&[(Rung::Mma, true)]), Rung::Mma);
        assert_eq!(every.choose(&[(Rung::Mma, false)]), Rung::Plain, "it does not fit the op");
        assert_eq!(target(&[Rung::Plain]).choose(&[(Rung::Mma, true)]), Rung::Plain, "the card has no images of it");
        assert!(Rung::Mma.has("mma_linear") && !Rung::Mma.has("linear") && !Rung::Mma.has("mmap_linear"));
    }
}
