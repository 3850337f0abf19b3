//! Relaxed tokens: noise over them by Gumbel-softmax, what predictions of them cost, and the way back.

use super::linear::rstds_or_one;
use super::math::{dot, softmax_weights};
use super::sampling::first_largest;
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::config::Relaxation;
use crate::program::{LogitsGrad, Marginal, Mixing, RelaxedLoss, Relaxing, SoftTokens, SoftTokensBackward, StepArgs};
use crate::raw::cpu::element::Element;
use crate::rng::{Stream, UNIFORM_STEPS, gumbels, ln, philox};
use rayon::prelude::*;

computed! {
    soft_tokens(SoftTokens) by soft;
    relaxed_loss(RelaxedLoss) by soft;
    soft_tokens_backward(SoftTokensBackward) by before;
}

/// q(·|p) of one noise rate.
#[derive(Clone, Copy)]
struct Law {
    marginal: Marginal,
    mixing: Mixing,
}

impl Law {
    /// Of a rate in units of 2⁻²⁴, which is kept away from its ends: there a token tells everything, or nothing.
    fn at(rate: u32, mixing: Mixing) -> Self {
        Law { marginal: mixing.marginal(rate.clamp(1, UNIFORM_STEPS - 1)), mixing }
    }

    /// c, how much likelier a symbol is that stands there than it would be as another.
    fn favour(self) -> f32 {
        ln(1.0 + self.marginal.keep / self.marginal.noise[1])
    }

    /// P of logits and soft tokens; `kept` is lent. Returns what its largest number is to be taken from: of the kept logits the
    /// largest, and the sum of what all of them are to it.
    fn predicted<A: Element>(self, logits: &[f32], soft: &[A], kept: &mut [f32], p: &mut [f32]) -> (f32, f32) {
        let favour = self.favour();
        for ((kept, logit), soft) in kept.iter_mut().zip(logits).zip(soft) {
            *kept = logit + favour * soft.wide();
        }
        if let Some(mask) = kept.get_mut(self.mixing.mask as usize) {
            *mask = f32::NEG_INFINITY;
        }
        let (most, sum) = softmax_weights(kept, 1.0, p);
        p.iter_mut().for_each(|p| *p /= sum);
        (most, sum)
    }

    /// q of p, in its place.
    fn noised(self, p: &mut [f32]) {
        for (symbol, p) in (0..).zip(p) {
            *p = self.marginal.keep * *p + self.mixing.of(symbol, self.marginal.noise);
        }
    }
}

/// Where the Gumbel numbers of a row begin.
struct Gumbels<'a> {
    args: &'a StepArgs,
    stream: Stream,
    positions: usize,
}

impl Gumbels<'_> {
    /// `to = ln q + g` of a row.
    fn perturb(&self, row: usize, q: &[f32], to: &mut [f32]) {
        let sequence = (row / self.positions) as u32;
        let step = self.args.step << 32 | u64::from(self.args.sequence + sequence);
        let mut at = row % self.positions * q.len();
        let (mut q, mut rest) = (q, to);
        while !rest.is_empty() {
            let drawn = gumbels(philox(self.args.seed, self.stream, step, (at / 4) as u32));
            let four = &drawn[at % 4..];
            let len = four.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            for ((to, q), g) in now.iter_mut().zip(q).zip(four) {
                // What cannot be is not drawn; all else is at least the least rate's share of a symbol, a normal number.
                *to = if *q > 0.0 { ln(*q) + g } else { f32::NEG_INFINITY };
            }
            (at, q, rest) = (at + len, &q[len..], later);
        }
    }
}

fn soft_tokens<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &SoftTokens) {
    let SoftTokens { of, rates, mixing, temperatures, relaxation, soft } = *op;
    let ([n, v], tau) = (soft.shape(), temperatures.at(args.step));
    let positions = n / rates.rows;
    let rates = o.get::<u32>(rates).as_chunks::<2>().0;
    let stream = match of {
        Relaxing::Tokens(_) => Stream::Gumbel,
        Relaxing::Predicted { .. } => Stream::GumbelAgain,
    };
    let gumbels = Gumbels { args, stream, positions };
    // What p is made of.
    let (tokens, made) = match of {
        Relaxing::Tokens(tokens) => (o.get::<u32>(tokens), None),
        Relaxing::Predicted { logits, before } => (&[][..], Some((o.get::<f32>(logits), o.get::<A>(before)))),
    };
    o.take::<A>(soft).par_chunks_exact_mut(v).enumerate().with_min_len(16).for_each(|(row, soft)| {
        with_scratch(2 * v, |scratch| {
            let (p, kept) = scratch.split_at_mut(v);
            let law = Law::at(rates[row / positions][0], mixing);
            match made {
                Some((logits, before)) => {
                    let range = row * v..(row + 1) * v;
                    law.predicted(&logits[range.clone()], &before[range], kept, p);
                }
                None => {
                    p.fill(0.0);
                    p[tokens[row] as usize] = 1.0;
                }
            }
            law.noised(p);
            gumbels.perturb(row, p, kept);
            match relaxation {
                Relaxation::Soft => {
                    let (_, sum) = softmax_weights(kept, 1.0 / tau, p);
                    soft.iter_mut().zip(&*p).for_each(|(soft, p)| *soft = A::nearest(p / sum));
                }
                Relaxation::StraightThrough => {
                    soft.fill(A::nearest(0.0));
                    soft[first_largest(kept)] = A::nearest(1.0);
                }
            }
        });
    });
}

fn relaxed_loss<A: Element>(Context { o, .. }: &mut Context<'_>, op: &RelaxedLoss) {
    let RelaxedLoss { logits, target, soft, rates, mixing, loss, back, dsoft } = *op;
    let LogitsGrad { sumsq, width, weight, scale, dlogits, s } = back;
    let [n, v] = logits.shape();
    let positions = n / rates.rows;
    let rates = o.get::<u32>(rates).as_chunks::<2>().0;
    let (target, weight) = (o.get::<u32>(target), o.get::<f32>(weight));
    let (sumsq, scale) = (sumsq.map(|mat| o.get::<f32>(mat)), scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]));
    let mut dsofts: Vec<Option<&mut [f32]>> = match dsoft {
        Some(mat) => o.take::<f32>(mat).chunks_exact_mut(v).map(Some).collect(),
        None => (0..n).map(|_| None).collect(),
    };
    let rows = (o.get::<f32>(logits).par_chunks_exact(v))
        .zip(o.get::<A>(soft).par_chunks_exact(v))
        .zip(o.take::<f32>(loss))
        .zip(o.take::<A>(dlogits).par_chunks_exact_mut(v))
        .zip(o.take::<f32>(s))
        .zip(dsofts.par_iter_mut());
    rows.enumerate().with_min_len(16).for_each(|(i, (((((logits, soft), loss), dlogits), s), dsoft))| {
        with_scratch(2 * v, |scratch| {
            let (p, kept) = scratch.split_at_mut(v);
            let (law, x) = (Law::at(rates[i / positions][0], mixing), target[i] as usize);
            let (most, sum) = law.predicted(logits, soft, kept, p);
            *loss = sum.ln() - (kept[x] - most);
            let (mut r, weight) = ([0.0], scale * weight[i]);
            rstds_or_one(sumsq, width as usize, i, &mut r);
            p[x] -= 1.0;
            p.iter_mut().for_each(|p| *p *= weight);
            *s = dot(p, logits);
            dlogits.iter_mut().zip(&*p).for_each(|(d, p)| *d = A::nearest(r[0] * p));
            if let Some(dsoft) = dsoft {
                let favour = law.favour();
                dsoft.iter_mut().zip(&*p).for_each(|(to, p)| *to = favour * p);
            }
        });
    });
}

/// `y·(d - ⟨y, d⟩)` in the place of d: the gradient by what y is the softmax of.
fn through_softmax(y: &[f32], d: &mut [f32]) {
    let mean = dot(y, d);
    d.iter_mut().zip(y).for_each(|(d, y)| *d = y * (*d - mean));
}

fn soft_tokens_backward<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &SoftTokensBackward) {
    let SoftTokensBackward { logits, before, rates, mixing, temperatures, dsoft, sumsq, width, dlogits, s } = *op;
    let ([n, v], tau) = (logits.shape(), temperatures.at(args.step));
    let positions = n / rates.rows;
    let rates = o.get::<u32>(rates).as_chunks::<2>().0;
    let sumsq = sumsq.map(|mat| o.get::<f32>(mat));
    let gumbels = Gumbels { args, stream: Stream::GumbelAgain, positions };
    let [by_input, by_rule] = dsoft.map(|mat| o.get::<f32>(mat).par_chunks_exact(v));
    let rows = (o.get::<f32>(logits).par_chunks_exact(v))
        .zip(o.get::<A>(before).par_chunks_exact(v))
        .zip(by_input.zip(by_rule))
        .zip(o.take::<A>(dlogits).par_chunks_exact_mut(v))
        .zip(o.take::<f32>(s));
    rows.enumerate().with_min_len(16).for_each(|(i, ((((logits, before), (by_input, by_rule)), dlogits), s))| {
        with_scratch(4 * v, |scratch| {
            let (p, rest) = scratch.split_at_mut(v);
            let (q, rest) = rest.split_at_mut(v);
            let (soft, d) = rest.split_at_mut(v);
            let law = Law::at(rates[i / positions][0], mixing);
            law.predicted(logits, before, q, p);
            q.copy_from_slice(p);
            law.noised(q);
            gumbels.perturb(i, q, d);
            let (_, sum) = softmax_weights(d, 1.0 / tau, soft);
            soft.iter_mut().for_each(|soft| *soft /= sum);
            for ((d, a), b) in d.iter_mut().zip(by_input).zip(by_rule) {
                *d = a + b;
            }
            through_softmax(soft, d);
            for (d, q) in d.iter_mut().zip(&*q) {
                *d = if *q > 0.0 { *d / tau * law.marginal.keep / q } else { 0.0 };
            }
            through_softmax(p, d);
            let mut r = [0.0];
            rstds_or_one(sumsq, width as usize, i, &mut r);
            *s += dot(d, logits);
            dlogits.iter_mut().zip(&*d).for_each(|(to, d)| *to = A::nearest(to.wide() + r[0] * d));
        });
    });
}
