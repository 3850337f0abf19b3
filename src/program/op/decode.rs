//! Texts from left to right: what an autoregressive model reads, and how a text grows by a token.
//!
//! A text that is being written has its known tokens first: of T positions the last `remaining` are open, and the next token
//! goes to position T - remaining.

use super::Kind::{F32, Ids, Numbers};
use super::{Contract, Describe, Mat, Product, sumsq_slots};
use std::ops::Range;

/// Which tokens count in a loss, and how much.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// All alike: one over the tokens of the whole batch.
    Mean {
        /// Sequences of the whole batch.
        sequences: u32,
    },
    /// 1 where no earlier one of evenly spaced windows ([`Windows::Spaced`](super::Windows::Spaced)) has counted: of a
    /// window its last `start - start of the one before` tokens, of the first all. Every token of the range counts once where
    /// the windows cover it.
    Once {
        /// Positions that the windows lie in.
        range: Range<u64>,
        /// How many there are; window i = `args.sequence + b`.
        windows: u32,
    },
}

/// What predicts a text: `xt = [start, x0[0], …, x0[T-2]]`, so that row i, which sees the rows up to itself, predicts `x0[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    pub x0: Mat,
    /// The symbol that stands before a text.
    pub start: u32,
    pub counted: Counted,
    pub xt: Mat,
    /// `[N, 1]`, if it is wanted.
    pub weight: Option<Mat>,
}

impl Describe for Shift {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x0.shape();
        contract.read("x0", self.x0, [b, t], Ids);
        contract.write("xt", self.xt, [b, t], Ids);
        contract.write("weight", self.weight, [b * t, 1], F32);
        contract.is_exact = true;
        if let Counted::Once { range, windows } = &self.counted {
            contract.require(*windows > 0, || "no windows".into());
            contract.require(range.end - range.start >= t as u64, || {
                format!("windows of {t} tokens in {}", range.end - range.start)
            });
        }
    }
}

/// The row of each text's stream that predicts its next token: `out[b] = x[b·T + T - remaining[b]]`, the last one where
/// nothing is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenRow {
    /// `[B·T, C]`.
    pub x: Mat,
    /// Sums of squares of x and of out, where rows have them.
    pub sumsq: Option<[Mat; 2]>,
    /// `[B, 1]` u32.
    pub remaining: Mat,
    /// `[B, C]`.
    pub out: Mat,
}

impl Describe for OpenRow {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], b) = (self.x.shape(), self.remaining.rows);
        contract.read("x", self.x, [n, c], Numbers).moves(b * c);
        let ([sumsq, out_sumsq], slots) = (self.sumsq.map_or([None; 2], |both| both.map(Some)), sumsq_slots(c));
        contract.read("sumsq", sumsq, [n, slots], F32).moves(b * slots);
        contract.read("remaining", self.remaining, [b, 1], Ids);
        contract.write("out", self.out, [b, c], Numbers);
        contract.write("out_sumsq", out_sumsq, [b, slots], F32);
        contract.is_exact = true;
        contract.require(n.is_multiple_of(b), || format!("{n} rows, {b} texts"));
    }
}

/// What a text is gone on from, one row each: the token before its next one, `start` where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastToken {
    /// `[B, T]` u32.
    pub x: Mat,
    /// `[B, 1]` u32.
    pub remaining: Mat,
    /// The symbol that stands before a text.
    pub start: u32,
    /// `[B, 1]` u32.
    pub ids: Mat,
}

impl Describe for LastToken {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x.shape();
        contract.read("x", self.x, [b, t], Ids).moves(b);
        contract.read("remaining", self.remaining, [b, 1], Ids);
        contract.write("ids", self.ids, [b, 1], Ids);
        contract.is_exact = true;
    }
}

/// Keeps the keys and values of the first P of each text's T positions: `cache[b·T + p] = qkv[b·P + p][C..]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FillCache {
    /// `[B·P, 3C]`, as [`Qkv`](super::Qkv) makes it.
    pub qkv: Mat,
    /// T.
    pub positions: u32,
    /// `[B·T, 2C]`, keys and values, of which B·P rows are written.
    pub cache: Mat,
}

impl Describe for FillCache {
    fn describe(&self, contract: &mut Contract) {
        let ([n, width], t) = (self.qkv.shape(), self.positions as usize);
        let (c, texts) = (width / 3, self.cache.rows / t);
        contract.read("qkv", self.qkv, [n, 3 * c], Numbers).moves(2 * n * c);
        contract.update("cache", self.cache, [texts * t, 2 * c], Numbers).moves(2 * n * c);
        contract.require(texts > 0 && n.is_multiple_of(texts) && n <= texts * t, || {
            format!("{n} rows of {texts} texts of {t}")
        });
    }
}

/// Attention of each text's next P positions over their keys and values and those that are kept, and keeps theirs. The rows of
/// `qkv` were made as if the first stood at position 0: here they are rotated to their own, from T - `remaining` on, where they
/// are rotated at all. Nothing is kept where fewer than P are open; `o` is 0 there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedAttention {
    /// `[B·P, 3C]`.
    pub qkv: Mat,
    /// `[B, 1]` u32.
    pub remaining: Mat,
    /// T.
    pub positions: u32,
    pub heads: u32,
    /// Whether queries and keys are.
    pub rotated: bool,
    /// `[B·T, 2C]`, as in [`FillCache`], of which P rows of each text are written.
    pub cache: Mat,
    /// `[B·P, C]`.
    pub o: Mat,
}

impl Describe for CachedAttention {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], t, heads) = (self.o.shape(), self.positions as usize, self.heads as usize);
        let b = self.remaining.rows;
        contract.read("qkv", self.qkv, [n, 3 * c], Numbers);
        contract.read("remaining", self.remaining, [b, 1], Ids);
        contract.update("cache", self.cache, [b * t, 2 * c], Numbers).moves(2 * c * (b * t + n));
        contract.write("o", self.o, [n, c], Numbers);
        let (rows, head_dim) = (n * heads, c / heads);
        let product = |inner, cols| Product { rows, inner, cols, share: 1.0, factors: Vec::new() };
        contract.products = vec![product(head_dim, t), product(t, head_dim)];
        contract.detail = format!("{heads} heads of {t}");
        contract.rope = self.rotated.then_some((self.positions, head_dim));
        contract.roundings = 2.0;
        contract.units = |_, _| 1.0;
        contract.even_heads([n, c], 1, self.heads);
        contract.require(n.is_multiple_of(b) && n <= b * t, || format!("{n} rows of {b} texts of {t}"));
    }
}

/// Writes each text's next token, unless none is open: its candidate, at its place, with the step that wrote it. Where the
/// confidence is not a number nothing is written, in this step and in all later ones, and `remaining` says
/// [`BROKEN`](super::BROKEN).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AppendToken {
    /// `[B, 1]` u32 from [`Predict`](super::Predict).
    pub candidate: Mat,
    /// `[B, 1]` f32.
    pub confidence: Mat,
    /// `[B, T]` u32, updated.
    pub x: Mat,
    /// `[B, T]` u32, 1 where open, updated.
    pub masked: Mat,
    /// `[B, T]` u32: the step that wrote a position, updated.
    pub committed_at: Mat,
    /// `[B, 1]` u32, updated.
    pub remaining: Mat,
}

impl Describe for AppendToken {
    fn describe(&self, contract: &mut Contract) {
        let [b, t] = self.x.shape();
        contract.read("candidate", self.candidate, [b, 1], Ids);
        contract.read("confidence", self.confidence, [b, 1], F32);
        contract.update("x", self.x, [b, t], Ids).moves(b);
        contract.update("masked", self.masked, [b, t], Ids).moves(b);
        contract.update("committed_at", self.committed_at, [b, t], Ids).moves(b);
        contract.update("remaining", self.remaining, [b, 1], Ids);
        contract.is_exact = true;
    }
}
