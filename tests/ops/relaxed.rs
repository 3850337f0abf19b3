//! Relaxed tokens against their formulas in double precision: values, slopes by central differences, and the law of draws.
//!
//! What f32 is off by: ln q + g, at most 20 in size, by 2⁻²³ of that and what logarithms add to the Gumbel numbers, 10⁻⁶ of a
//! word's -ln u near 0 (3·10⁻⁷ relative); over τ = 0.5 softmax takes that for 10⁻⁵ of a number. Sums of 7 terms add nothing to
//! speak of.

use crate::harness::Harness;
use crate::mixing::{Law, Noise};
use std::collections::BTreeMap;
use tempest::config::{MaskShare, Relaxation, Temperatures};
use tempest::program::{
    DType, LogitsGrad, Mat, Mixing, RelaxedLoss, Relaxing, SoftTokens, SoftTokensBackward, StepArgs, rstd, sumsq_slots,
};
use tempest::rng::{Stream, UNIFORM_STEPS, philox, uniform24};

const V: usize = 7;
const MASK: u32 = 2;
const SEQUENCES: usize = 2;
const POSITIONS: usize = 5;
const ROWS: usize = SEQUENCES * POSITIONS;
const ARGS: StepArgs =
    StepArgs { seed: 9, step: 3, sequence: 4, uniform_share: 0, lr: 0.0, ema_warmup: 0.0, bias1: 0.0, bias2: 0.0 };
const TAUS: Temperatures = Temperatures { first: 1.0, last: 0.25, steps: 6 };

const NOISES: [MaskShare; 3] = [MaskShare::Constant(0.0), MaskShare::Constant(0.6), MaskShare::Gidd(0.3)];

fn mixing(masks: MaskShare) -> Mixing {
    Mixing::new(MASK, V as u32 - 1, masks)
}

/// The formulas, for one row.
struct Row {
    law: Law,
    gumbels: Vec<f64>,
}

impl Row {
    fn new(masks: MaskShare, rate: u32, stream: Stream, row: usize) -> Self {
        let gumbel = |v: usize| {
            let (e, sequence) = (row % POSITIONS * V + v, (row / POSITIONS) as u64 + u64::from(ARGS.sequence));
            let word = philox(ARGS.seed, stream, ARGS.step << 32 | sequence, (e / 4) as u32)[e % 4];
            -(-(f64::from(uniform24(word).max(1)) / f64::from(UNIFORM_STEPS)).ln()).ln()
        };
        let rate = f64::from(rate.clamp(1, UNIFORM_STEPS - 1)) / f64::from(UNIFORM_STEPS);
        let law = Noise { masks, others: (V - 1) as f64 }.at(rate);
        Row { law, gumbels: (0..V).map(gumbel).collect() }
    }

    fn noise(&self, v: usize) -> f64 {
        self.law.noise(v == MASK as usize)
    }

    /// ln q + g.
    fn scores(&self, p: &[f64]) -> Vec<f64> {
        (0..V).map(|v| (self.law.keep * p[v] + self.noise(v)).ln() + self.gumbels[v]).collect()
    }

    fn soft(&self, p: &[f64]) -> Vec<f64> {
        // Half of the six steps that it takes to come to a quarter.
        softmax(&self.scores(p).iter().map(|score| score / 0.5).collect::<Vec<_>>())
    }

    /// P, and what its logarithms are.
    fn predicted(&self, logits: &[f64], soft: &[f64]) -> Vec<f64> {
        let favour = (1.0 + self.law.keep / self.noise(0)).ln();
        let of = |v: usize| if v == MASK as usize { f64::NEG_INFINITY } else { logits[v] + favour * soft[v] };
        softmax(&(0..V).map(of).collect::<Vec<_>>())
    }
}

fn softmax(of: &[f64]) -> Vec<f64> {
    let most = of.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = of.iter().map(|x| (x - most).exp()).sum();
    of.iter().map(|x| (x - most).exp() / sum).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Inputs of every op, and what they are.
struct Inputs {
    logits: Mat,
    before: Mat,
    rates: Mat,
    tokens: Mat,
    of_logits: Vec<f64>,
    of_before: Vec<f64>,
    of_rates: [u32; SEQUENCES],
    of_tokens: Vec<u32>,
}

fn inputs(h: &mut Harness) -> Inputs {
    h.args = ARGS;
    // One so far out that it is brought back.
    let of_rates = [UNIFORM_STEPS / 3, UNIFORM_STEPS];
    let rates = h.ids(SEQUENCES, 2, &[of_rates[0], 0, of_rates[1], 7]);
    let (tokens, of_tokens) = h.some_targets(SEQUENCES, POSITIONS, V as u32, Some(MASK));
    let of_logits = h.normals(ROWS * V, 2.0);
    let of_before: Vec<f32> = (0..ROWS)
        .flat_map(|row| softmax(&wide(&of_logits[row * V..][..V]).iter().map(|x| -x).collect::<Vec<_>>()))
        .map(|x| x as f32)
        .collect();
    let (logits, _) = h.input(DType::F32, ROWS, V, &of_logits);
    let (before, _) = h.input(DType::F32, ROWS, V, &of_before);
    let (of_logits, of_before) = (wide(&of_logits), wide(&of_before));
    Inputs { logits, before, rates, tokens, of_logits, of_before, of_rates, of_tokens }
}

fn near(what: &str, found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*found) - wanted).abs() < tolerance, "{what}: number {i} is {found}, wanted {wanted}");
    }
}

#[test]
fn soft_tokens_are_the_softmax_of_noisy_logarithms_and_hard_ones_their_largest() {
    for masks in NOISES {
        let mixing = mixing(masks);
        for predicted in [false, true] {
            let mut h = Harness::default();
            let inputs = inputs(&mut h);
            let (of, stream) = match predicted {
                false => (Relaxing::Tokens(inputs.tokens), Stream::Gumbel),
                true => (Relaxing::Predicted { logits: inputs.logits, before: inputs.before }, Stream::GumbelAgain),
            };
            let op =
                |relaxation, soft| SoftTokens { of, rates: inputs.rates, mixing, temperatures: TAUS, relaxation, soft };
            let [soft, hard] = [(); 2].map(|()| h.output(DType::F32, ROWS, V));
            let ops = [op(Relaxation::Soft, soft).into(), op(Relaxation::StraightThrough, hard).into()];
            let found = h.run(&ops, &[soft, hard]);
            for row in 0..ROWS {
                let law = Row::new(masks, inputs.of_rates[row / POSITIONS], stream, row);
                let range = row * V..(row + 1) * V;
                let p = match predicted {
                    false => (0..V).map(|v| f64::from(u8::from(v as u32 == inputs.of_tokens[row]))).collect(),
                    true => law.predicted(&inputs.of_logits[range.clone()], &inputs.of_before[range.clone()]),
                };
                near("soft", &found[0][range.clone()], &law.soft(&p), 1e-5);
                let scores = law.scores(&p);
                let best = (0..V).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
                let wanted: Vec<f32> = (0..V).map(|v| f32::from(u8::from(v == best))).collect();
                assert_eq!(found[1][range], wanted);
            }
        }
    }
}

/// χ² over 50,000 draws: 5 degrees of freedom or 6, of which 40 is passed once in ten million.
#[test]
fn hard_tokens_have_the_law_of_the_noise() {
    const N: usize = 50_000;
    for masks in NOISES {
        let mixing = mixing(masks);
        let (rate, x) = (UNIFORM_STEPS / 10 * 7, 4);
        let mut h = Harness::default();
        h.args = ARGS;
        let (rates, tokens) = (h.ids(1, 2, &[rate, 0]), h.ids(1, N, &vec![x; N]));
        let soft = h.output(DType::F32, N, V);
        let (of, relaxation) = (Relaxing::Tokens(tokens), Relaxation::StraightThrough);
        let op = SoftTokens { of, rates, mixing, temperatures: TAUS, relaxation, soft };
        let found = h.run(&[op.into()], &[soft]).remove(0);
        let mut counts = BTreeMap::new();
        found.chunks_exact(V).for_each(|row| *counts.entry(row.iter().position(|&y| y == 1.0)).or_insert(0.0) += 1.0);
        let law = Row::new(masks, rate, Stream::Gumbel, 0);
        let chi2: f64 = (0..V)
            .map(|v| {
                let q = law.noise(v) + if v == x as usize { law.law.keep } else { 0.0 };
                let (found, wanted): (f64, f64) = (counts.get(&Some(v)).copied().unwrap_or(0.0), q * N as f64);
                assert!(q > 0.0 || found == 0.0, "{v} cannot be");
                if q > 0.0 { (found - wanted).powi(2) / wanted } else { 0.0 }
            })
            .sum();
        assert!(chi2 < 40.0, "χ² {chi2}: {counts:?}");
    }
}

/// Slopes of `Σ weight·loss` in double precision, and of `Σ ⟨a, soft⟩` through the prediction.
#[test]
fn losses_and_gradients_are_those_of_the_formulas() {
    const WIDTH: usize = 130;
    const H: f64 = 1e-5;
    for masks in NOISES {
        let mixing = mixing(masks);
        let mut h = Harness::default();
        let i = inputs(&mut h);
        let of_weight: Vec<f32> = (0..ROWS).map(|row| [0.5, 0.0, 1.25][row % 3]).collect();
        let (weight, _) = h.input(DType::F32, ROWS, 1, &of_weight);
        let (scale, _) = h.input(DType::F32, 1, 2, &[4.0, 0.0]);
        let of_sumsq: Vec<f32> = (0..ROWS * sumsq_slots(WIDTH)).map(|i| 40.0 + i as f32).collect();
        let (sumsq, _) = h.input(DType::F32, ROWS, sumsq_slots(WIDTH), &of_sumsq);
        let r = |row: usize| f64::from(rstd(&of_sumsq[row * sumsq_slots(WIDTH)..][..sumsq_slots(WIDTH)], WIDTH));
        let [a, b] = [(); 2].map(|()| h.normals(ROWS * V, 1.0));
        let dsoft = [&a, &b].map(|values| h.input(DType::F32, ROWS, V, values).0);
        let [loss, s] = [(); 2].map(|()| h.output(DType::F32, ROWS, 1));
        let [dlogits, by_rule] = [(); 2].map(|()| h.output(DType::F32, ROWS, V));
        let (width, sumsq) = (WIDTH as u32, Some(sumsq));
        let of_loss = RelaxedLoss {
            logits: i.logits,
            target: i.tokens,
            soft: i.before,
            rates: i.rates,
            mixing,
            loss,
            back: LogitsGrad { sumsq, width, weight, scale: Some(scale), dlogits, s },
            dsoft: Some(by_rule),
        };
        // On top of what a loss has left.
        let (before_d, before_s) = (h.normals(ROWS * V, 1.0), h.normals(ROWS, 1.0));
        let (through, _) = h.input(DType::F32, ROWS, V, &before_d);
        let (through_s, _) = h.input(DType::F32, ROWS, 1, &before_s);
        let back = SoftTokensBackward {
            logits: i.logits,
            before: i.before,
            rates: i.rates,
            mixing,
            temperatures: TAUS,
            dsoft,
            sumsq,
            width,
            dlogits: through,
            s: through_s,
        };
        let mats = [loss, dlogits, s, by_rule, through, through_s];
        let found = h.run(&[of_loss.into(), back.into()], &mats);
        let mut steepest = 0.0_f64;
        for row in 0..ROWS {
            let range = row * V..(row + 1) * V;
            let law = Row::new(masks, i.of_rates[row / POSITIONS], Stream::GumbelAgain, row);
            let (logits, soft) = (&i.of_logits[range.clone()], &i.of_before[range.clone()]);
            let cost = |logits: &[f64], soft: &[f64]| -law.predicted(logits, soft)[i.of_tokens[row] as usize].ln();
            let product = |logits: &[f64]| -> f64 {
                let drawn = law.soft(&law.predicted(logits, soft));
                drawn.iter().zip(range.clone()).map(|(y, at)| y * (f64::from(a[at]) + f64::from(b[at]))).sum()
            };
            let slopes = |of: &[f64], f: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
                let moved =
                    |v: usize, by: f64| f(&(0..V).map(|j| of[j] + if j == v { by } else { 0.0 }).collect::<Vec<_>>());
                (0..V).map(|v| (moved(v, H) - moved(v, -H)) / (2.0 * H)).collect()
            };
            let (weight, r) = (4.0 * f64::from(of_weight[row]), r(row));
            near("loss", &found[0][row..=row], &[cost(logits, soft)], 1e-5);
            let d: Vec<f64> = slopes(logits, &|logits| cost(logits, soft)).iter().map(|d| weight * d).collect();
            near("dlogits", &found[1][range.clone()], &d.iter().map(|d| r * d).collect::<Vec<_>>(), 2e-5);
            let dot = |d: &[f64]| -> f64 { d.iter().zip(logits).map(|(d, x)| d * x).sum() };
            near("s", &found[2][row..=row], &[dot(&d)], 1e-4);
            let by_rule: Vec<f64> = slopes(soft, &|soft| cost(logits, soft)).iter().map(|d| weight * d).collect();
            near("by the rule", &found[3][range.clone()], &by_rule, 1e-4);
            let d = slopes(logits, &|logits| product(logits));
            let wanted: Vec<f64> = (0..V).map(|v| f64::from(before_d[row * V + v]) + r * d[v]).collect();
            near("through the prediction", &found[4][range.clone()], &wanted, 5e-5);
            near("s of that", &found[5][row..=row], &[f64::from(before_s[row]) + dot(&d)], 2e-4);
            steepest = d.iter().fold(steepest, |most, d| most.max(d.abs()));
        }
        assert!(steepest > 0.1, "no prediction has a slope to see: {steepest}");
    }
}
