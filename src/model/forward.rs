//! The original's forward pass, written as ops.

use super::Transformer;
use super::dropout::Place;
use super::pass::{Attend, Heads, Keep};
use crate::program::{
    Builder, Clear, Embed, Linear, LinearBackward, LinearRelu2, LinearResidual, Mat, Qkv, ShortConv, sumsq_slots,
};

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

impl Stream {
    /// Its first rows.
    pub fn first(self, rows: usize) -> Self {
        Stream { x: self.x.row_block(0, rows), sumsq: self.sumsq.row_block(0, rows) }
    }
}

/// Activations of one block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The residual stream as the block gets it.
    pub entry: Stream,
    /// Before attention: that, its neighbouring positions mixed where the model does so.
    pub before: Stream,
    /// `[N, 3C]`.
    pub qkv: Mat,
    /// `[N, 2H]`.
    pub qk_rstd: Mat,
    /// `[N, C]`.
    pub o: Mat,
    /// `[N, H]`.
    pub lse: Mat,
    /// Behind attention.
    pub between: Stream,
    /// Before the MLP: that, likewise mixed.
    pub middle: Stream,
    /// `[N, F]`.
    pub h: Mat,
}

impl Transformer {
    /// Appends the embedding of tokens `ids` `[B, T]` at timesteps `t` `[B, 1]`.
    pub fn embed(&self, b: &mut Builder<'_>, ids: Mat, t: Mat) -> Embedding {
        self.embed_rows(b, ids, t, self.weight("token_emb.weight"))
    }

    /// The same of a table.
    fn embed_rows(&self, b: &mut Builder<'_>, ids: Mat, t: Mat, token: Mat) -> Embedding {
        let first = self.stream(b, ids.len());
        let rstd = b.alloc(self.memory.stats, ids.len(), 1);
        b.push(Embed {
            ids,
            time: self.time_table(self.memory.stored).map(|table| (t, table)),
            token,
            x: first.x,
            sumsq: first.sumsq,
            rstd,
        });
        Embedding { ids, t, rstd, first }
    }

    /// Appends the embedding of soft tokens `[N, V]`, of `ids` `[B, T]` in all: of each row the mean of the symbols' embeddings,
    /// which then is the row of a table that has one for each place.
    pub fn embed_soft(&self, b: &mut Builder<'_>, soft: Mat, [sequences, positions]: [usize; 2], t: Mat) -> Embedding {
        let n = sequences * positions;
        let means = b.alloc(self.memory.acts, n, self.config.n_embd);
        b.push(LinearBackward { dy: soft, w: self.weight("token_emb.weight"), dx: means });
        let ids = b.constant(self.memory.kept_ids, (0..n as u32).collect());
        self.embed_rows(b, Mat { rows: sequences, cols: positions, ..ids }, t, means)
    }

    /// Appends the projection of what a model of vectors reads, `[N, 2d + 16]`, to a residual stream.
    pub fn project(&self, b: &mut Builder<'_>, y: Mat) -> Stream {
        let first = self.stream(b, y.rows);
        // A product that adds to nothing.
        let nothing = b.alloc(self.memory.stream, y.rows, self.config.n_embd);
        b.push(Clear { out: nothing });
        let (w, residual) = (self.weight("input_proj.weight"), nothing);
        b.push(LinearResidual { a: y, w, residual, out: first.x, sumsq: first.sumsq });
        first
    }

    /// Appends every block over a stream of texts of `positions` rows each, embedded tokens or vectors of another origin.
    /// Returns what the blocks leave for their backward, and the stream behind them; with [`Keep::Last`] that is the memory
    /// of the one before them.
    pub fn blocks(&self, b: &mut Builder<'_>, first: Stream, positions: usize, keep: Keep) -> (Vec<Block>, Stream) {
        self.blocks_that(b, first, positions, keep, &mut |b, _, heads| self.attend(b, heads, positions))
    }

    /// The same, where something else than [`Transformer::attend`] may do the attention.
    pub(super) fn blocks_that(
        &self,
        b: &mut Builder<'_>,
        first: Stream,
        positions: usize,
        keep: Keep,
        attend: &mut Attend<'_>,
    ) -> (Vec<Block>, Stream) {
        let [n, c] = first.x.shape();
        // What an MLP adds, where it is dropped on its way into the stream.
        let drops = self.drops(keep, n, positions).map(|drops| (drops, b.alloc(self.memory.acts, n, c)));
        let (positions, heads) = (positions as u32, self.config.n_head as u32);
        let mut blocks: Vec<Block> = Vec::new();
        let mut entry = first;
        for i in 0..self.config.n_layer {
            let block = match blocks.last() {
                Some(shared) if keep == Keep::Last => {
                    Block { entry, before: if self.config.short_conv > 0 { shared.before } else { entry }, ..*shared }
                }
                _ => self.block_memory(b, entry),
            };
            let after = match keep {
                Keep::All => self.stream(b, n),
                Keep::Last => first,
            };
            self.convolve(b, &format!("blocks.{i}.attn.conv.weight"), block.entry, block.before, positions);
            b.push(Qkv {
                x: block.before.x,
                sumsq: block.before.sumsq,
                w: self.qkv(self.memory.stored, i),
                positions,
                heads,
                qkv: block.qkv,
                qk_rstd: block.qk_rstd,
            });
            attend(b, i, Heads { qkv: block.qkv, o: block.o, lse: block.lse });
            b.push(LinearResidual {
                a: block.o,
                w: self.weight(&format!("blocks.{i}.attn.c_proj.weight")),
                residual: block.before.x,
                out: block.between.x,
                sumsq: block.between.sumsq,
            });
            self.convolve(b, &format!("blocks.{i}.mlp.conv.weight"), block.between, block.middle, positions);
            b.push(LinearRelu2 {
                x: block.middle.x,
                sumsq: block.middle.sumsq,
                w: self.weight(&format!("blocks.{i}.mlp.c_fc.weight")),
                h: block.h,
            });
            let (w, residual) = (self.weight(&format!("blocks.{i}.mlp.c_proj.weight")), block.middle.x);
            match drops {
                None => b.push(LinearResidual { a: block.h, w, residual, out: after.x, sumsq: after.sumsq }),
                Some((drops, y)) => {
                    b.push(Linear { x: block.h, w, bias: None, residual: None, y });
                    drops.push(b, Place::Mlp(i), y, Some(residual), after.x, Some(after.sumsq));
                }
            }
            blocks.push(block);
            entry = after;
        }
        (blocks, entry)
    }

    /// Appends the mixing of neighbouring positions, if the model has it.
    fn convolve(&self, b: &mut Builder<'_>, weight: &str, from: Stream, to: Stream, positions: u32) {
        if self.config.short_conv > 0 {
            let (w, before) = (self.weight(weight), self.taps_before());
            b.push(ShortConv { x: from.x, w, positions, before, out: to.x, sumsq: to.sumsq });
        }
    }

    /// Memory for a stream of N rows.
    pub fn stream(&self, b: &mut Builder<'_>, n: usize) -> Stream {
        let c = self.config.n_embd;
        Stream { x: b.alloc(self.memory.stream, n, c), sumsq: b.alloc(self.memory.stats, n, sumsq_slots(c)) }
    }

    fn block_memory(&self, b: &mut Builder<'_>, entry: Stream) -> Block {
        let (n, c, heads) = (entry.x.rows, self.config.n_embd, self.config.n_head);
        let (acts, stats) = (self.memory.acts, self.memory.stats);
        let mixed = |b: &mut Builder<'_>, from| if self.config.short_conv > 0 { self.stream(b, n) } else { from };
        let before = mixed(b, entry);
        let between = self.stream(b, n);
        Block {
            entry,
            before,
            qkv: b.alloc(acts, n, 3 * c),
            qk_rstd: b.alloc(stats, n, 2 * heads),
            o: b.alloc(acts, n, c),
            lse: b.alloc(stats, n, heads),
            between,
            middle: mixed(b, between),
            h: b.alloc(acts, n, self.config.mlp_width()),
        }
    }
}
