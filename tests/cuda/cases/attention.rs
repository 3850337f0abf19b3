//! Attention whose scores are not bounded, which no model has.

use crate::bench::Bench;
use crate::watch::Watch;
use tempest::program::{AttentionMask, Op, Scores};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for head_dim in [2, 10, 16, 32, 64, 128] {
        let mut b = Bench::new(dtype);
        let fast = matches!(head_dim, 32 | 64 | 128);
        for (positions, sequences, heads) in [(1, 3, 1), (7, 1, 5), (33, 2, 3), (65, 1, 1), (130, 1, 2), (300, 1, 1)] {
            if !fast && positions > 65 {
                continue;
            }
            for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
                let (rows, width) = (sequences * positions, heads * head_dim);
                // Scores of a standard deviation of 4: the running maximum has to follow them.
                let qkv = b.stored(rows, 3 * width, 2.0);
                let (o, lse) = (b.stored_out(rows, width), b.float_out(rows, heads));
                let (positions, heads) = (positions as u32, heads as u32);
                b.push(Op::Attention { qkv, positions, heads, mask, scores: Scores::Free, o, lse });
            }
        }
        b.run(watch, &format!("attention of heads of {head_dim} in {dtype:?}"));
    }
}
