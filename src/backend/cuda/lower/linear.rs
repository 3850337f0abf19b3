//! Matrix products and what surrounds them.

use super::super::call::{Call, Launch, Ptr, PtrMut, WeightGrad as Grad, WeightGradGroup, call};
use super::{Lowering, blocks, size};
use crate::program::{
    Accumulate, LinearRelu2, LinearResidual, Mat, NormLinearBackward, ProjectionBackward, Qkv, Relu2Backward,
    WeightGrad, WeightGrads,
};

/// Rows and columns of a tile of the tensor-core products.
const TILE: usize = 128;

/// Rows of a tile where there are few.
const SMALL_ROWS: usize = 32;

/// Fewer large tiles than this leave multiprocessors idle on every GPU of the trade: then rows are cut finer.
const FEW_TILES: usize = 128;

/// Rows of a tile of the plain products.
const PLAIN_ROWS: usize = 32;

/// Tiles that a weight gradient's launch should have at least: two for each multiprocessor of an A100. A fixed number: the
/// cut of the sums does not depend on the GPU, and on one kind of GPU they are the same bits.
const GRAD_TILES: usize = 216;

/// Fewest rows of a slice of a weight gradient's sum.
const GRAD_ROWS: usize = 256;

/// Matrices of one launch of weight gradients.
const GROUP: usize = 4;

/// Which of an op's kernels fits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Large,
    Small,
    Plain,
}

impl Fit {
    /// For an output `[rows, cols]`; `in_pieces` says whether tensor-core kernels can read it.
    pub(super) fn of(in_pieces: bool, rows: usize, cols: usize) -> Self {
        match rows.div_ceil(TILE) * cols.div_ceil(TILE) {
            _ if !in_pieces => Fit::Plain,
            tiles if tiles < FEW_TILES => Fit::Small,
            _ => Fit::Large,
        }
    }

    /// The kernel that fits: large, small, plain.
    pub(super) fn pick<K>(self, [large, small, plain]: [K; 3]) -> K {
        match self {
            Fit::Large => large,
            Fit::Small => small,
            Fit::Plain => plain,
        }
    }

    pub(super) fn grid(self, rows: usize, cols: usize) -> [u32; 3] {
        match self {
            Fit::Large => [blocks(cols, TILE), blocks(rows, TILE), 1],
            Fit::Small => [blocks(cols, TILE), blocks(rows, SMALL_ROWS), 1],
            Fit::Plain => [blocks(rows, PLAIN_ROWS), blocks(cols, TILE), 1],
        }
    }
}

/// Head dims whose heads lie within a tile.
fn in_a_tile(head_dim: usize) -> bool {
    matches!(head_dim, 16 | 32 | 64 | 128)
}

impl Lowering<'_> {
    pub(super) fn qkv(&mut self, op: &Qkv) -> Launch {
        let Qkv { x, sumsq, w, positions, heads, qkv, qk_rstd } = *op;
        let (rows, width) = (x.rows, x.cols);
        let head_dim = width / heads as usize;
        let fit = Fit::of(self.in_pieces(&[x, w, qkv]) && in_a_tile(head_dim), rows, 3 * width);
        let rope = self.rope(positions, head_dim);
        let kernel = fit.pick([call::qkv_mma, call::qkv_mma_small, call::qkv_plain]);
        let call = kernel(
            self.store(x),
            self.float(sumsq),
            self.store(w),
            rope,
            self.store_mut(qkv),
            self.float_mut(qk_rstd),
            size(rows),
            size(width),
            positions,
            size(head_dim),
        );
        call.over(match fit {
            Fit::Plain => [blocks(rows, PLAIN_ROWS), 3 * heads, 1],
            _ => fit.grid(rows, 3 * width),
        })
    }

    pub(super) fn linear_residual(&mut self, op: &LinearResidual) -> Launch {
        let LinearResidual { a, w, residual, out, sumsq } = *op;
        let fit = Fit::of(self.in_pieces(&[a, w, residual, out]), a.rows, out.cols);
        let kernel =
            fit.pick([call::linear_residual_mma, call::linear_residual_mma_small, call::linear_residual_plain]);
        let call = kernel(
            self.store(a),
            self.store(w),
            self.store(residual),
            self.store_mut(out),
            self.float_mut(sumsq),
            size(a.rows),
            size(a.cols),
            size(out.cols),
        );
        call.over(fit.grid(a.rows, out.cols))
    }

    pub(super) fn linear_relu2(&mut self, op: &LinearRelu2) -> Launch {
        let LinearRelu2 { x, sumsq, w, h } = *op;
        let fit = Fit::of(self.in_pieces(&[x, w, h]), x.rows, h.cols);
        let (x_, w_, h_) = (self.store(x), self.store(w), self.store_mut(h));
        let sizes = (size(x.rows), size(x.cols), size(h.cols));
        let kernel = fit.pick([call::linear_relu2_mma, call::linear_relu2_mma_small, call::linear_relu2_plain]);
        let call = kernel(x_, self.float(sumsq), w_, h_, sizes.0, sizes.1, sizes.2);
        call.over(fit.grid(x.rows, h.cols))
    }

    pub(super) fn norm_linear_backward(&mut self, op: &NormLinearBackward) -> Launch {
        let NormLinearBackward { dy, w, x, sumsq, s, residual, dx } = *op;
        let others = self.in_pieces(&[w, x, dx]) && residual.is_none_or(|r| self.in_pieces(&[r]));
        let (rows, inner, cols) = (x.rows, dy.cols, x.cols);
        let kernel = match self.side(dy) {
            Side::Pieces if others => call::norm_linear_backward_mma,
            Side::Pairs if others => call::norm_linear_backward_mma_narrow,
            _ => call::norm_linear_backward_plain,
        };
        let is_plain = !others || self.side(dy) == Side::Odd;
        let call = kernel(
            self.store(dy),
            self.store(w),
            self.store(x),
            self.float(sumsq),
            self.float(s),
            residual.map_or(Ptr::NULL, |r| self.store(r)),
            self.store_mut(dx),
            size(rows),
            size(inner),
            size(cols),
            size(s.cols),
        );
        call.over(if is_plain { Fit::Plain } else { Fit::Large }.grid(rows, cols))
    }

    pub(super) fn relu2_backward(&mut self, op: &Relu2Backward) -> Launch {
        let Relu2Backward { dx, w, h, sumsq, dy, s } = *op;
        let fits = self.in_pieces(&[dx, w, h, dy]);
        let kernel = if fits { call::relu2_backward_mma } else { call::relu2_backward_plain };
        let call = kernel(
            self.store(dx),
            self.store(w),
            self.store(h),
            self.float(sumsq),
            self.store_mut(dy),
            self.float_mut(s),
            size(dx.rows),
            size(dx.cols),
            size(h.cols),
        );
        call.over(if fits { Fit::Large } else { Fit::Plain }.grid(dx.rows, h.cols))
    }

    pub(super) fn projection_backward(&mut self, op: &ProjectionBackward) -> Launch {
        let ProjectionBackward { dx, w, o, heads, d_o, dot } = *op;
        let head_dim = o.cols / heads as usize;
        let fits = self.in_pieces(&[dx, w, o, d_o]) && in_a_tile(head_dim);
        let kernel = if fits { call::projection_backward_mma } else { call::projection_backward_plain };
        let call = kernel(
            self.store(dx),
            self.store(w),
            self.store(o),
            self.store_mut(d_o),
            self.float_mut(dot),
            size(dx.rows),
            size(dx.cols),
            size(o.cols),
            size(head_dim),
        );
        call.over(match fits {
            true => Fit::Large.grid(dx.rows, o.cols),
            false => [blocks(dx.rows, PLAIN_ROWS), heads, 1],
        })
    }

    /// How a matrix's rows can be read.
    fn side(&self, mat: Mat) -> Side {
        match () {
            () if self.in_pieces(&[mat]) => Side::Pieces,
            () if mat.cols.is_multiple_of(2) && self.address(mat).is_multiple_of(4) => Side::Pairs,
            () => Side::Odd,
        }
    }

    pub(super) fn weight_grads(&mut self, op: &WeightGrads) -> Vec<Launch> {
        let (grads, accumulate) = (&op.grads, u32::from(op.accumulate == Accumulate::Add));
        let kind = |lowering: &Self, grad: &WeightGrad| match lowering.side(grad.dy) {
            _ if !lowering.in_pieces(&[grad.x, grad.dw]) => Side::Odd,
            side => side,
        };
        let mut launches = Vec::new();
        for side in [Side::Pieces, Side::Pairs] {
            let list: Vec<WeightGrad> = grads.iter().copied().filter(|grad| kind(self, grad) == side).collect();
            for group in list.chunks(GROUP) {
                self.grouped(group, side, accumulate, &mut launches);
            }
        }
        for grad in grads.iter().filter(|grad| kind(self, grad) == Side::Odd) {
            let (out, inner) = (grad.dy.cols, grad.x.cols);
            let call = call::weight_grads_plain(
                self.store(grad.dy),
                self.store(grad.x),
                self.float_mut(grad.dw),
                size(grad.dy.rows),
                size(out),
                size(inner),
                accumulate,
            );
            launches.push(call.over([blocks(out, PLAIN_ROWS), blocks(inner, TILE), 1]));
        }
        launches
    }

    fn grouped(&mut self, grads: &[WeightGrad], side: Side, accumulate: u32, launches: &mut Vec<Launch>) {
        let rows = grads[0].dy.rows;
        let tiles: usize = grads.iter().map(|g| g.dw.rows.div_ceil(TILE) * g.dw.cols.div_ceil(TILE)).sum();
        let slices = GRAD_TILES.div_ceil(tiles).min((rows / GRAD_ROWS).max(1));
        let nothing = Grad { dy: Ptr::NULL, x: Ptr::NULL, dw: PtrMut::NULL, partial: 0, out: 0, r#in: 0 };
        let mut group = [nothing; GROUP];
        let mut floats = 0;
        for (slot, grad) in group.iter_mut().zip(grads) {
            *slot = Grad {
                dy: self.store(grad.dy),
                x: self.store(grad.x),
                dw: self.float_mut(grad.dw),
                partial: floats as u64,
                out: size(grad.dw.rows),
                r#in: size(grad.dw.cols),
            };
            floats += grad.dw.len().next_multiple_of(4);
        }
        let group = WeightGradGroup {
            grad: group,
            count: size(grads.len()),
            rows: size(rows),
            slices: size(slices),
            accumulate,
            slice_floats: floats as u64,
        };
        let partials = if slices > 1 { self.partials(0, slices * floats) } else { PtrMut::NULL };
        let kernel: fn(_, _) -> Call =
            if side == Side::Pieces { call::weight_grads_mma } else { call::weight_grads_mma_narrow };
        launches.push(kernel(group, partials).over([size(tiles), size(slices), 1]));
        if slices > 1 {
            let call = call::weight_grads_reduce(group, Ptr::at(partials.address()));
            launches.push(call.over([blocks(floats, 1024), 1, 1]));
        }
    }
}

/// How the rows of a matrix can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// 16 bytes at a time.
    Pieces,
    /// 4 bytes at a time.
    Pairs,
    /// A number at a time.
    Odd,
}
