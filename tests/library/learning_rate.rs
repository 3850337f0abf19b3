//! The learning rate over a run.

use tempest::config::{Averages, LrSchedule, OptimizerConfig, Preset};

#[test]
fn learning_rate_warms_up_and_ends_at_its_minimum() {
    let o = OptimizerConfig {
        lr: 1.0,
        min_lr: 0.1,
        schedule: LrSchedule::Cosine,
        warmup: 4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        clip: 1.0,
        dropout: 0.0,
        ema: Averages::default(),
        muon: None,
    };
    assert_eq!([0, 1, 2, 3].map(|s| o.lr_at(s, 14)), [0.25, 0.5, 0.75, 1.0]);
    assert_eq!((o.lr_at(4, 14), o.lr_at(13, 14)), (1.0, 0.1));
    assert!((1..10).all(|i| o.lr_at(4 + i, 14) < o.lr_at(3 + i, 14)));
    // Ends of an odd length: one step after the warm-up, none of it left, and a step past the end.
    for schedule in [LrSchedule::Cosine, LrSchedule::Linear, LrSchedule::Wsd] {
        let o = OptimizerConfig { schedule, ..o.clone() };
        assert_eq!(o.lr_at(14, 14), 0.1, "{schedule:?}");
        assert!([0, 1, 4, 5, 6].iter().all(|&steps| o.lr_at(4, steps).is_finite()), "{schedule:?}");
    }
}

#[test]
fn a_linear_decay_is_even_and_a_late_one_takes_the_last_fifth() {
    let rates = |schedule, steps| {
        let o = OptimizerConfig { lr: 1.0, min_lr: 0.0, schedule, warmup: 0, ..Preset::Nano.training().optimizer };
        (0..steps).map(|step| o.lr_at(step, steps)).collect::<Vec<_>>()
    };
    assert_eq!(rates(LrSchedule::Linear, 4), [1.0, 0.75, 0.5, 0.25]);
    assert_eq!(rates(LrSchedule::Wsd, 10)[6..], [1.0, 1.0, 1.0, 0.5]);
    assert_eq!(rates(LrSchedule::Constant, 3), [1.0; 3]);
}
