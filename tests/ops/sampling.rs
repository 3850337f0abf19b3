//! The ops of one reverse step.

use crate::harness::{Harness, Want};
use crate::number::{Num, exact, sum};
use tempest::config::{Policy, Score};
use tempest::program::{
    BROKEN, Commit, CommitTokens, DType, GIVEN, Mat, Predict, SampleTime, SamplingParams, StepArgs, TimeOrder,
};
use tempest::rng::{Stream, philox, uniform24};

/// The most probable symbols, committed one by one.
const GREEDY: SamplingParams = SamplingParams { amount: 1.0, ..SamplingParams::MOST_PROBABLE };

const MAX: f32 = Score::Max as u8 as f32;
const MARGIN: f32 = Score::Margin as u8 as f32;
const ENTROPY: f32 = Score::Entropy as u8 as f32;
const CANDIDATE: f32 = Score::Candidate as u8 as f32;
const RANDOM: f32 = Score::Random as u8 as f32;

fn params(b: &mut Harness, of: &[SamplingParams]) -> Mat {
    b.input(DType::F32, of.len(), SamplingParams::COLS, bytemuck::cast_slice(of)).0
}

#[test]
fn sample_time_is_the_timestep_whose_rate_is_nearest_above() {
    // Counts of masked positions and timesteps of every sort, powers of two and not.
    for (maskable, timesteps) in [(1_u32, 1_u32), (12, 128), (100, 100), (49, 1000), (64, 7), (33, 0)] {
        let mut b = Harness::default();
        let (rows, positions) = (maskable as usize + 1, maskable as usize + 2);
        // Row k has k masked positions.
        let ids: Vec<u32> = (0..rows * positions).map(|i| u32::from(i % positions < i / positions)).collect();
        let masked = b.ids(rows, positions, &ids);
        let t = b.output(DType::U32, rows, 1);
        // (t+1)/timesteps ≥ k/maskable, in whole numbers.
        let want = (0..=maskable).map(|k| (k * timesteps).div_ceil(maskable).max(1) - 1).collect();
        let op = SampleTime { masked, order: TimeOrder::Masked { maskable }, timesteps, t };
        b.check(&format!("{maskable} maskable, {timesteps} timesteps"), op, &[Want::Ids(t, want)]);
    }
}

#[test]
fn the_original_counts_time_up_and_stops_at_its_last() {
    for (step, want) in [(0, 0), (6, 6), (7, 6), (1 << 40, 6)] {
        let mut b = Harness::default();
        b.args = StepArgs { step, ..StepArgs::default() };
        let masked = b.ids(2, 3, &[1, 0, 1, 0, 0, 0]);
        let t = b.output(DType::U32, 2, 1);
        let op = SampleTime { masked, order: TimeOrder::Original, timesteps: 7, t };
        b.check(&format!("step {step}"), op, &[Want::Ids(t, vec![want; 2])]);
    }
}

/// softmax(logits/temperature) without `drop`.
fn probabilities(logits: &[Num], drop: Option<u32>, temperature: f32) -> Vec<Num> {
    let scaled: Vec<Num> = logits.iter().map(|y| *y / exact(f64::from(temperature))).collect();
    crate::head::softmax(&scaled, drop).0
}

/// Σ p ln p as Σ w d / Σ w - ln Σ w with w = e^d.
fn negative_entropy(logits: &[Num], drop: Option<u32>, temperature: f32) -> Num {
    let kept = (0..logits.len()).filter(|&i| Some(i as u32) != drop).map(|i| logits[i]);
    let most = kept.clone().max_by(|a, b| a.v.total_cmp(&b.v)).unwrap();
    let exponents: Vec<Num> = kept.map(|y| (y - most) / exact(f64::from(temperature))).collect();
    let total = sum(exponents.iter().map(|d| d.exp()));
    sum(exponents.iter().map(|d| d.exp() * *d)) / total - total.ln()
}

/// First word says whether a position is revealed, second as what.
fn word(args: &StepArgs, b: usize, position: usize, which: usize) -> u32 {
    let sequence = u64::from(args.sequence) + b as u64;
    philox(args.seed, Stream::Reveal, sequence << 32 | args.step, position as u32)[which]
}

/// Where u falls in the cumulative sums of the kept symbols, and how near it is to an edge.
fn drawn(p: &[Num], drop: Option<u32>, way: &SamplingParams, u: f64) -> (usize, f64) {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| Some(i as u32) != drop).collect();
    let mut margin = f64::INFINITY;
    if way.min_p > 0.0 {
        let most = p.iter().map(|p| p.v).fold(0.0, f64::max);
        order.retain(|&i| {
            let above = p[i].v / most - f64::from(way.min_p);
            margin = margin.min(above.abs());
            above >= 0.0
        });
    }
    if way.top_p < 1.0 || way.top_symbols > 0.0 {
        order.sort_by(|&a, &b| p[b].v.total_cmp(&p[a].v).then(a.cmp(&b)));
        let (mut held, enough) = (0.0, f64::from(way.top_p) * order.iter().map(|&i| p[i].v).sum::<f64>());
        let last = order.iter().position(|&i| {
            held += p[i].v;
            margin = margin.min(if way.top_p < 1.0 { (held - enough).abs() } else { 1.0 });
            way.top_p < 1.0 && held >= enough
        });
        order.truncate(last.map_or(order.len(), |last| last + 1));
        order.truncate(if way.top_symbols > 0.0 { way.top_symbols as usize } else { order.len() });
    }
    let mass: f64 = order.iter().map(|&i| p[i].v).sum();
    let mut below = 0.0;
    let mut hit = None;
    for &i in &order {
        below += p[i].v / mass;
        margin = margin.min((below - u).abs());
        hit = hit.or((u < below).then_some(i));
    }
    (hit.unwrap_or(order[order.len() - 1]), margin)
}

#[test]
fn predict_chooses_by_the_positions_own_random_word() {
    let (mut checked, mut skipped) = (0, 0);
    for (rows, positions, v) in [(1, 1, 2), (3, 5, 11), (1, 33, 65), (4, 20, 129)] {
        // Each text of a batch in another way, beginning with each in turn.
        let ways = [
            (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, MAX),
            (0.0, 1.0, 0.0, 2.0, 0.0, 0.5, CANDIDATE),
            (0.8, 1.0, 0.0, 0.0, 0.0, 1.0, CANDIDATE),
            (1.3, 0.7, 0.0, 3.0, 0.0, 1.0, MARGIN),
            (1.0, 0.01, 0.0, 0.0, 0.0, 1.0, CANDIDATE),
            (1.1, 1.0, 0.02, 2.0, 0.0, 1.0, ENTROPY),
            (1.0, 0.8, 0.1, 0.0, 2.0, 0.7, ENTROPY),
            (1.0, 1.0, 0.0, 40.0, 3.0, 1.0, RANDOM),
        ];
        let ways = ways.map(|(temperature, top_p, min_p, top_symbols, greedy_tail, confidence_at, score)| {
            SamplingParams { temperature, top_p, min_p, top_symbols, greedy_tail, confidence_at, score, ..GREEDY }
        });
        for (first, drop) in [None, Some(1), Some(0), None, Some(1), None, Some(1), None].into_iter().enumerate() {
            let way = |text: usize| ways[(first + text) % ways.len()];
            let mut b = Harness::default();
            b.args = StepArgs { seed: 9, step: 3, sequence: 1000, ..StepArgs::default() };
            let n = rows * positions;
            let (logits, values) = b.normal(DType::F32, n, v, 2.0);
            let mask: Vec<u32> = (0..n).map(|i| u32::from(i % 4 != 3)).collect();
            let masked = b.ids(rows, positions, &mask);
            let candidate = b.output(DType::U32, rows, positions);
            // What is written already stays as sure as it was.
            let (confidence, _) = b.input(DType::F32, rows, positions, &vec![0.625; n]);
            // Of 2 and 3 unknown positions a greedy tail of 2 holds the former.
            let left: Vec<u32> = (0..rows as u32).map(|text| 2 + (text + first as u32) % 2).collect();
            let (mut ids, mut shares) = (Vec::new(), Vec::new());
            let mut near = false;
            for (row, &open) in mask.iter().enumerate() {
                if open == 0 {
                    ids.push(0);
                    shares.push(exact(0.625));
                    continue;
                }
                let y: Vec<Num> = values.row(row).collect();
                let way = way(row / positions);
                let temperature = if left[row / positions] as f32 <= way.greedy_tail { 0.0 } else { way.temperature };
                let p = probabilities(&y, drop, way.confidence_at);
                let best = (0..v).rev().max_by(|&a, &b| p[a].v.total_cmp(&p[b].v)).unwrap();
                let symbol = if temperature == 0.0 {
                    best
                } else {
                    let p = probabilities(&y, drop, temperature);
                    let u = f64::from(uniform24(word(&b.args, row / positions, row % positions, 1))) / 16_777_216.0;
                    let (symbol, margin) = drawn(&p, drop, &way, u);
                    near |= margin < 1e-5;
                    symbol
                };
                ids.push(symbol as u32);
                shares.push(match way.score {
                    MAX => p[best],
                    MARGIN => p[best] - (0..v).filter(|&i| i != best).map(|i| p[i]).fold(exact(0.0), Num::max),
                    ENTROPY => negative_entropy(&y, drop, way.confidence_at),
                    CANDIDATE => p[symbol],
                    _ => exact(f64::from(uniform24(word(&b.args, row / positions, row % positions, 2))) / 16_777_216.0),
                });
            }
            // A draw on the very edge of two symbols may fall to either in f32.
            if near {
                skipped += 1;
                continue;
            }
            checked += 1;
            let params = params(&mut b, &(0..rows).map(way).collect::<Vec<_>>());
            let remaining = b.ids(rows, 1, &left);
            let commit = Commit::Candidates { candidate };
            let op = Predict { logits, masked, params, remaining, drop, commit, confidence };
            let case = format!("{rows} × {positions}, {v} symbols, without {drop:?}, {:?}", way(0));
            b.check(&case, op, &[Want::Ids(candidate, ids), Want::Numbers(confidence, shares)]);
        }
    }
    assert!(checked >= 28, "{skipped} of 32 cases were too near an edge");
}

#[test]
fn among_equal_logits_the_lowest_id_is_most_probable() {
    let mut b = Harness::default();
    let (logits, _) = b.input(DType::F32, 2, 4, &[0.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
    let (masked, remaining) = (b.ids(1, 2, &[1, 1]), b.ids(1, 1, &[2]));
    let (candidate, confidence) = (b.output(DType::U32, 1, 2), b.output(DType::F32, 1, 2));
    let shares = [vec![exact(0.0), exact(2.0), exact(2.0), exact(2.0)], vec![exact(1.0); 4]]
        .map(|y| probabilities(&y, Some(0), 1.0)[1]);
    let params = params(&mut b, &[GREEDY]);
    let commit = Commit::Candidates { candidate };
    let op = Predict { logits, masked, params, remaining, drop: Some(0), commit, confidence };
    b.check("ties", op, &[Want::Ids(candidate, vec![1, 1]), Want::Numbers(confidence, shares.to_vec())]);
}

#[test]
fn towards_temperature_zero_a_draw_is_the_most_probable_symbol_and_as_sure_as_the_model() {
    let rows = 12;
    for temperature in [0.01, 1e-30, 1e-40, f32::from_bits(1)] {
        let mut b = Harness::default();
        let (logits, values) = b.normal(DType::F32, rows, 33, 2.0);
        let (masked, remaining) = (b.ids(1, rows, &[1; 12]), b.ids(1, 1, &[12]));
        let (candidate, confidence) = (b.output(DType::U32, 1, rows), b.output(DType::F32, 1, rows));
        let p: Vec<Vec<Num>> =
            (0..rows).map(|row| probabilities(&values.row(row).collect::<Vec<_>>(), Some(0), 1.0)).collect();
        let best = |p: &Vec<Num>| (0..33).max_by(|&a, &b| p[a].v.total_cmp(&p[b].v)).unwrap();
        let ids = p.iter().map(|p| best(p) as u32).collect();
        let shares = p.iter().map(|p| p[best(p)]).collect();
        let params = params(&mut b, &[SamplingParams { temperature, ..GREEDY }]);
        let commit = Commit::Candidates { candidate };
        let op = Predict { logits, masked, params, remaining, drop: Some(0), commit, confidence };
        b.check(&format!("{temperature}"), op, &[Want::Ids(candidate, ids), Want::Numbers(confidence, shares)]);
    }
}

#[test]
fn a_target_costs_what_its_draw_does() {
    for (temperature, top_p, score) in [(1.0, 1.0, MAX), (0.6, 0.3, MAX), (1.7, 1.0, CANDIDATE), (0.0, 1.0, MAX)] {
        // Truncation, of every sort, does not enter.
        let (rows, v) = (12, 33);
        let mut b = Harness::default();
        let (logits, values) = b.normal(DType::F32, rows, v, 2.0);
        let open = |row: usize| row % 5 != 4;
        let masked = b.ids(2, 6, &(0..rows).map(|row| u32::from(open(row))).collect::<Vec<_>>());
        let remaining = b.ids(2, 1, &[6, 5]);
        let targets: Vec<u32> = (0..rows as u32).map(|row| 1 + row * 7 % 32).collect();
        let target = b.ids(2, 6, &targets);
        let (cross_entropy, nll) = (b.output(DType::F32, rows, 1), b.output(DType::F32, 2, 1));
        let (confidence, _) = b.input(DType::F32, 2, 6, &vec![0.625; rows]);
        let (mut costs, mut shares) = (vec![exact(0.0); rows], vec![exact(0.625); rows]);
        let mut bits = vec![0.0; rows];
        for row in (0..rows).filter(|&row| open(row)) {
            let (y, target) = (values.row(row).collect::<Vec<_>>(), targets[row] as usize);
            let p = probabilities(&y, Some(0), 1.0);
            let best = (0..v).max_by(|&a, &b| p[a].v.total_cmp(&p[b].v)).unwrap();
            shares[row] = if score == CANDIDATE { p[target] } else { p[best] };
            if temperature == 0.0 {
                bits[row] = if target == best { 0.0 } else { f32::INFINITY };
            } else {
                costs[row] = -probabilities(&y, Some(0), temperature)[target].ln();
            }
        }
        let params = params(
            &mut b,
            &[SamplingParams { temperature, top_p, min_p: 1.0 - top_p, top_symbols: 1.0, score, ..GREEDY }; 2],
        );
        let commit = Commit::Truth { target, cross_entropy, nll };
        let op = Predict { logits, masked, params, remaining, drop: Some(0), commit, confidence };
        let costs =
            if temperature == 0.0 { Want::Bits(cross_entropy, bits) } else { Want::Numbers(cross_entropy, costs) };
        b.check(&format!("at {temperature} by {score}"), op, &[costs, Want::Numbers(confidence, shares)]);
    }
}

#[test]
fn logits_that_are_no_numbers_give_a_confidence_that_is_none() {
    let mut bad = vec![vec![0.5, f32::NAN, 1.0, 0.0], vec![f32::INFINITY, 0.0, 0.0, 0.0], vec![f32::NEG_INFINITY; 4]];
    bad.push(vec![0.5, 0.5, 0.5, f32::NAN]);
    for way in [GREEDY, SamplingParams { temperature: 0.7, top_p: 0.9, ..GREEDY }] {
        let mut b = Harness::default();
        let (logits, _) = b.input(DType::F32, 4, 4, &bad.concat());
        let (masked, remaining) = (b.ids(1, 4, &[1; 4]), b.ids(1, 1, &[4]));
        let (candidate, confidence) = (b.output(DType::U32, 1, 4), b.output(DType::F32, 1, 4));
        let params = params(&mut b, &[way]);
        let commit = Commit::Candidates { candidate };
        let op = Predict { logits, masked, params, remaining, drop: None, commit, confidence };
        let wants = [Want::Ids(candidate, vec![0; 4]), Want::Bits(confidence, vec![f32::NAN; 4])];
        b.check(&format!("{way:?}"), op, &wants);
    }
}

#[test]
fn a_text_whose_confidence_is_no_number_stays_as_it_is_for_good() {
    // Not a number: in the first text at a position that is known, in the second at an open one; the third is broken already.
    let mut confidence_values = CONFIDENCE;
    (confidence_values[2], confidence_values[9]) = (f32::NAN, f32::NAN);
    for (least, k, lots) in [(0.0, 1.0, 0), (2.0, 1.0, 0), (f32::INFINITY, 2.0, 0), (f32::INFINITY, 0.0, 1 << 24)] {
        let mut b = Harness::default();
        b.args = StepArgs { step: 4, ..StepArgs::default() };
        let params = params(&mut b, &[SamplingParams { least, amount: k, ..GREEDY }; 3]);
        // The first text is whole and not broken; in the others nothing is masked again either.
        let lots = b.ids(3, 2, &[lots, 0, lots, lots, lots, lots]);
        let (confidence, _) = b.input(DType::F32, 3, 6, &confidence_values);
        let (candidate, _) = b.some_ids(3, 6, 50);
        let [(x, x_before), (committed_at, at_before)] = [50, 60].map(|n| b.some_ids(3, 6, n));
        let masked = b.ids(3, 6, &MASKED);
        let remaining = b.ids(3, 1, &[7, 3, BROKEN]);
        let commit = Commit::Candidates { candidate };
        let op = CommitTokens { confidence, params, lots, mask_id: 77, commit, x, masked, committed_at, remaining };
        let wants = [
            Want::Ids(x, x_before),
            Want::Ids(masked, MASKED.to_vec()),
            Want::Ids(committed_at, at_before),
            Want::Ids(remaining, vec![0, BROKEN, BROKEN]),
        ];
        b.check(&format!("{least} {k}"), op, &wants);
    }
}

/// 3 texts of 6 positions: one complete, one with a tie, one all open.
const MASKED: [u32; 18] = [0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1];
const CONFIDENCE: [f32; 18] =
    [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.3, 0.5, 0.9, 0.5, 0.2, 0.9, 0.1, 0.95, 0.9, 0.3, 0.95, 0.05];

#[test]
fn commit_tokens_takes_what_its_policy_names_and_nothing_else() {
    // The second column of two counts in step 4 + 1.
    let args = StepArgs { seed: 5, step: 5, sequence: 70, ..StepArgs::default() };
    let half = 1 << 23;
    let revealed = |i: &usize| uniform24(word(&args, i / 6, i % 6, 0)) < half;
    let ancestral: Vec<usize> = (0..18).filter(|&i| MASKED[i] != 0).filter(revealed).collect();
    assert!((3..=8).contains(&ancestral.len()), "about half of the ten are revealed: {ancestral:?}");
    let (threshold, top, lots) = (Policy::threshold, Policy::top_k, "ancestral".parse().unwrap());
    let third = |from: usize| ancestral.iter().copied().filter(move |&i| i / 6 == from);
    let factor = |phi| Policy::Factor(phi, Score::Max);
    let cases: [([Policy; 3], Vec<usize>); 15] = [
        ([threshold(0.5); 3], vec![7, 9, 13, 14, 16]),
        ([threshold(0.93); 3], vec![7, 13, 16]),
        ([threshold(2.0); 3], vec![7, 13]),
        ([threshold(0.0); 3], vec![6, 7, 9, 10, 12, 13, 14, 15, 16, 17]),
        ([top(1); 3], vec![7, 13]),
        ([top(3); 3], vec![6, 7, 9, 13, 14, 16]),
        ([top(9); 3], vec![6, 7, 9, 10, 12, 13, 14, 15, 16, 17]),
        // Ranked: 0.5 0.5 0.3 0.2 and 0.95 0.95 0.9 0.3 0.1 0.05; wanted of rank 2 and on: 1 - φ/3, 1 - φ/4, 1 - φ/5.
        ([factor(0.0); 3], vec![7, 13]),
        ([factor(0.3); 3], vec![7, 13, 16]),
        ([factor(0.5); 3], vec![7, 13, 14, 16]),
        ([factor(1.6); 3], vec![7, 9, 13, 14, 16]),
        ([factor(0.0), factor(3.6), factor(9.0)], vec![6, 7, 9, 12, 13, 14, 15, 16, 17]),
        ([lots; 3], ancestral.clone()),
        ([lots, top(1), threshold(0.5)], vec![7, 13, 14, 16]),
        ([top(1), threshold(0.0), lots], [6, 7, 9, 10].into_iter().chain(third(2)).collect()),
    ];
    for (policies, committed) in cases {
        for truth in [false, true] {
            let mut b = Harness::default();
            b.args = args;
            let (confidence, _) = b.input(DType::F32, 3, 6, &CONFIDENCE);
            let (source, tokens) = b.some_ids(3, 6, 50);
            let (ce, losses) = b.normal(DType::F32, 18, 1, 1.0);
            let (nll, nll_before) = b.normal(DType::F32, 3, 1, 1.0);
            let commit = if truth {
                Commit::Truth { target: source, cross_entropy: ce, nll }
            } else {
                Commit::Candidates { candidate: source }
            };
            let before: [(Mat, Vec<u32>); 3] = [(100, 1), (0, 0), (200, 1)].map(|(base, step)| {
                let values: Vec<u32> =
                    if base == 0 { MASKED.to_vec() } else { (0..18).map(|i| base + i * step).collect() };
                (b.ids(3, 6, &values), values)
            });
            let [(x, mut x_want), (masked, mut masked_want), (committed_at, mut at_want)] = before;
            let remaining = b.ids(3, 1, &[7; 3]);
            for &i in &committed {
                (x_want[i], masked_want[i], at_want[i]) = (tokens[i], 0, 5);
            }
            let left = masked_want.chunks(6).map(|row| row.iter().sum()).collect();
            let mut wants = vec![
                Want::Ids(x, x_want),
                Want::Ids(masked, masked_want),
                Want::Ids(committed_at, at_want),
                Want::Ids(remaining, left),
            ];
            if truth {
                let of = |b: usize| committed.iter().filter(move |&&i| i / 6 == b).map(|&i| losses.at(i, 0));
                let total = (0..3).map(|b| sum([nll_before.at(b, 0)].into_iter().chain(of(b)))).collect();
                wants.push(Want::Numbers(nll, total));
            }
            let params = params(&mut b, &policies.map(|policy| SamplingParams::greedy(policy, 6)));
            let lots = policies.map(|policy| [9, 9, if policy == lots { half } else { 0 }, 0]);
            let lots = b.ids(3, 4, lots.as_flattened());
            let op = CommitTokens { confidence, params, lots, mask_id: 77, commit, x, masked, committed_at, remaining };
            b.check(&format!("{policies:?} truth {truth}"), op, &wants);
        }
    }
}

#[test]
fn an_entropy_bound_takes_positions_while_those_before_stay_below_it() {
    // Ranked: 1 (0), 4 (0.1), 0 and 2 (0.25 each), 5 (0.5), known is 3.
    let entropies = [0.25, 0.0, 0.25, 0.0, 0.1, 0.5];
    let cases = [
        (0.0, vec![1, 4]),
        (0.05, vec![1, 4]),
        (0.11, vec![0, 1, 4]),
        (0.36, vec![0, 1, 2, 4]),
        (0.59, vec![0, 1, 2, 4]),
        (0.61, vec![0, 1, 2, 4, 5]),
    ];
    for (gamma, committed) in cases {
        let mut b = Harness::default();
        let (confidence, _) = b.input(DType::F32, 1, 6, &entropies.map(|nats| 0.0 - nats));
        let (candidate, tokens) = b.some_ids(1, 6, 50);
        let [(x, mut x_want), (committed_at, mut at_want)] = [50, 60].map(|n| b.some_ids(1, 6, n));
        let mut masked_want = vec![1, 1, 1, 0, 1, 1];
        let (masked, remaining) = (b.ids(1, 6, &masked_want), b.ids(1, 1, &[5]));
        let lots = b.ids(1, 2, &[0, 0]);
        for &p in &committed {
            (x_want[p], masked_want[p], at_want[p]) = (tokens[p], 0, 0);
        }
        let params = params(&mut b, &[SamplingParams::greedy(Policy::EntropyBounded(gamma), 6)]);
        let commit = Commit::Candidates { candidate };
        let op = CommitTokens { confidence, params, lots, mask_id: 77, commit, x, masked, committed_at, remaining };
        let wants = [
            Want::Ids(x, x_want),
            Want::Ids(masked, masked_want),
            Want::Ids(committed_at, at_want),
            Want::Ids(remaining, vec![5 - committed.len() as u32]),
        ];
        b.check(&format!("at most {gamma} nats"), op, &wants);
    }
}

#[test]
fn what_was_committed_is_masked_again_by_lot_and_what_was_given_stays() {
    let args = StepArgs { seed: 8, step: 3, sequence: 5, ..StepArgs::default() };
    let (third, n) = ((1 << 24) / 3, 64);
    for half in [0, 1 << 23] {
        let mut b = Harness::default();
        b.args = args;
        let open = |p: usize| p.is_multiple_of(3);
        let given = |p: usize| p % 4 == 1;
        let lot = |p: usize| uniform24(word(&args, 0, p, 0));
        let mut masked_want: Vec<u32> = (0..n).map(|p| u32::from(open(p))).collect();
        let (confidence, _) = b.input(DType::F32, 1, n, &vec![0.5; n]);
        let [(candidate, tokens), (x, mut x_want)] = [50, 50].map(|ids| b.some_ids(1, n, ids));
        let mut at_want: Vec<u32> = (0..n).map(|p| if given(p) { GIVEN } else { 1 }).collect();
        let (masked, committed_at) = (b.ids(1, n, &masked_want), b.ids(1, n, &at_want));
        let (remaining, lots) = (b.ids(1, 1, &[22]), b.ids(1, 4, &[0, 0, third, half]));
        let mut back = 0;
        for p in 0..n {
            if open(p) && lot(p) < third {
                (x_want[p], masked_want[p], at_want[p]) = (tokens[p], 0, 3);
            } else if !open(p) && !given(p) && lot(p) < half {
                (x_want[p], masked_want[p]) = (77, 1);
                back += 1;
            }
        }
        assert_eq!(back > 8, half > 0, "about half of 32");
        let params = params(&mut b, &[SamplingParams::greedy("ancestral".parse().unwrap(), n)]);
        let commit = Commit::Candidates { candidate };
        let op = CommitTokens { confidence, params, lots, mask_id: 77, commit, x, masked, committed_at, remaining };
        let left = masked_want.iter().sum();
        let wants = [
            Want::Ids(x, x_want),
            Want::Ids(masked, masked_want),
            Want::Ids(committed_at, at_want),
            Want::Ids(remaining, vec![left]),
        ];
        b.check(&format!("below {half}"), op, &wants);
    }
}
