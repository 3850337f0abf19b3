//! The forward pass, written as ops.

use super::Transformer;
use crate::program::{
    Attention, Builder, Embed, HeadLogits, LinearRelu2, LinearResidual, Mat, Qkv, Scores, sumsq_slots,
};

/// Whether a forward pass leaves what its backward needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every block has its own activations.
    All,
    /// All blocks share one block's activations.
    Last,
}

/// What a forward pass over tokens leaves in memory.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What the backward of the embedding needs.
    pub embedding: Embedding,
    /// What each block leaves for its backward, from the first to the last.
    pub blocks: Vec<Block>,
    /// What the head reads.
    pub last: Stream,
}

/// Tokens that became a residual stream.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// `[B, T]` tokens.
    pub ids: Mat,
    /// `[B, 1]` timesteps.
    pub t: Mat,
    /// `[N, 1]` r of the norm.
    pub rstd: Mat,
    /// What the first block reads.
    pub first: Stream,
}

/// The residual stream at one point.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// `[N, C]`.
    pub x: Mat,
    /// `[N, ⌈C/128⌉]`.
    pub sumsq: Mat,
}

/// Activations of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The residual stream before attention.
    pub before: Stream,
    /// `[N, 3C]`.
    pub qkv: Mat,
    /// `[N, 2H]`.
    pub qk_rstd: Mat,
    /// `[N, C]`.
    pub o: Mat,
    /// `[N, H]`.
    pub lse: Mat,
    /// Between attention and MLP.
    pub middle: Stream,
    /// `[N, F]`.
    pub h: Mat,
}

impl Transformer {
    /// Appends a forward pass over tokens `ids` `[B, T]` at timesteps `t` `[B, 1]`, up to the head.
    pub fn forward(&self, b: &mut Builder<'_>, ids: Mat, t: Mat, keep: Keep) -> Forward {
        let embedding = self.embed(b, ids, t);
        let (blocks, last) = self.blocks(b, embedding.first, ids.cols, keep);
        Forward { embedding, blocks, last }
    }

    /// Appends the embedding of tokens `ids` `[B, T]` at timesteps `t` `[B, 1]`.
    pub fn embed(&self, b: &mut Builder<'_>, ids: Mat, t: Mat) -> Embedding {
        let first = self.stream(b, ids.len());
        let rstd = b.alloc(self.memory.stats, ids.len(), 1);
        b.push(Embed {
            ids,
            time: self.time_table(self.memory.stored).map(|table| (t, table)),
            token: self.weight("token_emb.weight"),
            x: first.x,
            sumsq: first.sumsq,
            rstd,
        });
        Embedding { ids, t, rstd, first }
    }

    /// Appends every block over a stream of texts of `positions` rows each, embedded tokens or vectors of another origin.
    /// Returns what the blocks leave for their backward, and the stream behind them; with [`Keep::Last`] that is the memory
    /// of the one before them.
    pub fn blocks(&self, b: &mut Builder<'_>, first: Stream, positions: usize, keep: Keep) -> (Vec<Block>, Stream) {
        let (positions, heads) = (positions as u32, self.config.n_head as u32);
        let mut blocks: Vec<Block> = Vec::new();
        let mut before = first;
        for i in 0..self.config.n_layer {
            let block = match blocks.last() {
                Some(shared) if keep == Keep::Last => Block { before, ..*shared },
                _ => self.block_memory(b, before),
            };
            let after = match keep {
                Keep::All => self.stream(b, first.x.rows),
                Keep::Last => first,
            };
            b.push(Qkv {
                x: before.x,
                sumsq: before.sumsq,
                w: self.qkv(self.memory.stored, i),
                positions,
                heads,
                qkv: block.qkv,
                qk_rstd: block.qk_rstd,
            });
            b.push(Attention {
                qkv: block.qkv,
                positions,
                heads,
                mask: self.mask,
                scores: Scores::Bounded,
                o: block.o,
                lse: block.lse,
            });
            b.push(LinearResidual {
                a: block.o,
                w: self.weight(&format!("blocks.{i}.attn.c_proj.weight")),
                residual: before.x,
                out: block.middle.x,
                sumsq: block.middle.sumsq,
            });
            b.push(LinearRelu2 {
                x: block.middle.x,
                sumsq: block.middle.sumsq,
                w: self.weight(&format!("blocks.{i}.mlp.c_fc.weight")),
                h: block.h,
            });
            b.push(LinearResidual {
                a: block.h,
                w: self.weight(&format!("blocks.{i}.mlp.c_proj.weight")),
                residual: block.middle.x,
                out: after.x,
                sumsq: after.sumsq,
            });
            blocks.push(block);
            before = after;
        }
        (blocks, before)
    }

    /// Appends the head behind a stream; returns the logits `[N, V]` f32.
    pub fn head_logits(&self, b: &mut Builder<'_>, last: Stream) -> Mat {
        let Stream { x, sumsq } = last;
        let logits = b.alloc(self.memory.stats, x.rows, self.config.vocab_size);
        b.push(HeadLogits { x, sumsq, w: self.weight("output_head.weight"), logits });
        logits
    }

    /// Memory for a stream of N rows.
    pub fn stream(&self, b: &mut Builder<'_>, n: usize) -> Stream {
        let c = self.config.n_embd;
        Stream { x: b.alloc(self.memory.stream, n, c), sumsq: b.alloc(self.memory.stats, n, sumsq_slots(c)) }
    }

    fn block_memory(&self, b: &mut Builder<'_>, before: Stream) -> Block {
        let (n, c, heads) = (before.x.rows, self.config.n_embd, self.config.n_head);
        let (acts, stats) = (self.memory.acts, self.memory.stats);
        Block {
            before,
            qkv: b.alloc(acts, n, 3 * c),
            qk_rstd: b.alloc(stats, n, 2 * heads),
            o: b.alloc(acts, n, c),
            lse: b.alloc(stats, n, heads),
            middle: self.stream(b, n),
            h: b.alloc(acts, n, self.config.mlp_width()),
        }
    }
}
