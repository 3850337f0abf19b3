//! Memory and random inputs for ops that stand alone. Every matrix has its own 256-byte lines, and behind it a band that
//! nothing ever writes: a kernel that reads it is found out by the sanitizers, one that writes it by the comparison of all
//! memory.

use crate::chance::seed;
use crate::watch::Watch;
use std::sync::Arc;
use tempest::data::Corpus;
use tempest::program::{Builder, DType, Mat, Op, Persistence, Plan, RegionId, StepArgs, sumsq_slots};
use tempest::rng::{Stream, normals, philox};

/// Ops in the making.
pub(crate) struct Harness {
    plan: Plan,
    stored: RegionId,
    floats: RegionId,
    ids: RegionId,
    inputs: Vec<(Mat, Input)>,
    ops: Vec<Op>,
    draws: u32,
    matrices: usize,
    skewed: Option<usize>,
    pub(crate) args: StepArgs,
    pub(crate) corpus: Option<Arc<Corpus>>,
}

enum Input {
    Numbers(Vec<f32>),
    Ids(Vec<u32>),
}

impl Harness {
    pub(crate) fn new(dtype: DType) -> Self {
        Self::skewed(dtype, None)
    }

    /// One of whose matrices, by its number, starts in the middle of what an access of 16 bytes moves.
    pub(crate) fn skewed(dtype: DType, skewed: Option<usize>) -> Self {
        let mut plan = Plan::new();
        let stored = plan.region("stored", dtype, Persistence::Kept);
        let floats = plan.region("floats", DType::F32, Persistence::Kept);
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let args = StepArgs { seed: 11 + seed(), step: 3, sequence: 2, ..StepArgs::default() };
        let (inputs, ops) = (Vec::new(), Vec::new());
        Harness { plan, stored, floats, ids, inputs, ops, draws: 0, matrices: 0, skewed, args, corpus: None }
    }

    fn alloc(&mut self, region: RegionId, rows: usize, cols: usize) -> Mat {
        let is_skewed = self.skewed == Some(self.matrices);
        self.matrices += 1;
        let mat = if is_skewed {
            self.plan.alloc_packed(region, 1, 1);
            self.plan.alloc_packed(region, rows, cols)
        } else {
            self.plan.alloc(region, rows, cols)
        };
        self.plan.alloc(region, 1, 67);
        mat
    }

    /// How many matrices there are.
    pub(crate) fn matrices(&self) -> usize {
        self.matrices
    }

    /// An output in the stored dtype.
    pub(crate) fn stored_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.alloc(self.stored, rows, cols)
    }

    /// An f32 output.
    pub(crate) fn float_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.alloc(self.floats, rows, cols)
    }

    /// An output of ids.
    pub(crate) fn ids_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.alloc(self.ids, rows, cols)
    }

    /// Normal numbers.
    pub(crate) fn normals(&mut self, n: usize, std: f32) -> Vec<f32> {
        self.draws += 1;
        let step = u64::from(self.draws);
        let numbers = (0..n.div_ceil(4)).flat_map(|i| normals(philox(77 + seed(), Stream::Init, step, i as u32)));
        numbers.take(n).map(|z| z * std).collect()
    }

    /// Normal numbers in the stored dtype.
    pub(crate) fn stored(&mut self, rows: usize, cols: usize, std: f32) -> Mat {
        let values = self.normals(rows * cols, std);
        self.stored_values(rows, cols, values)
    }

    pub(crate) fn stored_values(&mut self, rows: usize, cols: usize, values: Vec<f32>) -> Mat {
        let mat = self.stored_out(rows, cols);
        self.inputs.push((mat, Input::Numbers(values)));
        mat
    }

    /// f32 numbers.
    pub(crate) fn float(&mut self, rows: usize, cols: usize, values: Vec<f32>) -> Mat {
        let mat = self.float_out(rows, cols);
        self.inputs.push((mat, Input::Numbers(values)));
        mat
    }

    /// Normal f32 numbers.
    pub(crate) fn normal(&mut self, rows: usize, cols: usize, std: f32) -> Mat {
        let values = self.normals(rows * cols, std);
        self.float(rows, cols, values)
    }

    /// f32 numbers within [from, to).
    pub(crate) fn uniform(&mut self, rows: usize, cols: usize, from: f32, to: f32) -> Mat {
        let values = self.words(rows * cols).map(|word| from + (to - from) * (word >> 8) as f32 / (1 << 24) as f32);
        let values = values.collect();
        self.float(rows, cols, values)
    }

    /// Partial sums of squares that rows of `cols` numbers of about 1 may have.
    pub(crate) fn sumsq(&mut self, rows: usize, cols: usize) -> Mat {
        let slots = sumsq_slots(cols);
        let each = cols as f32 / slots as f32;
        self.uniform(rows, slots, 0.5 * each, 2.0 * each)
    }

    pub(crate) fn ids(&mut self, rows: usize, cols: usize, values: Vec<u32>) -> Mat {
        let mat = self.ids_out(rows, cols);
        self.inputs.push((mat, Input::Ids(values)));
        mat
    }

    /// Ids below `n`.
    pub(crate) fn some_ids(&mut self, rows: usize, cols: usize, n: u32) -> Mat {
        let values = self.words(rows * cols).map(|word| word % n).collect();
        self.ids(rows, cols, values)
    }

    fn words(&mut self, n: usize) -> impl Iterator<Item = u32> + use<> {
        self.draws += 1;
        let step = u64::from(self.draws);
        (0..n).map(move |i| philox(78 + seed(), Stream::Init, step, i as u32)[0])
    }

    pub(crate) fn push(&mut self, op: impl Into<Op>) {
        self.ops.push(op.into());
    }

    /// Runs all that was pushed.
    pub(crate) fn run(mut self, watch: &mut Watch, case: &str) {
        let mut b = Builder::new(&mut self.plan, "ops");
        self.ops.drain(..).for_each(|op| b.push(op));
        let program = b.finish();
        watch.attempt(case, |watch| {
            let mut twins = watch.twins(self.plan)?;
            for (mat, input) in &self.inputs {
                match input {
                    Input::Numbers(values) => twins.write_f32(*mat, values)?,
                    Input::Ids(values) => twins.write_u32(*mat, values)?,
                }
            }
            self.corpus.iter().try_for_each(|corpus| twins.bind_corpus(corpus))?;
            watch.run(case, &mut twins, &program, &self.args)
        });
    }
}
