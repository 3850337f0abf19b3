//! The original's backward pass, written by hand under its forward. The order of ops is the reverse of the forward's; weight
//! gradients of a block are one group, before `dx` is overwritten with the gradient of the block's input.

use super::dropout::Place;
use super::pass::HeadGrad;
use super::{Block, Cost, Embedding, Keep, Stream, TrainingMemory, Transformer};
use crate::program::{
    Accumulate, AttentionBackward, Builder, Clear, EmbedBackward, EmbedRowsBackward, HeadLogits, LinearBackward, Mat,
    NormLinearBackward, ProjectionBackward, QkvNorms, Relu2Backward, ShortConvBackward, WeightGrad, WeightGrads,
    sumsq_slots,
};

impl Transformer {
    /// Appends the loss at the head behind a stream and the head's backward; returns the unweighted cost `[N, 1]` of
    /// the rows that have a target, the first ones, and the gradient of the stream, which is 0 elsewhere.
    pub fn head_loss(
        &self,
        b: &mut Builder<'_>,
        last: Stream,
        target: Mat,
        weight: Mat,
        cost: Cost,
        accumulate: Accumulate,
    ) -> (Mat, Mat) {
        let HeadGrad { loss, dlogits, s } = self.push_loss(b, last.first(weight.rows).into(), target, weight, cost);
        (loss, self.head_backward(b, last, dlogits, s, accumulate))
    }

    /// Appends the backward of the head behind a stream from the gradient of its first rows' logits; returns the stream's.
    pub fn head_backward(
        &self,
        b: &mut Builder<'_>,
        last: Stream,
        dlogits: Mat,
        s: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let training = self.training();
        let (all, n, w) = (last.x.rows, dlogits.rows, self.head(self.memory.stored));
        let last = last.first(n);
        let dw = self.head(training.grads);
        b.push(WeightGrads { grads: vec![WeightGrad { dy: dlogits, x: last.x, dw }], accumulate });
        let dx = b.alloc(self.memory.stream, all, self.config.n_embd);
        if n < all {
            b.push(Clear { out: dx.row_block(n, all - n) });
        }
        let residual = None;
        b.push(NormLinearBackward {
            dy: dlogits,
            w,
            x: last.x,
            sumsq: last.sumsq,
            s,
            residual,
            dx: dx.row_block(0, n),
        });
        dx
    }

    /// Appends the backward of every block: `dx` `[N, C]`, the gradient of the stream behind them, becomes that of the stream
    /// before them.
    pub fn blocks_backward(
        &self,
        b: &mut Builder<'_>,
        blocks: &[Block],
        dx: Mat,
        positions: usize,
        accumulate: Accumulate,
    ) {
        let grads = self.training().grads;
        let (n, c, f) = (dx.rows, self.config.n_embd, self.config.mlp_width());
        let drops = self.drops(Keep::All, n, positions).map(|drops| (drops, b.alloc(self.memory.stream, n, c)));
        let (heads, positions) = (self.config.n_head, positions as u32);
        let (acts, stats) = (self.memory.acts, self.memory.stats);
        // The gradient of the stream goes from dx to dx_middle and back in each block, on the way through a third where neighbours
        // are mixed; branch gradients are reused by every block.
        let dx_middle = b.alloc(self.memory.stream, n, c);
        let convolves = self.config.short_conv > 0;
        let [dx_between, dx_before] =
            if convolves { [b.alloc(self.memory.stream, n, c), dx_middle] } else { [dx_middle, dx] };
        let dy_mlp = b.alloc(acts, n, f);
        let s_mlp = b.alloc(stats, n, sumsq_slots(f));
        let d_o = b.alloc(acts, n, c);
        let dot = b.alloc(stats, n, heads);
        let dqkv = b.alloc(acts, n, 3 * c);
        let s_attention = b.alloc(stats, n, heads);
        for (i, block) in blocks.iter().enumerate().rev() {
            let name = |part: &str| format!("blocks.{i}.{part}.weight");
            let grad = |part: &str| self.param(grads, &name(part));
            let d_mlp = drops.map_or(dx, |(drops, y)| drops.left(b, Place::Mlp(i), dx, y));
            b.push(Relu2Backward {
                dx: d_mlp,
                w: self.weight(&name("mlp.c_proj")),
                h: block.h,
                sumsq: block.middle.sumsq,
                dy: dy_mlp,
                s: s_mlp,
            });
            b.push(NormLinearBackward {
                dy: dy_mlp,
                w: self.weight(&name("mlp.c_fc")),
                x: block.middle.x,
                sumsq: block.middle.sumsq,
                s: s_mlp,
                residual: Some(dx),
                dx: dx_middle,
            });
            let back = |part: &str, dout, x: Stream, dx| {
                let (w, dw) = (self.weight(&name(part)), grad(part));
                ShortConvBackward { dout, x: x.x, w, positions, before: self.taps_before(), accumulate, dx, dw }
            };
            if convolves {
                b.push(back("mlp.conv", dx_middle, block.between, dx_between));
            }
            b.push(ProjectionBackward {
                dx: dx_between,
                w: self.weight(&name("attn.c_proj")),
                o: block.o,
                heads: heads as u32,
                d_o,
                dot,
            });
            b.push(AttentionBackward {
                qkv: block.qkv,
                lse: block.lse,
                d_o,
                dot,
                positions,
                heads: heads as u32,
                mask: self.mask,
                norms: Some(QkvNorms { qk_rstd: block.qk_rstd, sumsq: block.before.sumsq, s: s_attention }),
                dropout: None,
                dqkv,
            });
            b.push(WeightGrads {
                grads: vec![
                    WeightGrad { dy: d_mlp, x: block.h, dw: grad("mlp.c_proj") },
                    WeightGrad { dy: dy_mlp, x: block.middle.x, dw: grad("mlp.c_fc") },
                    WeightGrad { dy: dx_between, x: block.o, dw: grad("attn.c_proj") },
                    WeightGrad { dy: dqkv, x: block.before.x, dw: self.qkv(grads, i) },
                ],
                accumulate,
            });
            b.push(NormLinearBackward {
                dy: dqkv,
                w: self.qkv(self.memory.stored, i),
                x: block.before.x,
                sumsq: block.before.sumsq,
                s: s_attention,
                residual: Some(dx_between),
                dx: dx_before,
            });
            if convolves {
                b.push(back("attn.conv", dx_before, block.entry, dx));
            }
        }
    }

    /// Appends the backward of the embedding from `dx` `[N, C]`, the gradient of its stream.
    pub fn embed_backward(&self, b: &mut Builder<'_>, embedding: &Embedding, dx: Mat, accumulate: Accumulate) {
        let grads = self.training().grads;
        b.push(EmbedBackward {
            ids: embedding.ids,
            time: self.time_table(grads).map(|dtime| (embedding.t, dtime)),
            dx,
            x: embedding.first.x,
            rstd: embedding.rstd,
            accumulate,
            dtoken: self.param(grads, "token_emb.weight"),
        });
    }

    /// Appends the backward of [`Transformer::embed_soft`] from `dx` `[N, C]`, the gradient of its stream; returns that of the soft
    /// tokens, `[N, V]` f32, where it is wanted.
    pub fn embed_soft_backward(
        &self,
        b: &mut Builder<'_>,
        embedding: &Embedding,
        soft: Mat,
        dx: Mat,
        is_wanted: bool,
        accumulate: Accumulate,
    ) -> Option<Mat> {
        let (grads, [n, c]) = (self.training().grads, dx.shape());
        let de = b.alloc(self.memory.stream, n, c);
        b.push(EmbedRowsBackward {
            time: self.time_table(grads).map(|dtime| (embedding.t, dtime)),
            dx,
            x: embedding.first.x,
            rstd: embedding.rstd,
            accumulate,
            de,
        });
        let dw = self.param(grads, "token_emb.weight");
        b.push(WeightGrads { grads: vec![WeightGrad { dy: soft, x: de, dw }], accumulate });
        is_wanted.then(|| {
            let dsoft = b.alloc(self.memory.stats, n, soft.cols);
            b.push(HeadLogits { x: de, sumsq: None, w: self.weight("token_emb.weight"), logits: dsoft });
            dsoft
        })
    }

    /// Appends the backward of [`Transformer::project`] from `dx` `[N, C]`, the gradient of its stream; returns that of `y`.
    pub fn project_backward(&self, b: &mut Builder<'_>, y: Mat, dx: Mat, accumulate: Accumulate) -> Mat {
        let dw = self.param(self.training().grads, "input_proj.weight");
        b.push(WeightGrads { grads: vec![WeightGrad { dy: dx, x: y, dw }], accumulate });
        let (dy, w) = (b.alloc(self.memory.acts, y.rows, y.cols), self.weight("input_proj.weight"));
        b.push(LinearBackward { dy: dx, w, dx: dy });
        dy
    }

    pub(super) fn training(&self) -> &TrainingMemory {
        self.memory.training.as_ref().expect("the model was laid out for training")
    }
}
