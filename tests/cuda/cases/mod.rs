//! All that the kernels are tried on, in groups: ops that stand alone on shapes that no model has, and whole models on
//! odd ones.

mod attention;
mod losses;
mod models;
mod no_numbers;
mod noise;
mod norms;
mod products;
mod random;
mod sampling;
mod texts;
mod unaligned;

use crate::watch::Watch;

/// A group of cases and its name.
pub(crate) type Group = (&'static str, fn(&mut Watch));

/// Every group. Each runs within a second or two.
pub(crate) const GROUPS: [Group; 14] = [
    ("noise", noise::cases),
    ("norms", norms::cases),
    ("products", products::cases),
    ("large products", products::large_cases),
    ("attention", attention::cases),
    ("losses", losses::cases),
    ("optimizer", losses::optimizer_cases),
    ("sampling", sampling::cases),
    ("small models", models::small_cases),
    ("long models", models::long_cases),
    ("texts", texts::cases),
    ("no numbers", no_numbers::cases),
    ("unaligned", unaligned::cases),
    ("random", random::cases),
];

/// Runs a group by its name.
#[track_caller]
pub(crate) fn run(name: &str, watch: &mut Watch) {
    let (_, cases) = GROUPS.iter().find(|(group, _)| *group == name).unwrap_or_else(|| panic!("no group {name:?}"));
    cases(watch);
}

/// Rows on which everything is tried: one, less than a warp's, one more than a tile's.
const ROWS: [usize; 3] = [1, 7, 33];
