//! What an op reads and writes: the list that everything generic about ops goes by.

use super::{Accumulate, Commit, Mat, Noise, Op};

/// How an op touches a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes every element without reading.
    Write,
    /// Reads and writes it.
    Update,
}

impl Op {
    /// The op's name: the same word as its builder, its CPU function, its kernel, its test and its bench.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Crop { .. } => "crop",
            Op::CountMasked { .. } => "count_masked",
            Op::Corrupt { .. } => "corrupt",
            Op::NormalNoise { .. } => "normal_noise",
            Op::Embed { .. } => "embed",
            Op::RmsNorm { .. } => "rms_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Qkv { .. } => "qkv",
            Op::Attention { .. } => "attention",
            Op::LinearResidual { .. } => "linear_residual",
            Op::LinearRelu2 { .. } => "linear_relu2",
            Op::HeadLogits { .. } => "head_logits",
            Op::CrossEntropy { .. } => "cross_entropy",
            Op::HeadLoss { .. } => "head_loss",
            Op::LossSum { .. } => "loss_sum",
            Op::SequenceLoss { .. } => "sequence_loss",
            Op::NormLinearBackward { .. } => "norm_linear_backward",
            Op::Relu2Backward { .. } => "relu2_backward",
            Op::ProjectionBackward { .. } => "projection_backward",
            Op::AttentionBackward { .. } => "attention_backward",
            Op::WeightGrads { .. } => "weight_grads",
            Op::RmsNormBackward { .. } => "rms_norm_backward",
            Op::LayerNormBackward { .. } => "layer_norm_backward",
            Op::EmbedBackward { .. } => "embed_backward",
            Op::GradNorm { .. } => "grad_norm",
            Op::AdamWStep { .. } => "adamw_step",
            Op::LossScale { .. } => "loss_scale",
            Op::SampleTime { .. } => "sample_time",
            Op::Predict { .. } => "predict",
            Op::CommitTokens { .. } => "commit_tokens",
        }
    }

    /// Every matrix that the op touches, and how. Backends hand out memory by this list; lockstep compares by it.
    pub fn operands(&self) -> Vec<(Mat, Access)> {
        use Access::{Read, Update, Write};
        let mut list = Vec::with_capacity(12);
        let mut add = |access: Access, mats: &[Mat]| list.extend(mats.iter().map(|&m| (m, access)));
        let overwritten = |a: Accumulate| if a == Accumulate::Overwrite { Write } else { Update };
        match self {
            Op::Crop { x0, .. } => add(Write, &[*x0]),
            Op::CountMasked { inv_count, .. } => add(Write, &[*inv_count]),
            Op::Corrupt { x0, noise, xt, t, weight, .. } => {
                add(Read, &[*x0]);
                if let Noise::Timesteps { inv_count, .. } = noise {
                    add(Read, &[*inv_count]);
                }
                add(Write, &[*xt, *t, *weight]);
            }
            Op::NormalNoise { out, .. } => add(Write, &[*out]),
            Op::Embed { ids, time, token, x, sumsq, rstd } => {
                add(Read, &[*ids, *token]);
                if let Some((t, table)) = time {
                    add(Read, &[*t, *table]);
                }
                add(Write, &[*x, *sumsq, *rstd]);
            }
            Op::RmsNorm { x, gain, y, rstd, .. } => {
                add(Read, &[*x, *gain]);
                add(Write, &[*y, *rstd]);
            }
            Op::LayerNorm { x, gain, bias, y, mean, rstd, .. } => {
                add(Read, &[*x, *gain, *bias]);
                add(Write, &[*y, *mean, *rstd]);
            }
            Op::Qkv { x, sumsq, w, qkv, qk_rstd, .. } => {
                add(Read, &[*x, *sumsq, *w]);
                add(Write, &[*qkv, *qk_rstd]);
            }
            Op::Attention { qkv, o, lse, .. } => {
                add(Read, &[*qkv]);
                add(Write, &[*o, *lse]);
            }
            Op::LinearResidual { a, w, residual, out, sumsq } => {
                add(Read, &[*a, *w, *residual]);
                add(Write, &[*out, *sumsq]);
            }
            Op::LinearRelu2 { x, sumsq, w, h } => {
                add(Read, &[*x, *sumsq, *w]);
                add(Write, &[*h]);
            }
            Op::HeadLogits { x, sumsq, w, logits } => {
                add(Read, &[*x, *sumsq, *w]);
                add(Write, &[*logits]);
            }
            Op::CrossEntropy { logits, target, cross_entropy, .. } => {
                add(Read, &[*logits, *target]);
                add(Write, &[*cross_entropy]);
            }
            Op::HeadLoss { x, sumsq, w, target, weight, scale, cross_entropy, dlogits, s, .. } => {
                add(Read, &[*x, *sumsq, *w, *target, *weight]);
                add(Read, scale.as_slice());
                add(Write, &[*cross_entropy, *dlogits, *s]);
            }
            Op::LossSum { cross_entropy, weight, metrics, .. } => {
                add(Read, &[*cross_entropy, *weight]);
                add(Update, &[*metrics]);
            }
            Op::SequenceLoss { cross_entropy, weight, sums } => {
                add(Read, &[*cross_entropy, *weight]);
                add(Write, &[*sums]);
            }
            Op::NormLinearBackward { dy, w, x, sumsq, s, residual, dx } => {
                add(Read, &[*dy, *w, *x, *sumsq, *s]);
                add(Read, residual.as_slice());
                add(Write, &[*dx]);
            }
            Op::Relu2Backward { dx, w, h, sumsq, dy, s } => {
                add(Read, &[*dx, *w, *h, *sumsq]);
                add(Write, &[*dy, *s]);
            }
            Op::ProjectionBackward { dx, w, o, d_o, dot, .. } => {
                add(Read, &[*dx, *w, *o]);
                add(Write, &[*d_o, *dot]);
            }
            Op::AttentionBackward { qkv, qk_rstd, lse, d_o, dot, sumsq, dqkv, s, .. } => {
                add(Read, &[*qkv, *qk_rstd, *lse, *d_o, *dot, *sumsq]);
                add(Write, &[*dqkv, *s]);
            }
            Op::WeightGrads { grads, accumulate } => {
                for g in grads {
                    add(Read, &[g.dy, g.x]);
                    add(overwritten(*accumulate), &[g.dw]);
                }
            }
            Op::RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain } => {
                add(Read, &[*dy, *x, *gain, *rstd]);
                add(Write, &[*dx]);
                add(overwritten(*accumulate), &[*dgain]);
            }
            Op::LayerNormBackward { dy, x, gain, mean, rstd, accumulate, dx, dgain, dbias } => {
                add(Read, &[*dy, *x, *gain, *mean, *rstd]);
                add(Write, &[*dx]);
                add(overwritten(*accumulate), &[*dgain, *dbias]);
            }
            Op::EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } => {
                add(Read, &[*ids, *dx, *x, *rstd]);
                if let Some((t, dtime)) = time {
                    add(Read, &[*t]);
                    add(overwritten(*accumulate), &[*dtime]);
                }
                add(overwritten(*accumulate), &[*dtoken]);
            }
            Op::GradNorm { grads, scale, metrics } => {
                add(Read, &[*grads]);
                add(Read, scale.as_slice());
                add(Update, &[*metrics]);
            }
            Op::LossScale { metrics, scale } => {
                add(Read, &[*metrics]);
                add(Update, &[*scale]);
            }
            Op::AdamWStep { grads, metrics, scale, params, m, v, ema, stored, .. } => {
                add(Read, &[*grads, *metrics]);
                add(Read, scale.as_slice());
                add(Update, &[*params, *m, *v]);
                add(Update, ema.as_slice());
                add(Write, stored.as_slice());
            }
            Op::SampleTime { masked, t, .. } => {
                add(Read, &[*masked]);
                add(Write, &[*t]);
            }
            Op::Predict { logits, masked, candidate, confidence, .. } => {
                add(Read, &[*logits, *masked]);
                add(Write, &[*candidate, *confidence]);
            }
            Op::CommitTokens { confidence, commit, x, masked, committed_at, remaining, .. } => {
                add(Read, &[*confidence]);
                match commit {
                    Commit::Candidates { candidate } => add(Read, &[*candidate]),
                    Commit::Truth { target, cross_entropy, nll } => {
                        add(Read, &[*target, *cross_entropy]);
                        add(Update, &[*nll]);
                    }
                }
                add(Update, &[*x, *masked, *committed_at, *remaining]);
            }
        }
        list
    }
}
