//! No noise: each token is predicted from those before it, and a text is written from left to right.
//!
//! A window is read behind a symbol that no text holds (`start` in [`Shift`]), so that row i predicts token i and the terms of
//! a window are the likelihood of all of it.

use super::{Batch, Generative, SampleState};
use crate::config::Objective;
use crate::error::{Error, Result};
use crate::model::{Keep, Stream, Transformer};
use crate::program::{
    Accumulate, AppendToken, Builder, Commit, Counted, Crop, CrossEntropy, LossSum, Mat, OpenRow, Predict,
    SequenceLoss, Shift, Windows,
};
use std::ops::Range;

/// The process over one model, whose attention is causal.
#[derive(Clone, Debug)]
pub struct Autoregressive {
    /// The transformer that predicts the next token.
    pub model: Transformer,
    /// The symbol that stands before a window, and is never predicted.
    pub mask_token_id: u32,
}

impl Generative for Autoregressive {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn mask_id(&self) -> u32 {
        self.mask_token_id
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective != Objective::Nll {
            return Err(Error::input(format!(
                "the objective {} is of masked diffusion, and an autoregressive model is trained by nll; leave --objective out",
                objective.name()
            )));
        }
        Ok(())
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, _: Objective, windows: Range<u64>, total: usize) {
        let counted = Counted::Mean { sequences: total as u32 };
        self.read(b, batch, Windows::Random(windows), counted);
    }

    fn learn(&self, b: &mut Builder<'_>, batch: Batch, _: Objective, metrics: Mat, accumulate: Accumulate) -> Mat {
        let Batch { x0, xt, t, weight } = batch;
        let forward = self.model.forward(b, xt, t, Keep::All);
        let drop = Some(self.mask_token_id);
        let cross_entropy = self.model.loss_and_backward(b, &forward, x0, weight, drop, accumulate);
        b.push(LossSum { cross_entropy, weight, accumulate, metrics });
        cross_entropy
    }
}

impl Autoregressive {
    /// Appends one pass over some of `windows` evenly spaced windows of a range, into `sums` `[B, 2]` f32: the cross-entropy
    /// in nats of the tokens that no window before has counted, and their number.
    pub fn likelihood(&self, b: &mut Builder<'_>, range: Range<u64>, windows: u32, sums: Mat) {
        let batch = self.batch(b, sums.rows);
        let counted = Counted::Once { range: range.clone(), windows };
        self.read(b, batch, Windows::Spaced { range, windows }, counted);
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::Last);
        let logits = self.model.head_logits(b, forward.last);
        let cross_entropy = b.alloc(self.model.memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target: batch.x0, drop: Some(self.mask_token_id), cross_entropy });
        b.push(SequenceLoss { cross_entropy, weight: batch.weight, sums });
    }

    /// Appends the drawing of each text's next token; returns the logits `[B, V]` that it was drawn from.
    pub fn next_token(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let (memory, [texts, positions]) = (&self.model.memory, state.x.shape());
        let (xt, t) = (b.alloc(memory.ids, texts, positions), b.alloc(memory.ids, texts, 1));
        let counted = Counted::Mean { sequences: texts as u32 };
        b.push(Shift { x0: state.x, start: self.mask_token_id, counted, xt, weight: None });
        let forward = self.model.forward(b, xt, t, Keep::Last);
        let row = self.model.stream(b, texts);
        b.push(OpenRow {
            x: forward.last.x,
            sumsq: forward.last.sumsq,
            remaining: state.remaining,
            out: row.x,
            out_sumsq: row.sumsq,
        });
        self.draw(b, state, row)
    }

    /// Appends the draw of a token for each text from its row of the stream `[B, C]`.
    fn draw(&self, b: &mut Builder<'_>, state: SampleState, row: Stream) -> Mat {
        let memory = &self.model.memory;
        let (texts, logits) = (row.x.rows, self.model.head_logits(b, row));
        let (candidate, confidence) = (b.alloc(memory.ids, texts, 1), b.alloc(memory.stats, texts, 1));
        b.push(Predict {
            logits,
            masked: state.remaining,
            params: state.params,
            remaining: state.remaining,
            drop: Some(self.mask_token_id),
            commit: Commit::Candidates { candidate },
            confidence,
        });
        b.push(AppendToken {
            candidate,
            confidence,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
            remaining: state.remaining,
        });
        logits
    }

    /// Appends the cutting of windows, and what predicts them.
    fn read(&self, b: &mut Builder<'_>, batch: Batch, windows: Windows, counted: Counted) {
        let Batch { x0, xt, weight, .. } = batch;
        b.push(Crop { windows, x0 });
        b.push(Shift { x0, start: self.mask_token_id, counted, xt, weight: Some(weight) });
    }
}
