//! Noise that turns tokens into others: what predictions cost, and one reverse step.

use super::ROWS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::MaskShare;
use tempest::program::{
    LogitsGrad, Mixing, NoisedCost, NoisedLoss, Renoise, SampleTime, SamplingParams, TimeOrder, sumsq_slots,
};
use tempest::rng::UNIFORM_STEPS;

/// Symbols with the mask: fewer than a warp has lanes, one more, and several times as many.
const SYMBOLS: [u32; 4] = [3, 33, 66, 257];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for (i, symbols) in SYMBOLS.into_iter().enumerate() {
        let mut b = Harness::new(dtype);
        let others = symbols - 1;
        let masks = |masks| Mixing::new(others / 2, others, masks);
        for mixing in
            [Mixing::uniform(others, others), masks(0.2.into()), masks(0.8.into()), masks(MaskShare::Gidd(0.2))]
        {
            for (positions, sequences) in ROWS.into_iter().zip([1, 3, 2]) {
                costs(&mut b, mixing, [sequences, positions, symbols as usize], i);
                steps(&mut b, mixing, [sequences, positions, symbols as usize]);
            }
        }
        b.run(watch, &format!("noise of {symbols} symbols in {dtype:?}"));
    }
}

/// Tokens, none of them the mask; every third of what noise makes of them is it, where it can be, and every other third itself.
fn tokens(b: &mut Harness, mixing: Mixing, rows: usize) -> [Vec<u32>; 2] {
    let real = |i: usize| {
        let id = i as u32 * 7 % mixing.symbols;
        id + u32::from(id >= mixing.mask)
    };
    let noised = |i: usize| match (i + b.matrices()) % 3 {
        0 => real(i),
        1 if mixing.mask_share > 0 => mixing.mask,
        _ => real(i * 5 + 1),
    };
    [(0..rows).map(real).collect(), (0..rows).map(noised).collect()]
}

fn costs(b: &mut Harness, mixing: Mixing, [sequences, positions, symbols]: [usize; 3], which: usize) {
    let (rows, width) = (sequences * positions, 136);
    let [target, z] = tokens(b, mixing, rows).map(|ids| b.ids(sequences, positions, ids));
    // From nearly none to nearly all.
    let rate = |i: usize| (UNIFORM_STEPS / 16) * (1 + (5 * i + which) as u32 % 14);
    let rates = b.ids(sequences, 2, (0..sequences).flat_map(|i| [rate(i), rate(i) / (1 + i as u32 % 3)]).collect());
    let logits = b.normal(rows, symbols, 2.0);
    for (cost, learns) in [
        (NoisedCost::CrossEntropy, true),
        (NoisedCost::Bound, true),
        (NoisedCost::Bound, false),
        (NoisedCost::Step, false),
    ] {
        let back = learns.then(|| {
            let sumsq = (cost == NoisedCost::Bound).then(|| b.sumsq(rows, width));
            assert!(sumsq.is_none_or(|sumsq| sumsq.cols == sumsq_slots(width)));
            let scale = (cost == NoisedCost::CrossEntropy).then(|| b.float(1, 2, vec![64.0, 5.0]));
            let weight = b.float(rows, 1, (0..rows).map(|i| 1.0 / (i + 1) as f32).collect());
            let (dlogits, s) = (b.stored_out(rows, symbols), b.float_out(rows, 1));
            LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s }
        });
        let loss = b.float_out(rows, 1);
        b.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back });
    }
}

fn steps(b: &mut Harness, mixing: Mixing, [sequences, positions, symbols]: [usize; 3]) {
    let rows = sequences * positions;
    let logits = b.normal(rows, symbols, 2.0);
    for (temperature, [from, to]) in [(1.0, [16, 12]), (0.7, [9, 4]), (1.0, [3, 0]), (0.0, [8, 2])] {
        let pair = [from, to].map(|sixteenths| UNIFORM_STEPS / 16 * sixteenths);
        let rates = b.ids(sequences, 2, pair.repeat(sequences));
        let [truth, mut z] = tokens(b, mixing, rows);
        if pair[0] == UNIFORM_STEPS && mixing.hump > 0.0 {
            // All that there is at that rate.
            z.fill(mixing.mask);
        }
        let [truth, z] = [truth, z].map(|ids| b.ids(sequences, positions, ids));
        let masked = b.ids(sequences, positions, (0..rows).map(|i| u32::from(i % 4 != 1)).collect());
        let t = b.ids_out(sequences, 1);
        b.push(SampleTime { masked, order: TimeOrder::Rate { rates }, timesteps: 128, t });
        let params = SamplingParams { temperature, greedy_tail: 1.0, ..SamplingParams::MOST_PROBABLE };
        let params = bytemuck::cast_slice(&vec![params; sequences]).to_vec();
        let params = b.float(sequences, SamplingParams::COLS, params);
        let (committed_at, remaining) = (b.some_ids(sequences, positions, 9), b.some_ids(sequences, 1, 5));
        b.push(Renoise { logits, params, rates, truth, mixing, x: z, masked, committed_at, remaining });
    }
}
