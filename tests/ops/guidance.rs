//! Guidance of masked diffusion: texts without what is given, and logits that are guided.

use crate::harness::{Harness, Want};
use crate::number::exact;
use tempest::program::{DType, GIVEN, Guide, SamplingParams, Unprompt};

#[test]
fn unprompt_masks_what_is_given_and_keeps_what_was_written() {
    for (texts, positions, context) in [(1, 1, 0), (2, 5, 2), (3, 33, 16), (2, 7, 7)] {
        let mut b = Harness::default();
        let n = texts * positions;
        let (x, tokens) = b.some_ids(texts, positions, 900);
        // Unknown, given, written in the first step, unknown again.
        let (masked, at): (Vec<u32>, Vec<u32>) =
            (0..n).map(|i| [(1, GIVEN), (0, GIVEN), (0, 0), (3, 4)][(i + i / positions) % 4]).unzip();
        let given = |i: usize| masked[i] == 0 && at[i] == GIVEN;
        let without = (0..n).map(|i| if given(i) { 901 } else { tokens[i] });
        let open = (0..n).map(|i| u32::from(masked[i] != 0));
        let open_without = (0..n).map(|i| u32::from(masked[i] != 0 || (given(i) && i % positions >= context as usize)));
        let (x_both, open_both) = (tokens.iter().copied().chain(without).collect(), open.chain(open_without).collect());
        let [masked, committed_at] = [&masked, &at].map(|ids| b.ids(texts, positions, ids));
        let [to, open] = [(); 2].map(|()| b.output(DType::U32, 2 * texts, positions));
        let op = Unprompt { x, masked, committed_at, mask_id: 901, context, x_both: to, open };
        let wants = [Want::Ids(to, x_both), Want::Ids(open, open_both)];
        b.check(&format!("[{texts}, {positions}], context {context}"), op, &wants);
    }
}

#[test]
fn guide_extrapolates_each_text_by_its_own_weight() {
    for (texts, positions, symbols) in [(1, 1, 1), (3, 2, 5), (2, 7, 67)] {
        let mut b = Harness::default();
        let rows = texts * positions;
        let ways: Vec<SamplingParams> = (0..texts)
            .map(|text| SamplingParams { guidance: [1.5, 0.0, 100.0][text], ..SamplingParams::MOST_PROBABLE })
            .collect();
        let (logits, with) = b.normal(DType::F32, rows, symbols, 2.0);
        let (unprompted, without) = b.normal(DType::F32, rows, symbols, 2.0);
        let params = b.input(DType::F32, texts, SamplingParams::COLS, bytemuck::cast_slice(&ways)).0;
        let weight = |i: usize| exact(f64::from(ways[i / (positions * symbols)].guidance));
        let pairs = with.data.iter().zip(&without.data).enumerate();
        let want = pairs.map(|(i, (&with, &without))| with + weight(i) * (with - without)).collect();
        let op = Guide { unprompted, params, logits };
        b.check(&format!("[{rows}, {symbols}] of {texts}"), op, &[Want::Numbers(logits, want)]);
    }
}
