//! No noise: each token is predicted from those before it, and a text is written from left to right.
//!
//! A window is read behind a symbol that no text holds (`start` in [`Shift`]), so that row i predicts token i and the terms of
//! a window are the likelihood of all of it.

use super::{Batch, Generative, SampleState};
use crate::config::{Architecture, Objective};
use crate::error::{Error, Result};
use crate::model::{Heads, Keep, Last, Tokens, Transformer};
use crate::program::{
    Accumulate, AppendToken, Builder, CachedAttention, Commit, Counted, Crop, CrossEntropy, FillCache, LastToken,
    LossSum, Mat, OpenRow, Predict, SequenceLoss, Shift, Windows,
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

/// What the drawing of a token knows of those before it: the same either way, but for rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// Keys and values of every layer are kept.
    #[default]
    Kept,
    /// Nothing: the window is computed anew.
    Recomputed,
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

    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let (xt, t) = self.shifted(b, state.x);
        let forward = self.model.forward(b, xt, t, Keep::Last);
        self.model.head_logits(b, forward.last)
    }

    fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        let config = &self.model.config;
        let rows = config.n_layer * sequences * config.sequence_len;
        let cache = Some(b.alloc(self.model.memory.cache, rows, 2 * config.n_embd));
        SampleState { cache, ..SampleState::new(b, &self.model.memory, sequences, config.sequence_len) }
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, _: Objective, windows: Range<u64>, total: usize) {
        let counted = Counted::Mean { sequences: total as u32 };
        self.read(b, batch, Windows::Random(windows), counted);
    }

    fn learn(&self, b: &mut Builder<'_>, batch: Batch, _: Objective, metrics: Mat, accumulate: Accumulate) -> Mat {
        let Batch { x0, xt, t, weight, .. } = batch;
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

    /// What of the past it can keep where that is asked for: convolutions would need the stream's past too.
    pub fn past(&self, asked: Past) -> Past {
        if self.model.config.short_conv > 0 { Past::Recomputed } else { asked }
    }

    /// Appends the drawing of each text's next token; returns the logits `[B, V]` that it was drawn from.
    pub fn next_token(&self, b: &mut Builder<'_>, state: SampleState, past: Past) -> Mat {
        let row = match self.past(past) {
            Past::Kept => self.next_row(b, state),
            Past::Recomputed => self.open_row(b, state),
        };
        self.draw(b, state, row)
    }

    /// Appends a forward pass over the first tokens of each text, `[B, P]`, that keeps their keys and values: those that stand
    /// before the next token of every text, and further ones, whose places are written again before they are read.
    pub fn fill_cache(&self, b: &mut Builder<'_>, state: SampleState, tokens: Mat) {
        let (xt, t) = self.shifted(b, tokens);
        self.model.forward_that(b, Tokens { ids: xt, t, open: None }, Keep::Last, &mut |b, layer, heads| {
            b.push(FillCache {
                qkv: heads.qkv,
                positions: state.x.cols as u32,
                cache: state.cache_of(layer, self.model.config.n_layer),
            });
            self.model.attend(b, heads, tokens.cols);
        });
    }

    /// What predicts the next token of each text, from the token before it and what is kept of those before.
    fn next_row(&self, b: &mut Builder<'_>, state: SampleState) -> Last {
        let (memory, config, [texts, positions]) = (&self.model.memory, &self.model.config, state.x.shape());
        let [ids, t] = [(); 2].map(|()| b.alloc(memory.ids, texts, 1));
        b.push(LastToken { x: state.x, remaining: state.remaining, start: self.mask_token_id, ids });
        let attend = &mut |b: &mut Builder<'_>, layer, heads: Heads| {
            b.push(CachedAttention {
                qkv: heads.qkv,
                remaining: state.remaining,
                positions: positions as u32,
                heads: config.n_head as u32,
                rotated: config.architecture == Architecture::Original,
                cache: state.cache_of(layer, config.n_layer),
                o: heads.o,
            });
        };
        let open = Some((state.remaining, positions as u32));
        self.model.forward_that(b, Tokens { ids, t, open }, Keep::Last, attend).last
    }

    /// The same from the whole window.
    fn open_row(&self, b: &mut Builder<'_>, state: SampleState) -> Last {
        let (xt, t) = self.shifted(b, state.x);
        let Last { x, sumsq } = self.model.forward(b, xt, t, Keep::Last).last;
        let row = self.model.stream(b, state.x.rows);
        let sumsq = sumsq.map(|sumsq| [sumsq, row.sumsq]);
        b.push(OpenRow { x, sumsq, remaining: state.remaining, out: row.x });
        Last { x: row.x, sumsq: sumsq.map(|[_, out]| out) }
    }

    /// What predicts some tokens `[B, P]`, and timesteps that nobody reads.
    fn shifted(&self, b: &mut Builder<'_>, tokens: Mat) -> (Mat, Mat) {
        let (ids, [texts, positions]) = (self.model.memory.ids, tokens.shape());
        let (xt, t) = (b.alloc(ids, texts, positions), b.alloc(ids, texts, 1));
        let counted = Counted::Mean { sequences: texts as u32 };
        b.push(Shift { x0: tokens, start: self.mask_token_id, counted, xt, weight: None });
        (xt, t)
    }

    /// Appends the draw of a token for each text from its row of the stream `[B, C]`.
    fn draw(&self, b: &mut Builder<'_>, state: SampleState, row: Last) -> Mat {
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
