//! The packed parameters and their initial values.

use tempest::config::{Architecture, ModelConfig, Optimizer, Preset};
use tempest::model::Params;

#[test]
fn the_original_preset_packs_every_parameter_once() {
    let config = Preset::Original.model(128);
    let params = Params::new(&config);
    assert_eq!((params.len(), params.iter().count()), (10_764_288, 3 + 6 * 6));
    assert_eq!(params.len(), config.n_params());
}

#[test]
fn adamw_takes_everything_or_all_but_the_matrices_of_blocks() {
    let params = Params::new(&ModelConfig { short_conv: 0, ..Preset::Small.model(66) });
    let (table, square) = (66 * 192, 192 * 192);
    let n = params.len();
    assert_eq!(params.of_adamw(Optimizer::AdamW), vec![(0..n, true)]);
    assert_eq!(params.of_adamw(Optimizer::Muon), vec![(0..table, true), (n - table..n, true)]);
    assert_eq!(params.second_moments(Optimizer::Muon), 2 * table);
    let (stacks, places) = params.matrices(Optimizer::Muon);
    let shapes: Vec<_> = stacks.iter().map(|stack| [stack.matrices, stack.rows, stack.cols]).collect();
    assert_eq!(shapes, [[6, 768, 192], [6, 192, 768], [4 * 6, 192, 192]]);
    let begin = |squares: usize| (table + squares * square) as u32;
    assert_eq!((&places[..2], &places[6..8]), (&[4, 16].map(begin)[..], &[8, 20].map(begin)[..]));
    assert_eq!(places[12..17], [0, 1, 2, 3, 12].map(begin));
    assert!(params.matrices(Optimizer::AdamW).0.is_empty());
}

#[test]
fn queries_keys_and_values_of_a_gpt_are_matrices_apart_as_those_of_other_models_are() {
    let config = ModelConfig { short_conv: 0, ..Preset::Small.model(66) };
    let gpt = ModelConfig { architecture: Architecture::Gpt { bias: true }, ..config.clone() };
    // Learned positions stand before them too.
    let tables = config.sequence_len * config.n_embd;
    let (stacks, places) = Params::new(&gpt).matrices(Optimizer::Muon);
    let (others, other_places) = Params::new(&config).matrices(Optimizer::Muon);
    assert_eq!(stacks, others);
    let moved: Vec<u32> = other_places.iter().map(|place| place + tables as u32).collect();
    assert_eq!(places, moved);
}

#[test]
fn adamw_takes_the_taps_of_convolutions_in_one_run_with_the_embedding() {
    let config = ModelConfig { short_conv: 5, ..Preset::Small.model(66) };
    let params = Params::new(&config);
    let (table, taps, n) = (66 * 192, 2 * 6 * 5 * 192, params.len());
    assert_eq!(n, config.n_params());
    assert_eq!(params.of_adamw(Optimizer::Muon), vec![(0..table + taps, true), (n - table..n, true)]);
}

#[test]
fn initial_values_have_the_standard_deviation_of_their_tensor() {
    let config = Preset::Nano.model(66);
    let params = Params::new(&config);
    let all = params.init(3);
    for p in params.iter() {
        let values = &all[p.range()];
        let std = (values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64).sqrt();
        // Five standard errors of a standard deviation: 5/√(2n).
        assert!((std - f64::from(p.std)).abs() <= f64::from(p.std) * 5.0 / (2.0 * values.len() as f64).sqrt(), "{p:?}");
    }
    assert_eq!(all, params.init(3));
    assert_ne!(all, params.init(4));
}

#[test]
fn nanogpts_preset_has_its_parameters_and_decays_what_it_decays() {
    // As nanoGPT counts its model of 65 characters: the positions left out.
    let config = Preset::Gpt.model(65);
    let params = Params::new(&config);
    assert_eq!((params.len() - 256 * 384, params.len()), (10_646_784, config.n_params()));
    let biased = ModelConfig { architecture: Architecture::Gpt { bias: true }, ..config };
    let n = biased.n_params();
    assert_eq!(Params::new(&biased).len(), n);
    let vectors = 6 * (4 + 9) * 384 + 2 * 384;
    let runs = Params::new(&biased).of_adamw(Optimizer::AdamW);
    assert_eq!(runs, [(0..n - vectors, true), (n - vectors..n, false)]);
    // A gain begins at 1, a bias at 0, projections into the stream of 12 branches at 0.02/√12.
    let all = params.init(3);
    let of = |name: &str| &all[params.iter().find(|p| p.name == name).unwrap().range()];
    assert!(of("transformer.ln_f.weight").iter().all(|&gain| gain == 1.0));
    let projection = of("transformer.h.5.mlp.c_proj.weight");
    let std = (projection.iter().map(|w| f64::from(w * w)).sum::<f64>() / projection.len() as f64).sqrt();
    assert!((std * 12.0_f64.sqrt() / 0.02 - 1.0).abs() < 5.0 / (2.0 * projection.len() as f64).sqrt(), "{std}");
}
