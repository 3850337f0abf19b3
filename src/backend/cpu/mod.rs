//! The reference: every op in plain loops and tiled matrix products, on all cores, with results that do not depend on
//! how many there are (work is cut by shape alone, sums are taken in a fixed order).
//!
//! The residual stream and its gradient are f32; `--dtype bf16` stores everything between them, and the matmuls' copy of
//! the weights, as bf16, and multiplies in bf16 with f32 sums.

mod attention;
mod embed;
mod head;
mod linear;
mod math;
mod noise;
mod norms;
mod optimizer;
mod room;
mod rope;
mod sampling;
mod tiles;

use super::{Backend, Fetch};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::program::{DType, Mat, Op, Plan, Program, StepArgs};
use crate::raw::arena::{Arena, Operands};
use crate::raw::gemm::Panels;
use crate::stop::Stop;
use half::bf16;
use std::sync::Arc;

/// This machine's processor.
pub struct Cpu {
    plan: Arc<Plan>,
    arena: Arena,
    corpus: Option<Arc<Corpus>>,
    rope: rope::Tables,
    panels: Panels,
    grads: linear::GradMemory,
    stop: Stop,
}

impl Cpu {
    /// Bytes that this process may still take; none where that is not known.
    pub(super) fn free_bytes() -> Option<usize> {
        room::free_bytes()
    }

    /// Allocates a plan's memory: regions of f32, bf16 and ids (f16 is for GPUs; [`Plan::widened`] is its reference).
    #[track_caller]
    pub fn new(plan: Arc<Plan>) -> Self {
        let f16 = plan.regions().iter().find(|r| r.dtype == DType::F16);
        assert!(
            f16.is_none(),
            "region {:?} is stored as f16, which the CPU does not compute with",
            f16.map(|r| r.name)
        );
        Cpu {
            arena: Arena::new(&plan),
            plan,
            corpus: None,
            rope: rope::Tables::default(),
            panels: Panels::default(),
            grads: linear::GradMemory::default(),
            stop: Stop::default(),
        }
    }
}

/// Calls a function with the stored type of a matrix as its type argument.
macro_rules! typed {
    ($o:ident, $mat:expr, $($path:ident)::+ ( $($arg:expr),* $(,)? )) => {
        match $o.dtype($mat) {
            DType::Bf16 => $($path)::+::<bf16>($o, $($arg),*),
            _ => $($path)::+::<f32>($o, $($arg),*),
        }
    };
}

impl Backend for Cpu {
    fn describe(&self) -> String {
        format!("cpu, {} threads, {}", rayon::current_num_threads(), crate::raw::gemm::describe())
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn heed(&mut self, stop: &Stop) {
        self.stop = stop.clone();
    }

    fn run(&mut self, program: &Program, args: &StepArgs) -> Result<()> {
        program.ops.iter().try_for_each(|op| {
            // An update that has begun is finished: the weights of half a step are those of no run.
            if !matches!(op, Op::GradNorm { .. } | Op::LossScale { .. } | Op::AdamWStep { .. }) {
                self.stop.check()?;
            }
            self.run_op(op, args)
        })
    }

    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()> {
        self.corpus = Some(corpus);
        Ok(())
    }

    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()> {
        if let Op::Qkv { positions, heads, x: Mat { cols, .. }, .. }
        | Op::AttentionBackward { positions, heads, d_o: Mat { cols, .. }, .. } = op
        {
            self.rope.prepare(*positions as usize, cols / *heads as usize);
        }
        let o: &Operands<'_> = &self.arena.open(op);
        let panels = &mut self.panels;
        match op {
            Op::Crop { crop, x0 } => {
                let corpus = self.corpus.as_deref().ok_or_else(|| Error::input("no corpus is bound to crop from"))?;
                noise::crop(o, corpus, args, crop, *x0);
            }
            Op::CountMasked { positions, context, sequences, timesteps, inv_count } => {
                noise::count_masked(o, args, *positions, *context, *sequences, *timesteps, *inv_count);
            }
            Op::Corrupt { .. } => noise::corrupt(o, args, op),
            Op::NormalNoise { positions, out } => noise::normal_noise(o, args, *positions, *out),
            Op::Embed { ids, time, token, x, sumsq, rstd } => {
                typed!(o, *token, embed::embed(*ids, *time, *token, *x, *sumsq, *rstd))
            }
            Op::RmsNorm { x, gain, eps, y, rstd } => typed!(o, *y, norms::rms_norm(*x, *gain, *eps, *y, *rstd)),
            Op::LayerNorm { x, gain, bias, eps, y, mean, rstd } => {
                typed!(o, *y, norms::layer_norm(*x, *gain, *bias, *eps, *y, *mean, *rstd))
            }
            Op::Qkv { x, sumsq, w, positions, heads, qkv, qk_rstd } => {
                let tables = self.rope.get(*positions as usize, x.cols / *heads as usize);
                typed!(o, *w, linear::qkv(panels, tables, *x, *sumsq, *w, *heads, *qkv, *qk_rstd))
            }
            Op::Attention { qkv, positions, heads, mask, scores: _, o: out, lse } => {
                typed!(o, *qkv, attention::attention(*qkv, *positions, *heads, *mask, *out, *lse))
            }
            Op::LinearResidual { a, w, residual, out, sumsq } => {
                typed!(o, *w, linear::linear_residual(panels, *a, *w, *residual, *out, *sumsq))
            }
            Op::LinearRelu2 { x, sumsq, w, h } => typed!(o, *w, linear::linear_relu2(panels, *x, *sumsq, *w, *h)),
            Op::HeadLogits { x, sumsq, w, logits } => typed!(o, *w, head::head_logits(panels, *x, *sumsq, *w, *logits)),
            Op::CrossEntropy { logits, target, drop, cross_entropy } => {
                head::cross_entropy(o, *logits, *target, *drop, *cross_entropy);
            }
            Op::HeadLoss { .. } => {
                let Op::HeadLoss { w, .. } = op else { unreachable!() };
                typed!(o, *w, head::head_loss(panels, op))
            }
            Op::LossSum { cross_entropy, weight, accumulate, metrics } => {
                head::loss_sum(o, args, *cross_entropy, *weight, *accumulate, *metrics);
            }
            Op::SequenceLoss { cross_entropy, weight, sums } => head::sequence_loss(o, *cross_entropy, *weight, *sums),
            Op::NormLinearBackward { dy, w, x, sumsq, s, residual, dx } => {
                typed!(o, *w, linear::norm_linear_backward(panels, *dy, *w, *x, *sumsq, *s, *residual, *dx))
            }
            Op::Relu2Backward { dx, w, h, sumsq, dy, s } => {
                typed!(o, *w, linear::relu2_backward(panels, *dx, *w, *h, *sumsq, *dy, *s))
            }
            Op::ProjectionBackward { dx, w, o: out, heads, d_o, dot } => {
                typed!(o, *w, linear::projection_backward(panels, *dx, *w, *out, *heads, *d_o, *dot))
            }
            Op::AttentionBackward { positions, heads, qkv, .. } => {
                let tables = self.rope.get(*positions as usize, qkv.cols / 3 / *heads as usize);
                typed!(o, *qkv, attention::attention_backward(tables, op))
            }
            Op::WeightGrads { grads, accumulate } => {
                linear::weight_grads(o, &mut self.grads, grads, *accumulate);
            }
            Op::RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain } => {
                typed!(o, *dx, norms::rms_norm_backward(*dy, *x, *gain, *rstd, *accumulate, *dx, *dgain))
            }
            Op::LayerNormBackward { dx, .. } => typed!(o, *dx, norms::layer_norm_backward(op)),
            Op::EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } => {
                embed::embed_backward(o, *ids, *time, *dx, *x, *rstd, *accumulate, *dtoken);
            }
            Op::GradNorm { grads, scale, metrics } => optimizer::grad_norm(o, args, *grads, *scale, *metrics),
            Op::LossScale { metrics, scale } => optimizer::loss_scale(o, args, *metrics, *scale),
            Op::AdamWStep { grads, metrics, scale, adamw, params, m, v, ema, stored } => {
                optimizer::adamw_step(o, args, *grads, *metrics, *scale, *adamw, *params, *m, *v, *ema, *stored);
            }
            Op::SampleTime { masked, order, timesteps, t } => {
                sampling::sample_time(o, args, *masked, *order, *timesteps, *t);
            }
            Op::Predict { logits, masked, drop, choice, confidence_at, candidate, confidence } => {
                sampling::predict(o, args, *logits, *masked, *drop, *choice, *confidence_at, *candidate, *confidence);
            }
            Op::CommitTokens { confidence, policy, commit, x, masked, committed_at, remaining } => {
                sampling::commit_tokens(o, args, *confidence, *policy, *commit, *x, *masked, *committed_at, *remaining);
            }
        }
        Ok(())
    }

    fn fetch(&mut self, mat: Mat) -> Result<Box<dyn Fetch>> {
        Ok(Box::new(self.arena.bytes(mat).to_vec()))
    }

    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()> {
        self.arena.bytes_mut(mat).copy_from_slice(bytes);
        Ok(())
    }
}
