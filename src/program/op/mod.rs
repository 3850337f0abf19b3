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
//! An op is a struct, its fields in the order inputs, constants, outputs; dtypes are those of the regions unless said. What
//! is to be known of it stands in its [`Contract`]; how it is computed, in each backend.
#![allow(missing_docs, reason = "positions, heads and accumulate mean the same in every op")]

mod attention;
mod embed;
mod head;
mod linear;
mod noise;
mod norms;
mod optimizer;
mod sampling;

use super::operand::{Access, Kind, Operand, OperandList};
use super::{DType, Mat, Plan};

pub use attention::*;
pub use embed::*;
pub use head::*;
pub use linear::*;
pub use noise::*;
pub use norms::*;
pub use optimizer::*;
pub use sampling::*;

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
            fn entry(&self) -> (&'static str, Stage, &dyn Contract) {
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
        NormalNoise normal_noise,
        Embed embed,
        RmsNorm rms_norm,
        LayerNorm layer_norm,
        Qkv qkv,
        Attention attention,
        LinearResidual linear_residual,
        LinearRelu2 linear_relu2,
        HeadLogits head_logits,
        CrossEntropy cross_entropy,
        HeadLoss head_loss,
        LossSum loss_sum,
        SequenceLoss sequence_loss,
        SampleTime sample_time,
        Predict predict,
        CommitTokens commit_tokens,
    }
    Backward {
        NormLinearBackward norm_linear_backward,
        Relu2Backward relu2_backward,
        ProjectionBackward projection_backward,
        AttentionBackward attention_backward,
        WeightGrads weight_grads,
        RmsNormBackward rms_norm_backward,
        LayerNormBackward layer_norm_backward,
        EmbedBackward embed_backward,
    }
    Update {
        GradNorm grad_norm,
        AdamWStep adamw_step,
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
    pub fn contract(&self) -> &dyn Contract {
        self.entry().2
    }

    /// Every matrix that the op touches, and how. Backends hand out memory by this list; lockstep compares by it.
    pub fn operands(&self) -> Vec<Operand> {
        let mut list = OperandList::default();
        self.contract().operands(&mut list);
        list.0
    }

    /// What makes the op unfit to be run: an operand's shape or dtype, or one that is written and touched as another too.
    pub(super) fn fault(&self, plan: &Plan) -> Option<String> {
        let list = self.operands();
        let wrong = list.iter().find_map(|operand| operand.fault(plan.dtype(operand.mat)));
        let overlap = || {
            let outputs = list.iter().enumerate().filter(|(_, operand)| operand.is_output());
            let mut pairs = outputs.flat_map(|(i, a)| list.iter().enumerate().map(move |(j, b)| (i != j, a, b)));
            let (_, a, b) = pairs.find(|(differ, a, b)| *differ && a.mat.overlaps(b.mat))?;
            Some(format!("{} {:?} overlaps {} {:?}", a.name, a.mat, b.name, b.mat))
        };
        wrong.or_else(overlap).or_else(|| self.contract().fault())
    }
}

/// All that is to be known of an op but how it is computed.
pub trait Contract {
    /// Its matrices: name, access, shape and kind of each.
    fn operands(&self, o: &mut OperandList);

    /// Matrix products that it cannot avoid.
    fn products(&self) -> Vec<Product> {
        Vec::new()
    }

    /// What tells two ops of one name apart at a glance: `384→1152`, the columns that go into its product and come out; empty
    /// where the name says it all.
    fn detail(&self) -> String {
        match &self.products()[..] {
            [product] => format!("{}→{}", product.inner, product.cols),
            _ => String::new(),
        }
    }

    /// Whether all devices compute the same bits: what is drawn, masked and committed is no matter of rounding.
    fn is_exact(&self) -> bool {
        false
    }

    /// Whether it reads the corpus.
    fn reads_corpus(&self) -> bool {
        false
    }

    /// T and D of the table of RoPE's angles that it reads.
    fn rope(&self) -> Option<(u32, usize)> {
        None
    }

    /// What is wrong with it that its operands' shapes cannot say.
    fn fault(&self) -> Option<String> {
        None
    }

    /// How often it rounds to the stored dtype on the way to an output.
    fn roundings(&self) -> f64 {
        1.0
    }

    /// Relative error of an output beyond that, in units of the stored dtype's rounding, and why:
    /// [`lockstep`](mod@crate::backend) has the reasons. `wide`: a factor is stored in more bits than products are made in.
    fn units(&self, wide: bool, _output: DType) -> f64 {
        f64::from(wide)
    }

    /// Whether its outputs, apart from ids, are numbers that each mean something else, and not elements of a matrix.
    fn are_scalars(&self) -> bool {
        false
    }

    /// Whether its sums are taken in double precision.
    fn sums_in_double(&self) -> bool {
        false
    }
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

/// A matrix product `[rows, inner] × [inner, cols]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    pub rows: usize,
    pub inner: usize,
    pub cols: usize,
    /// How much of it is wanted: less than 1 under a causal mask.
    pub share: f64,
    /// The stored activations and gradients in it.
    pub factors: Vec<Mat>,
}

impl Product {
    /// All of a matrix times another of `cols` columns.
    fn of(x: Mat, cols: usize) -> Self {
        Product { rows: x.rows, inner: x.cols, cols, share: 1.0, factors: vec![x] }
    }

    /// Multiplications and additions.
    pub fn flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.inner as f64 * self.cols as f64 * self.share
    }
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

fn partial_sequences(rows: usize, positions: usize) -> Option<String> {
    (!rows.is_multiple_of(positions)).then(|| format!("{rows} rows are not whole sequences of {positions}"))
}

fn uneven_heads([rows, width]: [usize; 2], positions: u32, heads: u32) -> Option<String> {
    let uneven = !width.is_multiple_of(2 * heads as usize);
    partial_sequences(rows, positions as usize)
        .or_else(|| uneven.then(|| format!("{heads} heads do not divide {width} columns into even parts")))
}
