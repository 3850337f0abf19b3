//! Gradient norm and AdamW.

use crate::program::{AdamW, Mat, StepArgs};
use crate::raw::arena::Operands;
use crate::raw::element::Element;
use half::bf16;
use rayon::prelude::*;

/// Parameters that one worker handles at a time: a fixed cut, so that the norm's sums have one order.
const BLOCK: usize = 1 << 14;

fn row(args: &StepArgs, metrics: Mat) -> usize {
    (args.step % metrics.rows as u64) as usize * 4
}

pub(super) fn grad_norm(o: &Operands<'_>, args: &StepArgs, grads: Mat, metrics: Mat) {
    let square = |block: &[f32]| block.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    let partial: Vec<f64> = o.get::<f32>(grads).par_chunks(BLOCK).map(square).collect();
    o.take::<f32>(metrics)[row(args, metrics) + 2] = partial.iter().sum::<f64>().sqrt() as f32;
}

/// Added to the norm before dividing by it, as PyTorch's `clip_grad_norm_` does.
const CLIP_EPS: f32 = 1e-6;

#[allow(clippy::too_many_arguments, reason = "the op's fields, in the op's order")]
pub(super) fn adamw_step(
    o: &Operands<'_>,
    args: &StepArgs,
    grads: Mat,
    metrics: Mat,
    adamw: AdamW,
    params: Mat,
    m: Mat,
    v: Mat,
    ema: Option<Mat>,
    stored: Option<Mat>,
) {
    let norm = o.get::<f32>(metrics)[row(args, metrics) + 2];
    if !norm.is_finite() {
        return; // The weights stay as they are; who reads the metrics stops the run.
    }
    let scale = (adamw.clip / (norm + CLIP_EPS)).min(1.0);
    let params = o.take::<f32>(params);
    let blocks = (params.par_chunks_mut(BLOCK))
        .zip(o.take::<f32>(m).par_chunks_mut(BLOCK))
        .zip(o.take::<f32>(v).par_chunks_mut(BLOCK))
        .zip(o.get::<f32>(grads).par_chunks(BLOCK));
    let step = args.lr / args.bias1;
    let root_bias2 = args.bias2.sqrt();
    blocks.for_each(|(((p, m), v), g)| {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * scale;
            *p *= 1.0 - args.lr * adamw.weight_decay;
            *m += (1.0 - adamw.beta1) * (g - *m);
            *v = adamw.beta2 * *v + (1.0 - adamw.beta2) * g * g;
            *p -= step * *m / (v.sqrt() / root_bias2 + adamw.eps);
        }
    });
    if let Some(ema) = ema {
        o.take::<f32>(ema).par_chunks_mut(BLOCK).zip(params.par_chunks(BLOCK)).for_each(|(ema, p)| {
            ema.iter_mut().zip(p).for_each(|(e, p)| *e += (1.0 - args.ema_decay) * (p - *e));
        });
    }
    if let Some(stored) = stored {
        let stored = o.take::<bf16>(stored);
        stored.par_chunks_mut(BLOCK).zip(params.par_chunks(BLOCK)).for_each(|(to, from)| bf16::narrow(from, to));
    }
}
