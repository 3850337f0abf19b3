//! One reverse step: candidates, and which of them are committed.

use super::math::{self, max, softmax_weights};
use super::noise::timestep_above;
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::config::{Quota, Score};
use crate::program::{
    BROKEN, Commit, CommitTokens, ENTROPY_STEP, GIVEN, Mat, Predict, SampleTime, SamplingParams, StepArgs, TimeOrder,
    reveal_words,
};
use crate::raw::arena::Operands;
use crate::rng::{UNIFORM_STEPS, ln, uniform, uniform24};
use rayon::prelude::*;

computed! {
    sample_time(SampleTime);
    predict(Predict);
    commit_tokens(CommitTokens);
}

fn sample_time(Context { o, args, .. }: &mut Context<'_>, op: &SampleTime) {
    let SampleTime { masked, order, timesteps, t } = *op;
    let rows = o.get::<u32>(masked).chunks_exact(masked.cols).zip(o.take::<u32>(t));
    for (b, (masked, t)) in rows.enumerate() {
        *t = match order {
            TimeOrder::Original => args.step.min(u64::from(timesteps) - 1) as u32,
            TimeOrder::Masked { maskable } => timestep_above(masked.iter().sum(), maskable, timesteps),
            TimeOrder::Rate { rates } => timestep_above(pair(o, rates, args, b)[0], UNIFORM_STEPS, timesteps),
        };
    }
}

/// What a step has of a text's row of `lots` or `rates`, a pair for each of so many steps.
pub(super) fn pair(o: &Operands<'_>, pairs: Mat, args: &StepArgs, b: usize) -> [u32; 2] {
    let steps = pairs.cols / 2;
    o.get::<u32>(pairs).as_chunks::<2>().0[b * steps + args.step as usize % steps]
}

pub(super) fn params<'a>(o: &Operands<'a>, mat: Mat) -> &'a [SamplingParams] {
    bytemuck::cast_slice(o.get::<f32>(mat))
}

fn predict(Context { o, args, .. }: &mut Context<'_>, op: &Predict) {
    match op.commit {
        Commit::Candidates { candidate } => {
            predict_each(o, args, op, o.take::<u32>(candidate).par_iter_mut().map(Made::Candidate));
        }
        Commit::Truth { target, cross_entropy, .. } => {
            let targets = o.get::<u32>(target).par_iter().zip(o.take::<f32>(cross_entropy));
            let made = targets.map(|(&target, cross_entropy)| Made::CrossEntropy { target, cross_entropy });
            predict_each(o, args, op, made);
        }
    }
}

fn predict_each<'a>(
    o: &Operands<'a>,
    args: &StepArgs,
    op: &Predict,
    made: impl IndexedParallelIterator<Item = Made<'a>>,
) {
    let Predict { logits, masked, params: rows, remaining, drop, confidence, .. } = *op;
    let (v, positions, params, remaining) = (logits.cols, masked.cols, params(o, rows), o.get::<u32>(remaining));
    let rows =
        (o.get::<f32>(logits).par_chunks_exact(v)).zip(o.get::<u32>(masked)).zip(made).zip(o.take::<f32>(confidence));
    rows.enumerate().with_min_len(16).for_each(|(row, (((logits, &masked), mut made), confidence))| {
        if masked == 0 {
            made.put(0, 0.0);
            return;
        }
        with_scratch(3 * v, |scratch| {
            let (distances, rest) = scratch.split_at_mut(v);
            let (scaled, p) = rest.split_at_mut(v);
            distances.copy_from_slice(logits);
            if let Some(drop) = drop {
                distances[drop as usize] = f32::NEG_INFINITY;
            }
            let most = max(distances);
            distances.iter_mut().for_each(|y| *y -= most);
            let params = params[row / positions];
            let whole = weights(distances, params.confidence_at, scaled, p);
            if whole.is_nan() {
                made.put(0, f32::NAN);
                *confidence = f32::NAN;
                return;
            }
            let random = reveal_words(args, row / positions, row % positions);
            let (best, score) = (first_largest(p), Score::numbered(params.score));
            let sure = match score {
                Score::Max => 1.0 / whole,
                Score::Margin => (1.0 - largest_but(p, best)) / whole,
                Score::Entropy => negative_entropy(p, scaled, whole),
                Score::Candidate => 0.0,
                Score::Random => uniform(random[2]),
            };
            let greedy = remaining[row / positions] as f32 <= params.greedy_tail;
            let temperature = if greedy { 0.0 } else { params.temperature };
            let draws = temperature > 0.0;
            let mut sum = whole;
            if draws && temperature != params.confidence_at {
                sum = weights(distances, temperature, scaled, p);
            }
            let symbol = match made {
                Made::CrossEntropy { target, .. } => target as usize,
                Made::Candidate(_) if draws => {
                    if params.min_p > 0.0 {
                        p.iter_mut().filter(|p| **p < params.min_p).for_each(|p| *p = 0.0);
                        sum = math::sum(p);
                    }
                    draw(p, sum, &params, uniform(random[1]))
                }
                Made::Candidate(_) => best,
            };
            let cost = match draws {
                true => ln(sum) - distances[symbol] / temperature,
                false if symbol == best => 0.0,
                false => f32::INFINITY,
            };
            made.put(symbol as u32, cost);
            *confidence = sure;
            if score == Score::Candidate {
                weights(distances, params.confidence_at, scaled, p);
                *confidence = p[symbol] / whole;
            }
        });
    });
}

/// The largest of p but for one; 0 where there is no other.
fn largest_but(p: &[f32], one: usize) -> f32 {
    max(&p[..one]).max(max(&p[one + 1..])).max(0.0)
}

/// Σ p ln p, of weights e^exponent and their sum; the exponents become something else. Never above 0.
fn negative_entropy(weights: &[f32], exponents: &mut [f32], sum: f32) -> f32 {
    let mean = |(exponent, &weight): (&mut f32, &f32)| *exponent = if weight > 0.0 { weight * *exponent } else { 0.0 };
    exponents.iter_mut().zip(weights).for_each(mean);
    let sure = math::sum(exponents) / sum - ln(sum);
    if sure < 0.0 { sure } else { 0.0 }
}

/// What is made of a position.
enum Made<'a> {
    Candidate(&'a mut u32),
    CrossEntropy { target: u32, cross_entropy: &'a mut f32 },
}

impl Made<'_> {
    fn put(&mut self, symbol: u32, cost: f32) {
        match self {
            Made::Candidate(candidate) => **candidate = symbol,
            Made::CrossEntropy { cross_entropy, .. } => **cross_entropy = cost,
        }
    }
}

/// `p = e^(distance/temperature)`, and their sum; not a number where some logit was none, or infinite.
pub(super) fn weights(distances: &[f32], temperature: f32, scaled: &mut [f32], p: &mut [f32]) -> f32 {
    scaled.iter_mut().zip(distances).for_each(|(to, y)| *to = y / temperature);
    softmax_weights(scaled, 1.0, p).1
}

/// The first of the largest numbers; 0 where all are -∞ or no numbers.
pub(super) fn first_largest(p: &[f32]) -> usize {
    let larger = |best: (usize, f32), (i, &p): (usize, &f32)| if p > best.1 { (i, p) } else { best };
    p.iter().enumerate().fold((0, f32::NEG_INFINITY), larger).0
}

/// Inverse distribution function of `p/sum` at u, cut to the nucleus: the fewest symbols that hold `top_p` of the mass
/// (Holtzman et al. 2020), and no more than `top_symbols`.
fn draw(p: &[f32], sum: f32, params: &SamplingParams, u: f32) -> usize {
    let mut kept: Vec<u32> = (0..p.len() as u32).filter(|&i| p[i as usize] > 0.0).collect();
    let mut mass = sum;
    let most = params.top_symbols as usize;
    if params.top_p < 1.0 || most > 0 {
        kept.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
        kept.truncate(if most > 0 { most } else { kept.len() });
        mass = 0.0;
        let enough = if params.top_p < 1.0 { params.top_p * sum } else { f32::INFINITY };
        let last = kept.iter().position(|&i| {
            mass += p[i as usize];
            mass >= enough
        });
        kept.truncate(last.map_or(kept.len(), |last| last + 1));
    }
    inverse(p, kept.iter().map(|&i| i as usize), u * mass)
}

/// The same of all symbols.
pub(super) fn draw_of_all(p: &[f32], sum: f32, u: f32) -> usize {
    inverse(p, (0..p.len()).filter(|&i| p[i] > 0.0), u * sum)
}

/// The first of some symbols up to which their weights come to more than `goal`.
fn inverse(p: &[f32], mut kept: impl DoubleEndedIterator<Item = usize> + Clone, goal: f32) -> usize {
    let (last, mut below) = (kept.clone().next_back(), 0.0);
    let hit = kept.find(|&i| {
        below += p[i];
        goal < below
    });
    // Rounding can leave the last partial sum below the mass: then the last symbol is meant.
    hit.or(last).expect("the most probable symbol has weight 1")
}

fn commit_tokens(Context { o, args, .. }: &mut Context<'_>, op: &CommitTokens) {
    let CommitTokens { confidence, params: rows, lots, mask_id, commit, x, masked, committed_at, remaining } = *op;
    let params = params(o, rows);
    let positions = x.cols;
    let mut source = Source::open(o, commit);
    let rows = (o.get::<f32>(confidence).chunks_exact(positions))
        .zip(o.take::<u32>(x).chunks_exact_mut(positions))
        .zip(o.take::<u32>(masked).chunks_exact_mut(positions))
        .zip(o.take::<u32>(committed_at).chunks_exact_mut(positions))
        .zip(o.take::<u32>(remaining));
    for (b, ((((confidence, x), masked), committed_at), remaining)) in rows.enumerate() {
        if *remaining == BROKEN || confidence.iter().zip(&*masked).any(|(c, &open)| open != 0 && c.is_nan()) {
            *remaining = BROKEN;
            continue;
        }
        let [reveal, remask] = pair(o, lots, args, b);
        let lot = |p: usize| uniform24(reveal_words(args, b, p)[0]);
        let written = |p: usize| masked[p] == 0 && committed_at[p] != GIVEN;
        let shares = Score::numbered(params[b].score) == Score::Candidate;
        let weight = |p: usize| if shares { whole_weight(confidence[p]) } else { 1 };
        let written = (0..positions).filter(|&p| remask > 0 && written(p));
        let all: u64 = if shares { written.clone().map(weight).sum() } else { 1 };
        let back: Vec<usize> = written.filter(|&p| u64::from(lot(p)) * all < u64::from(remask) * weight(p)).collect();
        for p in chosen(args, &params[b], reveal, confidence, masked, b) {
            x[p] = source.token(b, b * positions + p);
            masked[p] = 0;
            committed_at[p] = args.step as u32;
        }
        for p in back {
            (x[p], masked[p]) = (mask_id, 1);
        }
        *remaining = masked.iter().sum();
    }
}

/// e to the power of what speaks against a token that was written with probability p, in steps of 2⁻¹⁵.
fn whole_weight(p: f32) -> u64 {
    (math::exp::<true>(1.0, -p, 0.0) * 32768.0) as u64
}

/// The positions of sequence b that are committed, in ascending order.
fn chosen(
    args: &StepArgs,
    params: &SamplingParams,
    reveal: u32,
    confidence: &[f32],
    masked: &[u32],
    b: usize,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..masked.len()).filter(|&p| masked[p] != 0).collect();
    order.sort_by(|&a, &b| confidence[b].total_cmp(&confidence[a]).then(a.cmp(&b)));
    let best = best_of(params.quota(), &order, confidence);
    let drawn = |p: usize| reveal > 0 && uniform24(reveal_words(args, b, p)[0]) < reveal;
    let ranked = order.into_iter().enumerate();
    let picked = ranked.filter(|&(rank, p)| rank < best || confidence[p] >= params.least || drawn(p));
    let mut picked: Vec<usize> = picked.map(|(_, p)| p).collect();
    picked.sort_unstable();
    picked
}

/// How many of the most confident positions, which stand in order, a quota takes.
fn best_of(quota: Quota, order: &[usize], confidence: &[f32]) -> usize {
    match quota {
        Quota::Best(k) => k,
        Quota::Factor(phi) => {
            let enough = |rank: usize, p: usize| confidence[p] >= 1.0 - phi / (rank + 1) as f32;
            (1..).zip(order).take_while(|&(rank, &p)| rank == 1 || enough(rank, p)).count()
        }
        Quota::EntropyBound(gamma) => {
            let bound = whole_steps(gamma);
            let mut before = 0;
            let fits = |&&p: &&usize| {
                let fits = before <= bound;
                before += whole_steps(-confidence[p]);
                fits
            };
            order.iter().take_while(fits).count()
        }
    }
}

/// Nats in steps of [`ENTROPY_STEP`].
fn whole_steps(nats: f32) -> u64 {
    (nats / ENTROPY_STEP).clamp(0.0, MOST_STEPS) as u64
}

/// Steps of what is as good as no bound, that 2³² positions add up in 64 bits.
const MOST_STEPS: f32 = u32::MAX as f32;

/// Where committed tokens come from.
enum Source<'a> {
    Candidates(&'a [u32]),
    Truth { target: &'a [u32], cross_entropy: &'a [f32], nll: &'a mut [f32] },
}

impl<'a> Source<'a> {
    fn open(o: &Operands<'a>, commit: Commit) -> Self {
        match commit {
            Commit::Candidates { candidate } => Source::Candidates(o.get(candidate)),
            Commit::Truth { target, cross_entropy, nll } => {
                Source::Truth { target: o.get(target), cross_entropy: o.get(cross_entropy), nll: o.take(nll) }
            }
        }
    }

    fn token(&mut self, sequence: usize, row: usize) -> u32 {
        match self {
            Source::Candidates(candidate) => candidate[row],
            Source::Truth { target, cross_entropy, nll } => {
                nll[sequence] += cross_entropy[row];
                target[row]
            }
        }
    }
}
