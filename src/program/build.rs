//! Writing a program: allocation from the plan, and the checks that make an op safe to run.

use super::op::{NORM_EPS, SUMSQ_COLS};
use super::{Access, Commit, DType, Mat, Noise, Op, Plan, Program, ProgramId, RegionId};

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

    /// The plan under it.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// Appends an op.
    #[track_caller]
    pub fn push(&mut self, op: Op) {
        check_aliases(&op);
        check_shapes(&op, self.plan);
        self.ops.push(op);
    }

    /// The finished program.
    pub fn finish(self) -> Program {
        Program { id: ProgramId::next(), name: self.name, ops: self.ops }
    }
}

/// What an op writes, nothing else of the op touches.
#[track_caller]
fn check_aliases(op: &Op) {
    let operands = op.operands();
    for (i, (mat, access)) in operands.iter().enumerate() {
        if *access == Access::Read {
            continue;
        }
        for (j, (other, _)) in operands.iter().enumerate() {
            assert!(
                i == j || !mat.overlaps(*other),
                "{}: operand {i} {mat:?} overlaps operand {j} {other:?}",
                op.name()
            );
        }
    }
}

/// Number of partial sums of squares of a row of `cols`.
pub fn sumsq_slots(cols: usize) -> usize {
    cols.div_ceil(SUMSQ_COLS)
}

/// r of a row from its partial sums of squares.
pub fn rstd(sumsq: &[f32], cols: usize) -> f32 {
    1.0 / (sumsq.iter().sum::<f32>() / cols as f32 + NORM_EPS).sqrt()
}

#[track_caller]
fn check_shapes(op: &Op, plan: &Plan) {
    let name = op.name();
    let want = |what: &str, mat: Mat, rows: usize, cols: usize| {
        assert!(mat.shape() == [rows, cols], "{name}: {what} is {:?}, wanted [{rows}, {cols}]", mat.shape());
    };
    let typed = |what: &str, mat: Mat, dtype: DType| {
        assert!(plan.dtype(mat) == dtype, "{name}: {what} is stored as {:?}, wanted {dtype:?}", plan.dtype(mat));
    };
    let f32s = |mats: &[(&str, Mat)]| mats.iter().for_each(|(what, m)| typed(what, *m, DType::F32));
    let check_scale = |scale: Option<Mat>| {
        if let Some(scale) = scale {
            want("scale", scale, 1, 2);
            f32s(&[("scale", scale)]);
        }
    };
    let ids = |mats: &[(&str, Mat)]| mats.iter().for_each(|(what, m)| typed(what, *m, DType::U32));
    let slots = sumsq_slots;
    match op {
        Op::Crop { x0, .. } => ids(&[("x0", *x0)]),
        Op::CountMasked { inv_count, .. } => {
            want("inv_count", *inv_count, 1, 1);
            f32s(&[("inv_count", *inv_count)]);
        }
        Op::Corrupt { x0, noise, context, sequences, xt, t, weight, .. } => {
            want("xt", *xt, x0.rows, x0.cols);
            want("t", *t, x0.rows, 1);
            want("weight", *weight, x0.len(), 1);
            ids(&[("x0", *x0), ("xt", *xt), ("t", *t)]);
            f32s(&[("weight", *weight)]);
            if let Noise::Timesteps { inv_count, .. } = noise {
                want("inv_count", *inv_count, 1, 1);
            }
            assert!((*context as usize) < x0.cols, "{name}: context {context} leaves nothing of {} positions", x0.cols);
            assert!(*sequences as usize >= x0.rows, "{name}: {sequences} sequences in all, {} in one batch", x0.rows);
        }
        Op::NormalNoise { positions, out } => {
            let t = *positions as usize;
            assert!(out.rows.is_multiple_of(t), "{name}: {} rows are not whole sequences of {t}", out.rows);
            assert!((t * out.cols).div_ceil(4) <= 1 << 32, "{name}: {t} rows of {} are too many to count", out.cols);
            f32s(&[("out", *out)]);
        }
        Op::Embed { ids: tokens, time, token, x, sumsq, rstd } => {
            let c = token.cols;
            want("x", *x, tokens.len(), c);
            want("sumsq", *sumsq, tokens.len(), slots(c));
            want("rstd", *rstd, tokens.len(), 1);
            ids(&[("ids", *tokens)]);
            f32s(&[("sumsq", *sumsq), ("rstd", *rstd)]);
            if let Some((t, table)) = time {
                want("t", *t, tokens.rows, 1);
                want("time table", *table, table.rows, c);
                ids(&[("t", *t)]);
            }
        }
        Op::RmsNorm { x, gain, y, rstd, .. } => {
            let (n, c) = (x.rows, x.cols);
            want("gain", *gain, 1, c);
            want("y", *y, n, c);
            want("rstd", *rstd, n, 1);
            check_numbers(name, plan, &[("x", *x), ("gain", *gain), ("y", *y)]);
            f32s(&[("rstd", *rstd)]);
        }
        Op::LayerNorm { x, gain, bias, y, mean, rstd, .. } => {
            let (n, c) = (x.rows, x.cols);
            want("gain", *gain, 1, c);
            want("bias", *bias, 1, c);
            want("y", *y, n, c);
            want("mean", *mean, n, 1);
            want("rstd", *rstd, n, 1);
            check_numbers(name, plan, &[("x", *x), ("gain", *gain), ("bias", *bias), ("y", *y)]);
            f32s(&[("mean", *mean), ("rstd", *rstd)]);
        }
        Op::Qkv { x, sumsq, w, positions, heads, qkv, qk_rstd } => {
            let (n, c) = (x.rows, x.cols);
            want("sumsq", *sumsq, n, slots(c));
            want("w", *w, 3 * c, c);
            want("qkv", *qkv, n, 3 * c);
            want("qk_rstd", *qk_rstd, n, 2 * *heads as usize);
            f32s(&[("sumsq", *sumsq), ("qk_rstd", *qk_rstd)]);
            check_heads(name, n, c, *positions, *heads);
        }
        Op::Attention { qkv, positions, heads, o, lse, .. } => {
            let (n, c) = (o.rows, o.cols);
            want("qkv", *qkv, n, 3 * c);
            want("lse", *lse, n, *heads as usize);
            f32s(&[("lse", *lse)]);
            check_heads(name, n, c, *positions, *heads);
        }
        Op::LinearResidual { a, w, residual, out, sumsq } => {
            want("w", *w, out.cols, a.cols);
            want("residual", *residual, a.rows, out.cols);
            want("out", *out, a.rows, out.cols);
            want("sumsq", *sumsq, a.rows, slots(out.cols));
            f32s(&[("sumsq", *sumsq)]);
        }
        Op::LinearRelu2 { x, sumsq, w, h } => {
            want("sumsq", *sumsq, x.rows, slots(x.cols));
            want("w", *w, h.cols, x.cols);
            want("h", *h, x.rows, h.cols);
            f32s(&[("sumsq", *sumsq)]);
        }
        Op::HeadLogits { x, sumsq, w, logits } => {
            want("sumsq", *sumsq, x.rows, slots(x.cols));
            want("w", *w, logits.cols, x.cols);
            want("logits", *logits, x.rows, logits.cols);
            f32s(&[("sumsq", *sumsq), ("logits", *logits)]);
        }
        Op::CrossEntropy { logits, target, cross_entropy, .. } => {
            assert!(target.len() == logits.rows, "{name}: {} targets for {} rows", target.len(), logits.rows);
            want("cross_entropy", *cross_entropy, logits.rows, 1);
            f32s(&[("logits", *logits), ("cross_entropy", *cross_entropy)]);
            ids(&[("target", *target)]);
        }
        Op::HeadLoss { x, sumsq, w, target, weight, scale, cross_entropy, dlogits, s, .. } => {
            let n = x.rows;
            check_scale(*scale);
            want("sumsq", *sumsq, n, slots(x.cols));
            want("w", *w, dlogits.cols, x.cols);
            assert!(target.len() == n, "{name}: {} targets for {n} rows", target.len());
            want("weight", *weight, n, 1);
            want("cross_entropy", *cross_entropy, n, 1);
            want("dlogits", *dlogits, n, w.rows);
            want("s", *s, n, 1);
            f32s(&[("sumsq", *sumsq), ("weight", *weight), ("cross_entropy", *cross_entropy), ("s", *s)]);
            ids(&[("target", *target)]);
        }
        Op::LossSum { cross_entropy, weight, metrics, .. } => {
            want("weight", *weight, cross_entropy.rows, 1);
            want("cross_entropy", *cross_entropy, weight.rows, 1);
            want("metrics", *metrics, metrics.rows, 4);
            f32s(&[("cross_entropy", *cross_entropy), ("weight", *weight), ("metrics", *metrics)]);
        }
        Op::SequenceLoss { cross_entropy, weight, sums } => {
            want("weight", *weight, cross_entropy.rows, 1);
            want("sums", *sums, sums.rows, 2);
            assert!(weight.rows.is_multiple_of(sums.rows), "{name}: {} rows, {} sequences", weight.rows, sums.rows);
            f32s(&[("cross_entropy", *cross_entropy), ("weight", *weight), ("sums", *sums)]);
        }
        Op::NormLinearBackward { dy, w, x, sumsq, s, residual, dx } => {
            let (n, c) = (x.rows, x.cols);
            want("dy", *dy, n, w.rows);
            want("w", *w, dy.cols, c);
            want("sumsq", *sumsq, n, slots(c));
            want("s", *s, n, s.cols);
            want("dx", *dx, n, c);
            residual.iter().for_each(|r| want("residual", *r, n, c));
            f32s(&[("sumsq", *sumsq), ("s", *s)]);
        }
        Op::Relu2Backward { dx, w, h, sumsq, dy, s } => {
            let (n, c, f) = (dx.rows, dx.cols, h.cols);
            want("w", *w, c, f);
            want("h", *h, n, f);
            want("sumsq", *sumsq, n, sumsq.cols);
            want("dy", *dy, n, f);
            want("s", *s, n, slots(f));
            f32s(&[("sumsq", *sumsq), ("s", *s)]);
        }
        Op::ProjectionBackward { dx, w, o, heads, d_o, dot } => {
            let (n, c) = (o.rows, o.cols);
            want("dx", *dx, n, w.rows);
            want("w", *w, dx.cols, c);
            want("d_o", *d_o, n, c);
            want("dot", *dot, n, *heads as usize);
            f32s(&[("dot", *dot)]);
        }
        Op::AttentionBackward { qkv, qk_rstd, lse, d_o, dot, sumsq, positions, heads, dqkv, s, .. } => {
            let (n, c, h) = (d_o.rows, d_o.cols, *heads as usize);
            want("qkv", *qkv, n, 3 * c);
            want("qk_rstd", *qk_rstd, n, 2 * h);
            want("lse", *lse, n, h);
            want("dot", *dot, n, h);
            want("sumsq", *sumsq, n, slots(c));
            want("dqkv", *dqkv, n, 3 * c);
            want("s", *s, n, h);
            f32s(&[("qk_rstd", *qk_rstd), ("lse", *lse), ("dot", *dot), ("sumsq", *sumsq), ("s", *s)]);
            check_heads(name, n, c, *positions, *heads);
        }
        Op::WeightGrads { grads, .. } => {
            for g in grads {
                want("x", g.x, g.dy.rows, g.dw.cols);
                want("dw", g.dw, g.dy.cols, g.x.cols);
                f32s(&[("dw", g.dw)]);
            }
        }
        Op::RmsNormBackward { dy, x, gain, rstd, dx, dgain, .. } => {
            let (n, c) = (x.rows, x.cols);
            want("dy", *dy, n, c);
            want("gain", *gain, 1, c);
            want("rstd", *rstd, n, 1);
            want("dx", *dx, n, c);
            want("dgain", *dgain, 1, c);
            check_numbers(name, plan, &[("dy", *dy), ("x", *x), ("gain", *gain), ("dx", *dx)]);
            f32s(&[("rstd", *rstd), ("dgain", *dgain)]);
        }
        Op::LayerNormBackward { dy, x, gain, mean, rstd, dx, dgain, dbias, .. } => {
            let (n, c) = (x.rows, x.cols);
            want("dy", *dy, n, c);
            want("gain", *gain, 1, c);
            want("mean", *mean, n, 1);
            want("rstd", *rstd, n, 1);
            want("dx", *dx, n, c);
            want("dgain", *dgain, 1, c);
            want("dbias", *dbias, 1, c);
            check_numbers(name, plan, &[("dy", *dy), ("x", *x), ("gain", *gain), ("dx", *dx)]);
            f32s(&[("mean", *mean), ("rstd", *rstd), ("dgain", *dgain), ("dbias", *dbias)]);
        }
        Op::EmbedBackward { ids: tokens, time, dx, x, rstd, dtoken, .. } => {
            let c = dtoken.cols;
            want("dx", *dx, tokens.len(), c);
            want("x", *x, tokens.len(), c);
            want("rstd", *rstd, tokens.len(), 1);
            f32s(&[("rstd", *rstd), ("dtoken", *dtoken)]);
            ids(&[("ids", *tokens)]);
            if let Some((t, dtime)) = time {
                want("t", *t, tokens.rows, 1);
                want("dtime", *dtime, dtime.rows, c);
                f32s(&[("dtime", *dtime)]);
            }
        }
        Op::GradNorm { grads, scale, metrics } => {
            check_scale(*scale);
            want("metrics", *metrics, metrics.rows, 4);
            f32s(&[("grads", *grads), ("metrics", *metrics)]);
        }
        Op::LossScale { metrics, scale } => {
            want("metrics", *metrics, metrics.rows, 4);
            f32s(&[("metrics", *metrics)]);
            check_scale(Some(*scale));
        }
        Op::AdamWStep { grads, metrics, scale, params, m, v, ema, stored, .. } => {
            check_scale(*scale);
            let [rows, cols] = grads.shape();
            for (what, mat) in [("params", *params), ("m", *m), ("v", *v)] {
                want(what, mat, rows, cols);
                f32s(&[(what, mat)]);
            }
            want("metrics", *metrics, metrics.rows, 4);
            ema.iter().for_each(|e| want("ema", *e, rows, cols));
            stored.iter().for_each(|e| want("stored", *e, rows, cols));
        }
        Op::SampleTime { masked, t, .. } => {
            want("t", *t, masked.rows, 1);
            ids(&[("masked", *masked), ("t", *t)]);
        }
        Op::Predict { logits, masked, candidate, confidence, .. } => {
            want("logits", *logits, masked.len(), logits.cols);
            want("candidate", *candidate, masked.rows, masked.cols);
            want("confidence", *confidence, masked.rows, masked.cols);
            f32s(&[("logits", *logits), ("confidence", *confidence)]);
            ids(&[("masked", *masked), ("candidate", *candidate)]);
        }
        Op::CommitTokens { confidence, commit, x, masked, committed_at, remaining, .. } => {
            for (what, mat) in [("x", *x), ("masked", *masked), ("committed_at", *committed_at)] {
                want(what, mat, confidence.rows, confidence.cols);
                ids(&[(what, mat)]);
            }
            want("remaining", *remaining, x.rows, 1);
            match commit {
                Commit::Candidates { candidate } => want("candidate", *candidate, x.rows, x.cols),
                Commit::Truth { target, cross_entropy, nll } => {
                    want("target", *target, x.rows, x.cols);
                    want("cross_entropy", *cross_entropy, x.len(), 1);
                    want("nll", *nll, x.rows, 1);
                }
            }
        }
    }
}

#[track_caller]
fn check_heads(name: &str, rows: usize, width: usize, positions: u32, heads: u32) {
    let (positions, heads) = (positions as usize, heads as usize);
    assert!(rows.is_multiple_of(positions), "{name}: {rows} rows are not whole sequences of {positions}");
    assert!(width.is_multiple_of(2 * heads), "{name}: {heads} heads do not divide {width} columns into even parts");
}

/// Any format of numbers will do, but not ids.
#[track_caller]
fn check_numbers(name: &str, plan: &Plan, mats: &[(&str, Mat)]) {
    for (what, mat) in mats {
        assert!(plan.dtype(*mat) != DType::U32, "{name}: {what} is stored as ids, wanted numbers");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Persistence, Plan};
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
        b.push(Op::LinearRelu2 { x, sumsq, w, h });
    }

    #[test]
    #[should_panic(expected = "overlaps")]
    fn an_output_that_is_also_an_input_is_refused() {
        let (mut plan, r) = plan();
        let mut b = Builder::new(&mut plan, "test");
        let (a, w, sumsq) = (b.alloc(r, 5, 8), b.alloc(r, 8, 8), b.alloc(r, 5, 1));
        b.push(Op::LinearResidual { a, w, residual: a, out: a, sumsq });
    }

    #[test]
    #[should_panic(expected = "normal_noise: 5 rows are not whole sequences of 3")]
    fn noise_is_drawn_for_whole_sequences() {
        let (mut plan, r) = plan();
        let mut b = Builder::new(&mut plan, "test");
        let out = b.alloc(r, 5, 8);
        b.push(Op::NormalNoise { positions: 3, out });
    }

    #[test]
    #[should_panic(expected = "rms_norm: gain is stored as ids, wanted numbers")]
    fn ids_are_not_normed() {
        let (mut plan, r) = plan();
        let ids = plan.region("ids", DType::U32, Persistence::Scratch);
        let mut b = Builder::new(&mut plan, "test");
        let (x, gain, y, rstd) = (b.alloc(r, 5, 8), b.alloc(ids, 1, 8), b.alloc(r, 5, 8), b.alloc(r, 5, 1));
        b.push(Op::RmsNorm { x, gain, eps: 1e-5, y, rstd });
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
