//! What these tests draw at random, numbers, shapes and bugs: all of it from one seed, which the environment may give, so that
//! a long run finds more and a failure can be had again.

use tempest::rng::{Stream, philox};

/// Names the seed: 0 where it is not set.
pub(crate) const SEED: &str = "TEMPEST_TEST_SEED";

/// Names how many seeds from that one on are tried, where a test tries several.
const ROUNDS: &str = "TEMPEST_TEST_ROUNDS";

#[track_caller]
fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable);
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// The seed of this process.
pub(crate) fn seed() -> u64 {
    number(SEED, 0)
}

/// How many seeds are to be tried.
pub(crate) fn rounds(otherwise: u64) -> u64 {
    number(ROUNDS, otherwise)
}

/// Choices, one after the other.
pub(crate) struct Chance {
    seed: u64,
    drawn: u32,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Chance { seed, drawn: 0 }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        let word = philox(self.seed, Stream::Init, 99, self.drawn)[0];
        ((u64::from(word) * n as u64) >> 32) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A size from 1 to `most`: any, or one beside a multiple of what kernels cut by.
    pub(crate) fn size(&mut self, most: usize) -> usize {
        let any = 1 + self.below(most);
        let piece = *self.pick(&[1, 8, 8, 32, 64, 128]);
        let near = any.next_multiple_of(piece) + *self.pick(&[0, 0, 0, 1]);
        near.min(most)
    }
}
