//! The average of the weights.

use crate::harness::{Harness, Want};
use crate::number::exact;
use tempest::program::{DType, StepArgs, WeightAverage};

#[test]
fn an_average_goes_to_the_weights_by_its_decay_or_faster_while_it_warms_up() {
    for n in [1, 33, 16_385] {
        for (decay, warmup) in [(0.75_f32, 0.9_f32), (0.99, 0.4), (0.0, 0.1)] {
            let mut b = Harness::default();
            b.args = StepArgs { step: 6, ema_warmup: warmup, ..StepArgs::default() };
            let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, 1.0, 1.0]);
            let (params, p) = b.normal(DType::F32, 1, n, 1.0);
            let (average, mut want) = b.normal(DType::F32, 1, n, 1.0);
            let keep = exact(f64::from(decay.min(warmup)));
            want.data.iter_mut().zip(&p.data).for_each(|(a, &p)| *a = *a + (exact(1.0) - keep) * (p - *a));
            let op = WeightAverage { metrics, params, decay, average };
            b.check(&format!("{n} weights, {decay} in {warmup}"), op, &[Want::table(average, &want)]);
        }
    }
}

#[test]
fn after_a_step_that_was_not_made_an_average_stays_as_it_is() {
    for norm in [f32::NAN, f32::INFINITY] {
        let mut b = Harness::default();
        let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, norm, 0.0]);
        let (params, _) = b.normal(DType::F32, 1, 3, 1.0);
        let (average, before) = b.normal(DType::F32, 1, 3, 1.0);
        let op = WeightAverage { metrics, params, decay: 0.5, average };
        b.check(&format!("norm {norm}"), op, &[Want::table(average, &before)]);
    }
}
