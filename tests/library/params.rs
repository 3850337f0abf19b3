//! The packed parameters and their initial values.

use tempest::config::Preset;
use tempest::model::Params;

#[test]
fn the_original_preset_packs_every_parameter_once() {
    let config = Preset::Original.model(128);
    let params = Params::new(&config);
    assert_eq!((params.len(), params.iter().count()), (10_764_288, 3 + 6 * 6));
    assert_eq!(params.len(), config.n_params());
}

#[test]
fn initial_values_have_the_standard_deviation_of_their_tensor() {
    let config = Preset::Nano.model(66);
    let params = Params::new(&config);
    let all = params.init(3);
    for p in params.iter() {
        let values = &all[p.offset..][..p.shape[0] * p.shape[1]];
        let std = (values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64).sqrt();
        // Five standard errors of a standard deviation: 5/√(2n).
        assert!((std - f64::from(p.std)).abs() <= f64::from(p.std) * 5.0 / (2.0 * values.len() as f64).sqrt(), "{p:?}");
    }
    assert_eq!(all, params.init(3));
    assert_ne!(all, params.init(4));
}
