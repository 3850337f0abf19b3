//! Attention, forward and backward.

use super::super::call::{
    AttentionArgs, AttentionBackwardArgs, AttentionBackwardDropArgs, AttentionDropArgs, Call, FUSED_POSITIONS, Launch,
    Ptr, call,
};
use super::{Lowering, Rung, args, size};
use crate::program::{Attention, AttentionBackward, AttentionMask, Scores};

fn is_causal(mask: AttentionMask) -> u32 {
    u32::from(mask == AttentionMask::Causal)
}

/// Positions of a block; 0 for none.
fn block_of(mask: AttentionMask) -> u32 {
    match mask {
        AttentionMask::Blocks { length } => length,
        AttentionMask::Bidirectional | AttentionMask::Causal => 0,
    }
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, op: &Attention) -> Launch {
        let Attention { qkv, positions, heads, mask, scores, dropout, o, lse } = *op;
        let head_dim = o.cols / heads as usize;
        let (causal, block, half) = (is_causal(mask), block_of(mask), o.rows / 2);
        let args = args!(self, AttentionArgs { qkv, o, lse, positions, heads, head_dim, causal, block, half });
        if let Some(lots) = dropout {
            let args = args!(self, AttentionDropArgs { attention: [args], lots: self.lots(lots) });
            return call::attention_plain_drop(args).cover(o.rows, heads as usize);
        }
        let mma = match (head_dim, scores) {
            (32, Scores::Bounded) if block > 0 => Some(call::attention_mma_blocks_d32 as fn(_) -> Call),
            (64, Scores::Bounded) if block > 0 => Some(call::attention_mma_blocks_d64 as _),
            (128, _) if block > 0 => Some(call::attention_mma_blocks_d128 as _),
            _ if block > 0 => None,
            (32, Scores::Bounded) => Some(call::attention_mma_bounded_d32 as fn(_) -> Call),
            (64, Scores::Bounded) => Some(call::attention_mma_bounded_d64 as _),
            (32, Scores::Free) => Some(call::attention_mma_online_d32 as _),
            (64, Scores::Free) => Some(call::attention_mma_online_d64 as _),
            (128, _) => Some(call::attention_mma_online_d128 as _),
            _ => None,
        };
        match mma.filter(|_| self.choose(&[(Rung::Mma, self.vectorizes(&[qkv, o]))]) == Rung::Mma) {
            Some(kernel) => kernel(args).cover_each(size(o.rows) / positions * heads, positions as usize),
            None => call::attention_plain(args).cover(o.rows, heads as usize),
        }
    }

    pub(super) fn attention_backward(&mut self, op: &AttentionBackward) -> Vec<Launch> {
        let AttentionBackward { qkv, lse, d_o, dot, positions, heads, mask, norms, dropout, dqkv } = *op;
        let head_dim = d_o.cols / heads as usize;
        let rope = if norms.is_some() { self.rope(positions, head_dim) } else { Ptr::NULL };
        let [qk_rstd, sumsq, s] = norms.map_or([None; 3], |n| [n.qk_rstd, n.sumsq, n.s].map(Some));
        let (causal, block, half) = (is_causal(mask), block_of(mask), d_o.rows / 2);
        let args = args!(
            self,
            AttentionBackwardArgs {
                qkv,
                qk_rstd,
                lse,
                d_o,
                dot,
                sumsq,
                rope,
                dqkv,
                s,
                positions,
                heads,
                head_dim,
                causal,
                block,
                half,
            }
        );
        if let Some(lots) = dropout {
            let args = args!(self, AttentionBackwardDropArgs { attention: [args], lots: self.lots(lots) });
            let kernels =
                [call::attention_backward_plain_kv_drop as fn(_) -> Call, call::attention_backward_plain_q_drop];
            return kernels.map(|kernel| kernel(args).cover(d_o.rows, heads as usize)).into();
        }
        let is_short = positions as usize <= FUSED_POSITIONS;
        let mma: &[fn(_) -> Call] = match head_dim {
            32 if block > 0 => &[call::attention_backward_mma_blocks_kv_d32, call::attention_backward_mma_blocks_q_d32],
            64 if block > 0 => &[call::attention_backward_mma_blocks_kv_d64, call::attention_backward_mma_blocks_q_d64],
            128 if block > 0 => {
                &[call::attention_backward_mma_blocks_kv_d128, call::attention_backward_mma_blocks_q_d128]
            }
            32 if norms.is_none() => {
                &[call::attention_backward_mma_kv_free_d32, call::attention_backward_mma_q_free_d32]
            }
            64 if norms.is_none() => {
                &[call::attention_backward_mma_kv_free_d64, call::attention_backward_mma_q_free_d64]
            }
            128 if norms.is_none() => {
                &[call::attention_backward_mma_kv_free_d128, call::attention_backward_mma_q_free_d128]
            }
            32 if is_short => &[call::attention_backward_mma_fused_d32],
            64 if is_short => &[call::attention_backward_mma_fused_d64],
            32 => &[call::attention_backward_mma_kv_d32, call::attention_backward_mma_q_d32],
            64 => &[call::attention_backward_mma_kv_d64, call::attention_backward_mma_q_d64],
            128 => &[call::attention_backward_mma_kv_d128, call::attention_backward_mma_q_d128],
            _ => &[],
        };
        let fits = !mma.is_empty() && self.vectorizes(&[qkv, d_o, dqkv]);
        match self.choose(&[(Rung::Mma, fits)]) {
            Rung::Mma => {
                let all_heads = size(d_o.rows) / positions * heads;
                mma.iter().map(|kernel| kernel(args).cover_each(all_heads, positions as usize)).collect()
            }
            Rung::Plain => (match norms {
                Some(_) => [call::attention_backward_plain_kv as fn(_) -> Call, call::attention_backward_plain_q],
                None => [call::attention_backward_plain_kv_free, call::attention_backward_plain_q_free],
            })
            .map(|kernel| kernel(args).cover(d_o.rows, heads as usize))
            .into(),
        }
    }
}
