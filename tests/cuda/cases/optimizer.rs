//! Gradient norm, AdamW and the loss scale.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{AdamW, AdamWStep, GradNorm, LossScale, Mat, SCALE_GROWTH_STEPS};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    b.args.step = 5;
    b.args.lr = 3e-3;
    (b.args.bias1, b.args.bias2) = (0.19, 0.02);
    // The last has more gradients than a block of the norm.
    for n in [1, 7, 33, 1030, 40_003] {
        for scaled in [false, true] {
            let scale = scaled.then(|| b.float(1, 2, vec![128.0, 3.0]));
            // Some are clipped, some are not.
            let grads = b.normal(1, n, if scaled { 300.0 } else { 0.001 });
            let metrics = b.normal(3, 4, 1.0);
            b.push(GradNorm { grads, scale, metrics });
            step(&mut b, n, grads, metrics, scale);
        }
    }
    // Gradients that are not finite change nothing.
    let mut grads = b.normals(37, 1.0);
    grads[36] = f32::INFINITY;
    let (grads, metrics) = (b.float(1, 37, grads), b.normal(1, 4, 1.0));
    b.push(GradNorm { grads, scale: None, metrics });
    step(&mut b, 37, grads, metrics, None);
    b.run(watch, &format!("optimizer in {dtype:?}"));
    loss_scales(watch);
}

pub(super) fn step(b: &mut Harness, n: usize, grads: Mat, metrics: Mat, scale: Option<Mat>) {
    let usual = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let other = AdamW { beta1: 0.8, beta2: 0.999, eps: 1e-4, weight_decay: 0.0, clip: f32::INFINITY };
    for (adamw, stored) in [(usual, true), (other, false)] {
        let (params, m, v) = (b.normal(1, n, 0.02), b.normal(1, n, 0.01), b.uniform(1, n, 0.0, 1e-4));
        // Where nothing changes, the copy keeps what it was: it is an input of this case.
        let stored = (stored && n != 37).then(|| b.stored_out(1, n));
        b.push(AdamWStep { grads, metrics, scale, adamw, params, m, v, stored });
    }
}

fn loss_scales(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    b.args.step = 4;
    let last = SCALE_GROWTH_STEPS - 1.0;
    let states = [(1024.0, 0.0), (1024.0, last - 1.0), (1024.0, last), (16_777_216.0, last), (1.0, 7.0), (2.0, last)];
    for norm in [1.0, 0.0, f32::INFINITY, f32::NAN] {
        for (scale, age) in states {
            let scale = b.float(1, 2, vec![scale, age]);
            let row = |norm: f32| [1.0, 2.0, norm, 3.0];
            let metrics = b.float(3, 4, [row(f32::NAN), row(norm), row(1.0)].concat());
            b.push(LossScale { metrics, scale });
        }
    }
    b.run(watch, "loss scale");
}
