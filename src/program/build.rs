//! Writing a program: allocation from the plan, and the checks that make an op safe to run.

use super::{Mat, Op, Plan, Program, ProgramId, RegionId};

/// Collects the ops of one program. A wrong shape or an aliased output is our own fault and panics here, where the
/// program is written, not where it runs.
pub struct Builder<'p> {
    plan: &'p mut Plan,
    name: String,
    ops: Vec<Op>,
}

impl<'p> Builder<'p> {
    /// Starts a program; the plan's scratch regions are free for it.
    pub fn new(plan: &'p mut Plan, name: impl Into<String>) -> Self {
        plan.release_scratch();
        Builder { plan, name: name.into(), ops: Vec::new() }
    }

    /// New memory of `rows × cols` elements.
    pub fn alloc(&mut self, region: RegionId, rows: usize, cols: usize) -> Mat {
        self.plan.alloc(region, rows, cols)
    }

    /// A row of numbers that no program writes, in a region of ids that is kept.
    pub fn constant(&mut self, region: RegionId, values: Vec<u32>) -> Mat {
        self.plan.constant(region, values)
    }

    /// The plan under it.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// Appends an op.
    #[track_caller]
    pub fn push(&mut self, op: impl Into<Op>) {
        let op = op.into();
        if let Some(fault) = op.contract().fault(self.plan) {
            panic!("{}: {fault}", op.name());
        }
        self.ops.push(op);
    }

    /// The finished program.
    pub fn finish(self) -> Program {
        Program { id: ProgramId::next(), name: self.name, ops: self.ops }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Corrupt, DType, Level, LinearRelu2, LinearResidual, Mixing, Noise, NormalNoise, Persistence, Plan, RmsNorm,
        Streams,
    };
    use super::*;

    fn plan() -> (Plan, RegionId) {
        let mut plan = Plan::new();
        let region = plan.region("acts", DType::F32, Persistence::Scratch);
        (plan, region)
    }

    #[test]
    #[should_panic(expected = "linear_relu2: h is [4, 12], wanted [5, 12]")]
    fn a_wrong_shape_is_named_where_the_program_is_written() {
        let (mut plan, r) = plan();
        let mut b = Builder::new(&mut plan, "test");
        let (x, sumsq, w, h) = (b.alloc(r, 5, 8), b.alloc(r, 5, 1), b.alloc(r, 12, 8), b.alloc(r, 4, 12));
        b.push(LinearRelu2 { x, sumsq, w, h });
    }

    #[test]
    #[should_panic(expected = "linear_residual: out Mat")]
    fn an_output_that_is_also_an_input_is_refused() {
        let (mut plan, r) = plan();
        let mut b = Builder::new(&mut plan, "test");
        let (a, w, sumsq) = (b.alloc(r, 5, 8), b.alloc(r, 8, 8), b.alloc(r, 5, 1));
        b.push(LinearResidual { a, w, residual: a, out: a, sumsq });
    }

    #[test]
    #[should_panic(expected = "normal_noise: 5 rows are not whole sequences of 3")]
    fn noise_is_drawn_for_whole_sequences() {
        let (mut plan, r) = plan();
        let mut b = Builder::new(&mut plan, "test");
        let out = b.alloc(r, 5, 8);
        b.push(NormalNoise { positions: 3, out });
    }

    #[test]
    #[should_panic(expected = "rms_norm: gain is stored as U32, wanted Numbers")]
    fn ids_are_not_normed() {
        let (mut plan, r) = plan();
        let ids = plan.region("ids", DType::U32, Persistence::Scratch);
        let mut b = Builder::new(&mut plan, "test");
        let (x, gain, y, rstd) = (b.alloc(r, 5, 8), b.alloc(ids, 1, 8), b.alloc(r, 5, 8), b.alloc(r, 5, 1));
        b.push(RmsNorm { x, gain, eps: 1e-5, y, rstd });
    }

    #[test]
    #[should_panic(expected = "corrupt: inv_count is stored as U32, wanted F32")]
    fn an_operand_within_a_constant_is_checked_too() {
        let (mut plan, r) = plan();
        let ids = plan.region("ids", DType::U32, Persistence::Scratch);
        let mut b = Builder::new(&mut plan, "test");
        let [x0, xt, t, inv_count] = [(3, 5), (3, 5), (3, 1), (1, 1)].map(|(rows, cols)| b.alloc(ids, rows, cols));
        let (weight, noise) = (b.alloc(r, 15, 1), Noise::Timesteps { timesteps: 4, inv_count });
        let (level, streams, mixing) = (Level::Independent, Streams::Train, Mixing::mask(9));
        let (context, sequences, timesteps) = (0, 3, 4);
        b.push(Corrupt {
            blocks: 1,
            x0,
            noise,
            level,
            quantiles: None,
            streams,
            context,
            context_drop: 0,
            mixing,
            rates: None,
            sequences,
            timesteps,
            xt,
            t,
            weight,
        });
    }

    #[test]
    fn equal_constants_are_one() {
        let mut plan = Plan::new();
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let constant = |values: &[u32]| Builder::new(&mut plan, "test").constant(ids, values.to_vec());
        let [one, other, again, part] = [&[1, 2][..], &[3], &[1, 2], &[1]].map(constant);
        assert!(one == again && !one.overlaps(other) && part == Mat { cols: 1, ..one });
        assert_eq!(plan.constants(), [(one, vec![1, 2]), (other, vec![3])]);
    }

    #[test]
    fn scratch_is_reused_by_the_next_program_and_kept_memory_is_not() {
        let mut plan = Plan::new();
        let kept = plan.region("kept", DType::F32, Persistence::Kept);
        let scratch = plan.region("scratch", DType::Bf16, Persistence::Scratch);
        let mut b = Builder::new(&mut plan, "one");
        let (k1, s1) = (b.alloc(kept, 1, 3), b.alloc(scratch, 1, 3));
        let mut b = Builder::new(&mut plan, "two");
        let (k2, s2) = (b.alloc(kept, 1, 3), b.alloc(scratch, 1, 1000));
        assert!(!k1.overlaps(k2) && s1.overlaps(s2));
        assert_eq!((k2.offset, plan.bytes()), (64, 2 * 64 * 4 + 1024 * 2));
    }
}
