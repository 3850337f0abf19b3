//! All that the kernels are tried on, in groups: ops that stand alone on shapes that no model has, and whole models on
//! odd ones.

mod alone;
mod attention;
mod average;
mod conv;
mod decode;
mod dense;
mod dropout;
mod embed;
mod guidance;
mod head;
mod latents;
mod linear;
mod models;
mod muon;
mod no_numbers;
mod noise;
mod noised;
mod norms;
mod optimizer;
mod random;
mod relaxed;
mod sampling;
mod texts;
mod unaligned;
mod vectors;

use crate::watch::Watch;

/// A group of cases and its name.
pub(crate) type Group = (&'static str, fn(&mut Watch));

/// Every group. Each runs within a second or two.
pub(crate) const GROUPS: &[Group] = &[
    ("noise", noise::cases),
    ("noised", noised::cases),
    ("relaxed", relaxed::cases),
    ("vectors", vectors::cases),
    ("costs of vectors", vectors::costs),
    ("steps of vectors", vectors::steps),
    ("latents", latents::cases),
    ("steps of latents", latents::steps),
    ("latent models", latents::models),
    ("embed", embed::cases),
    ("convolution", conv::cases),
    ("norms", norms::cases),
    ("linear", linear::cases),
    ("heads", linear::heads),
    ("weight gradients", linear::weight_grads),
    ("dense", dense::cases),
    ("dropout", dropout::cases),
    ("large linear", linear::large_cases),
    ("plain attention", attention::plain_cases),
    ("attention", attention::cases),
    ("long attention", attention::long_cases),
    ("head", head::cases),
    ("guidance", guidance::cases),
    ("optimizer", optimizer::cases),
    ("average", average::cases),
    ("muon", muon::cases),
    ("sampling", sampling::cases),
    ("decode", decode::cases),
    ("small models", models::small_cases),
    ("gpts", models::gpt_cases),
    ("long models", models::long_cases),
    ("block models", models::block_cases),
    ("texts", texts::cases),
    ("no numbers", no_numbers::cases),
    ("unaligned", unaligned::cases),
    ("alone", alone::cases),
    ("random", random::cases),
];

/// A group that takes as long as all others, and is run apart, under one schedule.
pub(crate) const MANY_SYMBOLS: Group = ("many symbols", models::wide_cases);

/// Runs a group by its name.
#[track_caller]
pub(crate) fn run(name: &str, watch: &mut Watch) {
    let (_, cases) = GROUPS
        .iter()
        .chain([&MANY_SYMBOLS])
        .find(|(group, _)| *group == name)
        .unwrap_or_else(|| panic!("no group {name:?}"));
    cases(watch);
}

/// Rows on which everything is tried: one, less than a warp's, one more than a tile's.
const ROWS: [usize; 3] = [1, 7, 33];
