//! One reverse step on logits and confidences that models hardly make: ties, certainties, nothing masked.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::{Quota, Score};
use tempest::program::{BROKEN, Commit, CommitTokens, GIVEN, Mat, Predict, SampleTime, SamplingParams, TimeOrder};

pub(crate) fn cases(watch: &mut Watch) {
    times(watch);
    for (i, symbols) in [2, 66, 67, 129, 257, 1031].into_iter().enumerate() {
        predictions(watch, i, symbols);
    }
    for (sequences, positions) in [(1, 1), (7, 33), (3, 300), (33, 7)] {
        commits(watch, sequences, positions);
    }
}

fn times(watch: &mut Watch) {
    for step in [0, 6, 1 << 40] {
        let mut b = Harness::new(watch.dtype());
        b.args.step = step;
        for (sequences, positions) in [(1, 1), (7, 33), (33, 300)] {
            let masked = b.some_ids(sequences, positions, 2);
            for (order, timesteps) in [
                (TimeOrder::Original, 7),
                (TimeOrder::Masked { maskable: positions as u32 }, 7),
                (TimeOrder::Masked { maskable: positions as u32 + 3 }, 128),
            ] {
                let t = b.ids_out(sequences, 1);
                b.push(SampleTime { masked, order, timesteps, t });
            }
        }
        b.run(watch, &format!("timesteps at step {step}"));
    }
}

fn params(b: &mut Harness, of: impl Iterator<Item = SamplingParams>) -> Mat {
    let of: Vec<SamplingParams> = of.collect();
    b.float(of.len(), SamplingParams::COLS, bytemuck::cast_slice(&of).to_vec())
}

fn predictions(watch: &mut Watch, i: usize, symbols: usize) {
    let mut b = Harness::new(watch.dtype());
    let (sequences, positions) = [(1, 1), (7, 3), (1, 33)][i % 3];
    let rows = sequences * positions;
    // Logits of quarters: there are ties at every place of the order. Some are certain, some cannot be.
    let mut coarse: Vec<f32> = b.normals(rows * symbols, 2.0).iter().map(|y| (y * 4.0).round() / 4.0).collect();
    coarse[0] = 200.0;
    if symbols > 2 {
        coarse[symbols - 1] = f32::NEG_INFINITY;
    }
    let coarse = b.float(rows, symbols, coarse);
    // In every row something is no number, or infinite: one logit, the first, the last, or all.
    let mut broken = b.normals(rows * symbols, 1.0);
    for (row, logits) in broken.chunks_exact_mut(symbols).enumerate() {
        match row % 6 {
            0 => logits[row % symbols] = f32::NAN,
            1 => logits[0] = f32::NAN,
            2 => logits[symbols - 1] = -f32::NAN,
            3 => logits[row % symbols] = f32::INFINITY,
            4 => logits.fill(f32::NEG_INFINITY),
            _ => logits.fill(f32::NAN),
        }
    }
    let broken = b.float(rows, symbols, broken);
    let fine = b.normal(rows, symbols, 1.0);
    let masked = (0..rows).map(|row| u32::from(row % 4 != 3)).collect();
    let masked = b.ids(sequences, positions, masked);
    let remaining = b.ids(sequences, 1, (0..sequences).map(|text| text as u32 % 4).collect());
    for logits in [coarse, broken, fine] {
        let ways = [
            (0.0, 1.0, 1.0, Score::Entropy, None),
            (0.0, 1.0, 0.7, Score::Candidate, Some(0)),
            (1.0, 1.0, 1.0, Score::Margin, Some(symbols as u32 - 1)),
            (1.3, 1.0, 1.0, Score::Candidate, None),
            (0.8, 0.9, 1.0, Score::Entropy, None),
            (1.0, 0.3, 1.0, Score::Candidate, Some(1)),
            (0.01, 0.9, 1.0, Score::Candidate, Some(0)),
            (1e-40, 1.0, 1.0, Score::Margin, None),
            (1.1, 0.999, 1.1, Score::Candidate, None),
            (1.0, 1.0, 1.0, Score::Random, None),
            (0.9, 1.0, 0.7, Score::Max, Some(0)),
        ];
        for (first, (.., drop)) in ways.into_iter().enumerate() {
            // Each text of a batch in another way.
            let way = |text: usize| {
                let (temperature, top_p, confidence_at, score, _) = ways[(first + text) % ways.len()];
                SamplingParams {
                    temperature,
                    top_p,
                    min_p: [0.0, 0.0, 0.1][(first + text) % 3],
                    top_symbols: [0.0, 3.0, 0.0, 40.0, 0.0][(first + text) % 5],
                    greedy_tail: [0.0, 2.0][text % 2],
                    confidence_at,
                    score: f32::from(score as u8),
                    ..SamplingParams::MOST_PROBABLE
                }
            };
            let params = params(&mut b, (0..sequences).map(way));
            let commits = [
                Commit::Candidates { candidate: b.ids_out(sequences, positions) },
                Commit::Truth {
                    target: b.some_ids(sequences, positions, symbols as u32),
                    cross_entropy: b.float_out(rows, 1),
                    nll: b.float_out(sequences, 1),
                },
            ];
            for commit in commits {
                let confidence = b.float_out(sequences, positions);
                b.push(Predict { logits, masked, params, remaining, drop, commit, confidence });
            }
        }
    }
    b.run(watch, &format!("predictions of {symbols} symbols"));
}

fn commits(watch: &mut Watch, sequences: usize, positions: usize) {
    let mut b = Harness::new(watch.dtype());
    b.args.step = 10;
    let rows = sequences * positions;
    let quarters = b.normals(rows, 1.0).iter().map(|y| (y.abs().min(1.0) * 4.0).round() / 4.0).collect();
    let coarse = b.float(sequences, positions, quarters);
    let fine = b.uniform(sequences, positions, 0.0, 1.0);
    // In every third text an open position's confidence is no number, in every other one a closed one's.
    let broken = (0..rows).map(|row| match (row / positions % 3, row % 3) {
        (2, 2) | (1, 1) => f32::NAN,
        _ => 0.25,
    });
    let broken = broken.collect();
    let broken = b.float(sequences, positions, broken);
    let negative = (0..rows).map(|row| 0.0 - (row * 7 % 11) as f32 / 8.0).collect();
    let negative = b.float(sequences, positions, negative);
    for (confidence, entropies) in [(coarse, false), (fine, false), (broken, false), (negative, true)] {
        let never = f32::INFINITY;
        // What is sure enough, how many of the most confident, lots.
        let ways = [
            (0.5, Quota::Best(1), 0),
            (2.0, Quota::Best(1), 0),
            (never, Quota::Best(0), 0),
            (never, Quota::Best(1), 0),
            (never, Quota::Best(5), 0),
            (never, Quota::Best(positions / 2), 0),
            (never, Quota::Best(10_000), 0),
            (never, Quota::Factor(0.0), 0),
            (never, Quota::Factor(1.1), 0),
            (0.75, Quota::Factor(4.0), 0),
            (never, Quota::Best(0), 1 << 22),
            (0.7, Quota::Best(3), 1 << 22),
        ];
        // Confidences are entropies where their sum counts.
        let bounds = [0.0, 0.25, 1.3, 1e30].map(|gamma| (never, Quota::EntropyBound(gamma), 0));
        let ways = if entropies { bounds.to_vec() } else { ways.to_vec() };
        for first in 0..ways.len() {
            let way = |text: usize| ways[(first + text) % ways.len()];
            // Of fine ones positions are masked again by shares, of 1 in all.
            let score = if confidence == fine { Score::Candidate } else { Score::Max };
            let numbers = |(least, quota, _)| {
                let score = f32::from(score as u8);
                SamplingParams { score, least, ..SamplingParams::MOST_PROBABLE }.with_quota(quota)
            };
            let params = params(&mut b, (0..sequences).map(|text| numbers(way(text))));
            // Of three pairs the second counts in step 10.
            let again = |lots| if score == Score::Candidate { 4 * lots } else { lots };
            let pair = |text: usize| [way(text).2, if text % 2 == 1 { 0 } else { again(way(text).2) }];
            let other = [1 << 24; 2];
            let lots = (0..sequences).flat_map(|text| [other, pair(text), other].concat()).collect();
            let lots = b.ids(sequences, 6, lots);
            for truth in [false, true] {
                let tokens = b.some_ids(sequences, positions, 65);
                let commit = if truth {
                    let (cross_entropy, nll) = (b.uniform(rows, 1, 0.0, 5.0), b.uniform(sequences, 1, 0.0, 9.0));
                    Commit::Truth { target: tokens, cross_entropy, nll }
                } else {
                    Commit::Candidates { candidate: tokens }
                };
                // The first text has nothing left to commit, unless it is the only one.
                let open = |row: usize| sequences == 1 || row >= positions && row % 3 != 1;
                let masked = (0..rows).map(|row| u32::from(open(row))).collect();
                let masked = b.ids(sequences, positions, masked);
                let at = (0..rows).map(|row| if row % 4 == 0 { GIVEN } else { row as u32 % 9 }).collect();
                let (x, committed_at) = (b.some_ids(sequences, positions, 65), b.ids(sequences, positions, at));
                // What is broken stays so.
                let remaining = (0..sequences).map(|i| if i % 5 == 4 { BROKEN } else { 7 }).collect();
                let remaining = b.ids(sequences, 1, remaining);
                b.push(CommitTokens {
                    confidence,
                    params,
                    lots,
                    mask_id: 65,
                    commit,
                    x,
                    masked,
                    committed_at,
                    remaining,
                });
            }
        }
    }
    b.run(watch, &format!("commits in {sequences} of {positions}"));
}
