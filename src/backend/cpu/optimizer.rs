//! Gradient norm, AdamW and the loss scale.

use super::math::vectorized;
use super::{Context, computed};
use crate::program::{
    AdamWStep, DType, GradNorm, LossScale, MAX_LOSS_SCALE, Mat, SCALE_GROWTH_STEPS, StepArgs, StepMetrics,
};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use half::bf16;
use rayon::prelude::*;

computed! {
    grad_norm(GradNorm);
    loss_scale(LossScale);
    adamw_step(AdamWStep);
}

/// Parameters that one worker handles at a time: a fixed cut, so that the norm's sums have one order.
pub(super) const BLOCK: usize = 1 << 14;

/// What the step says of itself, to be added to.
pub(super) fn metrics_mut<'a>(o: &Operands<'a>, args: &StepArgs, ring: Mat) -> &'a mut StepMetrics {
    &mut bytemuck::cast_slice_mut(o.take::<f32>(ring))[StepMetrics::row(args.step, ring.rows)]
}

/// The norm of all gradients that `grad_norm` left.
pub(super) fn norm_of(o: &Operands<'_>, args: &StepArgs, ring: Mat) -> f32 {
    let rows: &[StepMetrics] = bytemuck::cast_slice(o.get::<f32>(ring));
    rows[StepMetrics::row(args.step, ring.rows)].grad_norm
}

/// What gradients are multiplied by, which contain a loss scale and are clipped to a norm.
pub(super) fn gradient_scale(o: &Operands<'_>, norm: f32, clip: f32, scale: Option<Mat>) -> f32 {
    (clip / (norm + CLIP_EPS)).min(1.0) / scale_of(o, scale)
}

/// The loss scale that is in the gradients.
fn scale_of(o: &Operands<'_>, scale: Option<Mat>) -> f32 {
    scale.map_or(1.0, |scale| o.get::<f32>(scale)[0])
}

fn grad_norm(Context { o, args, .. }: &mut Context<'_>, op: &GradNorm) {
    let GradNorm { grads, scale, metrics } = *op;
    let partial: Vec<f64> = o.get::<f32>(grads).par_chunks(BLOCK).map(squares).collect();
    let scale = scale_of(o, scale);
    let norm = (partial.iter().sum::<f64>().sqrt() / f64::from(scale)) as f32;
    let metrics = metrics_mut(o, args, metrics);
    (metrics.grad_norm, metrics.loss_scale) = (norm, scale);
}

fn loss_scale(Context { o, args, .. }: &mut Context<'_>, op: &LossScale) {
    let LossScale { metrics, scale } = *op;
    let norm = norm_of(o, args, metrics);
    let state = o.take::<f32>(scale);
    (state[0], state[1]) = match (state[0], state[1] + 1.0) {
        (now, _) if !norm.is_finite() => ((now / 2.0).max(1.0), 0.0),
        (now, SCALE_GROWTH_STEPS) => ((now * 2.0).min(MAX_LOSS_SCALE), 0.0),
        grown => grown,
    };
}

vectorized! {
/// Σ g² in double precision, in fixed lanes.
pub(super) fn squares(block: &[f32]) -> f64 {
    const LANES: usize = 16;
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>()
}
}

/// Added to the norm before dividing by it, as PyTorch's `clip_grad_norm_` does.
const CLIP_EPS: f32 = 1e-6;

fn adamw_step(Context { o, args, .. }: &mut Context<'_>, op: &AdamWStep) {
    let AdamWStep { grads, metrics, scale, adamw, params, m, v, stored } = *op;
    let norm = norm_of(o, args, metrics);
    if !norm.is_finite() {
        return; // The weights stay as they are; who reads the metrics stops the run.
    }
    let step = Step {
        shrink: 1.0 - args.lr * adamw.weight_decay,
        gradient_scale: gradient_scale(o, norm, adamw.clip, scale),
        beta1: adamw.beta1,
        beta2: adamw.beta2,
        step_size: args.lr / args.bias1,
        root_bias2: args.bias2.sqrt(),
        eps: adamw.eps,
    };
    let params = o.take::<f32>(params);
    let blocks = (params.par_chunks_mut(BLOCK))
        .zip(o.take::<f32>(m).par_chunks_mut(BLOCK))
        .zip(o.take::<f32>(v).par_chunks_mut(BLOCK))
        .zip(o.get::<f32>(grads).par_chunks(BLOCK));
    blocks.for_each(|(((p, m), v), g)| adamw_block(step, p, m, v, g));
    if let Some(stored) = stored {
        match o.dtype(stored) {
            DType::Bf16 => store::<bf16>(o, params, stored),
            _ => store::<f32>(o, params, stored),
        }
    }
}

/// The matmuls' copy of the parameters.
fn store<A: Element>(o: &Operands<'_>, params: &[f32], stored: Mat) {
    let blocks = o.take::<A>(stored).par_chunks_mut(BLOCK).zip(params.par_chunks(BLOCK));
    blocks.for_each(|(to, from)| A::narrow(from, to));
}

/// One step's numbers, the same for every parameter.
#[derive(Clone, Copy)]
struct Step {
    shrink: f32,
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    step_size: f32,
    root_bias2: f32,
    eps: f32,
}

vectorized! {
/// The step on some of the parameters.
fn adamw_block(step: Step, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * step.gradient_scale;
        *m += (1.0 - step.beta1) * (g - *m);
        *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
        *p = *p * step.shrink - step.step_size * *m / (v.sqrt() / step.root_bias2 + step.eps);
    }
}
}
