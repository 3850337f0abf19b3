//! The convolution over neighbouring positions.

use super::Kind::{F32, Numbers};
use super::{Accumulate, Contract, DType, Describe, Mat, sumsq_slots};

/// `out_t = x_t + Σ_j w_j ⊙ x_{t+j}`, j from -R on within a sequence, one a tap: each column of a position mixed with its
/// neighbours', by weights of its own. A depthwise convolution around which the stream flows on, as the causal ones of four taps before
/// attention and MLP in Allen-Zhu, "Physics of Language Models: Part 4.1" (2025), which calls them Canon layers; this one
/// looks as far behind as R leaves taps for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortConv {
    pub x: Mat,
    /// `[taps, C]`.
    pub w: Mat,
    pub positions: u32,
    /// R, taps that see what stands before a position.
    pub before: u32,
    pub out: Mat,
    /// `[N, ⌈C/128⌉]` sums of squares of `out` as it is stored.
    pub sumsq: Mat,
}

impl Describe for ShortConv {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("w", self.w, [self.w.rows, c], Numbers);
        contract.write("out", self.out, [n, c], Numbers);
        contract.write("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.units = |_, output| if output == DType::F32 { 2.0 } else { 0.0 };
        describe_taps(contract, self.w, self.before);
        contract.whole_sequences(n, self.positions as usize);
    }
}

/// Backward of [`ShortConv`]: `dx_t = dout_t + Σ_j w_j ⊙ dout_{t-j}`, `dw_j (+)= Σ_t dout_t ⊙ x_{t+j}` over all sequences in
/// a fixed order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortConvBackward {
    pub dout: Mat,
    pub x: Mat,
    pub w: Mat,
    pub positions: u32,
    pub before: u32,
    pub accumulate: Accumulate,
    pub dx: Mat,
    pub dw: Mat,
}

impl Describe for ShortConvBackward {
    fn describe(&self, contract: &mut Contract) {
        let [n, c] = self.x.shape();
        contract.read("dout", self.dout, [n, c], Numbers);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("w", self.w, [self.w.rows, c], Numbers);
        contract.write("dx", self.dx, [n, c], Numbers);
        contract.add(self.accumulate.access(), "dw", self.dw, [self.w.rows, c], F32);
        describe_taps(contract, self.w, self.before);
        contract.whole_sequences(n, self.positions as usize);
    }
}

fn describe_taps(contract: &mut Contract, w: Mat, before: u32) {
    contract.require((before as usize) < w.rows, || format!("of {} taps {before} are before", w.rows));
    contract.detail = format!("{} taps, {before} before", w.rows);
}
