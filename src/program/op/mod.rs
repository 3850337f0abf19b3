//! The operations: each a contract one fused kernel wide.
//!
//! Letters: B sequences, T positions, N = B·T rows, C width, H heads, D = C/H, F = 4C, V symbols. Matrices are row-major.
//! `norm(x) = r·x` with `r = (Σx²/C + ε)^-½`, ε = 1.1920929e-7 (RMSNorm without weights, Zhang & Sennrich 2019).
//!
//! **Norms live in the matmuls around them.** Because the norm has no weights, `norm(x) Wᵀ = r·(x Wᵀ)`: the producer of x
//! leaves `sumsq`, its sums of squares per [`SUMSQ_COLS`] columns, and the consumer multiplies its rows by r. Backwards,
//! row-scaled gradients `dY' = r·dY` are stored, so that `dW = dY'ᵀ x` needs no normalised copy and
//! `dx = dY' W - x·(r²·s/C)` with `s = ⟨dY, Y⟩` per row, which the producer of dY' leaves beside it in partial sums.
//!
//! An op is a struct, its fields in the order inputs, constants, outputs. It describes itself once, in a [`Contract`]: the
//! shape and kind of each operand, products, errors. How it is computed is each backend's to say.
//!
//! **A new op** is a struct here and a line in the list below; a function and its line in `backend/cpu`, a method in
//! `backend/cuda/lower`, a kernel and its struct of arguments; a test in `tests/ops`, in its family's file of each; and inputs
//! for it in `check/every`, on which users' cards and the tests of `tests/cuda` try it.
#![allow(missing_docs, reason = "positions, heads and accumulate mean the same in every op")]

mod attention;
mod average;
mod conv;
mod decode;
mod dense;
mod dropout;
mod embed;
mod guidance;
mod head;
mod latents;
mod linear;
mod muon;
mod noise;
mod noised;
mod norms;
mod optimizer;
mod relaxed;
mod sampling;
mod vectors;

use super::{Access, Contract, DType, Kind, Mat, Mixing, Operand, Product};

pub use attention::*;
pub use average::*;
pub use conv::*;
pub use decode::*;
pub use dense::*;
pub use dropout::*;
pub use embed::*;
pub use guidance::*;
pub use head::*;
pub use latents::*;
pub use linear::*;
pub use muon::*;
pub use noise::*;
pub use noised::*;
pub use norms::*;
pub use optimizer::*;
pub use relaxed::*;
pub use sampling::*;
pub use vectors::*;

/// Writes what goes by the list of all ops: the enum, and matches over it.
macro_rules! ops {
    ($d:tt $($stage:ident { $($op:ident $name:ident,)* })*) => {
        /// One operation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $($(#[doc = concat!("`", stringify!($name), "`")] $op($op),)*)*
        }

        $($(impl From<$op> for Op {
            fn from(op: $op) -> Op {
                Op::$op(op)
            }
        })*)*

        impl Op {
            fn entry(&self) -> (&'static str, Stage, &dyn Describe) {
                match self {
                    $($(Op::$op(op) => (stringify!($name), Stage::$stage, op),)*)*
                }
            }
        }

        /// Calls the method of an op's name: `dispatch!(op => backend.name(op))`.
        macro_rules! dispatch {
            ($d op:expr => $d backend:ident.name(op) $d ($d then:tt)*) => {
                match $d op {
                    $($($crate::program::Op::$op(op) => $d backend.$name(op) $d ($d then)*,)*)*
                }
            };
        }
        pub(crate) use dispatch;
    };
}

ops! { $
    Forward {
        Crop crop,
        CountMasked count_masked,
        Corrupt corrupt,
        Shift shift,
        NormalNoise normal_noise,
        UnitRows unit_rows,
        SoftTokens soft_tokens,
        Diffuse diffuse,
        DrawLevels draw_levels,
        DiffuseLatents diffuse_latents,
        LatentInput latent_input,
        VectorInput vector_input,
        Embed embed,
        EmbedPositions embed_positions,
        RmsNorm rms_norm,
        LayerNorm layer_norm,
        ShortConv short_conv,
        Dropout dropout,
        Qkv qkv,
        Attention attention,
        LinearResidual linear_residual,
        LinearRelu2 linear_relu2,
        Linear linear,
        LinearGelu linear_gelu,
        HeadLogits head_logits,
        CrossEntropy cross_entropy,
        HeadLoss head_loss,
        NoisedLoss noised_loss,
        RelaxedLoss relaxed_loss,
        Denoise denoise,
        VectorLoss vector_loss,
        ReadOff read_off,
        DenoiseLatents denoise_latents,
        LatentLoss latent_loss,
        Misread misread,
        LossSum loss_sum,
        SequenceLoss sequence_loss,
        Unprompt unprompt,
        SampleTime sample_time,
        Guide guide,
        Predict predict,
        CommitTokens commit_tokens,
        Renoise renoise,
        RenoiseVectors renoise_vectors,
        RenoiseLatents renoise_latents,
        ReadTokens read_tokens,
        OpenRow open_row,
        LastToken last_token,
        FillCache fill_cache,
        CachedAttention cached_attention,
        AppendToken append_token,
    }
    Backward {
        Clear clear,
        NormLinearBackward norm_linear_backward,
        Relu2Backward relu2_backward,
        LinearBackward linear_backward,
        GeluBackward gelu_backward,
        ProjectionBackward projection_backward,
        AttentionBackward attention_backward,
        ShortConvBackward short_conv_backward,
        WeightGrads weight_grads,
        BiasGrad bias_grad,
        RmsNormBackward rms_norm_backward,
        LayerNormBackward layer_norm_backward,
        EmbedBackward embed_backward,
        EmbedRowsBackward embed_rows_backward,
        DiffuseBackward diffuse_backward,
        LatentsBackward latents_backward,
        SoftTokensBackward soft_tokens_backward,
        EmbedPositionsBackward embed_positions_backward,
    }
    Update {
        GradNorm grad_norm,
        AdamWStep adamw_step,
        MuonMomentum muon_momentum,
        Gram gram,
        NewtonSchulz newton_schulz,
        MuonStep muon_step,
        WeightAverage weight_average,
        LossScale loss_scale,
    }
}

impl Op {
    /// The same word as the functions and the kernel that compute it, its test and its bench.
    pub fn name(&self) -> &'static str {
        self.entry().0
    }

    /// When in a step it runs.
    pub fn stage(&self) -> Stage {
        self.entry().1
    }

    /// All that is to be known of it but how it is computed.
    pub fn contract(&self) -> Contract {
        let mut contract = Contract::default();
        self.entry().2.describe(&mut contract);
        contract
    }

    /// Every matrix that it touches, and how.
    pub fn operands(&self) -> Vec<Operand> {
        self.contract().operands
    }

    /// What tells two ops of one name apart at a glance: `384→1152`, the columns that go into its product and come out; empty
    /// where the name says it all.
    pub fn detail(&self) -> String {
        match self.contract() {
            Contract { detail, products, .. } if detail.is_empty() && products.len() == 1 => {
                format!("{}→{}", products[0].inner, products[0].cols)
            }
            contract => contract.detail,
        }
    }
}

/// What an op says of itself, written into a contract that says nothing yet.
trait Describe {
    fn describe(&self, contract: &mut Contract);
}

/// Part of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the data to the loss.
    Forward,
    /// From the loss to gradients.
    Backward,
    /// From gradients to weights: once begun it is finished, because the weights of half a step are those of no run.
    Update,
}

/// What becomes of what the output held before: replaced by a step's first micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// It is replaced.
    Overwrite,
    /// The result is added to it.
    Add,
}

impl Accumulate {
    fn access(self) -> Access {
        match self {
            Accumulate::Overwrite => Access::Write,
            Accumulate::Add => Access::Update,
        }
    }
}
