//! A stream of N rows as M = N/r vectors of d numbers, and vectors as a stream, with their backwards.
//!
//! Rows that stand one behind the other in memory are one longer row, `[N, C]` is `[M, r·C]`, so that either is one matrix product.
//! Of vectors a table is made that has a row for each place: what embeds tokens embeds it.

use super::{Embedding, Stream, Transformer};
use crate::program::{
    Accumulate, Builder, Embed, EmbedRowsBackward, HeadLogits, Linear, LinearBackward, Mat, WeightGrad, WeightGrads,
};

/// The same numbers in so many rows.
fn in_rows(mat: Mat, rows: usize) -> Mat {
    Mat { rows, cols: mat.len() / rows, ..mat }
}

impl Transformer {
    /// Appends the making of M vectors `[M, d]` f32 of a stream.
    pub fn pool(&self, b: &mut Builder<'_>, last: Stream, vectors: usize) -> Mat {
        let w = self.weight("pool.weight");
        let logits = b.alloc(self.memory.stats, vectors, w.rows);
        b.push(HeadLogits { x: in_rows(last.x, vectors), sumsq: None, w, logits });
        logits
    }

    /// Appends the backward of [`Transformer::pool`] from `dy` `[M, d]`; returns the stream's gradient.
    pub fn pool_backward(&self, b: &mut Builder<'_>, last: Stream, dy: Mat, accumulate: Accumulate) -> Mat {
        let (dw, w, m) = (self.param(self.training().grads, "pool.weight"), self.weight("pool.weight"), dy.rows);
        b.push(WeightGrads { grads: vec![WeightGrad { dy, x: in_rows(last.x, m), dw }], accumulate });
        let dx = b.alloc(self.memory.stream, last.x.rows, last.x.cols);
        b.push(LinearBackward { dy, w, dx: in_rows(dx, m) });
        dx
    }

    /// Appends the making of a stream of texts of `positions` rows each of vectors `y` `[M, d]`.
    pub fn unpool(&self, b: &mut Builder<'_>, y: Mat, positions: usize) -> Embedding {
        let (w, c) = (self.weight("unpool.weight"), self.config.n_embd);
        let rows = b.alloc(self.memory.acts, y.rows, w.rows);
        b.push(Linear { x: y, w, bias: None, residual: None, y: rows });
        let n = rows.len() / c;
        let ids = in_rows(b.constant(self.memory.kept_ids, (0..n as u32).collect()), n / positions);
        let (first, rstd) = (self.stream(b, n), b.alloc(self.memory.stats, n, 1));
        b.push(Embed { ids, time: None, token: in_rows(rows, n), x: first.x, sumsq: first.sumsq, rstd });
        // No timesteps are told; of ids, which are there, any is as good as another.
        Embedding { ids, t: ids, rstd, first }
    }

    /// Appends the backward of [`Transformer::unpool`] from `dx` `[N, C]`, the gradient of its stream; returns that of `y`.
    pub fn unpool_backward(
        &self,
        b: &mut Builder<'_>,
        y: Mat,
        embedding: &Embedding,
        dx: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let rows = b.alloc(self.memory.stream, dx.rows, dx.cols);
        let (x, rstd) = (embedding.first.x, embedding.rstd);
        b.push(EmbedRowsBackward { time: None, dx, x, rstd, accumulate, de: rows });
        let (dw, w) = (self.param(self.training().grads, "unpool.weight"), self.weight("unpool.weight"));
        let rows = in_rows(rows, y.rows);
        b.push(WeightGrads { grads: vec![WeightGrad { dy: rows, x: y, dw }], accumulate });
        let dy = b.alloc(self.memory.acts, y.rows, y.cols);
        b.push(LinearBackward { dy: rows, w, dx: dy });
        dy
    }
}
