//! The average of the weights.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Mat, WeightAverage};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    b.args.step = 5;
    b.args.ema_warmup = 0.9;
    for n in [1, 7, 33, 1030, 4003] {
        // The last was not made.
        for norm in [1.0, 0.0, f32::INFINITY] {
            let metrics = b.float(3, 4, [[f32::NAN; 8].as_slice(), &[0.0, 0.0, norm, 0.0]].concat());
            averages(&mut b, n, metrics);
        }
    }
    b.run(watch, &format!("averages in {dtype:?}"));
}

/// While they warm up, and later.
pub(super) fn averages(b: &mut Harness, n: usize, metrics: Mat) {
    for decay in [0.99, 0.7] {
        let (params, average) = (b.normal(1, n, 0.02), b.normal(1, n, 0.02));
        b.push(WeightAverage { metrics, params, decay, average });
    }
}
