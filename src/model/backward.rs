//! The backward pass, written by hand under its forward. The order of ops is the reverse of the forward's; weight
//! gradients of a block are one group, before `dx` is overwritten with the gradient of the block's input.

use super::{Forward, Transformer};
use crate::program::{
    Accumulate, AttentionBackward, Builder, EmbedBackward, HeadLoss, Mat, NormLinearBackward, ProjectionBackward,
    Relu2Backward, WeightGrad, WeightGrads, sumsq_slots,
};

impl Transformer {
    /// Appends the loss at the head and the whole backward pass. `target` `[B, T]`, `weight` `[N, 1]`; returns the
    /// unweighted cross-entropy `[N, 1]`.
    pub fn loss_and_backward(
        &self,
        b: &mut Builder<'_>,
        forward: &Forward,
        target: Mat,
        weight: Mat,
        drop: Option<u32>,
        accumulate: Accumulate,
    ) -> Mat {
        let training = self.memory.training.expect("the model was laid out for training");
        let (n, c, f) = (forward.ids.len(), self.config.n_embd, self.config.mlp_width());
        let (heads, positions) = (self.config.n_head, forward.ids.cols as u32);
        let (acts, stats, stream) = (self.memory.acts, self.memory.stats, self.memory.stream);
        let grad = |name: &str| self.params.mat(training.grads, name);

        let cross_entropy = b.alloc(stats, n, 1);
        let dlogits = b.alloc(acts, n, self.config.vocab_size);
        let s_head = b.alloc(stats, n, 1);
        let w_head = self.weight("output_head.weight");
        let last = forward.last;
        b.push(HeadLoss {
            x: last.x,
            sumsq: last.sumsq,
            w: w_head,
            target,
            weight,
            scale: training.scale,
            drop,
            cross_entropy,
            dlogits,
            s: s_head,
        });
        let dw = grad("output_head.weight");
        b.push(WeightGrads { grads: vec![WeightGrad { dy: dlogits, x: last.x, dw }], accumulate });

        // The gradient of the stream goes from dx to dx_middle and back in each block; branch gradients are reused by every block.
        let dx = b.alloc(stream, n, c);
        let dx_middle = b.alloc(stream, n, c);
        let dy_mlp = b.alloc(acts, n, f);
        let s_mlp = b.alloc(stats, n, sumsq_slots(f));
        let d_o = b.alloc(acts, n, c);
        let dot = b.alloc(stats, n, heads);
        let dqkv = b.alloc(acts, n, 3 * c);
        let s_attention = b.alloc(stats, n, heads);
        b.push(NormLinearBackward {
            dy: dlogits,
            w: w_head,
            x: last.x,
            sumsq: last.sumsq,
            s: s_head,
            residual: None,
            dx,
        });
        for (i, block) in forward.blocks.iter().enumerate().rev() {
            let name = |part: &str| format!("blocks.{i}.{part}.weight");
            b.push(Relu2Backward {
                dx,
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
            b.push(ProjectionBackward {
                dx: dx_middle,
                w: self.weight(&name("attn.c_proj")),
                o: block.o,
                heads: heads as u32,
                d_o,
                dot,
            });
            b.push(AttentionBackward {
                qkv: block.qkv,
                qk_rstd: block.qk_rstd,
                lse: block.lse,
                d_o,
                dot,
                sumsq: block.before.sumsq,
                positions,
                heads: heads as u32,
                mask: self.mask,
                dqkv,
                s: s_attention,
            });
            b.push(WeightGrads {
                grads: vec![
                    WeightGrad { dy: dx, x: block.h, dw: grad(&name("mlp.c_proj")) },
                    WeightGrad { dy: dy_mlp, x: block.middle.x, dw: grad(&name("mlp.c_fc")) },
                    WeightGrad { dy: dx_middle, x: block.o, dw: grad(&name("attn.c_proj")) },
                    WeightGrad { dy: dqkv, x: block.before.x, dw: self.params.qkv(training.grads, i) },
                ],
                accumulate,
            });
            b.push(NormLinearBackward {
                dy: dqkv,
                w: self.params.qkv(self.memory.stored, i),
                x: block.before.x,
                sumsq: block.before.sumsq,
                s: s_attention,
                residual: Some(dx_middle),
                dx,
            });
        }
        let first = forward.blocks.first().map_or(last, |block| block.before);
        b.push(EmbedBackward {
            ids: forward.ids,
            time: self.time_table(training.grads).map(|dtime| (forward.t, dtime)),
            dx,
            x: first.x,
            rstd: forward.embed_rstd,
            accumulate,
            dtoken: grad("token_emb.weight"),
        });
        cross_entropy
    }
}
