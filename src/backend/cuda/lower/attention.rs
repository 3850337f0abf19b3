//! Attention, forward and backward.

use super::super::call::{Call, Launch, call};
use super::{Lowering, blocks, size};
use crate::program::{Attention, AttentionBackward, AttentionMask, Mat, Scores};

/// Queries, or keys, of a block.
const TILE: usize = 128;

/// Longest sequence whose backward fits into the shared memory of one block.
const FUSED_POSITIONS: u32 = 256;

/// Heads of a block of the plain kernels.
const PLAIN_HEADS: usize = 4;

fn is_causal(mask: AttentionMask) -> u32 {
    u32::from(mask == AttentionMask::Causal)
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, op: &Attention) -> Launch {
        let Attention { qkv, positions, heads, mask, scores, o, lse } = *op;
        let (head_dim, causal) = (o.cols / heads as usize, is_causal(mask));
        let (from, to, sums) = (self.store(qkv), self.store_mut(o), self.float_mut(lse));
        let kernel = match (head_dim, scores) {
            _ if !self.in_pieces(&[qkv, o]) => None,
            (32, Scores::Bounded) => Some(call::attention_mma_bounded_d32 as fn(_, _, _, _, _, _) -> Call),
            (64, Scores::Bounded) => Some(call::attention_mma_bounded_d64 as _),
            (32, Scores::Free) => Some(call::attention_mma_online_d32 as _),
            (64, Scores::Free) => Some(call::attention_mma_online_d64 as _),
            (128, _) => Some(call::attention_mma_online_d128 as _),
            _ => None,
        };
        match kernel {
            Some(kernel) => kernel(from, to, sums, positions, heads, causal).over(tiles(o, positions, heads)),
            None => call::attention_plain(from, to, sums, positions, heads, size(head_dim), causal).over([
                size(o.rows),
                blocks(heads as usize, PLAIN_HEADS),
                1,
            ]),
        }
    }

    pub(super) fn attention_backward(&mut self, op: &AttentionBackward) -> Vec<Launch> {
        let AttentionBackward { qkv, qk_rstd, lse, d_o, dot, sumsq, positions, heads, mask, dqkv, s } = *op;
        let (head_dim, causal) = (d_o.cols / heads as usize, is_causal(mask));
        let (rope, sequences) = (self.rope(positions, head_dim), size(d_o.rows) / positions);
        macro_rules! with_operands {
            ($kernel:expr $(, $extra:expr)?) => {
                $kernel(
                    self.store(qkv),
                    self.float(qk_rstd),
                    self.float(lse),
                    self.store(d_o),
                    self.float(dot),
                    self.float(sumsq),
                    rope,
                    self.store_mut(dqkv),
                    self.float_mut(s),
                    positions,
                    heads,
                    $($extra,)?
                    causal,
                )
            };
        }
        let is_short = positions <= FUSED_POSITIONS;
        let (tiles, heads_of_all) = (tiles(d_o, positions, heads), [sequences * heads, 1, 1]);
        match head_dim {
            _ if !self.in_pieces(&[qkv, d_o, dqkv]) => {}
            32 if is_short => return vec![with_operands!(call::attention_backward_mma_fused_d32).over(heads_of_all)],
            64 if is_short => return vec![with_operands!(call::attention_backward_mma_fused_d64).over(heads_of_all)],
            32 => {
                return vec![
                    with_operands!(call::attention_backward_mma_kv_d32).over(tiles),
                    with_operands!(call::attention_backward_mma_q_d32).over(tiles),
                ];
            }
            64 => {
                return vec![
                    with_operands!(call::attention_backward_mma_kv_d64).over(tiles),
                    with_operands!(call::attention_backward_mma_q_d64).over(tiles),
                ];
            }
            128 => {
                return vec![
                    with_operands!(call::attention_backward_mma_kv_d128).over(tiles),
                    with_operands!(call::attention_backward_mma_q_d128).over(tiles),
                ];
            }
            _ => {}
        }
        let grid = [size(d_o.rows), blocks(heads as usize, PLAIN_HEADS), 1];
        vec![
            with_operands!(call::attention_backward_plain_kv, size(head_dim)).over(grid),
            with_operands!(call::attention_backward_plain_q, size(head_dim)).over(grid),
        ]
    }
}

/// One block for each tile of each head of each sequence.
fn tiles(rows: Mat, positions: u32, heads: u32) -> [u32; 3] {
    let sequences = size(rows.rows) / positions;
    [sequences * heads * blocks(positions as usize, TILE), 1, 1]
}
