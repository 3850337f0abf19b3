//! The operations: each a contract one fused kernel wide.
//!
//! Letters: B sequences, T positions, N = B·T rows, C width, H heads, D = C/H, F = 4C, V symbols. Matrices are row-major.
//! `norm(x) = r·x` with `r = (Σx²/C + ε)^-½`, ε = 1.1920929e-7 (RMSNorm without weights, Zhang & Sennrich 2019).
//!
//! **Norms live in the matmuls around them.** Because the norm has no weights, `norm(x) Wᵀ = r·(x Wᵀ)`: the producer of x
//! leaves `sumsq`, its sums of squares per [`SUMSQ_COLS`] columns, and the consumer multiplies its rows by r. Backwards,
//! row-scaled gradients `dY' = r·dY` are stored, so that `dW = dY'ᵀ x` needs no normalised copy and
//! `dx = dY' W - x·(r²·s/C)` with `s = ⟨dY, Y⟩` per row, which the producer of dY' leaves beside it in partial sums.

use super::Mat;
use crate::config::Sampler;
use std::ops::Range;

/// Columns that one partial sum of squares covers; the last may cover fewer.
pub const SUMSQ_COLS: usize = 128;

/// ε of every `norm(x)`: the machine epsilon of f32, PyTorch's default.
pub const NORM_EPS: f32 = 1.192_092_9e-7;

/// Which positions a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionMask {
    /// All of its sequence.
    Bidirectional,
    /// Itself and what stands before it.
    Causal,
}

/// What is known of the scores `q kᵀ/√D` of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Queries and keys are normed per head: no score is beyond ±√D, and no row maximum is needed to keep their
    /// exponentials in range.
    Bounded,
    /// Nothing.
    Free,
}

/// What becomes of what the output held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// It is replaced.
    Overwrite,
    /// The result is added to it.
    Add,
}

/// Which of the two families of random streams is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// `Stream::{Level, Mask}`, step = training step.
    Train,
    /// `Stream::{EvalLevel, EvalMask}`, step = pass.
    Eval,
}

/// Where windows of the corpus start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crop {
    /// Uniformly at random (`Stream::Crop`) among all windows within this range of positions.
    Random(Range<u64>),
    /// Window i = `args.sequence + b` of a fixed number, evenly spaced: it starts at
    /// `start + ⌊i·(end - start - T)/(windows - 1)⌋`; i beyond the last counts as the last.
    Spaced {
        /// Positions that the windows lie in.
        range: Range<u64>,
        /// How many there are.
        windows: u32,
    },
}

/// How a sequence's noise level u in [0, 1) is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Each sequence by itself.
    Independent,
    /// Low-discrepancy: (u₀ + g/G) mod 1 for sequence g of the G of the whole batch (Shi et al., MD4, 2024).
    Stratified {
        /// G: sequences of the whole batch, all micro-batches together.
        of: u32,
    },
    /// The same over all passes of an evaluation: (u₀ + (pass·W + w)/(W·P)) mod 1 with one u₀, pass = `args.step` mod P:
    /// a window's levels lie 1/P apart, and all levels together are evenly spaced.
    Spread {
        /// W.
        windows: u32,
        /// P.
        passes: u32,
    },
}

/// What a token becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// This symbol, the mask: absorbing noise (D3PM, Austin et al. 2021).
    Mask(u32),
    /// A symbol drawn uniformly from 0..this, the token itself among them: uniform noise (ibid.). Word 1 of the position's
    /// random words is multiplied by the number of symbols, and the high half of the product is the symbol.
    Uniform(u32),
}

/// Weight of a masked token's cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// -α'/(1-α): the loss estimates the NELBO per symbol.
    Nelbo,
    /// The same for every masked token: their expected mean cross-entropy.
    Simple,
}

/// How tokens are masked and weighted. α(u) is the probability to keep a token at level u, μ = 1 - α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// The original's: timestep t uniform in 0..timesteps, masked with probability (t+1)/timesteps; the weight is
    /// `1 / masked tokens of the whole batch`, read from `inv_count`.
    Timesteps {
        /// The model's number of timesteps.
        timesteps: u32,
        /// `[1, 1]`: one over the masked tokens of the whole batch, from [`Op::CountMasked`].
        inv_count: Mat,
    },
    /// Continuous time: level u, each token masked with probability μ(u) (MDLM, Sahoo et al. 2024).
    Continuous {
        /// α as a function of the level.
        schedule: crate::config::Schedule,
        /// Weight of a masked token, before division by the tokens of the whole batch.
        weighting: Weighting,
    },
    /// Exactly k of the L maskable tokens, k = 1 + ⌊u·L⌋; weight L/k: the NELBO without its binomial noise.
    ExactCount,
}

/// One weight gradient of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightGrad {
    /// `[N, out]`, row-scaled where a norm stood before the matmul.
    pub dy: Mat,
    /// `[N, in]`, the matmul's input before the norm.
    pub x: Mat,
    /// `[out, in]`.
    pub dw: Mat,
}

/// Which timestep a denoising step feeds to a model with a time embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrder {
    /// The one whose training noise matches the fraction still masked.
    Masked {
        /// Positions that can be masked: T less the context that training never masks.
        maskable: u32,
    },
    /// The original's: the number of the denoising step, 0 first, although in training 0 meant nearly clean.
    Original,
}

/// How a candidate token is taken from a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The most probable symbol, the lowest id among equals.
    Greedy,
    /// Drawn from `softmax(logits/temperature)`, of the smallest set of most probable symbols that holds `top_p` of it.
    Sample {
        /// Above 0; towards 0 it becomes [`Choice::Greedy`].
        temperature: f32,
        /// In (0, 1]; 1 keeps every symbol.
        top_p: f32,
    },
}

/// What [`Op::CommitTokens`] leaves in `remaining` of a text whose model predicts what is not a number.
pub const BROKEN: u32 = u32::MAX;

/// Which masked positions a denoising step commits. Ties go to the lower position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// All whose confidence is at least this, and always the most confident one (Fast-dLLM, Wu et al. 2025).
    Threshold(f32),
    /// The k most confident (LLaDA, Nie et al. 2025).
    TopK(u32),
    /// Each with probability (α_s - α_t)/(1 - α_t), given as `StepArgs::reveal` (MDLM's posterior, Sahoo et al. 2024).
    Ancestral,
}

impl From<Sampler> for Policy {
    fn from(sampler: Sampler) -> Self {
        match sampler {
            Sampler::Threshold(least) => Policy::Threshold(least),
            Sampler::TopK(k) => Policy::TopK(k),
            Sampler::Ancestral { .. } => Policy::Ancestral,
        }
    }
}

/// What a denoising step writes for the positions it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The candidates.
    Candidates {
        /// `[B, T]` u32 from [`Op::Predict`].
        candidate: Mat,
    },
    /// The true tokens, and adds their cross-entropy to the sequence's sum: the exact likelihood of a deterministic
    /// policy (DUEL, 2026).
    Truth {
        /// `[B, T]` u32.
        target: Mat,
        /// `[N, 1]` -log p(target).
        cross_entropy: Mat,
        /// `[B, 1]`, added to.
        nll: Mat,
    },
}

/// Steps with finite gradients after which the loss scale is doubled, as PyTorch's `GradScaler` does.
pub const SCALE_GROWTH_STEPS: f32 = 2000.0;

/// The largest loss scale: gradients of a mean over a large batch are small, but not that small.
pub const MAX_LOSS_SCALE: f32 = 16_777_216.0;

/// Constants of AdamW (Loshchilov & Hutter 2019), as PyTorch has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled: p shrinks by lr·weight_decay.
    pub weight_decay: f32,
    /// The gradient is scaled down to this global norm; `f32::INFINITY` for never.
    pub clip: f32,
}

/// One operation. Fields in the order inputs, constants, outputs; dtypes are those of the regions unless said.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Cuts windows from the corpus: `x0[b] = corpus[start_b .. start_b + T]`.
    Crop {
        /// Where they start.
        crop: Crop,
        /// `[B, T]` u32.
        x0: Mat,
    },
    /// `inv_count = 1 / max(1, masked tokens of the whole batch)`: replays the draws of [`Op::Corrupt`] under
    /// `Noise::Timesteps` for every micro-batch, which is possible because they are pure functions of (seed, step).
    CountMasked {
        /// T.
        positions: u32,
        /// Positions from 0 that are never masked.
        context: u32,
        /// Sequences of the whole batch.
        sequences: u32,
        /// Number of timesteps.
        timesteps: u32,
        /// `[1, 1]`.
        inv_count: Mat,
    },
    /// Corrupts, or masks: `xt = m ? corruption : x0`, with each sequence's timestep for models that want it and each row's
    /// weight in the loss (0 where not m), normalised over `sequences·(T - context)` tokens.
    Corrupt {
        /// `[B, T]` u32.
        x0: Mat,
        /// What is masked and how it counts.
        noise: Noise,
        /// How noise levels are drawn.
        level: Level,
        /// Which streams are drawn from.
        streams: Streams,
        /// Positions from 0 that are never masked.
        context: u32,
        /// What such a token becomes.
        corruption: Corruption,
        /// Sequences of the whole batch, for the weight's denominator.
        sequences: u32,
        /// Timesteps of the model's time embedding, 0 for none.
        timesteps: u32,
        /// `[B, T]` u32.
        xt: Mat,
        /// `[B, 1]` u32: the timestep whose mask rate is nearest above; 0 without a time embedding.
        t: Mat,
        /// `[N, 1]` f32.
        weight: Mat,
    },
    /// Standard normals: element (b, p, c) is number `e mod 4` of [`normals`](crate::rng::normals) with e = p·C + c.
    /// Draws: `Stream::Noise`, step = `args.step`·2³² + sequence, index = ⌊e/4⌋, sequence = `args.sequence + b`: a
    /// sequence's noise does not depend on the batch that it is in.
    NormalNoise {
        /// T.
        positions: u32,
        /// `[N, C]` f32.
        out: Mat,
    },
    /// `e = token[ids] + time[t]`, `x = norm(e)`.
    Embed {
        /// `[B, T]` u32.
        ids: Mat,
        /// `[B, 1]` u32 timesteps and the `[timesteps, C]` table.
        time: Option<(Mat, Mat)>,
        /// `[V, C]` table.
        token: Mat,
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]` sums of squares of x.
        sumsq: Mat,
        /// `[N, 1]` r of e, for the backward.
        rstd: Mat,
    },
    /// `rstd = (Σx²/C + ε)^-½`, `y = x·rstd·gain`: RMSNorm with weights (Zhang & Sennrich 2019, eq. 4, with ε). x, gain and
    /// y are each in the format of its own region.
    RmsNorm {
        /// `[N, C]`.
        x: Mat,
        /// `[1, C]`.
        gain: Mat,
        /// ε.
        eps: f32,
        /// `[N, C]`.
        y: Mat,
        /// `[N, 1]` f32, for the backward.
        rstd: Mat,
    },
    /// `mean = Σx/C`, `rstd = (Σ(x - mean)²/C + ε)^-½`, `y = (x - mean)·rstd·gain + bias` (Ba et al. 2016, eq. 3 and 4,
    /// with ε). x, gain, bias and y are each in the format of its own region.
    LayerNorm {
        /// `[N, C]`.
        x: Mat,
        /// `[1, C]`.
        gain: Mat,
        /// `[1, C]`.
        bias: Mat,
        /// ε.
        eps: f32,
        /// `[N, C]`.
        y: Mat,
        /// `[N, 1]` f32, for the backward.
        mean: Mat,
        /// `[N, 1]` f32, for the backward.
        rstd: Mat,
    },
    /// `y = r·(x Wᵀ)`, split into q, k, v; RoPE on q and k (half split, base 10000), then norm over each head.
    Qkv {
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[3C, C]`: q, k, v stacked.
        w: Mat,
        /// T, for RoPE's positions.
        positions: u32,
        /// H.
        heads: u32,
        /// `[N, 3C]`: q | k | v, a head's D columns together.
        qkv: Mat,
        /// `[N, 2H]`: r of each head's q, then of each head's k, before that last norm.
        qk_rstd: Mat,
    },
    /// `o = softmax(q kᵀ/√D) v` per head; `lse = ln Σ exp(q kᵀ/√D)`.
    Attention {
        /// `[N, 3C]`.
        qkv: Mat,
        /// T.
        positions: u32,
        /// H.
        heads: u32,
        /// Who sees whom.
        mask: AttentionMask,
        /// What is known of q kᵀ/√D.
        scores: Scores,
        /// `[N, C]`.
        o: Mat,
        /// `[N, H]`.
        lse: Mat,
    },
    /// `out = residual + a Wᵀ`, and the sums of squares of `out` as stored.
    LinearResidual {
        /// `[N, in]`.
        a: Mat,
        /// `[C, in]`.
        w: Mat,
        /// `[N, C]`.
        residual: Mat,
        /// `[N, C]`.
        out: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
    },
    /// `h = relu(r·(x Wᵀ))²` (So et al., Primer, 2021).
    LinearRelu2 {
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[F, C]`.
        w: Mat,
        /// `[N, F]`.
        h: Mat,
    },
    /// `logits = r·(x Wᵀ)`.
    HeadLogits {
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[V, C]`.
        w: Mat,
        /// `[N, V]` f32.
        logits: Mat,
    },
    /// `p = softmax(logits)` without symbol `drop`; `cross_entropy = -ln p[target]`.
    CrossEntropy {
        /// `[N, V]` f32.
        logits: Mat,
        /// `[N, 1]` u32.
        target: Mat,
        /// A symbol of probability 0: the mask (the zero masking probability of SUBS, MDLM section 3.2.3).
        drop: Option<u32>,
        /// `[N, 1]` f32.
        cross_entropy: Mat,
    },
    /// [`Op::HeadLogits`] and [`Op::CrossEntropy`] in one, and their backward without the logits ever being stored:
    /// `d = scale·weight·(p - onehot(target))`, `dlogits = r·d`, `s = ⟨d, logits⟩`.
    HeadLoss {
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[V, C]`.
        w: Mat,
        /// `[N, 1]` u32.
        target: Mat,
        /// `[N, 1]` f32; 0 for rows that do not count.
        weight: Mat,
        /// `[1, 2]` f32: the loss scale and its age, if gradients have one ([`Op::LossScale`]).
        scale: Option<Mat>,
        /// As in [`Op::CrossEntropy`].
        drop: Option<u32>,
        /// `[N, 1]` f32, not weighted.
        cross_entropy: Mat,
        /// `[N, V]`.
        dlogits: Mat,
        /// `[N, 1]` f32.
        s: Mat,
    },
    /// `metrics[step mod rows] (+)= [Σ weight·cross_entropy, rows with a weight]`, in row order.
    LossSum {
        /// `[N, 1]` f32.
        cross_entropy: Mat,
        /// `[N, 1]` f32.
        weight: Mat,
        /// Whether this is the step's first micro-batch.
        accumulate: Accumulate,
        /// `[ring, 4]` f32: loss, masked tokens, gradient norm, loss scale.
        metrics: Mat,
    },
    /// `sums[b] = [Σ cross_entropy over rows with a weight, their number]`.
    SequenceLoss {
        /// `[N, 1]` f32.
        cross_entropy: Mat,
        /// `[N, 1]` f32.
        weight: Mat,
        /// `[B, 2]` f32.
        sums: Mat,
    },
    /// Backward of a norm and a matmul: `dx = [residual +] dy W - x·(r²·Σs/C)`, r of x.
    NormLinearBackward {
        /// `[N, out]`, row-scaled.
        dy: Mat,
        /// `[out, C]`.
        w: Mat,
        /// `[N, C]`.
        x: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[N, any]` f32 partial sums of s.
        s: Mat,
        /// `[N, C]`: the gradient that goes around the branch.
        residual: Option<Mat>,
        /// `[N, C]`.
        dx: Mat,
    },
    /// Backward of `h W₂ᵀ` and [`Op::LinearRelu2`]'s square: `dh = dx W₂`, `dy = r·dh·2√h`, `s = Σ 2·dh·h` per 128
    /// columns; r of the x that h was made from.
    Relu2Backward {
        /// `[N, C]`: gradient of the branch's output.
        dx: Mat,
        /// `[C, F]`.
        w: Mat,
        /// `[N, F]`.
        h: Mat,
        /// `[N, ⌈C/128⌉]`.
        sumsq: Mat,
        /// `[N, F]`.
        dy: Mat,
        /// `[N, ⌈F/128⌉]` f32.
        s: Mat,
    },
    /// Backward of the attention's output projection: `do = dx W`, `dot = Σ_D do·o` per head (FlashAttention-2's D).
    ProjectionBackward {
        /// `[N, C]`: gradient of the branch's output.
        dx: Mat,
        /// `[C, C]`.
        w: Mat,
        /// `[N, C]`.
        o: Mat,
        /// H.
        heads: u32,
        /// `[N, C]`.
        d_o: Mat,
        /// `[N, H]` f32.
        dot: Mat,
    },
    /// Backward of [`Op::Attention`] and of [`Op::Qkv`]'s head norm and RoPE. With q̂ = rope(q)·r_q:
    /// `d rope(q) = r_q·(dq̂ - q̂·⟨dq̂, q̂⟩/D)`, rotated back; `dqkv = r·[dq | dk | dv]`;
    /// `s = ⟨dv, v⟩ + ε·(r_q²·⟨dq̂, q̂⟩ + r_k²·⟨dk̂, k̂⟩)` per head.
    AttentionBackward {
        /// `[N, 3C]`.
        qkv: Mat,
        /// `[N, 2H]`.
        qk_rstd: Mat,
        /// `[N, H]`.
        lse: Mat,
        /// `[N, C]`.
        d_o: Mat,
        /// `[N, H]`.
        dot: Mat,
        /// `[N, ⌈C/128⌉]` of the x that qkv was made from.
        sumsq: Mat,
        /// T.
        positions: u32,
        /// H.
        heads: u32,
        /// Who sees whom.
        mask: AttentionMask,
        /// `[N, 3C]`.
        dqkv: Mat,
        /// `[N, H]` f32.
        s: Mat,
    },
    /// `dw (+)= dyᵀ x` for each of a group, rows summed in a fixed order.
    WeightGrads {
        /// The group.
        grads: Vec<WeightGrad>,
        /// Whether this is the step's first micro-batch.
        accumulate: Accumulate,
    },
    /// Backward of [`Op::RmsNorm`]: `dx = rstd·(dy·gain - x·rstd²·⟨dy·gain, x⟩/C)`, `dgain (+)= Σ dy·x·rstd` over rows in
    /// a fixed order.
    RmsNormBackward {
        /// `[N, C]`.
        dy: Mat,
        /// `[N, C]`.
        x: Mat,
        /// `[1, C]`.
        gain: Mat,
        /// `[N, 1]` f32.
        rstd: Mat,
        /// Whether this is the step's first micro-batch.
        accumulate: Accumulate,
        /// `[N, C]`.
        dx: Mat,
        /// `[1, C]` f32.
        dgain: Mat,
    },
    /// Backward of [`Op::LayerNorm`]. With `x̂ = (x - mean)·rstd` and `g = dy·gain`:
    /// `dx = rstd·(g - Σg/C - x̂·⟨g, x̂⟩/C)`; `dgain (+)= Σ dy·x̂` and `dbias (+)= Σ dy` over rows in a fixed order.
    LayerNormBackward {
        /// `[N, C]`.
        dy: Mat,
        /// `[N, C]`.
        x: Mat,
        /// `[1, C]`.
        gain: Mat,
        /// `[N, 1]` f32.
        mean: Mat,
        /// `[N, 1]` f32.
        rstd: Mat,
        /// Whether this is the step's first micro-batch.
        accumulate: Accumulate,
        /// `[N, C]`.
        dx: Mat,
        /// `[1, C]` f32.
        dgain: Mat,
        /// `[1, C]` f32.
        dbias: Mat,
    },
    /// Backward of [`Op::Embed`]: `de = rstd·(dx - x·⟨dx, x⟩/C)`; `dtoken[v] (+)= Σ de` over rows with id v, and
    /// likewise `dtime`, in row order.
    EmbedBackward {
        /// `[B, T]` u32.
        ids: Mat,
        /// `[B, 1]` u32 timesteps and the `[timesteps, C]` gradient.
        time: Option<(Mat, Mat)>,
        /// `[N, C]`.
        dx: Mat,
        /// `[N, C]`.
        x: Mat,
        /// `[N, 1]`.
        rstd: Mat,
        /// Whether this is the step's first micro-batch.
        accumulate: Accumulate,
        /// `[V, C]`.
        dtoken: Mat,
    },
    /// `metrics[step mod rows][2..4] = [√Σ(g/scale)², scale]`.
    GradNorm {
        /// `[1, params]` f32.
        grads: Mat,
        /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
        scale: Option<Mat>,
        /// `[ring, 4]` f32.
        metrics: Mat,
    },
    /// The dynamic loss scale of half-precision gradients (Micikevicius et al., "Mixed Precision Training", 2018):
    /// `scale = [S, age]`. After a step whose gradient norm is finite, age += 1, and at [`SCALE_GROWTH_STEPS`]
    /// `[min(2S, MAX_LOSS_SCALE), 0]`; after one whose is not, `[max(S/2, 1), 0]`.
    LossScale {
        /// `[ring, 4]` f32, for the norm that [`Op::GradNorm`] left.
        metrics: Mat,
        /// `[1, 2]` f32, updated.
        scale: Mat,
    },
    /// One AdamW step on all parameters, with the gradient divided by `scale` and multiplied by
    /// `min(1, clip/(norm + 10⁻⁶))`, as PyTorch does; then `ema = decay·ema + (1-decay)·p`, and `stored` = p in the
    /// activations' dtype. Where the norm is not finite, all stays as it is.
    AdamWStep {
        /// `[1, params]` f32.
        grads: Mat,
        /// `[ring, 4]` f32, for the norm that [`Op::GradNorm`] left.
        metrics: Mat,
        /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
        scale: Option<Mat>,
        /// Constants.
        adamw: AdamW,
        /// `[1, params]` f32 parameters.
        params: Mat,
        /// `[1, params]` f32 first moment.
        m: Mat,
        /// `[1, params]` f32 second moment.
        v: Mat,
        /// `[1, params]` f32 average of the parameters.
        ema: Option<Mat>,
        /// `[1, params]` copy for the matmuls, where they read another dtype.
        stored: Option<Mat>,
    },
    /// `t[b]` from the number of masked positions, or from the step.
    SampleTime {
        /// `[B, T]` u32, 1 where masked.
        masked: Mat,
        /// How.
        order: TimeOrder,
        /// Timesteps of the model.
        timesteps: u32,
        /// `[B, 1]` u32.
        t: Mat,
    },
    /// A candidate for every masked position, and its confidence: its probability under `softmax(logits/confidence_at)`
    /// without `drop`, before any truncation. The temperature of a draw does not enter into the confidence, so that no
    /// draw makes a model surer than it is. Draws: `Stream::Reveal`, step = sequence·2³² + `args.step`, index = position,
    /// word 1. A draw is the first symbol at which the kept symbols' share of the probability, summed by descending
    /// probability (the lower id first among equals) where `top_p` < 1 and by id where it is 1, exceeds u. Exponents are
    /// `(logit - largest)/temperature`: no temperature makes them overflow. Where nothing is masked both outputs are 0;
    /// where logits are not numbers, or infinite, the candidate is 0 and the confidence NaN.
    Predict {
        /// `[N, V]` f32.
        logits: Mat,
        /// `[B, T]` u32, 1 where masked.
        masked: Mat,
        /// A symbol that is never a candidate.
        drop: Option<u32>,
        /// How.
        choice: Choice,
        /// Temperature of the confidence: 1 for the model's own probability. Above 0.
        confidence_at: f32,
        /// `[B, T]` u32.
        candidate: Mat,
        /// `[B, T]` f32.
        confidence: Mat,
    },
    /// Commits some of the masked positions for good: writes their tokens, clears their mask, notes the step. Where the
    /// confidence of a masked position is NaN, nothing is committed, in this step and in all later ones, and `remaining`
    /// says [`BROKEN`].
    CommitTokens {
        /// `[B, T]` f32.
        confidence: Mat,
        /// Which.
        policy: Policy,
        /// What.
        commit: Commit,
        /// `[B, T]` u32, updated.
        x: Mat,
        /// `[B, T]` u32, updated.
        masked: Mat,
        /// `[B, T]` u32: the step that committed a position, updated.
        committed_at: Mat,
        /// `[B, 1]` u32: positions still masked, or [`BROKEN`]; updated.
        remaining: Mat,
    },
}
