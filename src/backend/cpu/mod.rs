//! The reference: every op in plain loops and tiled matrix products, on all cores, with results that do not depend on
//! how many there are (work is cut by shape alone, sums are taken in a fixed order).
//!
//! The residual stream and its gradient are f32; `--dtype bf16` stores everything between them, and the matmuls' copy of
//! the weights, as bf16, and multiplies in bf16 with f32 sums.

mod attention;
mod attention_blocks;
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
mod math;
mod muon;
mod noise;
mod noised;
mod norms;
mod optimizer;
mod relaxed;
mod room;
mod rope;
mod sampling;
mod tiles;
mod vectors;
mod weights;

pub use noise::stratified_level;

use super::{Backend, Fetch, require_corpus};
use crate::data::Corpus;
use crate::error::Result;
use crate::program::{DType, Mat, Op, Plan, Program, ProgramId, Stage, StepArgs, dispatch};
use crate::raw::arena::{Arena, Operands};
use crate::stop::Stop;
use std::collections::HashMap;
use std::sync::Arc;

/// This machine's CPU.
pub struct Cpu {
    plan: Arc<Plan>,
    arena: Arena,
    corpus: Option<Arc<Corpus>>,
    rope: rope::Tables,
    weights: weights::Weights,
    grads: linear::GradMemory,
    /// Which programs are long.
    long: HashMap<ProgramId, bool>,
    stop: Stop,
}

impl Cpu {
    /// Whether the machine has instructions for products of bf16.
    pub(super) fn multiplies_bf16() -> bool {
        crate::raw::cpu::gemm::multiplies_bf16()
    }

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
        let mut arena = Arena::new(&plan);
        for (mat, values) in plan.constants() {
            arena.bytes_mut(*mat).copy_from_slice(bytemuck::cast_slice(values));
        }
        Cpu {
            arena,
            plan,
            corpus: None,
            rope: rope::Tables::default(),
            weights: weights::Weights::default(),
            grads: linear::GradMemory::default(),
            long: HashMap::new(),
            stop: Stop::default(),
        }
    }

    /// Whether a program takes much longer than to hand it to another thread and wait for that: tens of microseconds.
    fn is_long(&mut self, program: &Program) -> bool {
        const LONG: f64 = 2e7;
        let flops = || program.ops.iter().map(|op| op.work(&self.plan).flops).sum::<f64>();
        *self.long.entry(program.id).or_insert_with(|| flops() >= LONG)
    }

    fn run_ops(&mut self, program: &Program, args: &StepArgs) -> Result<()> {
        program.ops.iter().try_for_each(|op| {
            // An update that has begun is finished: the weights of half a step are those of no run.
            if op.stage() != Stage::Update {
                self.stop.check()?;
            }
            self.run_op(op, args)
        })
    }
}

/// What an op is computed with; a method for each op.
struct Context<'a> {
    o: Operands<'a>,
    args: &'a StepArgs,
    corpus: Option<&'a Corpus>,
    rope: Option<&'a rope::Table>,
    weights: &'a mut weights::Weights,
    grads: &'a mut linear::GradMemory,
}

/// The methods of [`Context`] for a family of ops, each from the function that computes it: compiled once for each format
/// that the operand behind `by` may be stored in, or once.
macro_rules! computed {
    ($($name:ident($op:ident) $(by $($by:ident).+)?;)*) => {
        impl Context<'_> {
            $(pub(super) fn $name(&mut self, op: &$op) {
                computed!(@ self op $name $($($by).+)?)
            })*
        }
    };
    (@ $cx:ident $op:ident $name:ident) => {
        $name($cx, $op)
    };
    (@ $cx:ident $op:ident $name:ident $($by:ident).+) => {
        match $cx.o.dtype($op.$($by).+) {
            $crate::program::DType::Bf16 => $name::<half::bf16>($cx, $op),
            _ => $name::<f32>($cx, $op),
        }
    };
}
use computed;

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
        if self.is_long(program) {
            // One of the threads that share the loops shares its own at once; any other waits for them loop by loop.
            return rayon::scope(|_| self.run_ops(program, args));
        }
        self.run_ops(program, args)
    }

    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()> {
        self.corpus = Some(corpus);
        Ok(())
    }

    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()> {
        let contract = op.contract();
        require_corpus(&contract, &self.corpus)?;
        let mut context = Context {
            o: self.arena.open(op),
            args,
            corpus: self.corpus.as_deref(),
            rope: contract.rope.map(|key| self.rope.get(key)),
            weights: &mut self.weights,
            grads: &mut self.grads,
        };
        dispatch!(op => context.name(op));
        let written = contract.operands.iter().filter(|operand| operand.is_output());
        written.for_each(|operand| self.weights.forget(operand.mat.region));
        Ok(())
    }

    fn fetch(&mut self, mat: Mat) -> Result<Box<dyn Fetch>> {
        Ok(Box::new(self.arena.bytes(mat).to_vec()))
    }

    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()> {
        self.arena.bytes_mut(mat).copy_from_slice(bytes);
        self.weights.forget(mat.region);
        Ok(())
    }
}
