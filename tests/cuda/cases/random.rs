//! Shapes drawn at random, for ops that stand alone and for whole training steps.

use super::models::{self, Case, Shape};
use super::{attention, embed, head, linear, muon, norms};
use crate::chance::{Chance, seed};
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::{Objective, Schedule};
use tempest::program::{Accumulate, Attention, AttentionMask, Scores, WeightGrad, WeightGrads};

/// How many of each sort one seed draws.
const EACH: usize = 2;

const MASKS: [AttentionMask; 2] = [AttentionMask::Bidirectional, AttentionMask::Causal];

/// Pushes ops on shapes that it draws.
type Draw = fn(&mut Harness, &mut Chance);

const SORTS: [(&str, Draw); 8] = [
    ("products", |b, chance| {
        let shape = [chance.size(140), chance.size(260), chance.size(300)];
        linear::forward(b, shape);
        linear::backward(b, shape);
    }),
    ("heads", |b, chance| {
        let (head_dim, positions) = (*chance.pick(&[2, 6, 8, 16, 16, 32, 64, 128, 130]), chance.size(40));
        let heads = 1 + chance.below(1 + 256 / head_dim.max(32));
        linear::qkv(b, [positions * chance.size(3), positions], [heads, head_dim], 0.1);
    }),
    ("attention", attend),
    ("weights' gradients", |b, chance| {
        let rows = chance.size(1200);
        let matrices = 1 + chance.below(6);
        let grads = (0..matrices).map(|_| {
            let (out, inner) = (chance.size(140), chance.size(140));
            let (dy, x, dw) = (b.stored(rows, out, 1.0), b.stored(rows, inner, 1.0), b.normal(out, inner, 1.0));
            WeightGrad { dy, x, dw }
        });
        let grads = grads.collect();
        b.push(WeightGrads { grads, accumulate: *chance.pick(&[Accumulate::Overwrite, Accumulate::Add]) });
    }),
    ("losses", |b, chance| {
        let symbols = 1 + chance.size(300);
        let drop = *chance.pick(&[None, Some(0), Some(symbols as u32 - 1)]);
        head::head_loss(b, [chance.size(140), chance.size(160), symbols], drop);
    }),
    ("muon", |b, chance| {
        let stacks: Vec<[usize; 3]> =
            (0..1 + chance.below(5)).map(|_| [1 + chance.below(3), chance.size(150), chance.size(150)]).collect();
        muon::update(b, &stacks, 2.0, chance.below(2) == 0);
    }),
    // Of few columns about their mean little more than rounding is left.
    ("norms", |b, chance| norms::norms(b, chance.size(200), 7 + chance.size(500))),
    ("embeddings", |b, chance| {
        let shape = [chance.size(6), chance.size(140), chance.size(200)];
        embed::embeddings(b, shape, chance.size(300));
    }),
];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut chance = Chance::new(seed());
    for (name, draw) in SORTS {
        for number in 0..EACH {
            let mut b = Harness::new(dtype);
            draw(&mut b, &mut chance);
            b.run(watch, &format!("{name} drawn at random ({number} of seed {}) in {dtype:?}", seed()));
        }
    }
    (0..EACH).for_each(|_| models::train(watch, &model(&mut chance)));
}

fn attend(b: &mut Harness, chance: &mut Chance) {
    let head_dim = *chance.pick(&[6, 16, 32, 32, 64, 64, 128]);
    let positions = chance.size(if head_dim < 32 { 40 } else { 300 });
    let (sequences, heads) = (1 + chance.below(2), 1 + chance.below(2));
    let (rows, width, mask) = (sequences * positions, heads * head_dim, *chance.pick(&MASKS));
    let qkv = b.stored(rows, 3 * width, 2.0);
    let (o, lse) = (b.stored_out(rows, width), b.float_out(rows, heads));
    let (positions, heads) = (positions as u32, heads as u32);
    b.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout: None, o, lse });
    attention::backward(b, qkv, lse, [positions, heads], mask);
}

fn model(chance: &mut Chance) -> Case {
    let positions = chance.size(70);
    let head_dim = *chance.pick(&[2, 10, 16, 32, 64, 128]);
    let schedule = *chance.pick(&[Schedule::Linear, Schedule::LogLinear, Schedule::Cosine, Schedule::Quadratic]);
    let objectives =
        [Objective::Original, Objective::NelboCount, Objective::nelbo(schedule), Objective::simple(schedule)];
    let objective = *chance.pick(&objectives);
    // The original's noise has timesteps.
    let timesteps = if objective == Objective::Original { 1 + chance.below(20) } else { chance.below(20) };
    Case {
        shape: Shape {
            layers: 1 + chance.below(2),
            heads: [1 + chance.below(3), head_dim],
            positions,
            symbols: *chance.pick(&[2, 66, 67, 72, 129, 130, 200]),
            timesteps,
            context: chance.below(positions),
            sequences: 1 + chance.below(3),
        },
        mask: *chance.pick(&MASKS),
        objective,
        batches: 1 + chance.below(2),
    }
}
