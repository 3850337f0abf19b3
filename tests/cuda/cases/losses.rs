//! Losses, sums of losses, and the optimizer.

use super::ROWS;
use crate::bench::Bench;
use crate::watch::Watch;
use tempest::program::{Accumulate, AdamW, Mat, Op, SCALE_GROWTH_STEPS};

/// Symbols: less than a warp's, odd and even ones around a tile's.
const SYMBOLS: [usize; 6] = [2, 66, 67, 128, 129, 257];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for symbols in SYMBOLS {
        let mut b = Bench::new(dtype);
        for (rows, inner) in ROWS.into_iter().chain([130]).zip([24, 66, 96, 136]) {
            for drop in [None, Some(symbols as u32 - 1), Some(0)] {
                head_loss(&mut b, [rows, inner, symbols], drop);
            }
        }
        b.run(watch, &format!("head loss of {symbols} symbols in {dtype:?}"));
    }
    sums(watch);
}

fn head_loss(b: &mut Bench, [rows, inner, symbols]: [usize; 3], drop: Option<u32>) {
    // Targets are never the dropped symbol.
    let kept = symbols as u32 - u32::from(drop.is_some());
    let shift = u32::from(drop == Some(0));
    let targets = (0..rows as u32).map(|i| i * 7 % kept + shift).collect();
    let target = b.ids(rows, 1, targets);
    let (x, w) = (b.stored(rows, inner, 1.0), b.stored(symbols, inner, 2.0 * (inner as f32).powf(-0.5)));
    let sumsq = b.sumsq(rows, inner);
    let weights = (0..rows).map(|i| if i % 3 == 1 { 0.0 } else { 1.0 / (i + 1) as f32 }).collect();
    let weight = b.float(rows, 1, weights);
    let scale = (symbols % 2 == 1).then(|| b.float(1, 2, vec![64.0, 5.0]));
    let (cross_entropy, dlogits, s) = (b.float_out(rows, 1), b.stored_out(rows, symbols), b.float_out(rows, 1));
    b.push(Op::HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s });
    let (logits, cross_entropy) = (b.normal(rows, symbols, 3.0), b.float_out(rows, 1));
    b.push(Op::CrossEntropy { logits, target, drop, cross_entropy });
}

fn sums(watch: &mut Watch) {
    let mut b = Bench::new(watch.dtype());
    b.args.step = 8;
    for (sequences, positions) in [(1, 1), (1, 7), (3, 33), (7, 300), (2, 1500)] {
        let rows = sequences * positions;
        let cross_entropy = b.uniform(rows, 1, 0.0, 6.0);
        let weights = (0..rows).map(|i| if i % 4 == 2 { 0.0 } else { 1.0 / (i % 9 + 1) as f32 }).collect();
        let weight = b.float(rows, 1, weights);
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let metrics = b.normal(3, 4, 5.0);
            b.push(Op::LossSum { cross_entropy, weight, accumulate, metrics });
        }
        let sums = b.float_out(sequences, 2);
        b.push(Op::SequenceLoss { cross_entropy, weight, sums });
    }
    b.run(watch, "sums of losses");
}

pub(crate) fn optimizer_cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Bench::new(dtype);
    b.args.step = 5;
    b.args.lr = 3e-3;
    (b.args.ema_decay, b.args.bias1, b.args.bias2) = (0.9, 0.19, 0.02);
    // The last has more gradients than a block of the norm.
    for n in [1, 7, 33, 1030, 40_003] {
        for scaled in [false, true] {
            let scale = scaled.then(|| b.float(1, 2, vec![128.0, 3.0]));
            // Some are clipped, some are not.
            let grads = b.normal(1, n, if scaled { 300.0 } else { 0.001 });
            let metrics = b.normal(3, 4, 1.0);
            b.push(Op::GradNorm { grads, scale, metrics });
            step(&mut b, n, grads, metrics, scale);
        }
    }
    // Gradients that are not finite change nothing.
    let mut grads = b.normals(37, 1.0);
    grads[36] = f32::INFINITY;
    let (grads, metrics) = (b.float(1, 37, grads), b.normal(1, 4, 1.0));
    b.push(Op::GradNorm { grads, scale: None, metrics });
    step(&mut b, 37, grads, metrics, None);
    b.run(watch, &format!("optimizer in {dtype:?}"));
    loss_scales(watch);
}

fn step(b: &mut Bench, n: usize, grads: Mat, metrics: Mat, scale: Option<Mat>) {
    for (clip, ema, stored) in [(1.0, true, true), (f32::INFINITY, false, false)] {
        let (params, m, v) = (b.normal(1, n, 0.02), b.normal(1, n, 0.01), b.uniform(1, n, 0.0, 1e-4));
        let ema = ema.then(|| b.normal(1, n, 0.02));
        // Where nothing changes, the copy keeps what it was: it is an input of this case.
        let stored = (stored && n != 37).then(|| b.stored_out(1, n));
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip };
        b.push(Op::AdamWStep { grads, metrics, scale, adamw, params, m, v, ema, stored });
    }
}

fn loss_scales(watch: &mut Watch) {
    let mut b = Bench::new(watch.dtype());
    b.args.step = 4;
    let last = SCALE_GROWTH_STEPS - 1.0;
    let states = [(1024.0, 0.0), (1024.0, last - 1.0), (1024.0, last), (16_777_216.0, last), (1.0, 7.0), (2.0, last)];
    for norm in [1.0, 0.0, f32::INFINITY, f32::NAN] {
        for (scale, age) in states {
            let scale = b.float(1, 2, vec![scale, age]);
            let row = |norm: f32| [1.0, 2.0, norm, 3.0];
            let metrics = b.float(3, 4, [row(f32::NAN), row(norm), row(1.0)].concat());
            b.push(Op::LossScale { metrics, scale });
        }
    }
    b.run(watch, "loss scale");
}
