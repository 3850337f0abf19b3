//! Training on soft tokens: diffusion whose noise turns tokens into others ([`Interpolating`]), where training reads noise by
//! Gumbel-softmax ([`SoftTokens`]), ever harder as it goes on. Then what noise makes of a token has a gradient, and one pass can be
//! learned through another: the second reads noise over what the first one predicts, and so learns to mend a model's own mistakes,
//! as SUNDAE's second step does on drawn tokens (Savinov et al. 2022), but with gradients through both.
//!
//! A soft token tells more of the true one than a draw of it, so that the loss of soft tokens is lower than that of drawn ones and a
//! bound on nothing. All that evaluation and sampling do is of hard tokens, and nothing of this module.

use super::{Batch, Interpolating};
use crate::config::{Relaxation, Temperatures};
use crate::model::{Block, Embedding, Keep, Stream};
use crate::program::{
    Accumulate, Builder, LogitsGrad, LossSum, Mat, RelaxedLoss, Relaxing, SoftTokens, SoftTokensBackward,
};

/// How tokens are relaxed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relaxed {
    /// How soft they are.
    pub temperatures: Temperatures,
    /// What they are.
    pub relaxation: Relaxation,
    /// Whether there is a second pass.
    pub is_unrolled: bool,
}

impl Relaxed {
    /// Of a step of training.
    pub(super) fn passes(self) -> usize {
        1 + usize::from(self.is_unrolled)
    }
}

/// A pass over soft tokens.
struct Pass {
    soft: Mat,
    embedding: Embedding,
    blocks: Vec<Block>,
    last: Stream,
    logits: Mat,
}

/// What its loss leaves.
struct Loss {
    loss: Mat,
    dlogits: Mat,
    s: Mat,
    /// By what the soft tokens tell of themselves, of a second pass.
    dsoft: Option<Mat>,
}

impl Interpolating {
    /// Appends forward, loss and backward of one pass or two; returns the cross-entropy of the first.
    pub(super) fn learn_relaxed(
        &self,
        b: &mut Builder<'_>,
        relaxed: Relaxed,
        batch: Batch,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let first = self.soft_pass(b, relaxed, batch, Relaxing::Tokens(batch.x0));
        let loss = self.soft_loss(b, batch, &first, false);
        b.push(LossSum { cross_entropy: loss.loss, weight: batch.weight, accumulate, metrics });
        if !relaxed.is_unrolled {
            self.soft_backward(b, batch, &first, &loss, false, accumulate);
            return loss.loss;
        }
        let of = Relaxing::Predicted { logits: first.logits, before: first.soft };
        let second = self.soft_pass(b, relaxed, batch, of);
        let second_loss = self.soft_loss(b, batch, &second, true);
        b.push(LossSum { cross_entropy: second_loss.loss, weight: batch.weight, accumulate: Accumulate::Add, metrics });
        let by_input = self.soft_backward(b, batch, &second, &second_loss, true, accumulate);
        b.push(SoftTokensBackward {
            logits: first.logits,
            before: first.soft,
            rates: batch.rates.expect("its own batch"),
            mixing: self.mixing,
            temperatures: relaxed.temperatures,
            dsoft: [by_input.expect("asked for"), second_loss.dsoft.expect("asked for")],
            sumsq: Some(first.last.sumsq),
            width: first.last.x.cols as u32,
            dlogits: loss.dlogits,
            s: loss.s,
        });
        self.soft_backward(b, batch, &first, &loss, false, Accumulate::Add);
        loss.loss
    }

    fn soft_pass(&self, b: &mut Builder<'_>, relaxed: Relaxed, batch: Batch, of: Relaxing) -> Pass {
        let Relaxed { temperatures, relaxation, .. } = relaxed;
        let (model, rates) = (&self.model, batch.rates.expect("its own batch"));
        let soft = b.alloc(model.memory.acts, batch.x0.len(), model.config.vocab_size);
        b.push(SoftTokens { of, rates, mixing: self.mixing, temperatures, relaxation, soft });
        let embedding = model.embed_soft(b, soft, batch.x0.shape(), batch.t);
        let (blocks, last) = model.blocks(b, embedding.first, batch.x0.cols, Keep::All);
        Pass { soft, embedding, blocks, last, logits: model.head_logits(b, last) }
    }

    fn soft_loss(&self, b: &mut Builder<'_>, batch: Batch, pass: &Pass, of_soft: bool) -> Loss {
        let (memory, [n, v]) = (&self.model.memory, pass.logits.shape());
        let [loss, s] = [(); 2].map(|()| b.alloc(memory.stats, n, 1));
        let dlogits = b.alloc(memory.acts, n, v);
        let dsoft = of_soft.then(|| b.alloc(memory.stats, n, v));
        let scale = memory.training.as_ref().and_then(|training| training.scale);
        let (sumsq, width) = (Some(pass.last.sumsq), pass.last.x.cols as u32);
        b.push(RelaxedLoss {
            logits: pass.logits,
            target: batch.x0,
            soft: pass.soft,
            rates: batch.rates.expect("its own batch"),
            mixing: self.mixing,
            loss,
            back: LogitsGrad { sumsq, width, weight: batch.weight, scale, dlogits, s },
            dsoft,
        });
        Loss { loss, dlogits, s, dsoft }
    }

    /// Returns the gradient by the soft tokens as the network reads them, where it is wanted.
    fn soft_backward(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        pass: &Pass,
        loss: &Loss,
        of_soft: bool,
        accumulate: Accumulate,
    ) -> Option<Mat> {
        let model = &self.model;
        let dx = model.head_backward(b, pass.last, loss.dlogits, loss.s, accumulate);
        model.blocks_backward(b, &pass.blocks, dx, batch.x0.cols, accumulate);
        model.embed_soft_backward(b, &pass.embedding, pass.soft, dx, of_soft, accumulate)
    }
}
