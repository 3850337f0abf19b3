//! The average of the weights.

use super::math::vectorized;
use super::optimizer::{BLOCK, norm_of};
use super::{Context, computed};
use crate::program::WeightAverage;
use rayon::prelude::*;

computed! {
    weight_average(WeightAverage);
}

fn weight_average(Context { o, args, .. }: &mut Context<'_>, op: &WeightAverage) {
    let WeightAverage { metrics, params, decay, average } = *op;
    if !norm_of(o, args, metrics).is_finite() {
        return;
    }
    let share = 1.0 - decay.min(args.ema_warmup);
    let blocks = o.take::<f32>(average).par_chunks_mut(BLOCK).zip(o.get::<f32>(params).par_chunks(BLOCK));
    blocks.for_each(|(average, p)| approach(average, p, share));
}

vectorized! {
/// `average += share·(p - average)`.
fn approach(average: &mut [f32], p: &[f32], share: f32) {
    for (average, p) in average.iter_mut().zip(p) {
        *average += share * (p - *average);
    }
}
}
