//! Attention, forward and backward.

use super::Kind::{F32, Numbers};
use super::{Contract, Describe, Lots, Mat, Product, sumsq_slots};

/// Which positions a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionMask {
    /// All of its sequence.
    Bidirectional,
    /// Itself and what stands before it.
    Causal,
    /// That of block diffusion (BD3-LM, Arriola et al. 2025), over rows of which the first half are texts with noise and the
    /// second half the same texts without, at the same positions. A position with noise sees its block with noise, and the
    /// blocks before without; one without noise sees its block and those before without.
    Blocks {
        /// Positions of a block, a divisor of T.
        length: u32,
    },
}

impl AttentionMask {
    /// Refuses rows that are no texts with noise and without, or blocks that do not fill them.
    fn check(self, contract: &mut Contract, rows: usize, positions: u32) {
        let AttentionMask::Blocks { length } = self else { return };
        contract.whole_sequences(rows, 2 * positions as usize);
        contract.require(length > 0 && positions.is_multiple_of(length), || {
            format!("blocks of {length} do not fill {positions} positions")
        });
    }
}

/// What is known of the scores `q kᵀ/√D` of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Queries and keys are normed per head: no score is beyond ±√D, and no row maximum is needed to keep their
    /// exponentials in range.
    Bounded,
    /// Every position may see every other.
    Free,
}

/// Scores and values of all heads of `o` `[N, C]`: a query and each key that it sees.
fn products(o: Mat, positions: u32, heads: u32, mask: AttentionMask) -> [Product; 2] {
    let (t, rows, head_dim) = (positions as usize, o.rows * heads as usize, o.cols / heads as usize);
    let share = match mask {
        AttentionMask::Bidirectional => 1.0,
        AttentionMask::Causal => (t + 1) as f64 / (2 * t) as f64,
        AttentionMask::Blocks { length } => (t + length as usize) as f64 / (2 * t) as f64,
    };
    [[head_dim, t], [t, head_dim]].map(|[inner, cols]| Product { rows, inner, cols, share, factors: Vec::new() })
}

/// The number of a query's weight of a key, by which a head's weights are dropped: four neighbouring keys share a draw of lots.
pub fn weight_number(positions: usize, query: usize, key: usize) -> usize {
    query * positions.next_multiple_of(4) + key
}

/// Refuses dropout of weights that have no place of their head's, or of those under blocks.
fn check_dropout(contract: &mut Contract, dropout: Option<Lots>, mask: AttentionMask, heads: u32) {
    let Some(lots) = dropout else { return };
    Lots { place: lots.place + heads - 1, ..lots }.check(contract);
    contract.require(!matches!(mask, AttentionMask::Blocks { .. }), || "weights under blocks are not dropped".into());
}

/// `o = p v` per head, `p = softmax(q kᵀ/√D)`; `lse = ln Σ exp(q kᵀ/√D)`. With dropout, p are dropped as
/// [`Dropout`](super::Dropout) drops, each by its [`weight_number`], a head's at `place` and its own number behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    pub qkv: Mat,
    pub positions: u32,
    pub heads: u32,
    pub mask: AttentionMask,
    pub scores: Scores,
    pub dropout: Option<Lots>,
    pub o: Mat,
    pub lse: Mat,
}

impl Describe for Attention {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.o.shape();
        contract.read("qkv", self.qkv, [n, 3 * c], Numbers);
        contract.write("o", self.o, [n, c], Numbers);
        contract.write("lse", self.lse, [n, self.heads as usize], F32);
        contract.products.extend(products(self.o, self.positions, self.heads, self.mask));
        contract.detail = format!("{} heads of {}", self.heads, self.positions);
        contract.roundings = 2.0;
        contract.units = |_, _| 1.0;
        contract.even_heads(self.o.shape(), self.positions, self.heads);
        check_dropout(contract, self.dropout, self.mask, self.heads);
        self.mask.check(contract, n, self.positions);
    }
}

/// Backward of [`Attention`] and of what made its qkv: `dqkv = [dq | dk | dv]`, gone back through [`QkvNorms`] where there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionBackward {
    pub qkv: Mat,
    pub lse: Mat,
    pub d_o: Mat,
    pub dot: Mat,
    pub positions: u32,
    pub heads: u32,
    pub mask: AttentionMask,
    /// Where [`Qkv`](super::Qkv) made qkv.
    pub norms: Option<QkvNorms>,
    /// As in [`Attention`]; not where there are norms.
    pub dropout: Option<Lots>,
    pub dqkv: Mat,
}

/// [`Qkv`](super::Qkv)'s norm, head norm and RoPE, gone back through. With q̂ = rope(q)·r_q:
/// `d rope(q) = r_q·(dq̂ - q̂·⟨dq̂, q̂⟩/D)`, rotated back; `dqkv = r·[dq | dk | dv]`;
/// `s = ⟨dv, v⟩ + ε·(r_q²·⟨dq̂, q̂⟩ + r_k²·⟨dk̂, k̂⟩)` per head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QkvNorms {
    pub qk_rstd: Mat,
    /// `[N, ⌈C/128⌉]` of the x that qkv was made from.
    pub sumsq: Mat,
    /// Written.
    pub s: Mat,
}

impl Describe for AttentionBackward {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], h) = (self.d_o.shape(), self.heads as usize);
        contract.read("qkv", self.qkv, [n, 3 * c], Numbers);
        contract.read("qk_rstd", self.norms.map(|norms| norms.qk_rstd), [n, 2 * h], F32);
        contract.read("lse", self.lse, [n, h], F32);
        contract.read("d_o", self.d_o, [n, c], Numbers);
        contract.read("dot", self.dot, [n, h], F32);
        contract.read("sumsq", self.norms.map(|norms| norms.sumsq), [n, sumsq_slots(c)], F32);
        contract.write("dqkv", self.dqkv, [n, 3 * c], Numbers);
        contract.write("s", self.norms.map(|norms| norms.s), [n, h], F32);
        // The scores are made again; then dp like them, and dv, dk and dq.
        let [scores, values] = products(self.d_o, self.positions, self.heads, self.mask);
        contract.products = vec![scores.clone(), scores, values.clone(), values.clone(), values];
        contract.detail = format!("{} heads of {}", self.heads, self.positions);
        let is_blocks = matches!(self.mask, AttentionMask::Blocks { .. });
        contract.require(self.norms.is_some() || !is_blocks, || "blocks of a model without norms".into());
        contract.rope = self.norms.map(|_| (self.positions, self.d_o.cols / self.heads as usize));
        contract.roundings = 2.0;
        contract.units = |_, _| 4.0;
        contract.even_heads(self.d_o.shape(), self.positions, self.heads);
        check_dropout(contract, self.dropout, self.mask, self.heads);
        contract.require(self.norms.is_none() || self.dropout.is_none(), || "dropout of a model with norms".into());
        self.mask.check(contract, n, self.positions);
    }
}
