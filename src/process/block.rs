//! Block diffusion (BD3-LM, Arriola et al. 2025): blocks of a text follow one another as tokens of an autoregressive model do,
//! and masked diffusion writes each of them.
//!
//! Training reads a text twice in one pass, with noise and without: `[x_t ; x_0]`, T positions each, at the same positions. A
//! block with noise sees itself and the blocks before it without ([`AttentionMask::Blocks`](crate::program::AttentionMask)), so
//! that all blocks are learned at once, each at a noise level of its own:
//!
//! `loss = 1/(B·T) · Σ over blocks of 1/t · Σ CE over its masked tokens` (linear schedule).
//!
//! Blocks of one token are the exact likelihood of a causal model that is asked by a mask at the token's own position; one block
//! of all T is masked diffusion.
//!
//! A text is written block by block. Keys and values of the blocks before are kept, and are those that a pass over the whole
//! would compute, because no position sees a later block.

use super::{Batch, Diffusion, Generative, Masked, ReverseStep, SampleState};
use crate::config::Objective;
use crate::error::{Error, Result};
use crate::model::{Forward, Heads, Keep, Last, Taps, Tokens, Transformer};
use crate::program::{
    Accumulate, AttentionMask, Builder, CachedAttention, Commit, Crop, CrossEntropy, Level, LossSum, Mat, Noise,
    SequenceLoss, Streams, TimeOrder, Windows,
};
use std::ops::Range;

/// The process over one model, whose attention is by blocks.
#[derive(Clone, Debug)]
pub struct Block {
    /// What happens within a block.
    pub within: Masked,
    /// Tokens of a block.
    pub length: usize,
}

impl Block {
    /// Blocks of this length over a transformer.
    pub(super) fn new(model: &Transformer, mask_token_id: u32, length: usize) -> Self {
        let model = model.seeing(AttentionMask::Blocks { length: length as u32 }, Taps::Around);
        Block { within: Masked { model, mask_token_id, context_len: 0, prompt_drop: 0 }, length }
    }

    /// Appends a pass over the first blocks of each text, [`SampleState::begun`], that keeps their keys and values: those that
    /// stretch by stretch would be kept, number for number.
    pub fn fill_cache(&self, b: &mut Builder<'_>, state: SampleState, blocks: usize) {
        let [tokens, ahead] = state.begun_of(blocks);
        self.keeping(b, state, tokens, ahead);
    }

    /// Appends a forward pass over blocks, `[K·B, L]`, one of each text and then the next, which sees what is kept of those before
    /// and keeps its own.
    fn keeping(&self, b: &mut Builder<'_>, state: SampleState, tokens: Mat, ahead: Mat) -> Last {
        let (model, config, texts) = (self.model(), &self.model().config, state.x.rows);
        let t = b.alloc(model.memory.ids, tokens.rows, 1);
        let attend = &mut |b: &mut Builder<'_>, layer, heads: Heads| {
            for block in 0..tokens.rows / texts {
                let rows = |mat: Mat, of_text: usize| mat.row_block(block * texts * of_text, texts * of_text);
                b.push(CachedAttention {
                    qkv: rows(heads.qkv, self.length),
                    remaining: rows(ahead, 1),
                    positions: config.sequence_len as u32,
                    heads: config.n_head as u32,
                    rotated: true,
                    cache: state.cache_of(layer, config.n_layer),
                    o: rows(heads.o, self.length),
                });
            }
        };
        model.forward_that(b, Tokens { ids: tokens, t, open: None }, Keep::Last, attend).last
    }
}

impl Generative for Block {
    fn model(&self) -> &Transformer {
        &self.within.model
    }

    fn mask_id(&self) -> u32 {
        self.within.mask_token_id
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective.learned_levels().is_some() {
            return Err(Error::input(
                "levels are learned of whole windows, and this model's blocks have levels of their own; give other --levels",
            ));
        }
        self.within.check_objective(objective)
    }

    /// The text with noise and the one without lie behind each other, so that the model reads both as they are.
    fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        let (memory, positions) = (&self.model().memory, self.model().config.sequence_len);
        let both = b.alloc(memory.ids, 2 * sequences, positions);
        Batch {
            x0: both.row_block(sequences, sequences),
            xt: both.row_block(0, sequences),
            t: b.alloc(memory.ids, sequences * positions / self.length, 1),
            vectors: None,
            latents: None,
            rates: None,
            weight: b.alloc(memory.stats, sequences * positions, 1),
        }
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        self.within.corrupt(b, batch, objective, windows, total);
    }

    fn forward(&self, b: &mut Builder<'_>, batch: Batch, keep: Keep) -> Forward {
        let both = Mat { rows: 2 * batch.xt.rows, ..batch.xt };
        assert!(both.range().end == batch.x0.range().end, "the text without noise lies behind the one with it");
        self.model().forward(b, both, batch.t, keep)
    }

    fn learn(&self, b: &mut Builder<'_>, batch: Batch, _: Objective, metrics: Mat, accumulate: Accumulate) -> Mat {
        let Batch { x0, weight, .. } = batch;
        let forward = self.forward(b, batch, Keep::All);
        let drop = Some(self.mask_id());
        let cross_entropy = self.model().loss_and_backward(b, &forward, x0, weight, drop, accumulate);
        b.push(LossSum { cross_entropy, weight, accumulate, metrics });
        cross_entropy
    }

    /// Of each text's block, from what is known of it and what is kept of those before; its keys and values are kept as it is.
    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let last = self.keeping(b, state, state.x, state.ahead.expect("of a stretch"));
        self.model().head_logits(b, last)
    }

    /// Of the block that is written, and what is kept of those before.
    fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        let (memory, config) = (&self.model().memory, &self.model().config);
        let (rows, blocks) =
            (config.n_layer * sequences * config.sequence_len, sequences * config.sequence_len / self.length);
        SampleState {
            cache: Some(b.alloc(memory.cache, rows, 2 * config.n_embd)),
            ahead: Some(b.alloc(memory.kept_ids, sequences, 1)),
            begun: Some([self.length, 1].map(|cols| b.alloc(memory.kept_ids, blocks, cols))),
            ..SampleState::new(b, memory, sequences, self.length)
        }
    }
}

impl Diffusion for Block {
    fn time_order(&self, positions: usize) -> TimeOrder {
        self.within.time_order(positions)
    }

    fn stretch(&self) -> Option<usize> {
        Some(self.length)
    }

    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, level: Level, sums: Mat) {
        let sequences = sums.rows * self.length / self.model().config.sequence_len;
        let batch = self.batch(b, sequences);
        b.push(Crop { windows, x0: batch.x0 });
        self.within.push_corrupt(b, batch, Noise::ExactCount, (level, None), Streams::Eval, sequences as u32);
        let last = self.forward(b, batch, Keep::Last).last.first(batch.x0.len());
        let logits = self.model().head_logits(b, last);
        let cross_entropy = b.alloc(self.model().memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target: batch.x0, drop: Some(self.mask_id()), cross_entropy });
        b.push(SequenceLoss { cross_entropy, weight: batch.weight, sums });
    }

    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) -> Mat {
        let [rows, cols] = state.x.shape();
        let candidate = b.alloc(self.model().memory.ids, rows, cols);
        let logits = self.logits(b, state);
        self.decide(b, logits, state, step, Commit::Candidates { candidate })
    }

    fn score_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) {
        let cross_entropy = b.alloc(self.model().memory.stats, state.x.len(), 1);
        let logits = self.logits(b, state);
        self.decide(b, logits, state, step, Commit::Truth { target: state.truth, cross_entropy, nll: state.nll });
    }
}
