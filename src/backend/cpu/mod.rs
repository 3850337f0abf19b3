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
use crate::program::{DType, Mat, Op, Plan, Program, Stage, StepArgs};
use crate::raw::arena::{Arena, Operands};
use crate::raw::cpu::gemm::Panels;
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
        format!("cpu, {} threads, {}", rayon::current_num_threads(), crate::raw::cpu::gemm::describe())
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
            if op.contract().stage() != Stage::Update {
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
        self.rope.prepare(op.contract());
        let o: &Operands<'_> = &self.arena.open(op);
        let panels = &mut self.panels;
        match op {
            Op::Crop(op) => {
                let corpus = self.corpus.as_deref().ok_or_else(|| Error::input("no corpus is bound to crop from"))?;
                noise::crop(o, corpus, args, op);
            }
            Op::CountMasked(op) => noise::count_masked(o, args, op),
            Op::Corrupt(op) => noise::corrupt(o, args, op),
            Op::NormalNoise(op) => noise::normal_noise(o, args, op),
            Op::Embed(op) => typed!(o, op.token, embed::embed(op)),
            Op::EmbedBackward(op) => embed::embed_backward(o, op),
            Op::RmsNorm(op) => typed!(o, op.y, norms::rms_norm(op)),
            Op::RmsNormBackward(op) => typed!(o, op.dx, norms::rms_norm_backward(op)),
            Op::LayerNorm(op) => typed!(o, op.y, norms::layer_norm(op)),
            Op::LayerNormBackward(op) => typed!(o, op.dx, norms::layer_norm_backward(op)),
            Op::Qkv(op) => typed!(o, op.w, linear::qkv(panels, self.rope.of(op), op)),
            Op::LinearResidual(op) => typed!(o, op.w, linear::linear_residual(panels, op)),
            Op::LinearRelu2(op) => typed!(o, op.w, linear::linear_relu2(panels, op)),
            Op::NormLinearBackward(op) => typed!(o, op.w, linear::norm_linear_backward(panels, op)),
            Op::Relu2Backward(op) => typed!(o, op.w, linear::relu2_backward(panels, op)),
            Op::ProjectionBackward(op) => typed!(o, op.w, linear::projection_backward(panels, op)),
            Op::WeightGrads(op) => linear::weight_grads(o, &mut self.grads, op),
            Op::Attention(op) => typed!(o, op.qkv, attention::attention(op)),
            Op::AttentionBackward(op) => typed!(o, op.qkv, attention::attention_backward(self.rope.of(op), op)),
            Op::HeadLogits(op) => typed!(o, op.w, head::head_logits(panels, op)),
            Op::CrossEntropy(op) => head::cross_entropy(o, op),
            Op::HeadLoss(op) => typed!(o, op.w, head::head_loss(panels, op)),
            Op::LossSum(op) => head::loss_sum(o, args, op),
            Op::SequenceLoss(op) => head::sequence_loss(o, op),
            Op::GradNorm(op) => optimizer::grad_norm(o, args, op),
            Op::LossScale(op) => optimizer::loss_scale(o, args, op),
            Op::AdamWStep(op) => optimizer::adamw_step(o, args, op),
            Op::SampleTime(op) => sampling::sample_time(o, args, op),
            Op::Predict(op) => sampling::predict(o, args, op),
            Op::CommitTokens(op) => sampling::commit_tokens(o, args, op),
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
