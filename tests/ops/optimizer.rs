//! Gradient norm, AdamW and the loss scale.

use crate::harness::{Harness, Want};
use crate::number::{F32, Num, Table, exact};
use tempest::program::{AdamW, AdamWStep, DType, GradNorm, LossScale, MAX_LOSS_SCALE, SCALE_GROWTH_STEPS, StepArgs};

#[test]
fn grad_norm_is_the_length_of_all_gradients_together() {
    for (n, factor) in [(1, None), (33, Some(4.0_f32)), (1000, None), (40_001, Some(65_536.0))] {
        let mut b = Harness::default();
        b.args = StepArgs { step: 5, ..StepArgs::default() };
        let scale = factor.map(|factor| b.input(DType::F32, 1, 2, &[factor, 3.0]).0);
        let factor = factor.unwrap_or(1.0);
        let (grads, values) = b.normal(DType::F32, 1, n, 0.01);
        let (metrics, mut want) = b.normal(DType::F32, 3, 4, 1.0);
        let squares: f64 = values.data.iter().map(|g| g.v * g.v).sum();
        // However it is summed, an f32 sum in blocks of 128 and less is within 256 roundings.
        let norm = squares.sqrt() / f64::from(factor);
        want.data[2 * 4 + 2] = Num { v: norm, e: 256.0 * F32 * norm };
        want.data[2 * 4 + 3] = exact(f64::from(factor));
        b.check(&format!("{n} gradients"), GradNorm { grads, scale, metrics }, &[Want::table(metrics, &want)]);
    }
}

/// PyTorch's `clip_grad_norm_` divides by the norm and this.
const CLIP_EPS: f64 = 1e-6;

#[test]
fn adamw_moves_decays_and_stores() {
    for n in [1, 33, 16_385, 40_001] {
        for (clip, stored) in [(f32::INFINITY, None), (1.0, None), (1e9, Some(DType::Bf16))] {
            let mut b = Harness::default();
            let args = StepArgs { step: 6, lr: 0.01, bias1: 0.5, bias2: 0.25, ..StepArgs::default() };
            b.args = args;
            let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-3, weight_decay: 0.1, clip };
            let (grads, g) = b.normal(DType::F32, 1, n, 0.5);
            let norm = g.data.iter().map(|g| g.v * g.v).sum::<f64>().sqrt() as f32;
            let mut row = vec![f32::NAN; 4 * 4];
            row[2 * 4 + 2] = norm;
            let (metrics, _) = b.input(DType::F32, 4, 4, &row);
            let (params, p) = b.normal(DType::F32, 1, n, 1.0);
            let (m, m_before) = b.normal(DType::F32, 1, n, 0.1);
            let second: Vec<f32> = b.normals(n, 0.3).iter().map(|z| z * z).collect();
            let (v, v_before) = b.input(DType::F32, 1, n, &second);
            let factor = if n % 2 == 0 { 1.0 } else { 512.0 };
            let loss_scale = (n % 2 == 1).then(|| b.input(DType::F32, 1, 2, &[factor, 0.0]).0);
            let stored = stored.map(|dtype| b.output(dtype, 1, n));

            let [lr, bias1, bias2] = [args.lr, args.bias1, args.bias2].map(|x| exact(f64::from(x)));
            let [beta1, beta2, eps, wd] =
                [adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay].map(|x| exact(f64::from(x)));
            let one = exact(1.0);
            let ratio = exact(f64::from(clip)) / (exact(f64::from(norm)) + exact(CLIP_EPS));
            let scale = if ratio.v < 1.0 { ratio } else { one };
            let (mut p_want, mut m_want, mut v_want) = (p.clone(), m_before.clone(), v_before.clone());
            for i in 0..n {
                let g = scale * g.data[i] / exact(f64::from(factor));
                let m = beta1 * m_before.data[i] + (one - beta1) * g;
                let v = beta2 * v_before.data[i] + (one - beta2) * g * g;
                let step = lr / bias1 * m / (v.sqrt() / bias2.sqrt() + eps);
                (m_want.data[i], v_want.data[i]) = (m, v);
                p_want.data[i] = (one - lr * wd) * p.data[i] - step;
            }
            let mut wants = vec![Want::table(params, &p_want), Want::table(m, &m_want), Want::table(v, &v_want)];
            wants.extend(stored.iter().map(|mat| Want::table(*mat, &p_want)));
            let op = AdamWStep { grads, metrics, scale: loss_scale, adamw, params, m, v, stored };
            b.check(&format!("{n} parameters clipped to {clip}"), op, &wants);
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_leaves_everything_as_it_was() {
    for norm in [f32::NAN, f32::INFINITY] {
        let mut b = Harness::default();
        let (grads, _) = b.input(DType::F32, 1, 3, &[f32::NAN, 1.0, 2.0]);
        let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, norm, 0.0]);
        let [(params, p), (m, m_before), (v, v_before)] = [(); 3].map(|()| b.normal(DType::F32, 1, 3, 1.0));
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
        b.args = StepArgs { lr: 0.1, bias1: 0.1, bias2: 0.01, ..StepArgs::default() };
        let wants = [Want::table(params, &p), Want::table(m, &m_before), Want::table(v, &v_before)];
        let op = AdamWStep { grads, metrics, scale: None, adamw, params, m, v, stored: None };
        b.check(&format!("norm {norm}"), op, &wants);
    }
}

#[test]
fn the_loss_scale_halves_at_infinity_and_doubles_after_many_good_steps() {
    let last = SCALE_GROWTH_STEPS - 1.0;
    for (norm, before, after) in [
        (1.0, [65_536.0, 0.0], [65_536.0, 1.0]),
        (1.0, [65_536.0, last], [131_072.0, 0.0]),
        (1.0, [MAX_LOSS_SCALE, last], [MAX_LOSS_SCALE, 0.0]),
        (f32::INFINITY, [65_536.0, 77.0], [32_768.0, 0.0]),
        (f32::NAN, [1.0, last], [1.0, 0.0]),
    ] {
        let mut b = Harness::default();
        b.args = StepArgs { step: 4, ..StepArgs::default() };
        let (metrics, _) = b.input(DType::F32, 3, 4, &[0.0, 0.0, 9.0, 9.0, 0.0, 0.0, norm, 0.0, 0.0, 0.0, 9.0, 9.0]);
        let (scale, _) = b.input(DType::F32, 1, 2, &before);
        let want = Table { rows: 1, cols: 2, data: after.map(|x| exact(f64::from(x))).to_vec() };
        b.check(&format!("norm {norm} at {before:?}"), LossScale { metrics, scale }, &[Want::table(scale, &want)]);
    }
}
