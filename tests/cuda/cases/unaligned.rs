//! Matrices that start in the middle of the 16 bytes that an access moves, one of an op's at a time, where all else would
//! suit such accesses.

use super::{average, conv, embed, head, linear, muon, norms, optimizer};
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Attention, AttentionMask, GradNorm, NormalNoise, Scores};

/// A name and what makes the ops of it.
type Ops = (&'static str, fn(&mut Harness));

const OPS: [Ops; 13] = [
    ("products", |b| linear::forward(b, [5, 24, 40])),
    ("products' backward", |b| linear::backward(b, [5, 24, 32])),
    ("heads", |b| linear::qkv(b, [6, 3], [2, 16], 0.2)),
    ("attention", attention),
    ("convolution", |b| conv::convolutions(b, [2, 5], 24, 3)),
    ("norms", |b| norms::norms(b, 5, 24)),
    ("embeddings", |b| embed::embeddings(b, [2, 5, 9], 24)),
    ("losses", |b| head::head_loss(b, [5, 24, 16], Some(1))),
    ("sums of losses", sums),
    ("optimizer", optimizer),
    ("averages", averages),
    ("muon", |b| muon::update(b, &[[2, 16, 24], [1, 32, 16]], 3.0, true)),
    ("normal noise", noise),
];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for (name, push) in OPS {
        let mut aligned = Harness::new(dtype);
        push(&mut aligned);
        for skewed in 0..aligned.matrices() {
            let mut b = Harness::skewed(dtype, Some(skewed));
            push(&mut b);
            b.run(watch, &format!("{name}, whose matrix {skewed} is not aligned, in {dtype:?}"));
        }
    }
}

fn attention(b: &mut Harness) {
    let (rows, width, heads, positions, mask) = (14, 64, 2, 7, AttentionMask::Bidirectional);
    let qkv = b.stored(rows, 3 * width, 1.0);
    let (o, lse) = (b.stored_out(rows, width), b.float_out(rows, heads as usize));
    b.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout: None, o, lse });
    super::attention::backward(b, qkv, lse, [positions, heads], mask);
}

fn sums(b: &mut Harness) {
    let (cross_entropy, weight) = (b.uniform(48, 1, 0.0, 6.0), b.uniform(48, 1, 0.5, 2.0));
    head::sums_of(b, cross_entropy, weight, 3);
}

fn optimizer(b: &mut Harness) {
    (b.args.lr, b.args.bias1, b.args.bias2) = (3e-3, 0.19, 0.02);
    let (grads, metrics) = (b.normal(1, 48, 0.1), b.normal(3, 4, 1.0));
    b.push(GradNorm { grads, scale: None, metrics });
    optimizer::step(b, 48, grads, metrics, None);
}

fn averages(b: &mut Harness) {
    b.args.ema_warmup = 0.9;
    let metrics = b.uniform(3, 4, 0.5, 2.0);
    average::averages(b, 48, metrics);
}

fn noise(b: &mut Harness) {
    let out = b.float_out(6, 8);
    b.push(NormalNoise { positions: 3, out });
}
