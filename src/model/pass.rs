//! A pass over tokens and back, whatever the model is built of.

use super::dropout::Place;
use super::{Block, Embedding, Stream, Transformer, gpt};
use crate::config::Architecture;
use crate::program::{
    Accumulate, Attention, Builder, HeadLogits, HeadLoss, LogitsGrad, Lots, Mat, Mixing, NoisedCost, NoisedLoss,
    Scores, UnitsGrad, VectorCost, VectorLoss,
};

/// Whether a forward pass leaves what its backward needs: whether it is learned from, and numbers may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every block has its own activations.
    All,
    /// All blocks share one block's activations.
    Last,
}

/// The tokens of a pass.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// `[B, T]`.
    pub ids: Mat,
    /// `[B, 1]` timesteps.
    pub t: Mat,
    /// `[B, 1]` open positions of so many, of texts whose one row here stands at the first of them.
    pub open: Option<(Mat, u32)>,
}

/// What a forward pass over tokens leaves in memory.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What the head reads.
    pub last: Last,
    /// What the backward needs.
    pub kept: Kept,
}

/// What a backward needs of its forward.
#[derive(Clone, Debug)]
pub enum Kept {
    /// [`Architecture::Original`].
    Original {
        /// Of the embedding.
        embedding: Embedding,
        /// Of each block, from the first to the last.
        blocks: Vec<Block>,
        /// Of the head.
        last: Stream,
    },
    /// [`Architecture::Gpt`].
    Gpt(gpt::Kept),
}

/// What the head reads.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// `[N, C]`.
    pub x: Mat,
    /// `[N, ⌈C/128⌉]`, where a norm is still to be done.
    pub sumsq: Option<Mat>,
}

impl Last {
    /// Its first rows.
    pub fn first(self, rows: usize) -> Self {
        let first = |mat: Mat| mat.row_block(0, rows);
        Last { x: first(self.x), sumsq: self.sumsq.map(first) }
    }
}

impl From<Stream> for Last {
    fn from(Stream { x, sumsq }: Stream) -> Self {
        Last { x, sumsq: Some(sumsq) }
    }
}

/// What the attention of a block reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// `[N, 3C]`.
    pub qkv: Mat,
    /// `[N, C]`, written.
    pub o: Mat,
    /// `[N, H]`, written.
    pub lse: Mat,
}

/// What makes `o` of a block's `qkv`; it is told the block's number.
pub type Attend<'a> = dyn FnMut(&mut Builder<'_>, usize, Heads) + 'a;

/// What predictions cost.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    /// The cross-entropy of the target, without a symbol that is never predicted.
    CrossEntropy {
        /// That symbol.
        drop: Option<u32>,
    },
    /// That of tokens that noise turned into others.
    Noised(Noised),
    /// That of vectors with noise.
    Vectors(Vectors),
}

/// As [`VectorLoss`] has it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "said there")]
pub struct Vectors {
    pub z: Mat,
    pub units: Mat,
    pub steps: Mat,
    pub drop: u32,
    pub cost: VectorCost,
    pub of_units: UnitsGrad,
}

/// As [`NoisedLoss`](crate::program::NoisedLoss) has it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "said there")]
pub struct Noised {
    pub z: Mat,
    pub rates: Mat,
    pub mixing: Mixing,
    pub cost: NoisedCost,
}

impl From<Option<u32>> for Cost {
    fn from(drop: Option<u32>) -> Self {
        Cost::CrossEntropy { drop }
    }
}

/// What a loss leaves.
pub(super) struct HeadGrad {
    /// `[N, 1]`, not weighted.
    pub(super) loss: Mat,
    pub(super) dlogits: Mat,
    pub(super) s: Mat,
}

impl Transformer {
    /// Appends a forward pass over tokens `ids` `[B, T]` at timesteps `t` `[B, 1]`, up to the head.
    pub fn forward(&self, b: &mut Builder<'_>, ids: Mat, t: Mat, keep: Keep) -> Forward {
        // The original's attention drops nothing.
        let drops =
            self.drops(keep, ids.len(), ids.cols).filter(|_| self.config.architecture != Architecture::Original);
        let attend = &mut |b: &mut Builder<'_>, block, heads| {
            self.attention(b, heads, ids.cols, drops.map(|drops| drops.lots(Place::Weights(block))));
        };
        self.forward_that(b, Tokens { ids, t, open: None }, keep, attend)
    }

    /// The same, where something else than [`Transformer::attend`] may do the attention.
    pub fn forward_that(&self, b: &mut Builder<'_>, tokens: Tokens, keep: Keep, attend: &mut Attend<'_>) -> Forward {
        match self.config.architecture {
            Architecture::Original => {
                let embedding = self.embed(b, tokens.ids, tokens.t);
                let (blocks, last) = self.blocks_that(b, embedding.first, tokens.ids.cols, keep, attend);
                Forward { last: last.into(), kept: Kept::Original { embedding, blocks, last } }
            }
            Architecture::Gpt { .. } => self.gpt_forward(b, tokens, keep, attend),
        }
    }

    /// Appends the loss at the head and the whole backward pass. `target` `[B, T]`, `weight` `[N, 1]` of the
    /// stream's first rows, which may be all; returns their unweighted cost `[N, 1]`.
    pub fn loss_and_backward(
        &self,
        b: &mut Builder<'_>,
        forward: &Forward,
        target: Mat,
        weight: Mat,
        cost: impl Into<Cost>,
        accumulate: Accumulate,
    ) -> Mat {
        let cost = cost.into();
        match &forward.kept {
            Kept::Original { embedding, blocks, last } => {
                let (cross_entropy, dx) = self.head_loss(b, *last, target, weight, cost, accumulate);
                self.blocks_backward(b, blocks, dx, target.cols, accumulate);
                self.embed_backward(b, embedding, dx, accumulate);
                cross_entropy
            }
            Kept::Gpt(kept) => self.gpt_backward(b, kept, target, weight, cost, accumulate),
        }
    }

    /// Appends the attention of a block over texts of `positions` rows each.
    pub fn attend(&self, b: &mut Builder<'_>, heads: Heads, positions: usize) {
        self.attention(b, heads, positions, None);
    }

    fn attention(&self, b: &mut Builder<'_>, heads: Heads, positions: usize, dropout: Option<Lots>) {
        b.push(Attention {
            qkv: heads.qkv,
            positions: positions as u32,
            heads: self.config.n_head as u32,
            mask: self.mask,
            scores: match self.config.architecture {
                Architecture::Original => Scores::Bounded,
                Architecture::Gpt { .. } => Scores::Free,
            },
            dropout,
            o: heads.o,
            lse: heads.lse,
        });
    }

    /// Appends what the predictions behind a stream cost, and the gradient of the logits that the backward begins with.
    pub(super) fn push_loss(
        &self,
        b: &mut Builder<'_>,
        Last { x, sumsq }: Last,
        target: Mat,
        weight: Mat,
        cost: Cost,
    ) -> HeadGrad {
        let (n, scale, w) = (weight.rows, self.training().scale, self.head(self.memory.stored));
        let loss = b.alloc(self.memory.stats, n, 1);
        let dlogits = b.alloc(self.memory.acts, n, self.config.vocab_size);
        let s = b.alloc(self.memory.stats, n, 1);
        match cost {
            Cost::CrossEntropy { drop } => {
                b.push(HeadLoss { x, sumsq, w, target, weight, scale, drop, cross_entropy: loss, dlogits, s });
            }
            Cost::Noised(Noised { z, rates, mixing, cost }) => {
                let logits = self.head_logits(b, Last { x, sumsq });
                let back = Some(LogitsGrad { sumsq, width: x.cols as u32, weight, scale, dlogits, s });
                b.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back });
            }
            Cost::Vectors(Vectors { z, units, steps, drop, cost, of_units }) => {
                let logits = self.head_logits(b, Last { x, sumsq });
                let back = LogitsGrad { sumsq, width: x.cols as u32, weight, scale, dlogits, s };
                let back = Some((back, of_units));
                b.push(VectorLoss { logits, target, z, units, steps, drop, cost, loss, back });
            }
        }
        HeadGrad { loss, dlogits, s }
    }

    /// Appends the head behind what it reads; returns the logits `[N, V]` f32, or of latents what it says of their numbers `[M, d]`.
    pub fn head_logits(&self, b: &mut Builder<'_>, last: impl Into<Last>) -> Mat {
        let (Last { x, sumsq }, w) = (last.into(), self.head(self.memory.stored));
        let logits = b.alloc(self.memory.stats, x.rows, w.rows);
        b.push(HeadLogits { x, sumsq, w, logits });
        logits
    }

    /// The head's matrix within `all`.
    pub(super) fn head(&self, all: Mat) -> Mat {
        self.param(
            all,
            match self.config.architecture {
                Architecture::Original => "output_head.weight",
                Architecture::Gpt { .. } => gpt::TOKENS,
            },
        )
    }
}
