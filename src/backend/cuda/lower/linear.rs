//! Matrix products and what surrounds them.

use super::super::call::{
    Block, Call, GRAD_GROUP, Launch, LinearRelu2Args, LinearResidualArgs, NormLinearBackwardArgs,
    ProjectionBackwardArgs, Ptr, PtrMut, QkvArgs, Relu2BackwardArgs, WeightGrad as Grad, WeightGradGroup, call,
};
use super::{Lowering, Rung, Width, args, size};
use crate::program::{
    Accumulate, LinearRelu2, LinearResidual, NormLinearBackward, ProjectionBackward, Qkv, Relu2Backward, WeightGrad,
    WeightGrads,
};

/// Fewer large tiles than this leave multiprocessors idle on every GPU of the trade: then rows are cut finer.
const FEW_TILES: u32 = 128;

/// Tiles that a weight gradient's launch should have at least: two for each multiprocessor of an A100. A fixed number: the
/// cut of the sums does not depend on the GPU, and on one kind of GPU they are the same bits.
const GRAD_TILES: usize = 216;

/// Fewest rows of a slice of a weight gradient's sum.
const GRAD_ROWS: usize = 256;

/// Head dims whose heads lie within a tile.
fn in_a_tile(head_dim: usize) -> bool {
    matches!(head_dim, 16 | 32 | 64 | 128)
}

/// A product `[rows, cols]` with large tiles, or with small ones where those are few.
pub(super) fn sized<A: Copy>(kernels: [fn(A) -> Call; 2], args: A, rows: usize, cols: usize) -> Launch {
    let [large, small] = kernels.map(|kernel| kernel(args).cover(rows, cols));
    if large.blocks() < FEW_TILES { small } else { large }
}

impl Lowering<'_> {
    pub(super) fn qkv(&mut self, op: &Qkv) -> Launch {
        let Qkv { x, sumsq, w, positions, heads, qkv, qk_rstd } = *op;
        let (rows, width) = (x.rows, x.cols);
        let head_dim = width / heads as usize;
        let rope = self.rope(positions, head_dim);
        let args = args!(self, QkvArgs { x, sumsq, w, rope, qkv, qk_rstd, rows, width, positions, head_dim });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w, qkv]) && in_a_tile(head_dim))]) {
            Rung::Mma => sized([call::qkv_mma, call::qkv_mma_small], args, rows, 3 * width),
            Rung::Plain => call::qkv_plain(args).cover(rows, 3 * heads as usize),
        }
    }

    pub(super) fn linear_residual(&mut self, op: &LinearResidual) -> Launch {
        let LinearResidual { a, w, residual, out, sumsq } = *op;
        let ([rows, cols], inner) = (out.shape(), a.cols);
        let args = args!(self, LinearResidualArgs { a, w, residual, out, sumsq, rows, inner, cols });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[a, w, residual, out]))]) {
            Rung::Mma => sized([call::linear_residual_mma, call::linear_residual_mma_small], args, rows, cols),
            Rung::Plain => call::linear_residual_plain(args).cover(rows, cols),
        }
    }

    pub(super) fn linear_relu2(&mut self, op: &LinearRelu2) -> Launch {
        let LinearRelu2 { x, sumsq, w, h } = *op;
        let ([rows, cols], inner) = (h.shape(), x.cols);
        let args = args!(self, LinearRelu2Args { x, sumsq, w, h, rows, inner, cols });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[x, w, h]))]) {
            Rung::Mma => sized([call::linear_relu2_mma, call::linear_relu2_mma_small], args, rows, cols),
            Rung::Plain => call::linear_relu2_plain(args).cover(rows, cols),
        }
    }

    pub(super) fn norm_linear_backward(&mut self, op: &NormLinearBackward) -> Launch {
        let NormLinearBackward { dy, w, x, sumsq, s, residual, dx } = *op;
        let ([rows, cols], inner, parts) = (dx.shape(), dy.cols, s.cols);
        let args = args!(self, NormLinearBackwardArgs { dy, w, x, sumsq, s, residual, dx, rows, inner, cols, parts });
        let (width, others) =
            (self.width(dy), [w, x, dx].into_iter().chain(residual).all(|mat| self.vectorizes(&[mat])));
        let kernel = match self.choose(&[(Rung::Mma, others && width != Width::Scalar)]) {
            Rung::Mma if width == Width::Bytes4 => call::norm_linear_backward_mma_narrow,
            Rung::Mma => call::norm_linear_backward_mma,
            Rung::Plain => call::norm_linear_backward_plain,
        };
        kernel(args).cover(rows, cols)
    }

    pub(super) fn relu2_backward(&mut self, op: &Relu2Backward) -> Launch {
        let Relu2Backward { dx, w, h, sumsq, dy, s } = *op;
        let ([rows, cols], inner) = (dy.shape(), dx.cols);
        let args = args!(self, Relu2BackwardArgs { dx, w, h, sumsq, dy, s, rows, inner, cols });
        let kernel = match self.choose(&[(Rung::Mma, self.vectorizes(&[dx, w, h, dy]))]) {
            Rung::Mma => call::relu2_backward_mma,
            Rung::Plain => call::relu2_backward_plain,
        };
        kernel(args).cover(rows, cols)
    }

    pub(super) fn projection_backward(&mut self, op: &ProjectionBackward) -> Launch {
        let ProjectionBackward { dx, w, o, heads, d_o, dot } = *op;
        let ([rows, cols], inner) = (d_o.shape(), dx.cols);
        let head_dim = cols / heads as usize;
        let args = args!(self, ProjectionBackwardArgs { dx, w, o, d_o, dot, rows, inner, cols, head_dim });
        match self.choose(&[(Rung::Mma, self.vectorizes(&[dx, w, o, d_o]) && in_a_tile(head_dim))]) {
            Rung::Mma => call::projection_backward_mma(args).cover(rows, cols),
            Rung::Plain => call::projection_backward_plain(args).cover(rows, heads as usize),
        }
    }

    pub(super) fn weight_grads(&mut self, op: &WeightGrads) -> Vec<Launch> {
        let width = |grad: &WeightGrad| match self.width(grad.dy) {
            width if self.choose(&[(Rung::Mma, self.vectorizes(&[grad.x, grad.dw]))]) == Rung::Mma => width,
            _ => Width::Scalar,
        };
        let of = |wanted| op.grads.iter().copied().filter(|grad| width(grad) == wanted).collect::<Vec<_>>();
        let (wide, narrow, others) = (of(Width::Bytes16), of(Width::Bytes4), of(Width::Scalar));
        let mut launches = Vec::new();
        for (list, kernel) in [(wide, call::weight_grads_mma as fn(_, _) -> _), (narrow, call::weight_grads_mma_narrow)]
        {
            for grads in list.chunks(GRAD_GROUP) {
                self.sliced(grads, op.accumulate, kernel, &mut launches);
            }
        }
        for grad in others {
            let (group, _) = self.group(&[grad], op.accumulate);
            launches.push(call::weight_grads_plain(group).cover(grad.dw.rows, grad.dw.cols));
        }
        launches
    }

    /// The matrices of a launch that is not cut into slices, and the floats of a slice.
    fn group(&self, grads: &[WeightGrad], accumulate: Accumulate) -> (WeightGradGroup, usize) {
        let nothing = Grad { dy: Ptr::NULL, x: Ptr::NULL, dw: PtrMut::NULL, partial: 0, out: 0, r#in: 0 };
        let mut grad = [nothing; GRAD_GROUP];
        let mut floats = 0;
        for (slot, &WeightGrad { dy, x, dw }) in grad.iter_mut().zip(grads) {
            *slot = args!(self, Grad { dy, x, dw, partial: floats, out: dw.rows, r#in: dw.cols });
            floats += dw.len().next_multiple_of(4);
        }
        let (count, rows) = (grads.len(), grads[0].dy.rows);
        let group = args!(self, WeightGradGroup { grad, count, rows, slices: 1_u32, accumulate, slice_floats: floats });
        (group, floats)
    }

    /// One launch for some matrices, of rows cut into as many slices as fill a GPU, and one that adds these up.
    fn sliced(
        &mut self,
        grads: &[WeightGrad],
        accumulate: Accumulate,
        kernel: fn(WeightGradGroup, PtrMut<f32>) -> Call,
        launches: &mut Vec<Launch>,
    ) {
        let (mut group, floats) = self.group(grads, accumulate);
        let Block { rows, cols, .. } = kernel(group, PtrMut::NULL).block();
        let tiles =
            grads.iter().map(|g| g.dw.rows.div_ceil(rows as usize) * g.dw.cols.div_ceil(cols as usize)).sum::<usize>();
        let slices = GRAD_TILES.div_ceil(tiles).min((grads[0].dy.rows / GRAD_ROWS).max(1));
        group.slices = size(slices);
        let partials = if slices > 1 { self.partials(0, slices * floats) } else { PtrMut::NULL };
        launches.push(kernel(group, partials).over([size(tiles), size(slices), 1]));
        if slices > 1 {
            launches.push(call::weight_grads_reduce(group, partials.read()).cover_rows(floats));
        }
    }
}
